"""The curves are loops' means and medians, and the choice is the one that the rule names."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attributome.core.errors import DataError, UsageError
from attributome.masks.choose import choose_noise, choose_threshold
from attributome.studies.tuning import noise_study, threshold_study

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0)
THRESHOLDS = (0.1, 0.2, 0.3, 0.4)


def scales(fields=9, half=0.5, seed=0):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {"field": f"f{i}", "well": f"w{i // 3}", "scale": s, "efficacy": value}
        for i in range(fields)
        for s, value in zip(
            SCALES, np.exp(-np.array(SCALES) / half) + 0.02 * draw.random(5), strict=True
        )
    )


def thresholds(fields=9, drop=0.5, seed=0):
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "field": f"f{i}",
            "well": f"w{i // 3}",
            "threshold": t,
            "efficacy": 1 - drop * t + 0.01 * draw.random(),
            "size": 0.6 - t + 0.01 * draw.random(),
        }
        for i in range(fields)
        for t in THRESHOLDS
    )


@pytest.mark.parametrize("unit", ["field", "well"])
def test_points_are_those_of_a_loop(unit):
    table = thresholds()
    told = threshold_study(table, unit=unit)
    for value, name in (("efficacy", ""), ("size", "size_")):
        for _, row in told.points.iterrows():
            here = table[table["threshold"] == row["value"]]
            means = np.array([part[value].mean() for _, part in here.groupby(unit)])
            assert row[f"{name}mean"] == pytest.approx(means.mean())
            assert row[f"{name}median"] == pytest.approx(np.median(means))
            interval = stats.ttest_1samp(means, 0).confidence_interval()
            assert row[f"{name}low"] == pytest.approx(interval.low)
            assert row[f"{name}high"] == pytest.approx(interval.high)
            assert row[f"{name}median_low"] <= row[f"{name}median"] <= row[f"{name}median_high"]
            assert (row["units"], row["fields"]) == (len(means), 9)
    np.testing.assert_allclose(told.points["noised"], 1 - told.points["size_mean"])


@pytest.mark.parametrize(
    ("half", "floor", "value", "met"),
    [(0.5, 0.2, 1.0, True), (1.1, 0.2, 2.0, True), (9.0, 0.2, 2.0, False), (0.5, 1.5, 0.0, True)],
)
def test_the_first_scale_below_the_floor(half, floor, value, met):
    choice = noise_study(scales(half=half), floor=floor).choice
    assert (choice.value, choice.met, choice.fields) == (value, met, 9)
    assert [point.value for point in choice.curve] == [*SCALES]


@pytest.mark.parametrize(
    ("drop", "value", "met"), [(0.5, 0.2, True), (0.1, 0.4, True), (3.0, 0.1, False)]
)
def test_the_largest_threshold_that_keeps_the_floor(drop, value, met):
    choice = threshold_study(thresholds(drop=drop), floor=0.9).choice
    assert (choice.value, choice.met, choice.fields) == (value, met, 9)


def test_curves_are_those_of_the_search_at_the_same_points():
    """Between measured points the search goes on, but at these it says the same."""
    table = thresholds()
    wide = {
        name: table.pivot(index="field", columns="threshold", values=name)
        for name in ("efficacy", "size")
    }
    expected = choose_threshold(
        lambda at: wide["efficacy"][at].to_numpy(),
        lambda at: wide["size"][at].to_numpy(),
        thresholds=THRESHOLDS,
        tolerance=1.0,
    )
    assert threshold_study(table).choice == expected
    noise = scales()
    at = noise.pivot(index="field", columns="scale", values="efficacy")
    told = noise_study(noise).choice
    found = choose_noise(lambda s: at[s].to_numpy(), low=0.5, high=told.value, tolerance=0.5)
    assert found.value == told.value
    assert found.curve[-1] in told.curve


def test_a_field_without_a_value_is_at_no_point_and_named():
    table = thresholds()
    table.loc[(table["field"] == "f2") & (table["threshold"] == 0.3), "efficacy"] = np.nan
    table = table[~((table["field"] == "f5") & (table["threshold"] == 0.1))]
    told = threshold_study(table)
    assert told.left_out == ("f2", "f5")
    assert told.points["fields"].tolist() == [7] * 4
    assert told.points["undefined"].tolist() == [1, 0, 1, 0]
    rest = threshold_study(table[~table["field"].isin(["f2", "f5"])])
    assert told.choice == rest.choice


def test_two_units_have_no_interval():
    told = noise_study(scales(fields=6), unit="well")
    assert told.points["units"].tolist() == [2] * 5
    assert told.points[["low", "high", "median_low", "median_high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: noise_study(thresholds()), UsageError, "'scale'"),
        (lambda: noise_study(pd.concat([scales()] * 2)), DataError, "several values"),
        (lambda: noise_study(scales().assign(efficacy=np.nan)), DataError, "none of 9"),
        (lambda: threshold_study(thresholds().assign(size=7.0)), DataError, "share"),
        (lambda: threshold_study(thresholds(), confidence=0.0), UsageError, "confidence"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong()
