"""Interpolation, areas and paired tests against loops; the level of the tests; planted methods."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import holm
from attributome.studies.methods import (
    efficacies_at,
    field_ranks,
    measured_curves,
    method_comparison,
    thresholds_for,
)
from attributome.studies.paired import by_field, paired, unit_mean


def curves(fields=8, methods=("learned", "saliency", "random"), gain=0.0, seed=0):
    """Noisy falling curves at irregular volumes; the learned mask is higher by `gain`."""
    draw = np.random.default_rng(seed)

    def ask(field, method):
        volumes = np.sort([0, *draw.random(6), 1])
        height = 1 - volumes**2 + 0.05 * draw.standard_normal(8) + gain * (method == "learned")
        return zip(volumes, height, strict=True)

    return measured_curves(ask, [f"f{i}" for i in range(fields)], methods)


@pytest.mark.parametrize("shape", [(60,), (6, 10), (3, 4, 5)])
def test_masks_keep_the_most_important_and_reach_the_volume(shape):
    importance = np.random.default_rng(0).permutation(60).reshape(shape).astype(float)
    volumes = (0.0, 0.1, 0.5, 0.95, 1.0)
    masks = thresholds_for(importance, volumes)
    for mask, volume in zip(masks, volumes, strict=True):
        assert mask.shape == shape
        assert 1 - mask.mean() == pytest.approx(volume)
        assert (importance[mask].min(initial=99)) > importance[~mask].max(initial=-1)


def test_only_the_order_within_the_field_counts():
    importance = np.random.default_rng(0).standard_normal((7, 8))
    volumes = (0.2, 0.7)
    same = thresholds_for(np.exp(3 * importance) - 5, volumes)
    np.testing.assert_array_equal(thresholds_for(importance, volumes), same)
    ranks = field_ranks(importance)
    np.testing.assert_allclose(np.sort(ranks.ravel()), (np.arange(56) + 0.5) / 56)
    for volume, mask in zip(volumes, same, strict=True):
        np.testing.assert_array_equal(ranks > volume, mask)
    assert thresholds_for(importance, []).shape == (0, 7, 8)


def test_a_tie_stays_together_on_the_nearer_side():
    """Six zeros of ten, as a rectified map has: volumes 0 and 0.6 can be reached, not 0.2 or 0.5"""
    importance = np.array([0, 0, 0, 0, 0, 0, 1.0, 2.0, 3.0, 4.0])
    masks = thresholds_for(importance, [0.2, 0.3, 0.5, 0.7])
    np.testing.assert_allclose(1 - masks.mean(1), [0, 0.6, 0.6, 0.7])
    for mask in thresholds_for(importance, np.linspace(0, 1, 41).tolist()):
        assert len(set(mask[:6])) == 1


def slow(volumes, efficacies, at):
    """Straight between the nearest on each side."""
    below = [(v, e) for v, e in zip(volumes, efficacies, strict=True) if v <= at]
    above = [(v, e) for v, e in zip(volumes, efficacies, strict=True) if v >= at]
    if not below or not above:
        return np.nan
    (a, low), (b, high) = max(below), min(above)
    return low if a == b else low + (high - low) * (at - a) / (b - a)


def test_common_volumes_are_between_the_two_nearest():
    """Curves that go up and down, and some that end early."""
    draw = np.random.default_rng(0)
    rows = [
        {"field": f"f{f}", "method": m, "volume": v, "efficacy": draw.random()}
        for f in range(5)
        for m in "ab"
        for v in 0.05 + 0.8 * draw.random(6)
    ]
    table = pd.DataFrame(rows)
    found = efficacies_at(table, (0.1, 0.3, 0.5, 0.9), tolerance=0)
    assert found["efficacy"].isna().any()
    assert found["efficacy"].notna().any()
    for _, row in found.iterrows():
        part = table[(table["field"] == row["field"]) & (table["method"] == row["method"])]
        expected = slow(part["volume"], part["efficacy"], row["volume"])
        assert row["efficacy"] == pytest.approx(expected, nan_ok=True)


def test_ends_equal_volumes_and_undefined_values():
    table = pd.DataFrame(
        {"volume": [0.105, 0.4, 0.4, 0.6, 0.7], "efficacy": [1.0, 0.8, 0.6, np.nan, 0.2]}
    ).assign(field="f", method="m")
    at = (0.05, 0.1, 0.4, 0.5, 0.65, 0.7, 0.8)
    found = efficacies_at(table, at)
    expected = [np.nan, 1.0, 0.7, np.nan, np.nan, 0.2, np.nan]
    np.testing.assert_allclose(found["efficacy"], expected)
    np.testing.assert_allclose(found["gap"], [np.nan, 0, 0, 0.2, 0.1, 0, np.nan])


def test_p_is_that_of_all_flips():
    gaps = np.random.default_rng(0).standard_normal(7) + 0.4
    signs = np.array([*product((-1, 1), repeat=7)])
    expected = (np.abs((signs * gaps).mean(1)) >= abs(gaps.mean()) - 1e-12).mean()
    found = paired(gaps, np.zeros(7), np.arange(7))
    assert found["p"] == pytest.approx(expected)
    assert (found["wins"], found["ties"], found["units"]) == ((gaps > 0).sum(), 0, 7)
    told = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert found["difference_low"] == pytest.approx(told.low)
    assert found["difference_high"] == pytest.approx(told.high)
    d_z = gaps.mean() / gaps.std(ddof=1) * (1 - 3 / (4 * 6 - 1))
    assert found["d_z"] == pytest.approx(d_z)


def test_many_units_are_drawn_and_agree_with_student():
    gaps = np.random.default_rng(1).standard_normal(40) + 0.3
    found = paired(gaps, np.zeros(40), np.arange(40), draws=4000, seed=3)
    assert found["p"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, abs=0.02)
    assert found == paired(gaps, np.zeros(40), np.arange(40), draws=4000, seed=3)


def test_fields_of_a_well_are_one_unit_and_pairs_need_both_values():
    first = np.array([1.0, 2.0, np.nan, 5.0, 7.0])
    second = np.array([0.0, 0.0, 1.0, np.nan, 1.0])
    found = paired(first, second, np.array(["a", "a", "a", "b", "c"]))
    assert (found["units"], found["rows"], found["undefined"]) == (2, 3, 2)
    assert found["difference"] == pytest.approx((1.5 + 6) / 2)
    mean = unit_mean(first, np.array(["a", "a", "a", "b", "c"]))
    assert mean["mean"] == pytest.approx((1.5 + 5 + 7) / 3)
    assert (mean["units"], mean["rows"], mean["undefined"]) == (3, 4, 1)


def test_the_level_is_kept_whatever_the_wells_share():
    """300 experiments without an effect: fields of a well share its difference, and few are found.

    Fields counted as independent would find one in most.
    """
    draw = np.random.default_rng(0)
    wells = np.repeat(np.arange(8), 6)
    found = naive = 0
    for turn in range(300):
        gaps = draw.standard_normal(8)[wells] + 0.3 * draw.standard_normal(48)
        found += paired(gaps, np.zeros(48), wells, draws=256, seed=turn)["p"] <= 0.05
        naive += stats.ttest_1samp(gaps, 0).pvalue <= 0.05
    assert found <= stats.binom.ppf(0.999, 300, 0.05)
    assert found >= 2
    assert naive > 90


def test_no_method_is_better_under_the_null_at_any_volume():
    """Holm over methods and volumes: any rejection at all is rare."""
    any_found = 0
    for turn in range(60):
        draw = np.random.default_rng(turn)
        p = [paired(*draw.standard_normal((2, 6)), np.arange(6), draws=64)["p"] for _ in range(4)]
        any_found += min(holm(p)) <= 0.1
    assert any_found <= stats.binom.ppf(0.999, 60, 0.1)


def test_a_planted_gain_is_found_at_every_volume_and_in_the_area():
    told = method_comparison(curves(fields=10, gain=0.3), learned="learned", volumes=(0.3, 0.6))
    assert (told.pairs["first"] == "learned").all()
    assert len(told.pairs) == 4
    assert (told.pairs["holm"] < 0.05).all()
    assert (told.pairs["difference_low"] < 0.3).all()
    assert (told.pairs["difference"] > 0.2).all()
    assert told.pairs["holm"].tolist() == holm(told.pairs["p"].tolist())
    area = told.areas.set_index("method")
    assert area.loc["learned", "mean_rank"] == 1
    assert told.friedman_p < 0.01
    assert told.complete == 10
    assert (told.area_pairs["holm"] < 0.05).all()
    summary = told.summary()
    assert summary["learned"]["0.6"] > summary["random"]["0.6"] + 0.2


def test_means_and_areas_are_those_of_a_loop():
    table = curves(fields=6, seed=5)
    volumes = (0.2, 0.4, 0.8)
    wells = {f"f{i}": f"w{i // 2}" for i in range(6)}
    told = method_comparison(
        table.assign(well=table["field"].map(wells)),
        learned="learned",
        unit="well",
        volumes=volumes,
    )
    for method, part in table.groupby("method"):
        by_well = {}
        for field, one in part.groupby("field"):
            heights = [slow(one["volume"], one["efficacy"], v) for v in volumes]
            area = (heights[0] + heights[1]) / 2 * 0.2 + (heights[1] + heights[2]) / 2 * 0.4
            by_well.setdefault(wells[field], []).append([*heights, area / 0.6])
        expected = np.mean([np.mean(rows, axis=0) for rows in by_well.values()], axis=0)
        curve = told.curves[told.curves["method"] == method].sort_values("volume")
        np.testing.assert_allclose(curve["mean"], expected[:3])
        area = told.areas.set_index("method").loc[method]
        assert area["mean"] == pytest.approx(expected[3])
        assert (area["units"], area["rows"], area["undefined"]) == (3, 6, 0)


def test_the_order_of_rows_is_no_matter():
    """Fields, methods and thresholds come in any order, and drawn flips stay the same."""
    table = curves(fields=14, gain=0.02)
    key = ["second", "volume"]
    one, two = (
        method_comparison(rows, learned="learned", draws=500, seed=4).pairs.sort_values(key)
        for rows in (table, table.sample(frac=1, random_state=0))
    )
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))
    assert 0.01 < one["p"].median() < 1


def test_what_was_not_measured_is_counted_and_the_rest_compared():
    table = curves(fields=6)
    cut = (table["field"] == "f0") & (table["method"] == "random") & (table["volume"] > 0.4)
    told = method_comparison(table[~cut], learned="learned", volumes=(0.2, 0.8))
    late = told.pairs.set_index(["second", "volume"]).loc[("random", 0.8)]
    assert (late["units"], late["undefined"]) == (5, 1)
    assert told.complete == 5
    assert told.areas.set_index("method").loc["random", "undefined"] == 1
    none = method_comparison(table[table["volume"] < 0.9], learned="learned", volumes=(0.5, 1.0))
    assert none.summary()["learned"]["1"] is None
    assert np.isnan(none.friedman_p)
    assert none.complete == 0


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: thresholds_for(np.array([1.0, np.nan]), [0.5]), DataError, "not finite"),
        (lambda: thresholds_for(np.ones(4), [1.5]), UsageError, "0 to 1"),
        (lambda: efficacies_at(curves(2).assign(volume=2.0)), DataError, "0 to 1"),
        (lambda: efficacies_at(curves(2).assign(efficacy=np.inf)), DataError, "infinite"),
        (lambda: efficacies_at(curves(2).assign(efficacy="x")), DataError, "not numbers"),
        (lambda: efficacies_at(curves(0)), DataError, "without rows|not numbers"),
        (lambda: method_comparison(curves(2), learned="lime"), UsageError, "no method"),
        (
            lambda: method_comparison(curves(2), learned="learned", volumes=(0.5, 0.1)),
            UsageError,
            "rising",
        ),
        (
            lambda: method_comparison(curves(2), learned="learned", unit="well"),
            UsageError,
            "no column 'well'",
        ),
        (
            lambda: method_comparison(
                curves(2).assign(well=np.arange(48)), learned="learned", unit="well"
            ),
            DataError,
            "several units",
        ),
        (lambda: by_field(curves(2), "method", "efficacy"), DataError, "several values"),
        (lambda: paired(*np.ones((2, 3)), np.arange(3), confidence=2.0), UsageError, "confidence"),
    ],
)
def test_what_cannot_be_compared_is_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong()
