"""Controls define the units of their plate, and nothing else does."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import median_abs_deviation
from sklearn.preprocessing import StandardScaler

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import values
from attributome.profiles.wells.normalise import normalise


def plates(n=60, features=4, seed=0):
    """Plates of other light; every third row is a control, and treatments are far away."""
    draw = np.random.default_rng(seed)
    plate = np.repeat([*"abc"], n // 3)
    control = np.arange(n) % 3 == 0
    x = draw.standard_normal((n, features)) * np.repeat([1, 5, 0.2], n // 3)[:, None]
    x += np.repeat([0, 100, -3], n // 3)[:, None] + 50 * ~control[:, None]
    table = pd.DataFrame({"Metadata_plate": plate, "Metadata_well": np.arange(n)})
    return pd.concat(
        [table, pd.DataFrame(x, columns=[f"f_{i}" for i in range(features)])], axis=1
    ), control


@pytest.mark.parametrize("method", ["robust", "standard"])
def test_units_are_those_of_the_controls_of_the_plate(method):
    table, control = plates()
    found = normalise(table, control, method=method)
    z, x, plate = values(found.table), values(table), table["Metadata_plate"].to_numpy()
    for name in "abc":
        here = plate == name
        own = x[here & control]
        if method == "robust":
            mad = median_abs_deviation(own, axis=0, scale=1 / 1.4826)
            wanted = (x[here] - np.median(own, axis=0)) / (mad + 1e-18)
        else:
            wanted = StandardScaler().fit(own).transform(x[here])
        np.testing.assert_allclose(z[here], wanted, rtol=1e-10)
    assert found.references.to_numpy().tolist() == [["a", 7], ["b", 7], ["c", 6]]
    assert found.dropped.empty
    pd.testing.assert_frame_equal(
        found.table.filter(like="Metadata"), table.filter(like="Metadata")
    )


def test_robust_numbers_are_those_of_pycytominer():
    """Computed with pycytominer 1.7.1 (RobustMAD)."""
    x = np.array([[1.0, 10.0], [2.0, 30.0], [4.0, 20.0], [8.0, 70.0], [9.0, 5.0]])
    table = pd.DataFrame(x, columns=["f", "g"]).assign(Metadata_plate="p")
    found = normalise(table, np.ones(5, bool))
    wanted = [
        [-0.674490759477, -0.674490759477],
        [-0.449660506318, 0.674490759477],
        [0.0, 0.0],
        [0.899321012635, 3.372453797383],
        [1.124151265794, -1.011736139215],
    ]
    np.testing.assert_allclose(values(found.table), wanted, atol=1e-9)


def test_treated_rows_change_nothing_for_others():
    table, control = plates()
    other = table.copy()
    other.loc[~control, ["f_0", "f_1"]] = 1e6
    a, b = normalise(table, control).table, normalise(other, control).table
    pd.testing.assert_frame_equal(a[control], b[control])
    mixed = table.sample(frac=1, random_state=0)
    again = normalise(mixed, control[mixed.index]).table.sort_values("Metadata_well")
    pd.testing.assert_frame_equal(again.reset_index(drop=True), a)


def test_features_without_spread_are_dropped_and_named():
    table, control = plates()
    table.loc[(table["Metadata_plate"] == "b") & control, "f_2"] = 0.1
    found = normalise(table, control, method="standard")
    assert found.dropped.to_numpy().tolist() == [
        ["f_2", "b", "standard deviation 0 over the reference rows"]
    ]
    assert list(found.table.filter(like="f_")) == ["f_0", "f_1", "f_3"]
    table.loc[0, "f_0"] = 1.0  # more than half of the controls are alike: the MAD is 0
    table.loc[(table["Metadata_plate"] == "a") & control & (table.index > 8), "f_0"] = 1.0
    found = normalise(table, control)
    assert found.dropped[["feature", "plate"]].to_numpy().tolist() == [["f_0", "a"], ["f_2", "b"]]
    assert np.isfinite(values(found.table)).all()
    with pytest.raises(DataError, match="all 1 features have no spread"):
        normalise(table[["Metadata_plate", "f_2"]], control)


def test_undefined_values_of_treated_rows_stay_undefined():
    table, control = plates()
    table.loc[1, "f_1"] = np.nan
    assert np.isnan(normalise(table, control).table.loc[1, "f_1"])
    table.loc[0, "f_1"] = np.nan
    with pytest.raises(DataError, match="1 of 4 features are undefined .* 'f_1'"):
        normalise(table, control)


def test_what_cannot_be_done_is_refused():
    table, control = plates()
    with pytest.raises(DataError, match=r"1 of 3 plates have fewer than 7 reference rows: c \(6\)"):
        normalise(table, control, least=7)
    with pytest.raises(DataError, match=r"3 of 3 .* a \(0\), b \(0\)"):
        normalise(table, np.zeros(60, bool))
    with pytest.raises(DataError, match="59 marks"):
        normalise(table, control[1:])
    with pytest.raises(UsageError, match="no method 'mad'"):
        normalise(table, control, method="mad")
    with pytest.raises(UsageError, match="no column 'plate'"):
        normalise(table, control, by="plate")
    with pytest.raises(UsageError, match="least = 1"):
        normalise(table, control, least=1)
    table.loc[3, "Metadata_plate"] = None
    with pytest.raises(DataError, match="1 of 60 rows have no"):
        normalise(table, control)
