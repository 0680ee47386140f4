"""Predictors without a network: each is its definition, and the real figures are known."""

import numpy as np
import pandas as pd
import pytest

from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import fcgr, reverse_complement_pixels
from attributome.sequence.pairs.planted import planted_pairs
from attributome.sequence.pairs.reading import read_pairs
from attributome.sequence.pairs.splits import split_pairs
from attributome.sequence.pairs.trivial import TRIVIAL, trivial_scores

LET7 = "TGAGGTAGTAGGTTGTATAGTT"


def table(*rows):
    frame = pd.DataFrame(rows, columns=["mirna", "site", "label"])
    frame.insert(0, "id", [str(i) for i in range(len(frame))])
    return frame


TRAIN = table(("AAAA", "s", 1), ("AAAA", "t", 0), ("AAAA", "t", 1), ("CCCC", "u", 0))


def test_identity_is_the_share_of_positives_in_training():
    test = table(("AAAA", "u", 0), ("CCCC", "t", 1), ("GGGG", "x", 1))
    by_mirna = TRIVIAL["mirna_identity"](TRAIN, test, k=3)
    by_site = TRIVIAL["site_identity"](TRAIN, test, k=3)
    assert by_mirna.tolist() == pytest.approx([2 / 3, 0, 0.5])
    assert by_site.tolist() == pytest.approx([0, 0.5, 0.5])


def test_seeds_are_graded_by_kind():
    sites = ["GCTACCTCAG", "GCTACCTCG", "GGTACCTCAG", "GGTACCTCG", "GGTACCGCG"]
    test = table(*((LET7, site, 0) for site in sites), ("TGAGG", "CTACCTCA", 0), ("", "A", 0))
    assert TRIVIAL["seed_kind"](TRAIN, test, k=3).tolist() == [4, 3, 2, 1, 0, 0, 0]
    assert TRIVIAL["seed_rule"](TRAIN, test, k=3).tolist() == [1, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_product_is_that_of_the_images(k, random, monkeypatch):
    pairs = [
        ["".join(random.choice(list("ACGTN"), n)) for n in (22, int(random.integers(9, 50)))]
        for _ in range(30)
    ]
    test = table(*((mirna, site, 0) for mirna, site in pairs), ("A" * k, "N" * k, 1))
    mirnas, sites = (
        fcgr(strands(test[name].tolist()), k).reshape(31, -1).astype(float)
        for name in ("mirna", "site")
    )
    wanted = (mirnas * sites[:, reverse_complement_pixels(k)]).sum(1)
    assert np.allclose(TRIVIAL["rc_product"](TRAIN, test, k=k), wanted, rtol=1e-6)
    monkeypatch.setattr("attributome.sequence.pairs.trivial.AT_ONCE", 1)
    assert np.allclose(TRIVIAL["rc_product"](TRAIN, test, k=k), wanted, rtol=1e-6)


def test_the_linear_model_sees_words_and_not_pairs():
    train = table(*(("AAAA", site, label) for site, label in [("ACGTT", 1), ("GGGGG", 0)] * 5))
    test = table(("AAAA", "ACGTA", 1), ("CCCC", "ACGTA", 1), ("AAAA", "GGGGC", 0))
    scores = TRIVIAL["logistic"](train, test, k=3)
    assert scores[0] == pytest.approx(scores[1], rel=1e-3)
    assert scores[0] > 0 > scores[2]


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("empty", [False, True])
def test_labels_of_one_kind_or_no_pairs_are_no_matter(label, empty):
    pairs = planted_pairs(mirnas=3, pairs_each=4)
    test = pairs[:0] if empty else pairs
    scores = trivial_scores(pairs.assign(label=label), test, k=3)
    assert scores.columns.tolist() == ["id", *TRIVIAL]
    assert scores["id"].tolist() == test["id"].tolist()
    assert np.isfinite(scores.drop(columns="id").to_numpy(float)).all()
    assert (scores["mirna_identity"] == label).all()
    assert (scores["logistic"] == 0).all()


def auc(labels, scores):
    above = (scores[labels == 1][:, None] > scores[labels == 0]).mean()
    return above + (scores[labels == 1][:, None] == scores[labels == 0]).mean() / 2


def average_precision(labels, scores):
    from sklearn.metrics import average_precision_score

    return average_precision_score(labels, scores)


def test_on_planted_pairs_only_the_seed_knows():
    pairs = planted_pairs(mirnas=60, pairs_each=10, decoys=True).set_index("id", drop=False)
    parts = split_pairs(pairs.reset_index(drop=True), "mirna")
    train, test = pairs.loc[parts["train"]], pairs.loc[parts["test"]]
    labels, scores = test["label"].to_numpy(), trivial_scores(train, test, k=4)
    figures = {name: auc(labels, scores[name].to_numpy()) for name in TRIVIAL}
    assert figures["seed_rule"] == figures["seed_kind"] == 1
    assert figures["rc_product"] > 0.9
    assert figures["mirna_identity"] == figures["site_identity"] == 0.5
    assert 0.3 < figures["logistic"] < 0.7


@pytest.mark.real
def test_the_figures_of_hejret(real_data):
    pairs = read_pairs(real_data / "mirna" / "hejret2023_corrected.csv.gz").pairs
    train, test = (pairs[pairs["split"] == part] for part in ("train", "test"))
    labels = test["label"].to_numpy()
    for name, wanted in {
        "mirna_identity": (0.284, 0.387),
        "seed_rule": (0.603, 0.604),
        "rc_product": (0.816, 0.811),
    }.items():
        scores = TRIVIAL[name](train, test, k=5)
        assert auc(labels, scores) == pytest.approx(wanted[0], abs=6e-4)
        assert average_precision(labels, scores) == pytest.approx(wanted[1], abs=6e-4)
