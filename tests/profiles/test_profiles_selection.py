"""Every feature that goes has its reason, and one that stays stands for each correlated one."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import feature_names, values
from attributome.profiles.wells.selection import select


def table(n=200, seed=0):
    draw = np.random.default_rng(seed)
    base = draw.standard_normal(n)
    features = {
        "good": draw.standard_normal(n),
        "base": base,
        "twin": base + 0.01 * draw.standard_normal(n),
        "mirror": -base + 0.1 * draw.standard_normal(n),
        "flat": np.full(n, 0.1),
        "rare": np.where(np.arange(n) == 7, 1.0, 0.0),
        "binary": np.where(np.arange(n) % 2 == 0, 1.0, 0.0),
        "far": np.where(np.arange(n) == 3, -501.0, draw.standard_normal(n)),
        "holes": np.where(np.arange(n) < 20, np.nan, draw.standard_normal(n)),
        "few_holes": np.where(np.arange(n) < 5, np.nan, draw.standard_normal(n)),
        "listed": draw.standard_normal(n),
    }
    return pd.DataFrame({"Metadata_well": np.arange(n), **features})


def test_every_feature_that_goes_has_its_reason():
    found = select(table(), blocklist=["listed", "unknown"], unique_cut=0.02)
    told = found.dropped.set_index("feature")
    assert told["reason"].to_dict() == {
        "base": "correlation",
        "mirror": "correlation",
        "flat": "constant",
        "rare": "frequency",
        "binary": "unique",
        "far": "outlier",
        "holes": "undefined",
        "listed": "blocklist",
    }
    assert feature_names(found.table) == ["good", "twin", "few_holes"]
    assert told.loc["holes", "value"] == pytest.approx(0.1)
    assert told.loc["rare", "value"] == pytest.approx(1 / 199)
    assert told.loc["binary", "value"] == pytest.approx(0.01)
    assert told.loc["far", "value"] == 501
    assert told.loc["mirror", "partner"] == "twin"
    assert told.loc["mirror", "value"] < -0.9
    assert found.table["Metadata_well"].tolist() == [*range(200)]
    assert found.n == 200


@pytest.mark.parametrize("holes", [False, True])
def test_what_is_left_is_not_correlated_and_what_went_is(holes):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((80, 6)) @ draw.standard_normal((6, 40))
    x += 0.3 * draw.standard_normal(x.shape)
    if holes:
        x[draw.random(x.shape) < 0.02] = np.nan
    features = pd.DataFrame(x, columns=[f"f_{i:02d}" for i in range(40)])
    found = select(features, correlation=0.8, undefined=0.2)
    r = features.corr().abs()
    kept = feature_names(found.table)
    assert 1 < len(kept) < 40
    assert (r.loc[kept, kept].to_numpy()[np.triu_indices(len(kept), 1)] <= 0.8).all()
    for row in found.dropped.itertuples():
        assert row.partner in kept
        assert abs(row.value) == pytest.approx(r.loc[row.feature, row.partner])
        assert abs(row.value) > 0.8
    # the order of columns and of rows does not matter
    turned = features[features.columns[::-1]].sample(frac=1, random_state=0)
    assert {*feature_names(select(turned, correlation=0.8, undefined=0.2).table)} == {*kept}


def test_of_equals_the_first_column_stays():
    x = np.random.default_rng(0).standard_normal(30)
    found = select(pd.DataFrame({"b": x, "a": x, "c": -x}))
    assert feature_names(found.table) == ["b"]
    assert found.dropped["value"].round(9).tolist() == [1.0, -1.0]


def test_who_went_takes_nobody_along():
    """A goes with b, b with c, but c not with a; pycytominer 1.7.1 drops b and c."""
    draw = np.random.default_rng(0)
    a, c, *rest = np.linalg.qr(draw.standard_normal((100, 7)))[0].T
    features = pd.DataFrame({"a": a, "b": a + c, "c": c})
    for i, other in enumerate(rest):
        features[f"d{i}"] = 0.6 * c + 0.8 * other
    found = select(features, correlation=0.65)
    assert found.dropped[["feature", "partner"]].to_numpy().tolist() == [["b", "a"]]


def test_features_are_judged_on_the_rows_that_are_named():
    features = table()
    rows = np.arange(200) >= 20
    found = select(features, rows=rows)
    assert "holes" in found.table
    assert "far" in found.table
    assert found.table["far"][3] == -501
    assert (found.n, len(found.table)) == (180, 200)
    np.testing.assert_array_equal(values(found.table)[:, 0], features["good"])


@pytest.mark.parametrize(
    "options", [{"undefined": 2.0}, {"freq_cut": -1.0}, {"unique_cut": 5.0}, {"correlation": 1.1}]
)
def test_cuts_that_cannot_be_meant_are_refused(options):
    with pytest.raises(UsageError, match=f"{next(iter(options))} = "):
        select(table(), **options)


def test_what_cannot_be_selected_from_is_refused():
    with pytest.raises(UsageError, match="outlier = 0"):
        select(table(), outlier=0.0)
    with pytest.raises(DataError, match="1 rows of 200"):
        select(table(), rows=np.arange(200) == 1)
    with pytest.raises(DataError, match="none of 1 features is left"):
        select(table()[["flat"]])
