"""Summaries say what is in the table: medians, shares, chance, and intervals over wells."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.metrics.intervals import grouped_interval
from attributome.profiles.camo.summary import summarise


def scores(wells=6, cells=20, seed=0, spread=0.15):
    """Cells whose wells differ: the well is what is drawn."""
    draw = np.random.default_rng(seed)
    of = np.repeat(draw.normal(0.5, spread, wells), cells)
    cell = np.clip(of + draw.normal(0, 0.02, wells * cells), 0, 1)
    chance = draw.uniform(0.2, 0.6, wells * cells)
    return pd.DataFrame(
        {
            "cell_id": np.arange(wells * cells),
            "target": "each sample's class",
            "layer": "body",
            "method": "grad_cam",
            "well": np.repeat([f"W{i}" for i in range(wells)], cells),
            "treatment": np.repeat(["dmso", "drug"], wells * cells // 2),
            "score_cell": cell,
            "score_neighbour": (1 - cell) * 0.25,
            "score_background": (1 - cell) * 0.75,
            "mask_fraction": chance,
            "enrichment": cell / chance,
            "corrected": (cell - chance) / (1 - chance),
            "undefined": False,
        }
    )


def test_a_row_says_what_is_in_the_table():
    table = scores()
    (row,) = summarise(table, seed=3).to_dict("records")
    cell, chance = table["score_cell"].to_numpy(), table["mask_fraction"].to_numpy()
    groups = table["well"].to_numpy()
    draws = {"draws": 1000, "seed": 3}
    wanted = {
        "cells": 120,
        "undefined": 0,
        "units": 6,
        "above_half": (cell > 0.5).mean(),
        "q25": np.quantile(cell, 0.25),
        "chance": np.median(chance),
        "chance_above_half": (chance > 0.5).mean(),
        "neighbour": table["score_neighbour"].mean(),
        "background": table["score_background"].mean(),
        "enrichment": table["enrichment"].median(),
        "corrected": table["corrected"].median(),
    }
    for name, values in (("median", cell), ("excess", cell - chance)):
        ends = grouped_interval(values, groups, **draws)
        wanted |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    assert {name: row[name] for name in wanted} == pytest.approx(wanted)
    assert row["above_half_low"] < row["above_half"] < row["above_half_high"]
    assert (row["target"], row["layer"], row["method"]) == (
        "each sample's class",
        "body",
        "grad_cam",
    )


def test_wells_are_drawn_and_not_cells():
    """Cells of a well are alike here, so that their number adds nothing to what is known."""
    few, many = (summarise(scores(cells=n, spread=0.1)).iloc[0] for n in (20, 200))
    widths = [one["above_half_high"] - one["above_half_low"] for one in (few, many)]
    assert widths[1] > 0.8 * widths[0]
    as_cells = summarise(scores(cells=200).assign(well=lambda t: t["cell_id"])).iloc[0]
    assert as_cells["above_half_high"] - as_cells["above_half_low"] < 0.3 * widths[1]


def test_the_interval_of_a_share_covers_it():
    """Wells that are all above or below one half: the share is that of coins."""
    covered = 0
    for seed in range(60):
        row = summarise(scores(wells=24, cells=2, seed=seed), seed=seed, draws=200).iloc[0]
        covered += row["above_half_low"] <= 0.5 <= row["above_half_high"]
    assert covered >= 51


def test_each_treatment_has_a_row_and_controls_stay_apart():
    table = pd.concat([scores().assign(control=name) for name in ("none", "rolled mask")])
    found = summarise(table, by=["treatment"])
    assert found[["treatment", "control"]].to_numpy().tolist() == [
        ["dmso", "none"],
        ["dmso", "rolled mask"],
        ["drug", "none"],
        ["drug", "rolled mask"],
    ]
    assert found["units"].tolist() == [3] * 4
    assert found["cells"].tolist() == [60] * 4


def test_undefined_scores_are_counted_and_nothing_else():
    table = scores()
    extra = table.iloc[:7].assign(
        cell_id=lambda t: t["cell_id"] + 1000, score_cell=np.nan, mask_fraction=0.99,
        score_neighbour=np.nan, score_background=np.nan, enrichment=np.nan, corrected=np.nan,
        undefined=True,
    )  # fmt: skip
    found, plain = summarise(pd.concat([table, extra])), summarise(table)
    assert found["undefined"].tolist() == [7]
    pd.testing.assert_frame_equal(found.drop(columns="undefined"), plain.drop(columns="undefined"))
    (nothing,) = summarise(extra).to_dict("records")
    assert (nothing["cells"], nothing["undefined"], nothing["units"]) == (0, 7, 0)
    assert np.isnan([nothing[n] for n in ("median", "above_half", "q05", "chance")]).all()


def test_two_wells_have_no_interval():
    row = summarise(scores(wells=2)).iloc[0]
    names = [f"{n}_{end}" for n in ("median", "above_half", "excess") for end in ("low", "high")]
    assert row[names].isna().all()
    assert np.isfinite(row["median"])


def test_wells_of_one_name_on_two_plates_are_two():
    table = pd.concat([scores().assign(plate=p) for p in ("P1", "P2")], ignore_index=True)
    table["cell_id"] = np.arange(len(table))
    with pytest.raises(UsageError, match=r"well 'W0' is on 2 plates.*\('plate', 'well'\)"):
        summarise(table)
    assert summarise(table, unit=("plate", "well"))["units"].tolist() == [12]


@pytest.mark.parametrize(
    ("change", "options", "kind", "says"),
    [
        ({}, {"unit": "dish"}, UsageError, "no column 'dish'"),
        ({}, {"by": ["dose"]}, UsageError, "no column 'dose'"),
        ({}, {"unit": ()}, UsageError, "such as 'well'"),
        ({}, {"draws": 0}, UsageError, "0 draws"),
        ({"cell_id": 1}, {}, DataError, "cell 1 has two scores"),
        ({"well": None}, {}, DataError, "'well' of the table has rows without a value"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, options, kind, says):
    with pytest.raises(kind, match=says):
        summarise(scores().assign(**change), **options)
