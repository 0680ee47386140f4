"""Scores equal scikit-learn's, whole groups are drawn again, and what is undefined says why."""

import numpy as np
import pytest
from sklearn import metrics as reference

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.sequence.networks.scores import METRICS, compare, ranking, score


def pairs(seed=0, n=200, groups=15, ties=False):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, n)
    logits = draw.normal(size=n) + labels - 0.5
    names = np.array([f"miR-{i}" for i in draw.integers(0, groups, n)])
    return labels, np.round(logits * 2) / 2 if ties else logits, names


def value(table, metric, column="value"):
    return table.set_index("metric").at[metric, column]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["ones", "counts", "shares"])
def test_areas_equal_scikit_learns_with_weights(ties, kind, random):
    labels, logits, _ = pairs(ties=ties)
    weights = {
        "ones": np.ones((200, 4)),
        "counts": random.integers(0, 4, (200, 4)),
        "shares": random.random((200, 4)),
    }[kind]
    auc, ap = ranking(labels, logits, weights)
    for draw in range(4):
        weight = weights[:, draw]
        wanted = reference.roc_auc_score(labels, logits, sample_weight=weight)
        assert auc[draw] == pytest.approx(wanted, abs=1e-12)
        wanted = reference.average_precision_score(labels, logits, sample_weight=weight)
        assert ap[draw] == pytest.approx(wanted, abs=1e-12)


def test_every_metric_equals_scikit_learns():
    labels, logits, groups = pairs(ties=True)
    table = score(labels, logits, groups, draws=5, threshold=0.5)
    taken = logits > 0.5
    wanted = {
        "auc": reference.roc_auc_score(labels, logits),
        "ap": reference.average_precision_score(labels, logits),
        "accuracy": reference.accuracy_score(labels, taken),
        "precision": reference.precision_score(labels, taken),
        "recall": reference.recall_score(labels, taken),
        "f1": reference.f1_score(labels, taken),
        "mcc": reference.matthews_corrcoef(labels, taken),
        "specificity": reference.recall_score(1 - labels, ~taken),
        "brier": reference.brier_score_loss(labels, 1 / (1 + np.exp(-logits))),
    }
    assert tuple(table["metric"]) == METRICS == tuple(wanted)
    for metric, number in wanted.items():
        assert value(table, metric) == pytest.approx(number, abs=1e-12), metric
    assert (table["n"] == 200).all()
    assert (table["groups"] == 15).all()
    assert (table["reason"] == "").all()


def test_a_logit_of_any_size_has_a_probability():
    labels, groups = np.array([1, 0, 1, 0]), np.array(list("abab"))
    table = score(labels, np.array([1e4, -1e4, -1e4, 1e4]), groups, draws=5)
    assert value(table, "brier") == 0.5


def test_intervals_are_those_of_groups_drawn_again_one_by_one():
    """The slow obvious version: copy the rows of each drawn group, and ask scikit-learn."""
    labels, logits, groups = pairs(n=8000, groups=12, ties=True)  # more than one block of draws
    names = list(dict.fromkeys(groups))
    counts = rng(3, "bootstrap of groups").multinomial(12, [1 / 12] * 12, 150)
    found = {"auc": [], "ap": [], "recall": []}
    for drawn in counts:
        rows = np.repeat(np.arange(8000), [drawn[names.index(group)] for group in groups])
        y, z = labels[rows], logits[rows]
        found["auc"].append(reference.roc_auc_score(y, z))
        found["ap"].append(reference.average_precision_score(y, z))
        found["recall"].append((z[y == 1] > 0).mean())
    table = score(labels, logits, groups, draws=150, seed=3)
    for metric, numbers in found.items():
        low, high = np.quantile(numbers, [0.025, 0.975])
        assert value(table, metric, "low") == pytest.approx(low, abs=1e-12)
        assert value(table, metric, "high") == pytest.approx(high, abs=1e-12)


def test_pairs_of_one_group_are_not_independent():
    """Copies of a group's pairs inside the group are no evidence: the interval stays as it was."""
    labels, logits, groups = pairs()
    once = score(labels, logits, groups, draws=300)
    often = score(*(np.tile(part, 7) for part in (labels, logits, groups)), draws=300)
    assert once[["value", "low", "high"]].to_numpy() == pytest.approx(
        often[["value", "low", "high"]].to_numpy()
    )
    apart = score(labels, logits, np.arange(200), draws=300)
    assert value(apart, "auc", "low") != value(once, "auc", "low")


def test_the_same_seed_gives_the_same_table():
    data = pairs()
    assert score(*data, draws=50, seed=1).equals(score(*data, draws=50, seed=1))
    assert not score(*data, draws=50, seed=1).equals(score(*data, draws=50, seed=2))


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_class_leave_undefined_what_needs_two(label):
    _, logits, groups = pairs()
    table = score(np.full(200, label), logits, groups, draws=20)
    lost = table[table["value"].isna()]
    other = {"recall"} if label == 0 else {"specificity"}
    assert set(lost["metric"]) == {"auc", "ap", "mcc"} | other
    assert (lost["reason"] == f"all labels are {label}").all()
    assert lost[["low", "high"]].isna().all(axis=None)
    assert (lost["undefined"] == 20).all()


def test_precision_is_undefined_where_nothing_is_predicted():
    labels, logits, groups = pairs()
    table = score(labels, logits, groups, draws=20, threshold=100)
    assert np.isnan(value(table, "precision"))
    assert value(table, "precision", "reason") == "no pair is predicted to interact"
    assert value(table, "mcc", "reason") == "all pairs are predicted alike"
    assert value(table, "recall") == 0


def test_one_group_has_a_value_and_no_interval():
    labels, logits, _ = pairs()
    table = score(labels, logits, np.full(200, "let-7a"), draws=20)
    assert value(table, "auc") == reference.roc_auc_score(labels, logits)
    assert table[["low", "high"]].isna().all(axis=None)
    assert table["reason"].str.startswith("one group").all()


def test_draws_without_a_metric_are_counted_and_too_many_leave_no_interval():
    """All positives in one of 3 groups: it is in no draw with probability (2/3)^3 = 0.30."""
    labels = np.array([1, 1, 0, 0, 0, 0])
    table = score(labels, np.arange(6.0), np.array(list("aabbcc")), draws=500)
    lost = value(table, "auc", "undefined")
    assert 100 < lost < 260
    assert value(table, "auc", "reason") == f"undefined in {lost} of 500 draws"
    assert np.isnan(value(table, "auc", "low"))
    assert value(table, "accuracy", "undefined") == 0
    assert value(table, "accuracy", "reason") == ""


def test_a_predictor_compared_with_itself_is_no_different():
    labels, logits, groups = pairs()
    table = compare(labels, {"a": logits, "b": logits}, groups, draws=50)
    assert list(table["metric"]) == ["auc", "ap"]
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table["p"] == 1).all()


def test_a_comparison_is_paired():
    """A little noise on the same logits is seen, though either interval holds both values."""
    labels, logits, groups = pairs(n=600, groups=30)
    worse = logits + np.random.default_rng(5).normal(size=600)
    table = compare(labels, {"a": logits, "b": worse, "c": -logits}, groups, draws=400)
    assert list(zip(table["a"], table["b"], strict=True))[::2] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    row = table.iloc[0]
    alone = {name: score(labels, z, groups, draws=400) for name, z in (("a", logits), ("b", worse))}
    auc = {name: value(each, "auc") for name, each in alone.items()}
    assert row["difference"] == pytest.approx(auc["a"] - auc["b"], abs=1e-12)
    width = value(alone["a"], "auc", "high") - value(alone["a"], "auc", "low")
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["high"] - row["low"] < 1.2 * width  # unpaired, it would be √2 times wider or more
    assert row["p"] == 2 / 401


def test_thresholds_may_differ_between_predictors():
    labels, logits, groups = pairs()
    table = compare(
        labels,
        {"a": logits, "shifted": logits + 3},
        groups,
        draws=20,
        threshold={"a": 0.0, "shifted": 3.0},
        metrics=["accuracy"],
    )
    assert table.loc[0, "difference"] == 0


def test_a_comparison_of_one_class_is_undefined():
    _, logits, groups = pairs()
    table = compare(np.ones(200, int), {"a": logits, "b": -logits}, groups, draws=20)
    assert table[["difference", "low", "high", "p"]].isna().all(axis=None)
    assert (table["reason"] == "all labels are 1").all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"labels": np.array([])}, DataError, "no pairs"),
        ({"labels": np.array([0, 1, 2, 1])}, DataError, "label 2 of pair 2"),
        ({"labels": np.array([0, np.nan, 0, 1])}, DataError, "label nan of pair 1"),
        ({"logits": np.array([0.0, np.nan, 1, 1])}, DataError, "the first for pair 1"),
        ({"logits": np.zeros(3)}, DataError, "4 labels came with 3 numbers"),
        ({"groups": np.array(["a", "b", "c"])}, DataError, "4 labels came with 3 groups"),
        ({"groups": np.array(["a", None, "b", "c"])}, DataError, "pair 1 .* has no group"),
        ({"metrics": ["auroc"]}, UsageError, "no metric 'auroc'"),
        ({"draws": 0}, UsageError, "0 bootstrap draws"),
        ({"confidence": 95}, UsageError, "confidence of 95"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, error, words):
    given = {
        "labels": np.array([0, 1, 0, 1]),
        "logits": np.arange(4.0),
        "groups": np.array(list("abab")),
    } | change
    with pytest.raises(error, match=words):
        score(given.pop("labels"), given.pop("logits"), given.pop("groups"), **given)


def test_one_predictor_is_no_comparison():
    labels, logits, groups = pairs()
    with pytest.raises(UsageError, match=r"predictors \['a'\]: it needs two"):
        compare(labels, {"a": logits}, groups)
