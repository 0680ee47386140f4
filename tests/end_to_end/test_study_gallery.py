"""Pictures of fields: the right planes, the right grey, and one field for several predictors."""

from pathlib import Path

import numpy as np
import pytest

from attributome.core.errors import UsageError
from attributome.pipeline.study.gallery import gallery
from attributome.pipeline.study.looked import look
from attributome.pipeline.study.panel import panel
from attributome.pipeline.study.pictures import MOST, Plane, Ready, drawn, planes, sections
from end_to_end.tiny_studies import deep_run, named, studied


def test_a_flat_gallery_has_a_picture_of_each_kind_for_fields_at_even_distances(
    small_runs, tmp_path
):
    studies = studied(named(small_runs), tmp_path, gallery={"fields": 2})
    found = gallery(studies)
    tiles = found.tables["tiles"]
    judged = [field for _, field in studies.fields("nuclei")]
    assert tiles.loc[tiles["predictor"] == "nuclei", "field"].tolist() == [judged[2], judged[6]]
    assert set(tiles["part"]) == {"field"}
    for row in tiles.to_dict("records"):
        pictures = found.arrays[row["key"]]
        assert pictures.dtype == np.uint8
        kinds = str(row["kinds"]).split()
        assert kinds == ["input", "left", "prediction", "noised", "truth", "signature"]
        one = next(o for o, f in studies.fields(row["predictor"]) if f == row["field"])
        seen = look(studies, one, row["field"])
        of = dict(zip(kinds, pictures, strict=True))
        np.testing.assert_array_equal(of["signature"], seen.mask[0] * np.uint8(255))
        assert seen.truth is not None
        both = np.concatenate([seen.truth[0].ravel(), seen.prediction[0].ravel()])
        low, high = np.percentile(both, [0.1, 99.9])
        for kind, values in (("truth", seen.truth), ("noised", seen.noised)):
            grey = (values[0].astype(float) - low) / (high - low)
            np.testing.assert_array_equal(of[kind], np.rint(grey.clip(0, 1) * 255))
        inside = seen.mask[0]
        np.testing.assert_array_equal(of["left"][inside], of["input"][inside])
        assert (of["left"][~inside] != of["input"][~inside]).mean() > 0.9
        assert row["pixel_x"] == pytest.approx(0.29)


def test_stacks_show_planes_and_sections_of_one_field(tmp_path, tmp_path_factory):
    run = deep_run(tmp_path_factory)
    studies = studied([f"deep={run}"], tmp_path, gallery={"fields": 2, "slices": 3})
    found = gallery(studies)
    tiles = found.tables["tiles"]
    assert tiles["part"].tolist() == ["field", *["planes"] * 3, *["sections"] * 3, "field"]
    assert tiles["plane"].tolist() == [8, 2, 8, 13, 8, 24, 24, 8]
    seen = look(studies, *studies.fields()[0])
    row = tiles[tiles["view"] == "yz"].iloc[0]
    assert (row["pixel_y"], row["pixel_x"]) == pytest.approx((0.58, 0.29))
    pictures = found.arrays[row["key"]]
    np.testing.assert_array_equal(pictures[-1] > 0, seen.mask[0][:, :, 24])


def test_planes_are_never_the_same_twice():
    assert [one.at for one in planes((3, 8, 8), 9)] == [0, 1, 2]
    assert planes((8, 8), 4) == [Plane(view="xy")]
    assert sections((8, 8)) == []


@pytest.mark.parametrize("size", [(1300, 700), (512, 512), (40, 1030)])
def test_pictures_are_small_and_their_pixels_are_means(size):
    rng = np.random.default_rng(0)
    image = rng.normal(size=size)
    field = Ready(
        images={"input": image}, ranges={"input": (-1.0, 1.0)}, mask=image > 0, about={},
        pixel=(0.5, 0.25),
    )  # fmt: skip
    pictures, row = drawn(field, Plane(view="xy"))
    assert max(pictures.shape) <= MOST
    down, right = row["step_y"], row["step_x"]
    assert (row["pixel_y"], row["pixel_x"]) == (0.5 * down, 0.25 * right)
    block = image[2 * down : 3 * down, right : 2 * right].mean()
    assert pictures[0, 2, 1] == round((min(max(block, -1), 1) + 1) / 2 * 255)


def test_a_constant_field_is_black_and_no_error():
    flat = np.ones((8, 8))
    field = Ready(
        images={"input": flat}, ranges={"input": (1.0, 1.0)}, mask=flat > 0, about={}, pixel=None
    )
    pictures, row = drawn(field, Plane(view="xy"))
    assert not pictures[0].any()
    assert np.isnan(row["pixel_x"])


def test_the_panel_is_the_field_that_most_predictors_judge(small_runs, tmp_path):
    studies = studied(named(small_runs), tmp_path)
    found = panel(studies)
    field = found.numbers["field"]
    judges = [one for one, name in studies.fields() if name == field]
    assert found.tables["tiles"]["predictor"].tolist() == ["nuclei", "other"]
    assert [one.name for one in judges] == ["nuclei", "other"]
    a, b = (look(studies, one, field).mask for one in judges)
    row = found.tables["overlap"].iloc[0]
    assert row["shared"] == pytest.approx((a & b).sum() / (a | b).sum())
    # two masks of these sizes that know nothing of each other
    rng = np.random.default_rng(0)
    drawn_again = [(rng.permutation(a.ravel()) & b.ravel()).sum() for _ in range(300)]
    both = np.mean(drawn_again)
    assert row["by_chance"] == pytest.approx(both / (a.sum() + b.sum() - both), abs=0.01)


def test_a_panel_of_one_predictor_or_of_other_images_is_refused(
    small_runs, tmp_path, tmp_path_factory
):
    with pytest.raises(UsageError, match="no field is judged by two predictors"):
        panel(studied(named(small_runs, "other"), tmp_path / "one"))
    # the same names of fields, and other images
    other: Path = deep_run(tmp_path_factory)
    runs = [*named(small_runs, "other"), f"deep={other}"]
    with pytest.raises(UsageError, match="no field is judged by two predictors"):
        panel(studied(runs, tmp_path / "two"))
