"""Average precision is that of a slow loop and of copairs 0.5.5; the null is what chance does."""

import itertools

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.wells import ranking, retrieval
from attributome.profiles.wells.retrieval import (
    average_precision,
    chance_precision,
    control_index,
    mean_precision,
    precision_p,
    random_precision,
    retrieved,
)

EVERYWHERE = {"pos_sameby": ["compound"], "neg_diffby": ["compound"]}
ON_PLATES = {**EVERYWHERE, "pos_diffby": ["plate"], "neg_sameby": ["plate"]}

# computed with copairs 0.5.5 (numpy 2.4.6): the first six rows, the mean, the normalised mean
COPAIRS = {
    "everywhere": {
        "cosine": [
            0.666777864992,
            0.210030864198,
            0.607575757576,
            0.564585414585,
            0.197453131664,
            0.733278472679,
            0.508141653205,
            0.341446496632,
        ],
        "abs_cosine": [
            0.523959728819,
            0.189023707774,
            0.442670940171,
            0.542673992674,
            0.12469486532,
            0.744498669033,
            0.415355367626,
            0.217654044357,
        ],
        "correlation": [
            0.196687293038,
            0.187949051675,
            0.604329004329,
            0.664814814815,
            0.226117509941,
            0.162817242282,
            0.403958551343,
            0.198913165078,
        ],
        "euclidean": [
            0.622313359155,
            0.23296621679,
            0.601984126984,
            0.354922660186,
            0.283891985208,
            0.671258503401,
            0.464109740173,
            0.28234048433,
        ],
        "manhattan": [
            0.605844006465,
            0.236984516029,
            0.563585434174,
            0.3553370606,
            0.298927875244,
            0.513775510204,
            0.429358224766,
            0.235713826377,
        ],
        "chebyshev": [
            0.603492063492,
            0.400691152529,
            0.601984126984,
            0.363705044955,
            0.29537037037,
            0.734315948602,
            0.480301684774,
            0.303763867374,
        ],
    },
    "on plates": {
        "cosine": [
            0.772222222222,
            0.433333333333,
            0.71,
            0.619285714286,
            0.38126984127,
            0.734242424242,
            0.671472825014,
            0.407219968675,
        ],
        "abs_cosine": [
            0.694155844156,
            0.339583333333,
            0.475555555556,
            0.568888888889,
            0.257323232323,
            0.754444444444,
            0.577770003916,
            0.239643286033,
        ],
        "correlation": [
            0.370476190476,
            0.369642857143,
            0.659523809524,
            0.697777777778,
            0.525952380952,
            0.326317016317,
            0.590291416403,
            0.255652622628,
        ],
        "euclidean": [
            0.731111111111,
            0.433333333333,
            0.659523809524,
            0.535555555556,
            0.553333333333,
            0.643333333333,
            0.650167502251,
            0.368027267301,
        ],
        "manhattan": [
            0.649047619048,
            0.367399267399,
            0.567619047619,
            0.52126984127,
            0.463492063492,
            0.545396825397,
            0.617190783753,
            0.308592698374,
        ],
        "chebyshev": [
            0.727777777778,
            0.691666666667,
            0.641666666667,
            0.52126984127,
            0.597777777778,
            0.734242424242,
            0.672693718319,
            0.408446830839,
        ],
    },
}


def plate(n=36):
    """Wells of three plates; rows 2, 7 and 20 are the same profile, and 33 is twice row 8."""
    i = np.arange(n)
    table = pd.DataFrame(
        {
            "compound": [f"c{k}" for k in i % 5],
            "plate": [f"p{k}" for k in i // 12],
            "well": [f"w{k:02d}" for k in i % 12],
        }
    )
    features = np.stack(
        [
            np.sin(1.7 * (i + 0.5) * (k + 1) + 0.3 * (i % 5) * k) + 0.8 * np.cos((i % 5) * (k + 2))
            for k in range(6)
        ],
        1,
    )
    features[[7, 20]] = features[2]
    features[33] = 2 * features[8]
    return table, features


def clouds(compounds=12, replicates=4, plates=4, effect=1.0, features=8, seed=0):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "compound": np.repeat([f"c{i:02d}" for i in range(compounds)], replicates),
            "plate": np.tile(np.arange(replicates) % plates, compounds),
        }
    )
    moved = effect * draw.standard_normal((compounds, features))
    return table, moved.repeat(replicates, 0) + draw.standard_normal((len(table), features))


def slow(table, features, rules, similarity, first=True):
    """What a loop over all pairs says: ranks by a stable sort with the favoured kind first."""
    rows = table.to_dict("records")

    def paired(a, b, same, different):
        return all(a[c] == b[c] for c in rules.get(same, ())) and all(
            a[c] != b[c] for c in rules.get(different, ())
        )

    found = []
    for i, one in enumerate(rows):
        ranked = []
        for j, other in enumerate(rows):
            if i == j:
                continue
            far = np.float32(1) - np.float32(similarity(features[i], features[j]))
            if paired(one, other, "pos_sameby", "pos_diffby"):
                ranked.append((far, 0 if first else 1, True))
            if paired(one, other, "neg_sameby", "neg_diffby"):
                ranked.append((far, 1 if first else 0, False))
        hits = [hit for *_, hit in sorted(ranked)]
        shares = [sum(hits[: k + 1]) / (k + 1) for k, hit in enumerate(hits) if hit]
        found.append(np.mean(shares) if 0 < len(shares) < len(hits) else np.nan)
    return np.array(found)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


SIMILARITIES = {
    "cosine": cosine,
    "abs_cosine": lambda a, b: abs(cosine(a, b)),
    "correlation": lambda a, b: cosine(a - a.mean(), b - b.mean()),
    "euclidean": lambda a, b: 1 / (1 + np.sqrt(((a - b) ** 2).sum())),
    "manhattan": lambda a, b: 1 / (1 + np.abs(a - b).sum()),
    "chebyshev": lambda a, b: 1 / (1 + np.abs(a - b).max()),
}


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("rules", [EVERYWHERE, ON_PLATES], ids=["everywhere", "on plates"])
def test_precision_is_that_of_a_slow_loop_and_of_copairs(rules, similarity):
    table, features = plate()
    found = average_precision(table, features, **rules, similarity=similarity)
    wanted = slow(table, features, rules, SIMILARITIES[similarity])
    np.testing.assert_allclose(found["average_precision"], wanted, atol=1e-12)
    *first, mean, normalised = COPAIRS["on plates" if rules is ON_PLATES else "everywhere"][
        similarity
    ]
    np.testing.assert_allclose(found["average_precision"][:6], first, atol=1e-9)
    assert found["average_precision"].mean() == pytest.approx(mean, abs=1e-9)
    assert found["normalised"].mean() == pytest.approx(normalised, abs=1e-9)


@pytest.mark.parametrize("block", [2**22, 50, 1])
@pytest.mark.parametrize("many", [24, 1])
def test_blocks_and_ways_of_counting_do_not_matter(monkeypatch, block, many):
    monkeypatch.setattr(ranking, "BLOCK", block)
    monkeypatch.setattr(ranking, "MANY", many)
    table, features = plate()
    for rules, ties in itertools.product(
        (EVERYWHERE, ON_PLATES), ("positives first", "negatives first")
    ):
        found = average_precision(table, features, **rules, ties=ties)
        wanted = slow(table, features, rules, cosine, first=ties == "positives first")
        np.testing.assert_allclose(found["average_precision"], wanted, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_any_rules_and_ties_are_those_of_the_slow_loop(seed):
    draw = np.random.default_rng(seed)
    table = pd.DataFrame({name: draw.integers(0, 3, 25) for name in "abcd"})
    features = draw.integers(1, 4, (25, 3)).astype(float)  # many ties
    one, two, three, four = draw.permutation([*"abcd"])
    rules = {
        "pos_sameby": [one, two][: 1 + seed % 2],
        "pos_diffby": [three][: seed % 3],
        "neg_sameby": [four][: seed // 2],
        "neg_diffby": [one, two][: 1 + seed // 3],
    }
    for ties in ("positives first", "negatives first"):
        found = average_precision(table, features, **rules, ties=ties)
        wanted = slow(table, features, rules, cosine, first=ties == "positives first")
        np.testing.assert_allclose(found["average_precision"], wanted, atol=1e-12)


def test_profiles_that_are_all_the_same_are_flattered_and_the_other_way_shows_it():
    table, _ = plate()
    same = np.ones((36, 4))
    best = average_precision(table, same, **EVERYWHERE)
    worst = average_precision(table, same, **EVERYWHERE, ties="negatives first")
    assert (best["average_precision"] == 1).all()
    assert (worst["average_precision"] < worst["chance"]).all()


def test_a_row_with_no_positive_or_no_negative_is_undefined():
    table = pd.DataFrame({"compound": [*"aab"], "plate": [1, 1, 2]})
    features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    found = average_precision(table, features, **EVERYWHERE)
    assert found["average_precision"].tolist()[:2] == [1.0, 1.0]
    assert found.loc[2, ["average_precision", "chance", "normalised"]].isna().all()
    assert found[["positives", "negatives"]].to_numpy().tolist() == [[1, 1], [1, 1], [0, 2]]
    alone = average_precision(table, features, **{**EVERYWHERE, "neg_sameby": ["plate"]})
    assert alone["average_precision"].isna().all()  # on a plate all are alike
    assert np.isnan(precision_p(alone)).all()
    groups = mean_precision(alone, ["compound"])
    assert groups["undefined"].tolist() == [2, 1]
    assert groups[["mean_average_precision", "p", "q"]].isna().all().all()
    with pytest.raises(DataError, match="none of 2 groups"):
        retrieved(groups)


def test_controls_are_negatives_of_all_and_positives_of_none():
    table = pd.DataFrame({"compound": [*"aabbDDD"]})
    table["control"] = control_index((table["compound"] == "D").to_numpy())
    features = np.random.default_rng(0).standard_normal((7, 3))
    names = ["compound", "control"]
    found = average_precision(table, features, pos_sameby=names, neg_diffby=names)
    assert found["positives"].tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert found["negatives"].tolist() == [3, 3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (1, 6), (2, 4), (3, 4), (5, 2)])
def test_chance_is_the_mean_over_all_orders_and_the_null_is_their_distribution(
    positives, negatives
):
    total = positives + negatives
    every = [
        np.mean([(k + 1) / (place + 1) for k, place in enumerate(places)])
        for places in itertools.combinations(range(total), positives)
    ]
    chance = chance_precision(np.array([positives]), np.array([negatives]))
    assert chance[0] == pytest.approx(np.mean(every), abs=1e-12)
    drawn = random_precision(positives, total, 20_000, np.random.default_rng(0))
    for level in {round(one, 9): one for one in every}.values():
        share = np.mean(np.array(every) >= level - 1e-9)
        assert np.mean(drawn >= level - 1e-9) == pytest.approx(share, abs=0.015)
        found = pd.DataFrame(
            {"average_precision": [level], "positives": positives, "negatives": negatives}
        )
        assert precision_p(found, draws=20_000)[0] == pytest.approx(share, abs=0.015)


def test_a_perfect_group_that_chance_often_makes_is_no_finding():
    """With one positive and one negative half of all orders are perfect."""
    table = pd.DataFrame({"compound": [*"aab"]})
    features = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    groups = mean_precision(average_precision(table, features, **EVERYWHERE), ["compound"])
    assert groups.loc[0, "mean_average_precision"] == 1
    assert groups.loc[0, "p"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("null", ["shared", "independent"])
def test_planted_compounds_are_found_and_noise_is_not(null):
    table, features = clouds(effect=2.0)
    found = average_precision(table, features, **EVERYWHERE)
    told = retrieved(mean_precision(found, ["compound"], null=null, draws=2000))
    assert told["share"] > 0.8
    assert told["chance"] < 0.15 < told["mean_low"] < told["mean"] < told["mean_high"]
    assert (told["n"], told["undefined"]) == (12, 0)
    table, features = clouds(compounds=100, effect=0.0)
    groups = mean_precision(
        average_precision(table, features, **EVERYWHERE), ["compound"], null=null, draws=2000
    )
    assert retrieved(groups)["share"] <= 0.02
    assert groups["normalised"].mean() == pytest.approx(0, abs=0.02)
    assert (groups["p"] < 0.05).mean() < 0.15
    assert (groups["p"] < 0.01).mean() <= (0.01 if null == "shared" else 0.1)


def test_groups_are_those_of_hand_made_sums():
    table, features = clouds(effect=1.0)
    found = average_precision(table, features, **EVERYWHERE)
    groups = mean_precision(found, ["compound"], draws=500, seed=3)
    by = found.groupby("compound")["average_precision"]
    np.testing.assert_allclose(groups["mean_average_precision"], by.mean(), atol=1e-12)
    assert groups["n"].tolist() == by.size().tolist()
    assert (groups["low"] <= groups["mean_average_precision"]).all()
    assert (groups["mean_average_precision"] <= groups["high"]).all()
    assert (groups["p"] <= groups["q"]).all()
    pd.testing.assert_frame_equal(groups, mean_precision(found, ["compound"], draws=500, seed=3))
    mixed = found.sample(frac=1, random_state=0)  # the order of rows does not matter
    again = mean_precision(mixed, ["compound"], draws=500, seed=3)
    pd.testing.assert_series_equal(again["p"], groups["p"])
    two = mean_precision(found, ["compound", "plate"], draws=100)
    assert len(two) == 48
    assert two[["low", "high"]].isna().all().all()  # of one row nobody knows


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pos_sameby": "compound"}, "came as a text"),
        ({"pos_sameby": []}, "nothing says which pairs are positive"),
        ({"neg_diffby": []}, "nothing says which pairs are negative"),
        ({"pos_sameby": ["drug"]}, "no column 'drug'"),
        ({"pos_diffby": ["compound"]}, "alike in 'compound' and differ"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(change, match):
    with pytest.raises(UsageError, match=match):
        average_precision(*plate(), **{**EVERYWHERE, **change})


@pytest.mark.parametrize("similarity", ["cosine", "correlation"])
def test_data_that_cannot_be_ranked_are_refused(similarity):
    table, features = plate()
    features[3] = 0.7 if similarity == "correlation" else 0.0
    with pytest.raises(DataError, match=f"1 of 36 .* no {similarity}"):
        average_precision(table, features, **EVERYWHERE, similarity=similarity)
    features[4, 1] = np.nan
    with pytest.raises(DataError, match=r"undefined features .* number 4"):
        average_precision(table, features, **EVERYWHERE)
    with pytest.raises(DataError, match="35 profiles"):
        average_precision(table, features[1:], **EVERYWHERE)
    table.loc[5, "compound"] = None
    with pytest.raises(DataError, match="1 of 36 rows have no 'compound'"):
        average_precision(table, plate()[1], **EVERYWHERE)


def test_other_requests_that_cannot_be_meant_are_refused():
    found = average_precision(*plate(), **EVERYWHERE)
    with pytest.raises(UsageError, match="has a column 'average_precision' already"):
        average_precision(found, plate()[1], **EVERYWHERE)
    with pytest.raises(UsageError, match="no similarity 'cosin'"):
        average_precision(*plate(), **EVERYWHERE, similarity="cosin")
    with pytest.raises(UsageError, match="no ties 'even'"):
        average_precision(*plate(), **EVERYWHERE, ties="even")
    with pytest.raises(UsageError, match="no null 'exact'"):
        mean_precision(found, ["compound"], null="exact")
    with pytest.raises(UsageError, match="no column 'drug'"):
        mean_precision(found, ["drug"])
    with pytest.raises(UsageError, match="confidence of 2"):
        mean_precision(found, ["compound"], confidence=2.0)
    with pytest.raises(UsageError, match="0 draws"):
        precision_p(found, draws=0)
    with pytest.raises(UsageError, match="level 5"):
        retrieved(mean_precision(found, ["compound"], draws=10), level=5.0)
    assert retrieval.KNOWN[0] == "average_precision"
