"""Runs that differ in one weight are paired, over units; planted weights are found, no others."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import holm
from attributome.studies.ablation import ablation, best_epochs, settings

BASE = {"similarity": 1.0, "mask": 1.0, "target": 6.0}
GRID = {"mask": [0.0, 1.0], "target": [0.0, 6.0]}
COMPONENTS = ("size", "efficacy")
WEIGHTS = ("similarity", "mask", "target")


def runs(grid=GRID, *, wells=7, per=2, shrink=0.0, seed=0):
    """Fields of wells in every run; the weight of the mask makes masks smaller by `shrink`."""
    draw = np.random.default_rng(seed)
    rows = []
    for name, weights in settings(BASE, grid).items():
        for well in range(wells):
            shared = 0.1 * draw.standard_normal(2)
            for field in range(per):
                size, efficacy = shared + 0.01 * draw.standard_normal(2)
                rows.append(
                    {"run": name, "field": f"{well}/{field}", "well": well, **weights}
                    | {"size": 0.6 + size - shrink * weights["mask"], "efficacy": efficacy}
                )
    return pd.DataFrame(rows)


def test_settings_are_all_combinations_by_name():
    found = settings(BASE, GRID)
    assert [*found] == ["mask=0 target=0", "mask=0 target=6", "mask=1 target=0", "mask=1 target=6"]
    assert found["mask=0 target=6"] == {"similarity": 1.0, "mask": 0.0, "target": 6.0}
    assert BASE == {"similarity": 1.0, "mask": 1.0, "target": 6.0}


def test_the_best_epoch_is_within_each_run():
    history = pd.DataFrame(
        {
            "run": ["b", "a", "b", "a", "b"],
            "epoch": [0, 0, 1, 1, 2],
            "total": [9.0, 1.0, 7.0, 2.0, 7.0],
        },
        index=[3, 3, 3, 3, 3],
    )
    found = best_epochs(history, by="total")
    assert found[["run", "epoch"]].to_numpy().tolist() == [["b", 1], ["a", 0]]


def test_pairs_differ_in_one_weight_the_larger_first():
    told = ablation(runs(), COMPONENTS, WEIGHTS)
    pairs = told.pairs[told.pairs["component"] == "size"]
    found = pairs[["weight", "first", "second", "from", "to"]].to_numpy().tolist()
    assert sorted(found) == [
        ["mask", "mask=1 target=0", "mask=0 target=0", 0.0, 1.0],
        ["mask", "mask=1 target=6", "mask=0 target=6", 0.0, 1.0],
        ["target", "mask=0 target=6", "mask=0 target=0", 0.0, 6.0],
        ["target", "mask=1 target=6", "mask=1 target=0", 0.0, 6.0],
    ]
    assert told.pairs["holm"].tolist() == holm(told.pairs["p"].tolist())
    assert len(told.pairs) == 8
    assert len(told.runs) == 8


def test_with_a_control_every_run_is_beside_it():
    told = ablation(runs(), ["size"], WEIGHTS, control="mask=1 target=6")
    assert (told.pairs["second"] == "mask=1 target=6").all()
    assert told.pairs["weight"].tolist() == ["", "mask", "target"]
    assert told.pairs["from"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize("unit", ["field", "well"])
def test_differences_are_those_of_a_loop(unit):
    table = runs(shrink=0.2)
    told = ablation(table, COMPONENTS, WEIGHTS, unit=unit)
    for _, row in told.pairs.iterrows():
        gaps = []
        one, two = (
            table[table["run"] == row[end]].set_index("field")[row["component"]]
            for end in ("first", "second")
        )
        units = table.drop_duplicates("field").set_index("field")[unit] if unit != "field" else None
        difference = one - two
        for _, part in difference.groupby(difference.index if units is None else units):
            gaps.append(part.mean())
        expected = stats.ttest_1samp(gaps, 0)
        assert row["difference"] == pytest.approx(np.mean(gaps))
        assert row["difference_high"] == pytest.approx(expected.confidence_interval().high)
        assert row["units"] == len(gaps)
    for _, row in told.runs.iterrows():
        here = table[table["run"] == row["run"]]
        assert row["mean"] == pytest.approx(here[row["component"]].mean())
        assert row["target"] == here["target"].iloc[0]


def test_a_planted_weight_is_found_in_its_component_and_in_no_other():
    told = ablation(runs(wells=10, shrink=0.4), COMPONENTS, WEIGHTS, unit="well").pairs
    planted = (told["component"] == "size") & (told["weight"] == "mask")
    assert (told.loc[planted, "holm"] < 0.05).all()
    assert (told.loc[planted, "difference_high"] < 0).all()
    assert (told.loc[planted, "d_z"] < -1).all()
    assert (told.loc[~planted, "holm"] > 0.05).all()


def test_the_level_is_kept():
    """300 grids without an effect: the share with any finding after Holm is the level or less."""
    found = sum(
        (
            ablation(
                runs({"mask": [0.0, 1.0, 2.0]}, wells=6, per=1, seed=turn),
                ["size"],
                WEIGHTS,
                unit="well",
                draws=64,
            ).pairs["holm"]
            <= 0.1
        ).any()
        for turn in range(300)
    )
    assert found <= stats.binom.ppf(0.999, 300, 0.1)


def test_undefined_values_are_counted_and_not_averaged():
    table = runs()
    table.loc[(table["run"] == "mask=0 target=0") & (table["field"] == "0/0"), "size"] = np.nan
    told = ablation(table, ["size"], WEIGHTS)
    assert told.runs["undefined"].tolist() == [1, 0, 0, 0]
    assert sorted(told.pairs["undefined"]) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: settings(BASE, {"tv": [1.0]}), UsageError, "'tv'"),
        (lambda: settings(BASE, {}), UsageError, "no weights"),
        (lambda: settings(BASE, {"mask": []}), UsageError, "0 settings"),
        (lambda: settings(BASE, {"mask": [1.0, 1.0]}), UsageError, "2 settings have 1 names"),
        (lambda: ablation(runs(), [], WEIGHTS), UsageError, "components"),
        (lambda: ablation(runs(), ["mask"], WEIGHTS), UsageError, "both"),
        (lambda: ablation(runs(), ["pcc"], WEIGHTS), UsageError, "'pcc'"),
        (lambda: ablation(runs(), ["size"], WEIGHTS, control="x"), UsageError, "no run"),
        (
            lambda: ablation(runs().assign(mask=np.arange(56.0)), ["size"], WEIGHTS),
            DataError,
            "several weights",
        ),
        (lambda: ablation(runs().assign(mask=np.nan), ["size"], WEIGHTS), DataError, "lack"),
        (lambda: ablation(runs({"mask": [1.0]}), ["size"], WEIGHTS), DataError, "exactly one"),
        (lambda: best_epochs(runs(), by="total"), UsageError, "'total'"),
        (lambda: best_epochs(runs().assign(total=np.inf), by="total"), DataError, "finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong()
