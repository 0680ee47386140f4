"""Figures of places, information, groups and treatments, drawn from tables on disk."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from attributome.core.errors import DataError
from attributome.core.files import write_json
from attributome.report.study.drawing import WIDTH, Drawn, save, styled
from attributome.report.study.dremi import dremi
from attributome.report.study.facts import Told
from attributome.report.study.groups import groups
from attributome.report.study.perturbations import perturbations
from attributome.report.study.spatial import spatial

NAMES = ("nuclei", "membranes of a long name")
FIELDS = [f"field{at}" for at in range(6)]


def told(folder: Path, name: str, tables: dict[str, pd.DataFrame], **options: object) -> Told:
    folder.mkdir(exist_ok=True)
    for key, table in tables.items():
        table.to_parquet(folder / f"{key}.parquet", index=False)
    found = {"numbers": {}, "tables": sorted(tables), "options": options}
    write_json(folder / "found.json", found)
    return Told(name=name, folder=folder, found=found)


def each(**columns) -> pd.DataFrame:
    """A row for each predictor and field; a column is given for one predictor's fields."""
    rows = [(name, field) for name in NAMES for field in FIELDS]
    table = pd.DataFrame(rows, columns=["predictor", "field"]).assign(channel="")
    return table.assign(**{key: [*values] * len(NAMES) for key, values in columns.items()})


def spatial_told(folder: Path, pixel: float = 0.5, chance: float = 0.1) -> Told:
    table = each(agreement=np.linspace(0.4, 0.6, 6), chance=[chance] * 6)
    example = pd.DataFrame(
        [{"predictor": "nuclei", "channel": "", "field": "field2", "pixel": pixel, "thinned": 2}]
    )
    found = told(folder, "spatial", {"fields": table, "example": example})
    draw = np.random.default_rng(0)
    for key in ("truth", "prediction", "map", "noised_map", "agreement"):
        picture = draw.uniform(-1, 1, (24, 32)).astype(np.float32)
        picture[:4, :4] = np.nan if key in ("map", "agreement") else 0
        np.save(folder / f"{key}.npy", picture)
    return found


def dremi_told(folder: Path) -> Told:
    draw = np.random.default_rng(0)
    means = pd.DataFrame(
        {"predictor": NAMES, "channel": "", "dremi": [0.5, 0.1], "low": [0.3, np.nan]}
    ).assign(high=[0.7, np.nan], chance=[0.1, np.nan])
    pairs = pd.concat(
        [
            pd.DataFrame(draw.uniform(-1, 1, (2000, 2)), columns=["efficacy", "accuracy"]).assign(
                predictor=name, channel=""
            )
            for name in NAMES
        ]
    )
    middles = np.linspace(-0.95, 0.95, 20)
    x, y = (one.ravel() for one in np.meshgrid(middles, middles))
    grid = [
        pd.DataFrame({"x": x, "y": y, "density": np.where(x < -0.9, np.nan, np.exp(-y * y))})
        .assign(predictor=name, channel="")
        for name in NAMES
    ]  # fmt: skip
    return told(folder, "dremi", {"means": means, "pairs": pairs, "drevi": pd.concat(grid)})


def groups_told(folder: Path, drugs: int = 3, tested: bool = True) -> Told:
    table = each(efficacy=np.linspace(0, 1, 6), pcc=[np.nan] * 6)
    table["drug"] = [f"drug {at % drugs}" for at in range(len(table))]
    pairs = pd.DataFrame(
        {"predictor": "nuclei", "value": "efficacy", "level": ["", "24 h", ""], "second": "control"}
    ).assign(first=["a", "b", "c"], hedges_g=[-2.0, 0.3, np.nan], hedges_low=[-3.0, np.nan, np.nan])
    pairs = pairs.assign(hedges_high=[-1.0, np.nan, np.nan], p=[0.001, 0.6, np.nan])
    pairs = pairs.assign(holm=[0.002, 0.6, np.nan]) if tested else pairs.iloc[:0, :3]
    return told(folder, "groups", {"fields": table, "pairs": pairs}, by=["drug"])


def perturbations_told(folder: Path, overlaps: bool = True) -> Told:
    rows = [
        {"predictor": name, "of": of, "value": value, "first": drug, "hedges_g": 0.1 * at}
        for name in NAMES
        for at, value in enumerate(("bright", "grain"))
        for drug in ("a", "b")
        for of in ("truth", "prediction")
    ]
    rows[-1]["hedges_g"] = np.nan
    tables = {"changes": pd.DataFrame(rows)}
    if overlaps:
        more = pd.DataFrame({"pair": "x and y", "group": ["a", "b"] * 3, "iou": [0.2, 0.4] * 3})
        tables["overlaps"] = more.assign(iou_chance=0.1)
    return told(folder, "perturbations", tables)


def drawn(what, given: Told) -> list[Drawn]:
    with styled():
        found: list[Drawn] = what(given)
    return found


def axes_of(one: Drawn) -> Axes:
    return one.figure.axes[0]


@pytest.mark.parametrize(
    ("what", "make", "keys"),
    [
        (spatial, spatial_told, ["spatial", "spatial_example"]),
        (dremi, dremi_told, ["dremi", "dremi_1", "dremi_2"]),
        (groups, groups_told, ["groups_efficacy_1", "groups_effects"]),
        (
            perturbations,
            perturbations_told,
            ["perturbations_1", "perturbations_2", "perturbations_overlap"],
        ),
    ],
)
def test_every_figure_is_narrow_captioned_and_the_same_when_drawn_again(tmp_path, what, make, keys):
    given = make(tmp_path)
    found = drawn(what, given)
    assert [one.key for one in found] == keys
    for one, again in zip(found, drawn(what, given), strict=True):
        assert one.figure.get_figwidth() == WIDTH
        assert one.figure.get_figheight() < 12
        assert one.shows.endswith(".")
        assert one.bad.endswith(".")
        assert all(axis.get_xlabel() or not axis.axison for axis in labelled(one))
        with styled():
            first = save(one, tmp_path / "first")["svg"].read_bytes()
            assert save(again, tmp_path / "again")["svg"].read_bytes() == first


def labelled(one: Drawn) -> list[Axes]:
    """The lowest axes that are no picture and no bar of colours."""
    kept = [
        axis for axis in one.figure.axes if not axis.images and axis.get_label() != "<colorbar>"
    ]
    return kept[-1:]


def marks(axes: Axes) -> list[np.ndarray]:
    """The x of what is drawn as marks, line by line."""
    lines = [one for one in axes.lines if one.get_marker() not in ("None", "", None)]
    return [np.asarray(one.get_xdata(), float) for one in lines]


def test_agreement_and_chance_of_each_predictor_are_drawn(tmp_path):
    one = drawn(spatial, spatial_told(tmp_path))[0]
    names = [text.get_text() for text in axes_of(one).get_yticklabels()]
    assert names[:2] == ["nuclei\nsame field", "nuclei\nother fields"]
    assert len(names) == 4
    np.testing.assert_allclose(marks(axes_of(one))[0], np.linspace(0.4, 0.6, 6))
    np.testing.assert_allclose(marks(axes_of(one))[1], 0.1)


def test_chance_that_is_unknown_leaves_its_row_empty(tmp_path):
    one = drawn(spatial, spatial_told(tmp_path, chance=np.nan))[0]
    assert len(marks(axes_of(one))) == 2


@pytest.mark.parametrize(
    ("pixel", "words"), [(0.5, "32 µm\nacross"), (np.nan, "64 pixels\nacross")]
)
def test_maps_keep_one_scale_from_minus_one_to_one_and_undefined_is_not_zero(
    tmp_path, pixel, words
):
    one = drawn(spatial, spatial_told(tmp_path, pixel=pixel))[1]
    pictures = [axis.images[0] for axis in one.figure.axes if axis.images]
    assert [picture.get_clim() for picture in pictures[2:]] == [(-1, 1)] * 3
    assert pictures[0].get_clim() == pictures[1].get_clim()
    hole = pictures[2].to_rgba(pictures[2].get_array())[0, 0]
    zero = pictures[2].cmap(pictures[2].norm(0.0))
    assert np.abs(hole - np.array(zero)).max() > 0.05
    assert words in [text.get_text() for axis in one.figure.axes for text in axis.texts]


def test_dremi_stands_beside_chance_and_marks_are_thinned(tmp_path):
    bits, first, _ = drawn(dremi, dremi_told(tmp_path))
    assert [x.tolist() for x in marks(axes_of(bits))][:2] == [[0.5], [0.1]]
    assert len(marks(axes_of(first))[0]) == 1000
    assert "1000 of 2000 pairs" in first.shows


def test_only_what_holds_after_correction_is_filled(tmp_path):
    effects = drawn(groups, groups_told(tmp_path))[-1]
    lines = [one for one in axes_of(effects).lines if one.get_marker() in ("o", "s")]
    assert [(one.get_marker(), one.get_markerfacecolor() == "white") for one in lines] == [
        ("o", False),
        ("s", True),
    ]
    names = [text.get_text() for text in axes_of(effects).get_yticklabels()]
    assert names == ["nuclei, efficacy\na − control", "nuclei, efficacy at 24 h\nb − control"]


def test_groups_that_are_many_or_not_tested(tmp_path):
    [only] = drawn(groups, groups_told(tmp_path, drugs=12, tested=False))
    assert only.key == "groups_efficacy_1"
    many = each(efficacy=np.arange(6.0), pcc=[np.nan] * 6)
    many = pd.concat([many.assign(drug=f"drug {at}") for at in range(25)])
    empty = pd.DataFrame({"predictor": []})
    found = drawn(
        groups, told(tmp_path / "more", "groups", {"fields": many, "pairs": empty}, by=["drug"])
    )
    assert len(axes_of(found[0]).get_yticks()) == 20
    assert "The 5 lowest groups are not drawn." in found[0].shows


def test_changes_that_are_undefined_are_not_drawn(tmp_path):
    one, two, overlap = drawn(perturbations, perturbations_told(tmp_path))
    assert [len(x) for x in marks(axes_of(one))] == [2, 2]
    assert [len(x) for x in marks(axes_of(two))] == [2, 1]
    assert axes_of(overlap).get_xlim()[0] < 0.2
    assert len(drawn(perturbations, perturbations_told(tmp_path / "alone", overlaps=False))) == 2


def test_a_table_without_its_columns_is_refused(tmp_path):
    found = told(tmp_path, "spatial", {"fields": pd.DataFrame({"field": ["a"]})})
    with pytest.raises(DataError, match="agreement|predictor"):
        drawn(spatial, found)
