"""Copies elsewhere have the same shapes; the drop inside is compared within units, and found."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attributome.core.errors import DataError, UsageError
from attributome.studies.regions import erosion_steps
from attributome.studies.validation import elsewhere, region_effects, region_rows


def blob(shape=(60, 60), corner=(5, 6), side=15):
    region = np.zeros(shape, bool)
    region[..., corner[0] : corner[0] + side, corner[1] : corner[1] + side] = True
    return region


def rows_of(effect=0.0, *, wells=6, per=3, cells=0, spread=0.1, steps=2, seed=0):
    """Drops of wells, fields and cells: inside it is higher by `effect` over the steps."""
    draw = np.random.default_rng(seed)
    rows = []
    for well in range(wells):
        shared = spread * draw.standard_normal(2)
        for field in range(per):
            for cell in ["", *[f"c{i}" for i in range(cells)]]:
                for step in range(steps):
                    for place in (0, 1, 1):
                        drop = 0.3 + shared[place] + 0.02 * draw.standard_normal()
                        rows.append(
                            {
                                "field": f"w{well}f{field}",
                                "well": well,
                                "cell": cell,
                                "step": step,
                                "place": ("inside", "elsewhere")[place],
                                "share": 0.1 / (step + 1),
                                "efficacy": 1 - drop - (effect / (step + 1)) * (place == 0),
                            }
                        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("shape", [(50, 70), (3, 50, 70)])
def test_copies_have_the_same_objects_in_free_places(shape):
    draw = np.random.default_rng(0)
    region = np.zeros(shape, bool)
    region[..., 3:13, 4:20] = draw.random((10, 16)) > 0.2
    region[..., 30:35, 30:37] = True
    avoid = region | blob(shape, (20, 40), 12)
    seen = set()
    for seed in range(5):
        copy = elsewhere(region, avoid=avoid, seed=seed)
        assert not (copy & avoid).any()
        np.testing.assert_array_equal(copy.sum((-2, -1)), region.sum((-2, -1)))
        seen.add(copy.tobytes())
        np.testing.assert_array_equal(copy, elsewhere(region, avoid=avoid, seed=seed))
    assert len(seen) == 5


def test_every_free_place_is_found_and_no_other():
    """An L of 2 × 2 in a 4 × 5 plane, against a loop over all places."""
    shape = np.array([[True, False], [True, True]])
    region = np.zeros((4, 5), bool)
    region[:2, :2] = shape
    avoid = region.copy()
    avoid[3, 4] = avoid[1, 3] = True
    free = {
        (y, x)
        for y in range(3)
        for x in range(4)
        if not (avoid[y : y + 2, x : x + 2] & shape).any()
    }
    found = set()
    for seed in range(150):
        copy = elsewhere(region, avoid=avoid, seed=seed)
        found.add(tuple(map(int, np.argwhere(copy)[0])))
        assert copy.sum() == 3
    assert found == free


def test_objects_do_not_lie_on_each_other():
    region = np.zeros((5, 9), bool)
    region[:2, :2] = region[3:, :2] = True
    for seed in range(30):
        copy = elsewhere(region, avoid=region, seed=seed)
        assert copy is None or (copy.sum() == 8 and not (copy & region).any())


def test_no_room_is_none_and_undefined():
    region = blob((20, 20), (1, 1), 15)
    assert elsewhere(region, avoid=region) is None
    rows = region_rows(lambda keep: 0.5, region, field="f", placements=2, size=3, steps=1)
    outside = pd.DataFrame(rows).query("place == 'elsewhere'")
    assert outside["efficacy"].isna().all()
    assert outside["share"].isna().all()
    told = region_effects(pd.DataFrame(rows))
    assert told["undefined"].tolist() == [1, 1]
    assert told["lost"].tolist() == [2, 2]
    assert told[["difference", "p", "holm"]].isna().all(axis=None)


def test_what_is_asked_is_the_region_its_erosions_and_copies():
    region = blob()
    asked = []

    def ask(keep):
        asked.append(~keep)
        return 1 - (~keep & region).sum() / 1000

    rows = pd.DataFrame(region_rows(ask, region, field="f", size=5, steps=2, placements=3))
    steps = erosion_steps(region, size=5, steps=2)
    assert len(rows) == len(asked) == 12
    for (_, row), noised in zip(rows.iterrows(), asked, strict=True):
        assert row["share"] == pytest.approx(steps[row["step"]].mean()) == noised.mean()
        if row["place"] == "inside":
            np.testing.assert_array_equal(noised, steps[row["step"]])
        else:
            assert not (noised & region).any()
            assert row["efficacy"] == 1


def test_means_are_those_of_a_loop():
    table = rows_of(0.1, cells=2)
    told = region_effects(table, unit="well").set_index(["level", "step"])
    for (level, step), row in told.iterrows():
        here = table[((table["cell"] != "") == (level == "cell")) & (table["step"] == step)]
        gaps, insides = [], []
        for _, well in here.groupby("well"):
            own = []
            for _, one in well.groupby(["field", "cell"]):
                drop = 1 - one["efficacy"]
                inside = one["place"] == "inside"
                own.append((drop[inside].mean(), drop[~inside].mean()))
            own = np.array(own)
            gaps.append((own[:, 0] - own[:, 1]).mean())
            insides.append(own[:, 0].mean())
        assert row["difference"] == pytest.approx(np.mean(gaps))
        assert row["inside"] == pytest.approx(np.mean(insides))
        assert row["units"] == 6
        assert row["rows"] == (36 if level == "cell" else 18)
        interval = stats.ttest_1samp(gaps, 0).confidence_interval()
        assert row["difference_low"] == pytest.approx(interval.low)


def test_the_level_is_kept_and_cells_are_no_units():
    """300 experiments without an effect, each of 6 wells of 10 cells that share their difference"""
    found = naive = 0
    draw = np.random.default_rng(0)
    base = rows_of(wells=6, per=1, cells=10, steps=1)
    base = base[base["cell"] != ""].groupby(["field", "cell", "place"]).first().reset_index()
    inside = (base["place"] == "inside").to_numpy()
    for turn in range(300):
        shift = 0.1 * draw.standard_normal(6)[base["well"]] * inside
        table = base.assign(efficacy=0.7 + shift + 0.02 * draw.standard_normal(len(base)))
        found += region_effects(table, unit="well", draws=64, seed=turn)["p"].iloc[0] <= 0.05
        values = table["efficacy"].to_numpy()
        naive += stats.ttest_rel(values[inside], values[~inside]).pvalue <= 0.05
    assert found <= stats.binom.ppf(0.999, 300, 0.05)
    assert naive > 90


def test_a_planted_region_is_found_and_shrinks_with_erosion():
    told = region_effects(rows_of(0.5, wells=8, cells=2), unit="well")
    assert (told["holm"] < 0.05).all()
    assert (told["difference_low"] > 0).all()
    by_step = told.set_index(["level", "step"])["difference"]
    for level in ("field", "cell"):
        assert by_step[level, 0] > by_step[level, 1]
    assert told["share"].tolist() == pytest.approx([0.1, 0.05] * 2)


def test_a_table_that_was_written_and_read_is_the_same(tmp_path):
    table = rows_of(0.2)
    table.to_csv(tmp_path / "t.csv", index=False)
    again = pd.read_csv(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(region_effects(table), region_effects(again))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: region_rows(float, ~blob() & blob(), field="f"), DataError, "empty"),
        (lambda: region_rows(float, blob(), field="f", placements=0), UsageError, "placements"),
        (lambda: region_rows(float, blob(), field="f", avoid=blob((9, 9))), DataError, "avoid"),
        (lambda: elsewhere(blob(), avoid=blob((9, 9))), DataError, "one field"),
        (lambda: region_effects(rows_of().drop(columns="step")), UsageError, "'step'"),
        (lambda: region_effects(rows_of().head(0)), DataError, "without rows"),
        (lambda: region_effects(rows_of().assign(place="in")), DataError, "not 'in'"),
        (lambda: region_effects(rows_of().assign(place="inside")), DataError, "several rows"),
        (
            lambda: region_effects(
                rows_of().assign(share=lambda t: 0.1 + 0.1 * (t["place"] == "inside"))
            ),
            DataError,
            "equal areas",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong, error, words):
    with pytest.raises(error, match=words):
        wrong()
