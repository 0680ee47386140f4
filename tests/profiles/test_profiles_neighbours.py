"""Accuracies are those of slow loops and of scikit-learn, and fields cannot pass for classes."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.planted import planted
from attributome.profiles import neighbours
from attributome.profiles.neighbours import (
    deal,
    knn_accuracy,
    linear_accuracy,
    protocols,
)


def points(n=90, f=5, classes=3, fields=9, seed=0, spread=1.2):
    """Clouds that overlap; every field holds cells of every class."""
    draw = np.random.default_rng(seed)
    labels = np.array([f"class {i % classes}" for i in range(n)])
    groups = np.array([f"f{draw.integers(fields)}" for _ in range(n)])
    middle = draw.standard_normal((classes, f))
    features = middle[np.arange(n) % classes] + spread * draw.standard_normal((n, f))
    return features * 10.0 ** np.arange(f), labels, groups


def nested(classes=4, fields=6, cells=8, leak=3.0, signal=0.0, seed=0):
    """Fields of one class each, that differ for reasons of their own."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), fields * cells)
    groups = np.repeat(np.arange(classes * fields), cells)
    features = leak * draw.standard_normal((classes * fields, 6))[groups]
    features += draw.standard_normal((len(labels), 6))
    features[:, :classes] += signal * np.eye(classes)[labels]
    return features, labels, groups


def slow(features, labels, apart, k):
    """What a loop over all pairs of cells says of each cell."""
    z = (features - features.mean(0)) / features.std(0)
    found = []
    for i in range(len(z)):
        near = sorted(
            (float(((z[i] - z[j]) ** 2).sum()), j) for j in range(len(z)) if apart[i] != apart[j]
        )
        votes = [labels[j] for _, j in near[:k]]
        found.append(max(sorted(set(votes)), key=votes.count))
    return np.array(found)


def balanced(labels, predicted):
    return np.mean([(predicted[labels == c] == c).mean() for c in np.unique(labels)])


@pytest.mark.parametrize("k", [1, 4, 11])
@pytest.mark.parametrize("block", [2**22, 1000])
def test_neighbours_are_those_of_a_slow_loop(monkeypatch, k, block):
    monkeypatch.setattr(neighbours, "BLOCK", block)  # more than one block
    features, labels, groups = points()
    for without, apart in ((None, np.arange(90)), (groups, groups)):
        found = knn_accuracy(features, labels, k=k, without=without, units=groups)
        wanted = slow(features, labels, apart, k)
        assert found.predicted.tolist() == wanted.tolist()
        assert found.balanced == pytest.approx(balanced(labels, wanted), abs=1e-12)
        assert (found.n, found.undefined, found.units, found.constant) == (90, 0, 9, 0)
        assert found.low < found.balanced < found.high
        assert found.chance == pytest.approx(1 / 3)
    fold = deal(labels, groups, folds=3)
    found = knn_accuracy(features, labels, k=k, without=groups, folds=3)
    assert found.predicted.tolist() == slow(features, labels, fold, k).tolist()
    assert found.units == 9  # fields are drawn again, not folds


def test_leave_one_out_is_scikit_learn_on_all_other_points():
    features, labels, _ = points(60)
    z = (features - features.mean(0)) / features.std(0)
    found = knn_accuracy(features, labels)
    for i in range(60):
        rest = np.arange(60) != i
        net = KNeighborsClassifier(11).fit(z[rest], labels[rest])
        assert net.predict(z[i : i + 1])[0] == found.predicted[i]


def test_ties_go_to_the_earlier_cell_and_the_first_label():
    x = np.array([[0.0], [1], [-1], [1], [-1], [5], [-5]])
    labels = np.array(list("abcbcbc"))
    # the first cell lies as far from 1 as from -1, and two of each are near: b comes first
    assert knn_accuracy(x, labels, k=4).predicted[0] == "b"
    # the nearest one is the earlier of the equally far
    assert knn_accuracy(x, labels, k=1).predicted[0] == "b"
    swapped = labels[[0, 2, 1, 4, 3, 6, 5]]
    assert knn_accuracy(x, swapped, k=1).predicted[0] == "c"
    assert knn_accuracy(x, swapped, k=4).predicted[0] == "b"


def test_equal_points_are_equally_far_in_any_block(monkeypatch):
    draw = np.random.default_rng(0)
    few = draw.standard_normal((6, 40)) * 1e3 + 1e6
    which = draw.integers(6, size=80)
    labels = draw.integers(3, size=80)
    found = knn_accuracy(few[which], labels, k=3)
    wanted = slow(few[which], labels, np.arange(80), 3)
    assert found.predicted.tolist() == wanted.tolist()
    monkeypatch.setattr(neighbours, "BLOCK", 1)
    assert knn_accuracy(few[which], labels, k=3).predicted.tolist() == wanted.tolist()


def test_one_cell_far_from_all_does_not_blur_the_others():
    x = np.append(np.arange(40.0), 1e9)[:, None]
    labels = np.arange(41) // 4
    found = knn_accuracy(x, labels, k=1)
    assert found.predicted.tolist() == slow(x, labels, np.arange(41), 1).tolist()


def test_scales_and_constant_features_do_not_matter_and_are_counted():
    features, labels, groups = points()
    plain = knn_accuracy(features, labels, without=groups)
    more = np.column_stack([features * 1e3 + 7, np.full(90, 3.0), np.zeros(90)])
    found = knn_accuracy(more.astype(np.float64), labels, without=groups)
    assert found.constant == 2
    assert found.predicted.tolist() == plain.predicted.tolist()
    assert linear_accuracy(more, labels, groups).constant == 2


def test_a_class_in_one_group_is_undefined_and_counted_but_still_in_the_way():
    features, labels, groups = nested(signal=5, leak=0.2)
    groups[labels == 2] = 99  # one field holds the class
    for found in (
        knn_accuracy(features, labels, without=groups),
        knn_accuracy(features, labels, without=groups, folds=3),
        linear_accuracy(features, labels, groups, folds=3),
    ):
        classes = found.classes.set_index("label")
        assert np.isnan(classes.loc[2, "recall"])
        assert classes["n"].tolist() == [48, 48, 0, 48]
        assert classes["undefined"].tolist() == [0, 0, 48, 0]
        assert (found.n, found.undefined) == (144, 48)
        assert found.chance == pytest.approx(1 / 3)
        assert found.balanced == pytest.approx(classes["recall"].drop(2).mean())
        assert found.balanced > 0.95
        assert (found.predicted[labels == 2] != 2).all()
        assert found.row()["classes"] == 3
    assert knn_accuracy(features, labels).undefined == 0


def test_what_knows_only_the_field_is_found_out():
    features, labels, groups = nested()
    table = protocols(features, labels, {"field": groups}).set_index("protocol")
    assert [*table.index] == [
        "leave one cell out",
        "leave field out",
        "field folds",
        "linear, field folds",
    ]
    assert (table["units"] == 24).all()
    assert (table["reason"] == "").all()
    assert table["low"]["leave one cell out"] > 0.6
    for fair in ("field folds", "linear, field folds"):
        assert table["low"][fair] < 0.25 < table["high"][fair]
    ways = np.zeros((8, 2))
    for seed in range(8):
        features, labels, groups = nested(seed=seed)
        for way, folds in enumerate((None, 4)):
            found = knn_accuracy(features, labels, without=groups, folds=folds, draws=1)
            ways[seed, way] = found.balanced
    without, folded = ways.mean(0)
    assert folded == pytest.approx(0.25, abs=0.05)
    # fields of one class each: leaving one out takes candidates of the right class alone
    assert without < folded


def test_what_knows_the_class_is_recognised_by_every_protocol():
    features, labels, groups = nested(signal=6, leak=0.5)
    plates = groups % 2
    table = protocols(features, labels, {"field": groups, "plate": plates})
    assert len(table) == 7
    assert (table["balanced"] > 0.95).all()
    assert (table["low"] <= table["balanced"]).all()
    assert (table["units"] == 24).all()


def test_a_protocol_that_the_groups_do_not_allow_says_why():
    features, labels, groups = nested(signal=6)
    table = protocols(features, labels, {"field": groups, "plate": np.zeros(len(labels), int)})
    lost = table.iloc[4:]
    assert lost["balanced"].isna().all()
    assert lost["reason"].str.contains("0 candidates|of 1 groups").all()
    by_class = protocols(features, labels, {"field": groups, "plate": labels}).iloc[4]
    assert "no cell can be judged" in by_class["reason"]


def shaken(seed=0, size=12.0, classes=4, fields=4, cells=20, count=6):
    """Fields of one class, told by small differences; what varies within fields is large."""
    draw = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), fields * cells)
    groups = np.repeat(np.arange(classes * fields), cells)
    within = draw.normal(size=(2, count)) * size
    features = draw.normal(0, 4, (classes, count))[labels]
    features += draw.normal(size=features.shape)
    return features + draw.normal(size=(len(labels), 2)) @ within, labels, groups


def whitened(x, groups, fit, ridge=0.05):
    """Features whose covariance within the groups of the cells `fit` is nearly the identity."""
    x = (x - x[fit].mean(0)) / x[fit].std(0)
    means = pd.DataFrame(x[fit]).groupby(groups[fit]).transform("mean").to_numpy()
    within = np.cov((x[fit] - means).T, bias=True)
    within = (1 - ridge) * within + ridge * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    return x @ vectors / np.sqrt(values)


@pytest.mark.parametrize("folds", [None, 4])
def test_whitening_within_fields_finds_what_their_noise_hides(folds):
    features, labels, groups = shaken()
    judge = partial(knn_accuracy, features, labels, without=groups, folds=folds, draws=200)
    plain, found = judge(), judge(whitened=True)
    assert plain.high < 0.7
    assert found.low > 0.9
    # six features and sixteen groups: directions span all of space, and distances are those of a
    # plain whitening by the covariance within the groups of the other folds
    apart = groups if folds is None else deal(labels, groups, folds=folds)
    predicted = np.full(len(labels), -1)
    for part in np.unique(apart):
        z = whitened(features, groups, apart != part)
        for i in np.flatnonzero(apart == part):
            far = np.where(apart == part, np.inf, ((z - z[i]) ** 2).sum(1))
            predicted[i] = np.bincount(labels[np.argsort(far, kind="stable")[:11]]).argmax()
    assert (predicted == found.predicted).mean() > 0.99


def test_whitening_never_sees_what_it_judges_nor_makes_something_of_nothing():
    features, labels, groups = shaken(size=4.0)
    judge = partial(knn_accuracy, labels=labels, without=groups, folds=4, whitened=True, draws=1)
    held = deal(labels, groups, folds=4) == 0
    some = held & (np.arange(len(labels)) % 2 == 0)
    moved = features.copy()
    moved[some] = np.random.default_rng(1).normal(size=moved[some].shape) * 100
    before, after = judge(features).predicted, judge(moved).predicted
    assert (before[held & ~some] == after[held & ~some]).all()
    assert (before[some] != after[some]).any()
    found = []
    for seed in range(8):
        x, labels, groups = nested(seed=seed, leak=3.0, signal=0.0)
        found.append(knn_accuracy(x, labels, without=groups, folds=4, whitened=True, draws=1))
    assert np.mean([one.balanced for one in found]) == pytest.approx(0.25, abs=0.06)


def test_features_that_vary_in_the_judged_group_alone_cannot_be_whitened():
    groups = np.repeat(np.arange(6), 20)
    features = np.zeros((120, 3))
    features[:, 0] = groups == 0
    with pytest.raises(DataError, match="100 cells cannot be whitened within 5 groups"):
        knn_accuracy(features, groups % 2, without=groups, whitened=True)


def test_the_linear_classifier_is_fitted_and_scaled_within_its_folds():
    features, labels, groups = points(120, spread=2)
    fold = deal(labels, groups, folds=4, seed=3)
    found = linear_accuracy(features, labels, groups, folds=4, strengths=[0.1], seed=3)
    wanted = labels.copy()
    for held in range(4):
        train = fold != held
        scaler = StandardScaler().fit(features[train])
        net = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
        net.fit(scaler.transform(features[train]), labels[train])
        wanted[~train] = net.predict(scaler.transform(features[~train]))
    assert found.predicted.tolist() == wanted.tolist()
    assert found.balanced == pytest.approx(balanced(labels, wanted), abs=1e-12)


@pytest.mark.parametrize(("size", "best"), [(0.3, 1e-4), (0.0, 1e2)])
def test_the_strength_is_chosen_by_cells_that_are_not_judged(size, best):
    draw = np.random.default_rng(0)
    labels, groups = np.arange(160) % 2, np.arange(160) // 8
    features = draw.standard_normal((160, 60))
    if size:  # many features that say a little each
        features += size * labels[:, None]
    else:  # a difference of two that are nearly the same
        features = np.column_stack([features[:, 0], features[:, 0] + 0.05 * labels])
        features += 0.005 * draw.standard_normal(features.shape)
    one = {s: linear_accuracy(features, labels, groups, strengths=[s]) for s in (1e-4, 1e2)}
    other = next(s for s in one if s != best)
    both = linear_accuracy(features, labels, groups, strengths=[1e2, 1e-4])
    assert both.predicted.tolist() == one[best].predicted.tolist()
    assert one[best].balanced > one[other].balanced + 0.02


def test_a_choice_among_strengths_does_not_make_something_of_nothing():
    draw = np.random.default_rng(0)
    features, labels = draw.standard_normal((160, 30)), draw.permutation(np.arange(160) % 2)
    found = linear_accuracy(features, labels, np.arange(160) // 8)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("seed", range(3))
def test_folds_keep_groups_whole_and_classes_even(seed):
    _, labels, groups = nested(classes=4, fields=6)
    fold = deal(labels, groups, folds=3, seed=seed)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    counts = pd.crosstab(fold, labels).to_numpy()
    assert (counts == 16).all()
    assert np.array_equal(fold, deal(labels, groups, folds=3, seed=seed))
    assert np.unique(fold).tolist() == [0, 1, 2]
    assert not np.array_equal(fold, deal(labels, groups, folds=3, seed=seed + 1))


def test_the_interval_draws_whole_groups_and_is_wider_than_that_of_cells():
    features, labels, groups = nested(fields=5, cells=30, leak=1.5, signal=1.5)
    fields = knn_accuracy(features, labels, without=groups)
    cells = knn_accuracy(features, labels, without=groups, units=np.arange(len(labels)))
    assert fields.balanced == cells.balanced
    assert fields.high - fields.low > 2 * (cells.high - cells.low)
    again = knn_accuracy(features, labels, without=groups)
    assert (again.low, again.high) == (fields.low, fields.high)
    two = knn_accuracy(features, labels, units=np.arange(len(labels)) % 2)
    assert np.isnan([two.low, two.high]).all()
    assert two.units == 2


def test_the_interval_is_the_bootstrap_of_a_slow_loop():
    features, labels, groups = points()
    found = knn_accuracy(features, labels, without=groups, draws=4000)
    draw, names, right = np.random.default_rng(5), np.unique(groups), found.predicted == labels
    again = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(groups == g) for g in draw.choice(names, len(names))])
        again.append(np.mean([right[rows][labels[rows] == c].mean() for c in np.unique(labels)]))
    assert [found.low, found.high] == pytest.approx(np.quantile(again, [0.025, 0.975]), abs=0.015)


@pytest.fixture(scope="module")
def simulated():
    return planted(groups=2, fields=3, cells=6, size=32)


def oracle(cells):
    """Where the protein is, by what the simulation knows: brightness and light do not enter."""
    found = []
    for crop, mask in zip(cells.crops, cells.masks, strict=True):
        protein = crop[0] - np.median(crop[0][~mask])
        nucleus = ndimage.gaussian_filter(crop[1], 1)
        core = mask & (nucleus > (nucleus[mask].max() + nucleus[mask].min()) / 2)
        depth = ndimage.distance_transform_edt(mask)
        edge = mask & (depth <= 3)
        rest = mask & ~core & (depth > 3)
        mean = protein[mask].mean()
        found.append([protein[core].mean() / mean, protein[edge].mean() / mean,
                      protein[rest].mean() / mean, protein[rest].std() / mean])  # fmt: skip
    return np.array(found)


def test_features_of_an_oracle_tell_planted_classes_apart_across_fields(simulated):
    labels, fields = (simulated.table[name].to_numpy() for name in ("class", "field"))
    found = protocols(oracle(simulated), labels, {"field": fields}, k=5)
    assert (found["balanced"] > 0.9).all()
    assert (found["low"] > 0.8).all()
    shuffled = np.random.default_rng(0).permutation(labels)
    chance = protocols(oracle(simulated), shuffled, {"field": fields}, k=5)
    assert (chance["balanced"] < 0.4).all()


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"k": 0}, UsageError, "k = 0"),
        ({"k": 90}, UsageError, "only 89 candidates"),
        ({"folds": 3}, UsageError, "made of groups"),
        ({"without": np.zeros(90, int)}, UsageError, "only 0 candidates"),
        ({"without": np.zeros(3, int)}, DataError, "90 cells came with 3 groups"),
        ({"units": np.array([None] * 90)}, DataError, "none of the units"),
        ({"without": np.arange(90), "folds": 1}, UsageError, "1 folds"),
        ({"without": np.arange(90), "folds": 91}, UsageError, "91 folds"),
        ({"confidence": 1.0}, UsageError, "confidence 1.0"),
        ({"draws": 0}, UsageError, "0 draws"),
        ({"whitened": True}, UsageError, "give `without`"),
        (
            {"whitened": True, "without": np.arange(90) % 10},
            DataError,
            "10 of 10 groups hold several",
        ),
        ({"whitened": True, "without": np.arange(90)}, DataError, "89 cells in 89 groups"),
    ],
)
def test_what_cannot_be_meant_is_refused(more, kind, words):
    features, labels, _ = points()
    with pytest.raises(kind, match=words):
        knn_accuracy(features, labels, **more)


def test_features_and_labels_that_cannot_be_used_are_refused():
    features, labels, groups = points()
    holed = features.copy()
    holed[[4, 9], 2] = np.nan
    for judge in (knn_accuracy, lambda x, y: linear_accuracy(x, y, groups)):
        with pytest.raises(DataError, match=r"2 of 90 cells .* number 4"):
            judge(holed, labels)
        with pytest.raises(DataError, match="one class|1 class"):
            judge(features, np.full(90, "a"))
        with pytest.raises(DataError, match="same for every cell"):
            judge(np.ones((90, 3)), labels)
    with pytest.raises(UsageError, match="strengths"):
        linear_accuracy(features, labels, groups, strengths=[0])
    with pytest.raises(UsageError, match="no groups"):
        protocols(features, labels, {})
    with pytest.raises(DataError, match="trained|train on"):
        linear_accuracy(*(features, labels == "class 0", labels), folds=2)
