"""Figures of methods and of regions: drawn whole from tables, nothing outside of the canvas."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from attributome.report.study.drawing import Drawn, save, styled
from attributome.report.study.facts import Told
from attributome.report.study.methods import methods
from attributome.report.study.regions import regions

METHODS = ("learned_mask", "integrated_gradients", "grad_cam", "random", "my_own_method")
LONG = "mitochondria from bright field"
VOLUMES = (0.1, 0.3, 0.5, 0.7, 0.9)


def told(folder: Path, name: str, tables, arrays, numbers) -> Told:
    for key, table in tables.items():
        table.to_parquet(folder / f"{key}.parquet", index=False)
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    found = {"numbers": numbers, "options": {}, "arrays": sorted(arrays), "tables": sorted(tables)}
    return Told(name=name, folder=folder, found=json.loads(json.dumps(found)))


def of_methods(folder: Path, predictors: int = 2) -> Told:
    draw = np.random.default_rng(0)
    names = [f"{LONG} {at}" for at in range(predictors)] + ["all predictors"]
    curves = [
        {
            "predictor": name, "method": method, "volume": v, "mean": (m := 1 - v**2 / (5 - at)),
            "low": m - 0.1 if v > 0.2 else np.nan, "high": m + 0.1,
        }
        for name in names for at, method in enumerate(METHODS) for v in VOLUMES
    ]  # fmt: skip
    rows = [
        {
            "predictor": name, "field": f"f{at}", "unit": f"f{at}", "method": method, "volume": v,
            "efficacy": np.nan if method == "random" and at == 2 else draw.random(),
        }
        for name in names for at in range(8) for method in METHODS for v in VOLUMES
    ]  # fmt: skip
    shown, arrays = [], {}
    for at in range(predictors):
        size = [0.3, 0.3] if at == 0 else None
        about = {"predictor": names[at], "field": "plate 1, well A01", "methods": METHODS}
        shown.append(about | {"pixel_size": size})
        arrays[f"shown_{at}_ranks"] = draw.integers(0, 256, (len(METHODS), 60, 80), np.uint8)
        arrays[f"shown_{at}_input"] = draw.integers(0, 256, (60, 80), np.uint8)
    arrays["shown_0_prediction"] = arrays["shown_0_input"]
    tables = {"curves": pd.DataFrame(curves), "efficacies": pd.DataFrame(rows)}
    return told(folder, "methods", tables, arrays, {"shown": shown})


def of_regions(folder: Path, elsewhere: bool = True) -> Told:
    rows = [
        {
            "predictor": name, "level": level, "step": step, "share": 0.05 / (step + 1),
            "inside": 0.3, "inside_low": 0.2, "inside_high": 0.4,
            "elsewhere": 0.1 if elsewhere else np.nan,
            "elsewhere_low": np.nan, "elsewhere_high": np.nan,
        }
        for name in (LONG, "b") for level in ("field", "cell") for step in range(3)
    ]  # fmt: skip
    draw = np.random.default_rng(0)
    there = np.zeros((50, 70), bool)
    there[10:20, 10:30] = True
    places = {"inside": there, "elsewhere": ~there} if elsewhere else {"inside": there}
    arrays = {"shown_0_input": draw.standard_normal((50, 70)).astype(np.float16)}
    for place, where in places.items():
        arrays[f"shown_0_{place}_region"] = where
        arrays[f"shown_0_{place}_change"] = draw.random((50, 70)).astype(np.float16)
    shown = {"at": 0, "predictor": LONG, "field": "A01", "plane": 3, "share": 0.057, "pixel": 0.3}
    shown["efficacy"] = dict.fromkeys(places, 0.74)
    return told(folder, "regions", {"effects": pd.DataFrame(rows)}, arrays, {"shown": [shown]})


def check(drawn: Drawn, folder: Path) -> None:
    paths = save(drawn, folder)
    pixels = matplotlib.image.imread(paths["png"])[..., :3]
    assert pixels.std() > 0.05
    assert paths["svg"].stat().st_size > 1000
    figure = drawn.figure
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) > -0.01, (drawn.key, box)
    assert box.x1 < width + 0.01, (drawn.key, box)
    assert box.y1 < height + 0.01, (drawn.key, box)
    assert drawn.shows.endswith(".")
    assert drawn.bad.endswith(".")


@pytest.mark.parametrize("predictors", [1, 2])
def test_methods_are_drawn_whole(tmp_path: Path, predictors):
    with styled():
        drawn = methods(of_methods(tmp_path, predictors))
        keys = [one.key for one in drawn]
        assert keys == [
            "methods", "methods_ahead", *[f"methods_kept_{at + 1}" for at in range(predictors)]
        ]  # fmt: skip
        for one in drawn:
            check(one, tmp_path / "figures")


def test_more_predictors_than_a_figure_holds_get_another(tmp_path: Path):
    with styled():
        drawn = methods(of_methods(tmp_path, 5))
    assert [one.key for one in drawn][:2] == ["methods", "methods_2"]
    assert [len(one.figure.axes) for one in drawn][:2] == [4, 1]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_regions_are_drawn_whole(tmp_path: Path, elsewhere):
    with styled():
        drawn = regions(of_regions(tmp_path, elsewhere))
        assert [one.key for one in drawn] == ["regions_field", "regions_cell", "regions_shown_1"]
        for one in drawn:
            check(one, tmp_path / "figures")
        again = save(drawn[0], tmp_path / "again")
        first = tmp_path / "figures" / "regions_field.svg"
        assert again["svg"].read_bytes() == first.read_bytes()


def test_what_is_kept_is_grey_and_all_else_one_colour(tmp_path: Path):
    one = of_methods(tmp_path, 1)
    ranks = np.load(tmp_path / "shown_0_ranks.npy")
    with styled():
        kept = methods(one)[-1].figure
    picture = np.asarray(
        kept.axes[3 + 2].images[0].get_array()
    )  # the first method, the last volume
    plain = np.ptp(picture, axis=-1) > 0.05
    assert plain.mean() == pytest.approx(0.9, abs=0.03)
    assert not plain[ranks[0] > 235].any()
