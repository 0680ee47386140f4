"""Tests keep their level whatever the plates do; effects are the textbook's and cover the truth."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import holm
from attributome.studies.effects import effects
from attributome.studies.groups import (
    compare_groups,
    permutation_test,
    rejections,
    unit_means,
)

LAYOUT = {"groups": np.tile([0, 0, 0, 1], 4), "blocks": np.repeat(np.arange(4), 4)}
"""Four plates of three controls and one treatment."""


def fields(effect=0.0, *, wells=4, plates=4, per=6, well_sd=1.0, seed=0):
    """Fields of wells of plates: every plate has wells of a control and of two drugs."""
    draw = np.random.default_rng(seed)
    rows = []
    for plate in range(plates):
        level = 5 * draw.standard_normal()
        for drug in ("drug a", "drug b", "vehicle"):
            for well in range(wells):
                mean = level + well_sd * draw.standard_normal() + effect * (drug == "drug a")
                rows += [
                    {
                        "plate": f"p{plate}",
                        "well": f"{drug[-1]}{well}",
                        "drug": drug,
                        "hour": 1,
                        "score": mean + 0.5 * draw.standard_normal(),
                    }
                    for _ in range(per)
                ]
    return pd.DataFrame(rows)


KEYS = {"unit": ["plate", "well"], "block": "plate"}


def test_one_block_is_kruskal_and_wallis():
    draw = np.random.default_rng(0)
    for ties in (False, True):
        values = draw.integers(0, 9, 30).astype(float) if ties else draw.standard_normal(30)
        groups = draw.integers(0, 3, 30)
        found, p = permutation_test(values, groups, draws=4000)
        expected = stats.kruskal(*[values[groups == g] for g in range(3)])
        assert found == pytest.approx(expected.statistic)
        assert p == pytest.approx(expected.pvalue, abs=0.03)


def test_one_unit_of_each_group_in_a_block_is_friedman():
    scores = np.random.default_rng(0).standard_normal((3, 9))
    found, p = permutation_test(
        scores.T.ravel(), np.tile(np.arange(3), 9), np.repeat(np.arange(9), 3), draws=4000
    )
    expected = stats.friedmanchisquare(*scores)
    assert found == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, abs=0.05)


def test_blocks_of_several_sizes_are_van_elteren():
    """The sum of Wilcoxon's rank sums over block size + 1, about its mean, over its variance."""
    draw = np.random.default_rng(0)
    blocks, groups = np.repeat([0, 1, 2], [4, 9, 14]), draw.integers(0, 2, 27)
    groups[[0, 4, 13]], groups[[1, 5, 14]] = 0, 1
    values = draw.standard_normal(27) + 5 * blocks
    total = mean = variance = 0.0
    for block in range(3):
        inside = blocks == block
        n, one = inside.sum(), groups[inside] == 1
        n1 = one.sum()
        total += stats.rankdata(values[inside])[one].sum() / (n + 1)
        mean += n1 / 2
        variance += n1 * (n - n1) / (12 * (n + 1))
    found, _ = permutation_test(values, groups, blocks)
    assert found == pytest.approx((total - mean) ** 2 / variance)


def test_p_is_that_of_all_permutations():
    """Three against three: one of twenty arrangements is as extreme as this one, and its mirror."""
    _, p = permutation_test(np.arange(6.0), np.repeat([0, 1], 3), draws=20_000)
    assert p == pytest.approx(0.1, abs=0.01)
    paired = np.array([0, 1, 10, 11, 20, 21.0])
    _, p = permutation_test(paired, np.tile([0, 1], 3), np.repeat([0, 1, 2], 2), draws=20_000)
    assert p == pytest.approx(0.25, abs=0.015)


def test_a_block_of_one_group_says_nothing():
    values, groups = np.arange(8.0), np.array([0, 1, 0, 1, 0, 0, 0, 0])
    blocks = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert permutation_test(values, groups, blocks) == permutation_test(values[:4], groups[:4])
    assert np.isnan(permutation_test(values, blocks, blocks)).all()


def test_a_plate_that_is_higher_changes_nothing():
    table = fields(effect=1.5)
    higher = table.assign(score=table["score"] + 100 * (table["plate"] == "p1"))
    one, two = (compare_groups(t, "score", "drug", draws=200, **KEYS) for t in (table, higher))
    pd.testing.assert_frame_equal(one.levels, two.levels)
    pd.testing.assert_frame_equal(
        one.pairs.drop(columns="fold"), two.pairs.drop(columns="fold"), atol=1e-9
    )


def test_false_positives_stay_at_their_level():
    rate = rejections(**LAYOUT, shift=0.0, spread=5.0, simulations=1000, draws=99)
    assert rate <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 1000)
    assert rate > 0.02  # it does reject


def test_power_grows_with_the_effect_and_with_plates():
    setting = {"simulations": 200, "draws": 99}
    weak, strong = (rejections(**LAYOUT, shift=s, spread=5.0, **setting) for s in (1.0, 2.5))
    assert 0.05 < weak < strong
    assert strong > 0.8
    found = []  # a test that does not know of plates drowns in them
    for seed in range(100):
        draw = np.random.default_rng(seed)
        values = draw.standard_normal(16) + 2.5 * LAYOUT["groups"]
        values = values + 5 * draw.standard_normal(4)[LAYOUT["blocks"]]
        found.append(permutation_test(values, LAYOUT["groups"], draws=99)[1] <= 0.05)
    assert np.mean(found) < 0.5 * strong


def test_fields_as_units_would_find_what_is_not_there():
    """Without any effect: wells as units keep the level, fields as units do not."""
    wells, naive = [], []
    for seed in range(60):
        table = fields(wells=3, plates=2, per=8, seed=seed)
        table = table[table["drug"] != "drug b"]
        found = compare_groups(table, "score", "drug", draws=99, seed=seed, **KEYS)
        wells.append(found.pairs["p"].item() <= 0.05)
        mean = table.groupby("plate")["score"].transform("mean")
        own = [(table["score"] - mean)[table["drug"] == d] for d in ("drug a", "vehicle")]
        naive.append(stats.mannwhitneyu(*own).pvalue <= 0.05)
    assert np.mean(wells) <= 0.15
    assert np.mean(naive) > 0.4


def test_a_planted_effect_is_found_with_its_size():
    found = compare_groups(fields(effect=3.0, per=20), "score", "drug", control="vehicle", **KEYS)
    assert list(found.pairs["first"]) == ["drug a", "drug b"]
    a, b = (found.pairs.iloc[i] for i in (0, 1))
    assert a["difference_low"] < 3.0 < a["difference_high"]
    assert a["cliffs_delta"] > 0.8
    assert a["holm"] < 0.01 < b["p"]
    assert found.levels["p"].item() < 0.01
    assert (found.pairs[["n1", "n2", "blocks"]] == [16, 16, 4]).all(axis=None)
    assert found.pairs["holm"].tolist() == holm(found.pairs["p"].tolist())
    np.testing.assert_allclose(found.pairs["q"], stats.false_discovery_control(found.pairs["p"]))
    assert (found.groups["units"] == 16).all()
    assert (found.groups["fields"] == 320).all()


def test_a_group_is_a_combination_and_not_either_of_its_parts():
    """Rows of drug a at hour 2 are neither all of drug a nor all of hour 2."""
    table = pd.concat([fields(seed=1), fields(seed=2).assign(hour=2)])
    table["well"] = table["well"] + table["hour"].astype(str)
    both = compare_groups(table, "score", ["drug", "hour"], draws=20, **KEYS)
    assert len(both.groups) == 6
    assert set(both.groups["group"]) >= {"drug a / 1", "drug a / 2"}
    assert (both.groups["units"] == 16).all()
    assert len(both.pairs) == 15
    inside = compare_groups(table, "score", "drug", within=["hour"], draws=20, **KEYS)
    assert inside.levels["hour"].tolist() == [1, 2]
    assert len(inside.pairs) == 6
    alone = compare_groups(fields(seed=1), "score", "drug", draws=20, **KEYS)
    same = [*effects(np.zeros(0), np.zeros(0, bool), np.zeros(0, int)), "n1", "n2"]
    pd.testing.assert_frame_equal(inside.pairs.head(3)[same], alone.pairs[same])
    assert inside.pairs["holm"].tolist() == holm(inside.pairs["p"].tolist())


def test_units_are_means_of_their_defined_fields():
    table = fields(per=3)
    table.loc[0, "score"] = np.nan
    table.loc[3:5, "score"] = np.nan
    units = unit_means(table, "score", by=["drug"], unit=["plate", "well"])
    assert units["value"][0] == pytest.approx(table["score"][1:3].mean())
    assert units["fields"][:3].tolist() == [2, 0, 3]
    assert units["undefined"][:3].tolist() == [1, 3, 0]
    found = compare_groups(table, "score", "drug", draws=20, **KEYS)
    first = found.groups.iloc[0]
    assert (first["units"], first["fields"], first["undefined"]) == (15, 44, 4)
    assert found.levels["units"].item() == 47


def test_categories_are_names_like_others():
    table = fields()
    named = table.astype(dict.fromkeys(("drug", "plate", "well"), "category"))
    one, two = (compare_groups(t, "score", "drug", draws=20, **KEYS) for t in (table, named))
    pd.testing.assert_frame_equal(one.pairs, two.pairs)
    pd.testing.assert_frame_equal(one.groups, two.groups)


def test_few_units_have_no_interval_and_strangers_no_test():
    table = pd.DataFrame(
        {
            "well": [*"abcdefgh"],
            "plate": [0, 0, 0, 0, 0, 1, 1, 1],
            "drug": [*"xxyyyzzz"],
            "score": np.arange(8.0) ** 2,
        }
    )
    found = compare_groups(table, "score", "drug", unit="well", block="plate", draws=50)
    pairs = found.pairs.set_index(["first", "second"])
    ends = [name for name in pairs if name.endswith(("_low", "_high"))]
    assert pairs.loc[("x", "y"), ends].isna().all()
    assert pairs.loc[("x", "y"), ["difference", "hedges_g", "cliffs_delta", "p"]].notna().all()
    apart = pairs.loc[("x", "z")]
    assert apart[[*ends, "difference", "hedges_g", "cliffs_delta", "p", "holm", "q"]].isna().all()
    assert (apart["n1"], apart["n2"], apart["blocks"]) == (2, 3, 0)
    assert pairs["holm"].dropna().tolist() == pairs["p"].dropna().tolist()  # one test was made
    assert np.isnan(found.groups["low"][0])
    assert not np.isnan(found.groups["low"][1])


def test_effects_are_the_textbook_ones_in_one_block():
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal(7) + 1, draw.standard_normal(9)
    values, first = np.concatenate([a, b]), np.arange(16) < 7
    found = effects(values, first, np.zeros(16, int))
    test = stats.ttest_ind(a, b).confidence_interval()
    assert found["difference"] == pytest.approx(a.mean() - b.mean())
    assert (found["difference_low"], found["difference_high"]) == pytest.approx([*test])
    pooled = math.sqrt((6 * a.var(ddof=1) + 8 * b.var(ddof=1)) / 14)
    assert found["hedges_g"] == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / 55))
    t, root = stats.ttest_ind(a, b).statistic, math.sqrt(63 / 16)
    assert stats.nct.sf(t, 14, found["hedges_low"] * root) == pytest.approx(0.025, abs=1e-4)
    assert stats.nct.cdf(t, 14, found["hedges_high"] * root) == pytest.approx(0.025, abs=1e-4)
    delta = np.sign(a[:, None] - b)
    assert found["cliffs_delta"] == pytest.approx(delta.mean())
    # Cliff's (1993) variance of the two rows' means, to which the jackknife comes close
    near = delta.mean(1).var(ddof=1) / 7 + delta.mean(0).var(ddof=1) / 9
    turned = effects(-values, first, np.zeros(16, int))
    assert turned["cliffs_low"] == pytest.approx(-found["cliffs_high"])
    assert turned["hedges_low"] == pytest.approx(-found["hedges_high"])
    z, d = stats.t.ppf(0.975, 14) * math.sqrt(near), delta.mean()
    low = (d - d**3 - z * math.sqrt((1 - d**2) ** 2 + z**2)) / (1 - d**2 + z**2)
    assert found["cliffs_low"] == pytest.approx(low, abs=1e-9)


def test_effects_beside_blocks_are_those_of_a_linear_model():
    draw = np.random.default_rng(1)
    blocks = np.repeat(np.arange(4), [3, 5, 4, 6])
    first = draw.random(18) < 0.4
    first[[0, 3, 8, 12]], first[[1, 4, 9, 13]] = True, False
    values = draw.standard_normal(18) + 10 * blocks
    design = np.column_stack([first, np.eye(4)[blocks]]).astype(float)
    fit, rest, *_ = np.linalg.lstsq(design, values)
    error = math.sqrt(rest.item() / 13 * np.linalg.inv(design.T @ design)[0, 0])
    found = effects(values, first, blocks)
    assert found["difference"] == pytest.approx(fit[0])
    assert found["difference_high"] - fit[0] == pytest.approx(stats.t.ppf(0.975, 13) * error)
    assert found["hedges_g"] == pytest.approx(fit[0] / math.sqrt(rest.item() / 13) * (1 - 3 / 51))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_intervals_cover_the_truth(shift):
    first, blocks = LAYOUT["groups"] == 1, LAYOUT["blocks"]
    truth = {"difference": shift, "hedges": shift, "cliffs": 2 * stats.norm.cdf(shift / 2**0.5) - 1}
    covered = dict.fromkeys(truth, 0)
    for seed in range(200):
        draw = np.random.default_rng(seed)
        values = draw.standard_normal(16) + shift * first + 3 * draw.standard_normal(4)[blocks]
        found = effects(values, first, blocks)
        for name, true in truth.items():
            covered[name] += found[f"{name}_low"] <= true <= found[f"{name}_high"]
    assert min(covered.values()) >= 180


def test_groups_that_do_not_overlap_still_have_an_interval():
    found = effects(np.arange(8.0), np.arange(8) >= 4, np.zeros(8, int))
    assert found["cliffs_delta"] == 1.0
    assert -0.5 < found["cliffs_low"] < 0.5
    assert found["cliffs_high"] == 1.0
    same = effects(np.ones(8), np.arange(8) >= 4, np.zeros(8, int))
    assert same["cliffs_delta"] == same["difference"] == 0.0
    assert np.isnan(same["hedges_g"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"by": "medium"}, UsageError, "no column 'medium'"),
        ({"by": []}, UsageError, "no column"),
        ({"control": "water"}, UsageError, "no group 'water'; there are"),
        ({"draws": 0}, UsageError, "0 draws"),
        ({"confidence": 1.0}, UsageError, "confidence 1"),
        ({"value": "drug"}, DataError, "are not numbers"),
        ({"unit": "plate"}, DataError, "several values of drug"),
        ({"unit": "well"}, DataError, "several values of plate"),
        ({"table": fields().assign(score=np.inf)}, DataError, "infinite"),
        ({"table": fields().assign(plate=None)}, DataError, "288 rows have no 'plate'"),
        ({"table": fields()[:0]}, DataError, "without rows"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, error, words):
    asked = {"table": fields(), "value": "score", "by": "drug", **KEYS} | change
    with pytest.raises(error, match=words):
        compare_groups(asked.pop("table"), asked.pop("value"), asked.pop("by"), **asked)


def test_the_pieces_check_what_they_get():
    with pytest.raises(DataError, match="3 values came with 2 groups"):
        permutation_test(np.zeros(3), np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(DataError, match="undefined"):
        permutation_test(np.array([np.nan, 1.0]), np.array([0, 1]))
    with pytest.raises(UsageError, match="0 permutations"):
        permutation_test(np.zeros(2), np.array([0, 1]), draws=0)
    with pytest.raises(UsageError, match="0 simulations"):
        rejections(np.array([0, 1]), shift=0.0, simulations=0)
