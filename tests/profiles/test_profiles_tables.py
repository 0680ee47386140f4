"""Wells are the means and medians of their cells, however the cells come, and nobody is lost."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.wells.tables import aggregate, consensus

WELL = ["Metadata_plate", "Metadata_well"]


def cells(n=200, seed=0):
    draw = np.random.default_rng(seed)
    well = draw.integers(0, 6, n)
    table = pd.DataFrame(
        {
            "Metadata_id": [f"c{i}" for i in range(n)],
            "Metadata_plate": np.where(well < 3, "a", "b"),
            "Metadata_well": [f"w{i % 3}" for i in well],
            "Metadata_treatment": [f"t{i % 3}" for i in well],
            "Metadata_dose": np.where(well % 3 == 0, np.nan, 2.0),
            "Metadata_camo": draw.random(n),
        }
    )
    features = draw.standard_normal((n, 3)) + 1000
    return pd.concat([table, pd.DataFrame(features, columns=["f_0", "f_1", "f_2"])], axis=1)


def split(table, size):
    return (table.iloc[i : i + size] for i in range(0, len(table), size))


@pytest.mark.parametrize("size", [40, 200])
@pytest.mark.parametrize("way", ["mean", "median"])
def test_wells_are_those_of_pandas_in_any_blocks(way, size):
    table = cells()
    found = aggregate(split(table, size), way=way)
    wanted = table.groupby(WELL)[["f_0", "f_1", "f_2"]].agg(way).reset_index()
    pd.testing.assert_frame_equal(found[[*WELL, "f_0", "f_1", "f_2"]], wanted, rtol=1e-12)
    assert found["Metadata_cells"].tolist() == table.groupby(WELL).size().tolist()
    assert not found[["Metadata_left_out", "Metadata_undefined"]].any(axis=None)
    # what differs between cells of a well is gone, what they share is kept
    assert "Metadata_id" not in found
    assert "Metadata_camo" not in found
    assert found["Metadata_treatment"].tolist() == ["t0", "t1", "t2"] * 2
    assert found["Metadata_dose"].isna().tolist() == [True, False, False] * 2


@pytest.mark.parametrize("size", [60, 200])
def test_weights_and_filters_are_those_of_a_slow_loop(size):
    table = cells()
    table.loc[3, "Metadata_camo"] = np.nan
    found = aggregate(
        split(table, size), weight="Metadata_camo", filter_by="Metadata_camo", least=0.4
    )
    for (plate, well), row in found.set_index(WELL).iterrows():
        own = table[(table["Metadata_plate"] == plate) & (table["Metadata_well"] == well)]
        kept = own[own["Metadata_camo"] >= 0.4]
        wanted = np.average(kept[["f_0", "f_1", "f_2"]], axis=0, weights=kept["Metadata_camo"])
        np.testing.assert_allclose(row[["f_0", "f_1", "f_2"]].astype(float), wanted, rtol=1e-12)
        assert row["Metadata_cells"] == len(kept)
        assert row["Metadata_left_out"] == len(own) - len(kept)


@pytest.mark.parametrize("way", ["mean", "median"])
def test_undefined_values_are_counted_and_not_averaged(way):
    table = cells()
    table.loc[0, "f_1"] = np.nan
    table.loc[1, "f_2"] = np.inf
    table.loc[table["Metadata_plate"] == "b", "f_0"] = np.nan
    found = aggregate(split(table, 50), way=way)
    clean = table.replace(np.inf, np.nan)
    wanted = clean.groupby(WELL)[["f_0", "f_1", "f_2"]].agg(way).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[["f_0", "f_1", "f_2"]], wanted, rtol=1e-12)
    missing = clean[["f_0", "f_1", "f_2"]].isna().sum(axis=1).groupby([clean[c] for c in WELL])
    assert found["Metadata_undefined"].tolist() == missing.sum().tolist()
    assert found.loc[found["Metadata_plate"] == "b", "f_0"].isna().all()


@pytest.mark.parametrize("way", ["mean", "median"])
def test_a_well_without_cells_stays_and_is_undefined(way):
    table = cells()
    table.loc[table["Metadata_well"] == "w1", "Metadata_camo"] = 0.0
    found = aggregate([table], way=way, filter_by="Metadata_camo", least=0.01).set_index(WELL)
    assert found.loc[("a", "w1"), ["f_0", "f_1", "f_2"]].isna().all()
    assert found.loc[("a", "w1"), "Metadata_cells"] == 0
    assert found.loc[("a", "w0"), ["f_0", "f_1", "f_2"]].notna().all()


def test_treatments_weigh_wells_alike():
    wells = aggregate([cells()])
    found = consensus(wells)
    wanted = wells.groupby("Metadata_treatment")[["f_0", "f_1", "f_2"]].mean()
    np.testing.assert_allclose(found[["f_0", "f_1", "f_2"]], wanted, rtol=1e-12)
    assert found["Metadata_wells"].tolist() == [2, 2, 2]
    assert found["Metadata_cells"].sum() == 200
    median = consensus(wells, ["Metadata_plate", "Metadata_treatment"], way="median")
    np.testing.assert_array_equal(median["f_0"], wells["f_0"])


def test_what_cannot_be_done_is_refused():
    table = cells()
    for match, options in {
        "no way 'mode'": {"way": "mode"},
        "groups by": {"by": ["f_0"]},
        "needs both": {"least": 0.5},
        "takes no weights": {"way": "median", "weight": "Metadata_camo"},
        "no column 'Metadata_score'": {"weight": "Metadata_score"},
    }.items():
        with pytest.raises(UsageError, match=match):
            aggregate([table], **options)
    with pytest.raises(DataError, match="no rows"):
        aggregate([])
    with pytest.raises(DataError, match="other features"):
        aggregate([table, table.rename(columns={"f_0": "g_0"})])
    with pytest.raises(DataError, match="weights below 0"):
        aggregate([table.assign(Metadata_camo=-1.0)], weight="Metadata_camo")
    table.loc[4, "Metadata_well"] = None
    with pytest.raises(DataError, match="a row has no 'Metadata_well'"):
        aggregate([table])
