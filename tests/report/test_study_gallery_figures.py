"""Figures of pictures, loss weights and claimed errors, from tables as studies leave them."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attributome.report.study.ablation import ablation
from attributome.report.study.confidence import LABELS, confidence
from attributome.report.study.drawing import Drawn, save, styled
from attributome.report.study.facts import Told
from attributome.report.study.gallery import gallery
from attributome.report.study.panel import panel
from attributome.report.study.tiles import MOST, TINT, outlined

MEGABYTE = 2**20
KINDS = "input left prediction noised truth signature"


def told(folder: Path, name: str, tables: dict[str, pd.DataFrame], **numbers: object) -> Told:
    folder.mkdir(parents=True, exist_ok=True)
    for key, table in tables.items():
        table.to_parquet(folder / f"{key}.parquet", index=False)
    found = {"numbers": numbers, "options": {}, "n": "", "test": "", "words": []}
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
    return Told(name=name, folder=folder, found=found)


def tiles(
    folder: Path, rows: list[dict[str, object]], size: tuple[int, int] = (96, 128)
) -> pd.DataFrame:
    """Pictures of pure noise, which no file format makes smaller."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    table = []
    for number, row in enumerate(rows):
        kinds = str(row.get("kinds", KINDS)).split()
        np.save(folder / f"t{number}.npy", rng.integers(0, 256, (len(kinds), *size), np.uint8))
        whole = {
            "key": f"t{number}", "part": "field", "predictor": "dna", "field": f"f{number}",
            "unit": "u", "channel": "ch6", "stain": "DNA", "pcc": 0.8, "efficacy": 0.9,
            "size": 0.12, "kinds": KINDS, "view": "xy", "plane": 0, "planes": 1, "step_y": 1,
            "step_x": 1, "pixel_y": 0.5, "pixel_x": 0.5,
        }  # fmt: skip
        table.append(whole | row)
    return pd.DataFrame(table)


def written(drawn: list[Drawn], folder: Path) -> list[int]:
    """The sizes of the SVG files; keys and captions are there."""
    assert len({one.key for one in drawn}) == len(drawn)
    sizes = []
    for one in drawn:
        assert one.shows
        assert one.bad
        sizes.append(save(one, folder)["svg"].stat().st_size)
    return sizes


def test_a_gallery_of_the_worst_pictures_stays_small_and_has_few_tiles_in_a_row(tmp_path):
    planes = [{"part": "planes", "plane": z, "planes": 9, "field": "f0"} for z in range(5)]
    cuts = [{"part": "sections", "view": view, "field": "f0"} for view in ("xy", "xz", "yz")]
    table = tiles(tmp_path, [{}, *planes, *cuts], size=(512, 512))
    with styled():
        drawn = gallery(told(tmp_path, "gallery", {"tiles": table}))
        sizes = written(drawn, tmp_path / "figures")
    assert [one.key for one in drawn] == [
        "gallery_00", "gallery_planes_0_0", "gallery_planes_0_1", "gallery_sections_0",
    ]  # fmt: skip
    assert max(sizes) < 3 * MEGABYTE
    for one in drawn:
        columns = {axes.get_subplotspec().colspan.start for axes in one.figure.axes}
        assert len(columns) <= MOST
        assert "0.1 and 99.9 percentiles" in one.shows


@pytest.mark.parametrize("pixel", [0.5, float("nan")])
def test_there_is_a_scale_bar_where_the_size_of_a_pixel_is_known(tmp_path, pixel):
    table = tiles(tmp_path, [{"pixel_y": pixel, "pixel_x": pixel}])
    with styled():
        drawn = gallery(told(tmp_path, "gallery", {"tiles": table}))
    first = drawn[0].figure.axes[0]
    if np.isfinite(pixel):
        # 128 pixels of half a micrometre: 10 of 64 micrometres
        assert first.get_xlabel() == "bar 10 µm"
        assert np.diff(first.lines[0].get_xdata()).item() == pytest.approx(10 / 64, abs=1e-4)
    else:
        assert not first.lines
        assert first.get_xlabel() == ""


def test_deep_pixels_are_as_tall_as_they_are(tmp_path):
    table = tiles(tmp_path, [{"part": "sections", "view": "xz", "pixel_y": 2.0}])
    with styled():
        drawn = gallery(told(tmp_path, "gallery", {"tiles": table}))
    assert drawn[0].figure.axes[0].get_aspect() == pytest.approx(4)


def test_a_classifier_has_no_pictures_of_predictions(tmp_path):
    table = tiles(tmp_path, [{"kinds": "input left signature", "pcc": float("nan"), "stain": ""}])
    with styled():
        drawn = gallery(told(tmp_path, "gallery", {"tiles": table}))
        written(drawn, tmp_path / "figures")
    titles = [axes.get_title() for axes in drawn[0].figure.axes if axes.get_title()]
    assert titles == ["input", "signature on the input", "what is left"]


def test_a_panel_has_a_row_for_each_predictor(tmp_path):
    table = tiles(tmp_path, [{"part": "panel", "predictor": name} for name in ("dna", "agp")])
    with styled():
        drawn = panel(told(tmp_path, "panel", {"tiles": table}, field="f7"))
        sizes = written(drawn, tmp_path / "figures")
    titles = [axes.get_title() for axes in drawn[0].figure.axes]
    assert [titles[at] for at in (0, 4, 8)] == ["input: f7", "dna", "agp"]
    assert max(sizes) < 3 * MEGABYTE


def test_an_outline_is_the_border_of_what_is_kept_and_nothing_else_is_touched():
    image = np.full((7, 7), 100, np.uint8)
    kept = np.zeros((7, 7))
    kept[1:6, 1:6] = 1
    found = outlined(image, kept)
    assert (found[0] == 100).all()
    np.testing.assert_array_equal(found[3, 3], np.rint(70 + 0.3 * np.array(TINT)))
    np.testing.assert_array_equal(found[1, 3], np.rint(10 + 0.9 * np.array(TINT)))


def sweep() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    settings = [("base", 6.0, 1.0, 1.0), ("free", 6.0, 1.0, 0.0), ("alone", 0.0, 1.0, 1.0)]
    names = ("run", "w_agreement", "w_fidelity", "w_size")
    rows, epochs = [], []
    for setting in settings:
        known = dict(zip(names, setting, strict=True)) | {"predictor": "dna", "seed": 0}
        for field, at in product(("a", "b"), ("last", "best")):
            scores = {of: rng.random() for of in ("size", "efficacy_soft", "efficacy_binary")}
            rows.append(known | {"field": field, "unit": field, "at": at} | scores)
        epochs += [
            known | {"training": setting[0], "epoch": epoch, "val_loss": 1 / epoch, "best": best}
            for epoch, best in ((1, False), (2, True))
        ]
    return {"fields": pd.DataFrame(rows), "histories": pd.DataFrame(epochs)}


def test_settings_are_named_by_the_weight_that_differs(tmp_path):
    tables = sweep()
    with styled():
        drawn = ablation(told(tmp_path, "ablation", tables))
        written(drawn, tmp_path / "figures")
    assert [one.key for one in drawn] == ["ablation_size", "ablation_efficacy", "ablation_history"]
    axes = drawn[0].figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["agreement 6\nfidelity 1\nsize 1", "size 0", "agreement 0"]
    marks = np.sort(axes.lines[0].get_xdata())
    want = tables["fields"].query("run == 'base' and at == 'last'")["size"]
    np.testing.assert_array_equal(marks, np.sort(want))


@pytest.mark.parametrize("names", [("dna",), ("dna", "agp")])
def test_claims_are_drawn_for_one_predictor_and_for_several(tmp_path, names):
    scores, calibration, coverage = [], [], []
    for name, level, score in product(names, ("fields", "patches"), LABELS):
        key = {"predictor": name, "level": level, "score": score}
        nothing = float("nan") if score == "constant" else 0.3
        ends = {"spearman_low": nothing - 0.2, "spearman_high": nothing + 0.2}
        scores.append(key | {"scope": "all", "spearman": nothing} | ends)
        for at in (0.2, 0.6, 1.0):
            band = {"low": float("nan"), "high": float("nan")}
            calibration.append(key | {"claimed": at / 2, "error": at} | band)
            coverage.append(key | {"coverage": at, "risk": at, "random": 0.6, "oracle": 0.1} | band)
    tables = {"scores": scores, "calibration": calibration, "coverage": coverage}
    with styled():
        drawn = confidence(
            told(tmp_path, "confidence", {key: pd.DataFrame(rows) for key, rows in tables.items()})
        )
        written(drawn, tmp_path / "figures")
    ranks, calibrated, covered = (one.figure.axes for one in drawn)
    assert [axes.get_title(loc="left") for axes in ranks] == ["fields", "patches"]
    assert len(calibrated[0].lines) == 1 + len(names)
    assert [axes.get_title(loc="left") for axes in covered] == list(names)
