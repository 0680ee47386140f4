"""An audit finds what was put wrong, and says so; clean pairs get no red flag."""

import itertools

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError
from attributome.sequence.pairs.audit import LEAKS, audit, near_sites
from attributome.sequence.pairs.flags import Facts, Flag, judge
from attributome.sequence.pairs.planted import planted_pairs
from attributome.sequence.pairs.reading import read_pairs
from attributome.sequence.pairs.splits import split_pairs
from attributome.sequence.pairs.trivial import TRIVIAL


def found(pairs, parts, **options):
    return audit(pairs, parts, k=3, **{"draws": 50, **options})


def titles(flags, *levels):
    return "; ".join(flag.title for flag in flags if flag.level in levels)


@pytest.fixture(scope="module")
def pairs():
    return planted_pairs(mirnas=40, pairs_each=8, decoys=True)


@pytest.fixture(scope="module")
def parts(pairs):
    shares = {"train": 0.5, "validate": 0.15, "test": 0.35}
    return split_pairs(pairs, "mirna", shares=shares)


def test_clean_pairs_get_no_red_flag(pairs, parts):
    done = found(pairs, parts)
    assert titles(done.flags, "red") == ""
    assert "share no pair, miRNA, family or site" in titles(done.flags, "green")
    assert "miRNA identity alone reaches AUC 0.50" in titles(done.flags, "green")
    assert "none repeats or contradicts" in titles(done.flags, "green")
    assert len(done.duplicates) == len(done.conflicts) == 0
    assert (done.leakage["share"] == 0).all()
    assert done.leakage["what"].tolist() == [*LEAKS] * 2
    counts = {
        "rows": 320,
        "rejected": 0,
        "mirnas": 40,
        "sites": 320,
        "positives": 160,
        "train": 160,
    }
    assert counts.items() <= done.counts.items()
    assert all(type(value) is int for value in done.counts.values())


def test_trivial_figures_have_intervals(pairs, parts):
    table = found(pairs, parts).trivial
    assert table["predictor"].drop_duplicates().tolist() == [*TRIVIAL]
    assert set(table["metric"]) == {"auc", "ap"}
    assert (table["low"] <= table["high"]).all()
    row = table[(table["predictor"] == "seed_rule") & (table["metric"] == "auc")].iloc[0]
    assert (row["value"], row["n"], row["groups"]) == (1, len(parts["test"]), 14)


def test_repeats_and_conflicts_are_listed():
    pairs = planted_pairs(mirnas=10, pairs_each=6)
    pairs = pd.concat([pairs, pairs[4:6], pairs[8:9].assign(label=1 - pairs["label"][8])])
    pairs["id"] = [f"p{i}" for i in range(len(pairs))]
    parts = split_pairs(pairs, "mirna")
    done = found(pairs.reset_index(drop=True), parts)
    assert done.duplicates[["id", "same_as"]].to_numpy().tolist() == [["p60", "p4"], ["p61", "p5"]]
    assert sorted(done.conflicts["id"]) == ["p62", "p8"]
    assert (done.counts["duplicates"], done.counts["conflicts"]) == (2, 1)
    amber = titles(done.flags, "amber")
    assert "2 rows repeat another" in amber
    assert "1 pairs have both labels" in amber


def test_what_training_has_seen_is_counted():
    base = dict.fromkeys(("mirna", "site", "family", "label"))
    site, other = "ACGTACCTGATTTCCAGGATCATT", "GGCATTTAGCCCATAACGTGGAGA"
    rows = [
        ("train", {"mirna": "AAAACCCC", "site": site, "family": "f", "label": 1}),
        ("train", {"mirna": "CCCCAAAA", "site": other, "family": "g", "label": 0}),
        ("test", {"mirna": "AAAACCCC", "site": site, "family": "f", "label": 1}),
        ("test", {"mirna": "GGGGAAAA", "site": f"T{site[:21]}GG", "family": "f", "label": 0}),
        ("test", {"mirna": "TTTTAAAA", "site": f"T{site[:19]}AGG", "family": "h", "label": 0}),
        ("test", {"mirna": "TTTTAAAA", "site": "ACGT", "family": "h", "label": 1}),
    ]
    pairs = pd.DataFrame([base | row for _, row in rows])
    pairs.insert(0, "id", [str(i) for i in range(6)])
    parts = {"train": ["0", "1"], "test": ["2", "3", "4", "5"]}
    done = found(pairs, parts)
    shares = dict(zip(done.leakage["what"], done.leakage["share"], strict=True))
    assert shares == {"pair": 0.25, "mirna": 0.25, "family": 0.5, "site": 0.25, "near site": 0.5}
    assert "25.0% of the test pairs stand in training" in titles(done.flags, "red")


def test_near_sites_share_a_word(random):
    sites, others = (
        ["".join(random.choice(list("ACGTN"), int(n))) for n in random.integers(0, 30, 40)]
        for _ in range(2)
    )

    def words(text):
        return {text[i : i + 3] for i in range(len(text) - 2) if "N" not in text[i : i + 3]}

    known = set().union(*map(words, others[:4]))
    wanted = [bool(words(site) & known) for site in sites]
    assert near_sites(sites, others[:4], word=3).tolist() == wanted
    assert 0 < sum(wanted) < 40
    assert near_sites([], others).tolist() == []
    assert near_sites(["A" * 20], []).tolist() == [False]


def test_labels_that_follow_the_mirna_are_a_red_flag():
    pairs = planted_pairs(mirnas=20, pairs_each=20)
    kinds = {mirna: i % 2 for i, mirna in enumerate(pairs["mirna"].unique())}
    pairs["label"] = [
        kinds[mirna] if i % 10 else 1 - kinds[mirna] for i, mirna in enumerate(pairs["mirna"])
    ]
    random, grouped = (found(pairs, split_pairs(pairs, how)) for how in ("random", "mirna"))
    assert "miRNA identity alone reaches AUC" in titles(random.flags, "red")
    assert "linear model without interaction" in titles(random.flags, "amber")
    assert "miRNA identity alone reaches AUC 0.50" in titles(grouped.flags, "green")


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_are_said_and_do_not_crash(pairs, parts, label):
    done = found(pairs.assign(label=label), parts)
    red = titles(done.flags, "red")
    assert f"pairs of the train part have label {label}" in red
    assert f"pairs of the test part have label {label}" in red
    aucs = done.trivial[done.trivial["metric"] == "auc"]
    assert aucs["value"].isna().all()


def test_pairs_without_labels_or_parts_do_not_crash(pairs, parts):
    done = found(pairs.drop(columns="label"), parts)
    assert "No labels" in titles(done.flags, "amber")
    assert len(done.trivial) == 0
    assert "positives" not in done.counts
    done = found(pairs, {"train": pairs["id"].tolist()})
    assert "No test part" in titles(done.flags, "red")
    done = found(pairs[:0], {"train": [], "validate": [], "test": []})
    assert "No train part" in titles(done.flags, "red")


def test_rows_that_were_left_out_are_counted(pairs, parts):
    few = pd.DataFrame({"row": [1, 2], "column": "", "value": "", "reason": "x"})
    many = pd.concat([few] * 30)
    assert "2 of 322 rows were left out" in titles(found(pairs, parts, rejected=few).flags, "amber")
    assert "60 of 380 rows" in titles(found(pairs, parts, rejected=many).flags, "red")


@pytest.mark.parametrize(
    ("parts", "words"),
    [({"train": ["1", "none"]}, "names the pair 'none'"),
     ({"train": ["1"], "test": ["1"]}, "another part has as well")],
)  # fmt: skip
def test_parts_that_are_none_of_the_table_are_refused(pairs, parts, words):
    with pytest.raises(DataError, match=words):
        found(pairs, parts)


@pytest.mark.parametrize(
    ("auc", "low", "high", "best", "level"),
    [
        (0.50, 0.50, 0.50, 0.60, "green"),
        (0.57, 0.52, 0.60, 0.80, "green"),
        (0.57, 0.52, 0.60, 0.60, "red"),  # as good as the best rule
        (0.62, 0.55, 0.70, 0.90, "red"),
        (0.62, 0.45, 0.75, 0.90, "amber"),  # perhaps by chance
        (0.62, np.nan, np.nan, 0.90, "amber"),
        (0.30, 0.25, 0.36, 0.80, "amber"),  # worse than chance
        (0.30, 0.10, 0.60, 0.80, "green"),
    ],
)
def test_the_rule_for_half_a_pair(auc, low, high, best, level):
    rows = [("mirna_identity", auc, low, high), ("rc_product", best, best, best)]
    trivial = pd.DataFrame(
        [(name, "auc", v, lo, hi, 99, 20) for name, v, lo, hi in rows],
        columns=["predictor", "metric", "value", "low", "high", "n", "groups"],
    )
    counts = dict.fromkeys(("rows", "train", "test", "test_mirnas"), 100)
    counts |= {"positives": 50, "train_positives": 50, "test_positives": 50}
    counts |= {"rejected": 0, "duplicates": 0, "conflicts": 0}
    leakage = pd.DataFrame(columns=["what", "part", "share", "n"])
    flags = judge(Facts(counts=counts, leakage=leakage, trivial=trivial))
    assert [flag.level for flag in flags if "miRNA identity" in flag.title] == [level]


def test_flags_come_worst_first(pairs):
    flags = found(pairs, split_pairs(pairs, "random"), rejected=pd.DataFrame({"row": [1]})).flags
    levels = [level for level, _ in itertools.groupby(flag.level for flag in flags)]
    assert levels == [level for level in ("red", "amber", "green") if level in levels]
    assert all(isinstance(flag, Flag) for flag in flags)


@pytest.mark.real
def test_the_bias_of_miraw_is_seen(real_data):
    pairs = read_pairs(real_data / "mirna" / "miraw_sites.csv.gz").pairs
    done = audit(pairs, split_pairs(pairs, "given"), k=3, draws=50)
    assert "miRNA identity alone reaches AUC 0.97" in titles(done.flags, "red")
