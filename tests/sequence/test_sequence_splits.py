"""Parts are whole groups, near to their shares, and what cannot be split is refused."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.sequence.pairs.planted import planted_pairs
from attributome.sequence.pairs.splits import SHARES, split_pairs

KINDS = ("random", "stratified", "mirna", "family", "site")


def table(**columns):
    frame = pd.DataFrame(columns)
    frame.insert(0, "id", [f"p{i}" for i in range(len(frame))])
    return frame


@pytest.fixture(scope="module")
def pairs():
    """Planted pairs of which each third is there twice, and sites come back with other miRNAs."""
    some = planted_pairs(mirnas=20, pairs_each=10, seed=1)
    again = some[::3].copy()
    moved = some[::4].assign(mirna=np.roll(some["mirna"][::4], 1), label=0)
    both = pd.concat([some, again, moved], ignore_index=True)
    both["family"] = [f"f{mirna[:1]}" + str(len(mirna)) for mirna in both["mirna"]]
    return both.assign(id=[f"p{i}" for i in range(len(both))])


def homes(pairs, parts):
    home = {name: part for part, ids in parts.items() for name in ids}
    return pairs["id"].map(home)


@pytest.mark.parametrize("how", KINDS)
def test_every_pair_is_in_one_part_and_groups_are_whole(pairs, how):
    parts = split_pairs(pairs, how, seed=2)
    assert list(parts) == ["train", "validate", "test"]
    home = homes(pairs, parts)
    assert home.notna().all()
    assert sum(map(len, parts.values())) == len(pairs)
    columns = ["mirna", "site"] if how in ("random", "stratified") else [how]
    assert (home.groupby([pairs[c] for c in columns]).nunique() == 1).all()
    order = {name: i for i, name in enumerate(pairs["id"])}
    assert all(ids == sorted(ids, key=order.get) for ids in parts.values())


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shares_are_shares_of_rows(pairs, how, seed):
    parts = split_pairs(pairs, how, seed=seed)
    for part, share in SHARES.items():
        assert abs(len(parts[part]) / len(pairs) - share) < (0.1 if how == "family" else 0.05)


@pytest.mark.parametrize("how", KINDS)
def test_the_seed_decides(pairs, how):
    assert split_pairs(pairs, how, seed=5) == split_pairs(pairs, how, seed=5)
    assert split_pairs(pairs, how, seed=5) != split_pairs(pairs, how, seed=6)


def test_stratified_parts_hold_labels_as_the_whole_does():
    labels = [1] * 40 + [0] * 360
    pairs = table(mirna=["ACGT"] * 400, site=[f"S{i}" for i in range(400)], label=labels)
    parts = split_pairs(pairs, "stratified")
    shares = [pairs.set_index("id").loc[ids, "label"].mean() for ids in parts.values()]
    assert shares == pytest.approx([0.1, 0.1, 0.1])


def test_families_that_share_a_mirna_stay_together():
    pairs = table(
        mirna=["a", "a", "b", "c", "d", "e"],
        family=["f", "g", "g", "h", "i", "j"],
        site=list("uvwxyz"),
    )
    for seed in range(10):
        home = homes(pairs, split_pairs(pairs, "family", seed=seed))
        assert home[:3].nunique() == 1
        assert home.nunique() == 3


def test_a_giant_among_mirnas_does_not_fill_the_test():
    mirnas = ["giant"] * 150 + [f"m{i}" for i in range(100) for _ in range(9)]
    pairs = table(mirna=mirnas, site=[f"s{i}" for i in range(len(mirnas))])
    for seed in range(10):
        parts = split_pairs(pairs, "mirna", seed=seed)
        assert "p0" in parts["train"]
        assert abs(len(parts["test"]) / len(pairs) - 0.15) < 0.02


@pytest.mark.parametrize("groups", [3, 4, 7])
def test_few_groups_fill_every_part(groups):
    pairs = table(mirna=[f"m{i % groups}" for i in range(40)], site=["s"] * 40)
    for seed in range(10):
        assert all(split_pairs(pairs, "mirna", seed=seed).values())
    short = pairs[:groups]  # groups of one row
    assert all(split_pairs(short, "mirna").values())


@pytest.mark.parametrize("word", ["valid", "val", "Validation", "validate"])
def test_a_given_split_is_followed(word):
    pairs = table(mirna=list("aabbcc"), site=list("uvwxyz"), split=["train", "TEST", word] * 2)
    parts = split_pairs(pairs, "given")
    assert parts == {"train": ["p0", "p3"], "validate": ["p2", "p5"], "test": ["p1", "p4"]}


def test_a_given_split_without_validation_gives_some_mirnas_of_training(pairs):
    given = pairs.assign(split=np.where(np.arange(len(pairs)) < 60, "test", "train"))
    parts = split_pairs(given, "given", shares={"train": 0.6, "validate": 0.2, "test": 0.2})
    home = homes(given, parts)
    assert set(parts["test"]) == set(given["id"][:60])
    inside = home != "test"
    assert (home[inside].groupby(given["mirna"][inside]).nunique() == 1).all()
    assert abs((home[inside] == "validate").mean() - 0.25) < 0.08


@pytest.mark.parametrize(
    ("how", "columns", "words"),
    [
        ("mirna", {"mirna": ["a"] * 9}, "1 groups .mirna. cannot fill 3 parts"),
        ("site", {"site": ["s", "t"] * 2}, "2 groups .site."),
        ("family", {"family": ["f"] * 4, "mirna": list("abcd")}, "1 groups"),
        ("random", {"site": ["s", "t"]}, "2 groups .random."),
        ("stratified", {"site": list("stuv")}, "no labels"),
        ("stratified", {"site": list("stuv"), "label": [1] * 4}, "no pair has label 0"),
        ("stratified", {"site": list("stuv"), "label": [1, 0, 0, 0]}, "label 1. cannot fill 3"),
        ("given", {"site": list("stuv")}, "no column `split`"),
        ("given", {"split": ["train", "test", "hold"]}, "says 'hold' for pair 'p2'"),
        ("given", {"split": ["train", ""]}, "says '' for pair 'p1'"),
        ("given", {"split": ["train", "val"]}, "no pair of part test"),
        ("given", {"split": ["test", "val"]}, "no pair of part train"),
        ("given", {"split": ["train", "train", "test"]}, "1 groups .mirna. cannot fill 2 parts"),
        ("mirna", {"mirna": []}, "no pairs to split"),
    ],
)
def test_what_cannot_be_split_is_refused(how, columns, words):
    count = len(next(iter(columns.values())))
    whole = {"mirna": ["a"] * count, "site": ["s"] * count} | columns
    with pytest.raises(DataError, match=words):
        split_pairs(table(**whole), how)


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.2, "test": -0.2}])
def test_shares_that_are_none_are_refused(pairs, shares):
    with pytest.raises(UsageError, match="must be above 0 and sum to 1"):
        split_pairs(pairs, "mirna", shares=shares)
