"""Where a prediction is right and where the signature suffices: planted images, real runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.pipeline.study.dremi import dremi
from attributome.pipeline.study.job import StudyJob
from attributome.pipeline.study.opening import Studies, open_studies
from attributome.pipeline.study.saving import save
from attributome.pipeline.study.spatial import spatial

WINDOW, STEP, SIDE = 8, 4, 48


def opened(runs: dict[str, Path], out: Path, **given: object) -> Studies:
    names = tuple(f"nuclei={runs[name]}" for name in ("nuclei-1", "nuclei-2"))
    more = {"spatial": {"window": WINDOW, "step": STEP}, "dremi": {"estimator": "kde"}}
    job = StudyJob.model_validate({"runs": names} | more | given)
    return open_studies(job, out, compute=Compute())


def plant(studies: Studies, images) -> None:
    """What was seen of each field: `images(at)` are prediction, truth and noised prediction."""
    for at, (one, field) in enumerate(studies.fields()):
        prediction, truth, noised = (np.asarray(each, np.float32) for each in images(at))
        maps = np.zeros((1, *prediction.shape[1:]), np.float32)
        arrays = {"x": maps, "prediction": prediction, "noised": noised}
        arrays |= {"maps": maps, "mask": maps > 0} | ({} if truth.ndim < 2 else {"truth": truth})
        names = [f"stain {k}" for k in range(len(prediction))]
        note = {"efficacy": 0.9, "size": 0.1, "pcc": 0.5, "channels": ["x"]}
        note |= {"target_channels": names, "pixel_size": [0.5, 0.5], "meta": {}}
        studies.run.write("look", f"{one.name}/{field}", arrays=arrays, note=note)


def region(at: int, common: bool) -> np.ndarray:
    """Half of the squares of 12 pixels, other ones in each field unless they are common."""
    squares = np.random.default_rng(0 if common else 100 + at).permutation(16).reshape(4, 4) < 8
    return np.kron(squares, np.ones((12, 12))) > 0


def regional(common: bool):
    """Prediction and truth are alike in a region, and the signature suffices in the same."""

    def images(at: int):
        draw = np.random.default_rng(at)
        first, second, third = draw.standard_normal((3, 1, SIDE, SIDE))
        inside = region(at, common)
        return first, np.where(inside, first, second), np.where(inside, first, third)

    return images


def files(root: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in (root / "parts").rglob("*") if p.is_file()}


def slow_map(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Windows one by one, as the definition has it; and how many there are, and are undefined."""
    total, count, n, undefined = np.zeros(a.shape), np.zeros(a.shape), 0, 0
    for y in range(0, SIDE - WINDOW + 1, STEP):
        for x in range(0, SIDE - WINDOW + 1, STEP):
            at, n = (slice(y, y + WINDOW), slice(x, x + WINDOW)), n + 1
            if np.ptp(a[at]) == 0 or np.ptp(b[at]) == 0:
                undefined += 1
                continue
            total[at] += np.corrcoef(a[at].ravel(), b[at].ravel())[0, 1]
            count[at] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), n, undefined


def test_maps_that_know_the_place_agree_and_maps_of_other_fields_do_not(small_runs, tmp_path):
    studies = opened(small_runs, tmp_path)
    plant(studies, regional(common=False))
    row = spatial(studies).numbers["nuclei"]
    assert row["mean"] > 0.8
    assert abs(row["chance"]) < 0.15
    assert row["low"] < row["mean"] < row["high"]
    assert row["wins"] == row["units"] == 8
    assert row["holm"] == pytest.approx(2 / 2**8)


def test_a_place_that_all_fields_share_is_no_more_than_chance(small_runs, tmp_path):
    studies = opened(small_runs, tmp_path)
    plant(studies, regional(common=True))
    found = spatial(studies)
    row = found.numbers["nuclei"]
    assert row["mean"] > 0.8
    assert row["chance"] > 0.8
    assert row["difference"] == pytest.approx(0, abs=0.1)


def test_agreement_and_undefined_windows_are_those_of_the_plain_loops(small_runs, tmp_path):
    images = regional(common=False)

    def holed(at: int):
        prediction, truth, noised = images(at)
        truth[0, :20, :16] = 3
        return prediction, truth, noised

    studies = opened(small_runs, tmp_path)
    plant(studies, holed)
    fields = spatial(studies).tables["fields"]
    for at in (0, 5):
        prediction, truth, noised = (np.asarray(one[0], np.float32) for one in holed(at))
        first, n, lost = slow_map(prediction, truth)
        second, _, none = slow_map(prediction, noised)
        both = ~np.isnan(first)
        row = fields.iloc[at]
        want = np.corrcoef(first[both], second[both])[0, 1]
        assert row["agreement"] == pytest.approx(want, abs=1e-8)
        assert (row["windows"], row["no_truth"], row["no_noised"]) == (n, lost, none)
        assert lost == 12
        assert row["pixels"] == both.sum() < SIDE**2
        others = fields["others"].tolist()
        assert others == [7] * 8


@pytest.mark.parametrize("depth", [1, 3])
def test_stacks_are_correlated_plane_by_plane_or_with_depth(small_runs, tmp_path, depth):
    flat, deep = (
        opened(small_runs, tmp_path / name, spatial={"window": 8, "step": 4, "depth": depth})
        for name in ("flat", "deep")
    )
    plane = regional(common=False)

    def repeated(at: int):
        return [np.repeat(one[:, None], 3, axis=1) for one in plane(at)]

    plant(flat, plane)
    plant(deep, repeated)
    one, three = (spatial(studies) for studies in (flat, deep))
    want = one.tables["fields"]["agreement"].to_numpy()
    np.testing.assert_allclose(three.tables["fields"]["agreement"].to_numpy(), want, atol=1e-6)
    assert (three.tables["fields"]["windows"] == (3 if depth == 1 else 1) * 121).all()
    assert three.tables["example"]["plane"].item() == 1
    assert three.arrays["map"].shape == (SIDE, SIDE)
    np.testing.assert_allclose(three.arrays["agreement"], one.arrays["agreement"], atol=1e-5)


def test_each_channel_has_its_own_row(small_runs, tmp_path):
    def images(at: int):
        return [np.concatenate(pair) for pair in zip(regional(False)(at), noise(at), strict=True)]

    def noise(at: int):
        return np.random.default_rng(50 + at).standard_normal((3, 1, SIDE, SIDE))

    studies = opened(small_runs, tmp_path)
    plant(studies, images)
    numbers = spatial(studies).numbers
    assert [*numbers] == ["nuclei, stain 0", "nuclei, stain 1"]
    assert numbers["nuclei, stain 0"]["holm"] < 0.05 < numbers["nuclei, stain 1"]["holm"]
    assert [*dremi(studies).numbers] == [*numbers]


@pytest.mark.parametrize("study", [spatial, dremi])
def test_a_second_call_measures_nothing_again_and_says_the_same(small_runs, tmp_path, study):
    studies = opened(small_runs, tmp_path)
    first = study(studies)
    before = files(tmp_path)
    again = study(opened(small_runs, tmp_path))
    assert files(tmp_path) == before
    for key, table in first.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[key])
    folder = save(studies, study.__name__, first, command="as typed")
    assert (folder / "found.json").is_file()
    assert len(first.words) == 1


def related(alike: bool):
    """In each window of 8 pixels, noise on the truth and on the prediction of the signature."""

    def images(at: int):
        draw = np.random.default_rng(at)
        levels = draw.uniform(0, 3, (2, 6, 6))
        spread = np.kron(levels[[0, 0]] if alike else levels, np.ones((1, 8, 8)))
        first, second, third = draw.standard_normal((3, 1, SIDE, SIDE))
        return first, first + spread[0] * second, first + spread[1] * third

    return images


def test_dremi_finds_a_planted_relation_and_none_where_none_is(small_runs, tmp_path):
    rows = []
    for alike in (True, False):
        studies = opened(small_runs, tmp_path / str(alike))
        plant(studies, related(alike))
        found = dremi(studies)
        rows.append(found.numbers["nuclei"])
        assert len(found.tables["pairs"]) == 8 * 36 == rows[-1]["n"]
    assert rows[0]["holm"] == 1 / 200
    assert rows[0]["low"] > rows[0]["chance"]
    assert rows[0]["rank_low"] > 0.5
    assert rows[1]["holm"] > 0.05
    assert rows[1]["rank_low"] < 0 < rows[1]["rank_high"]


def test_dremi_by_nearest_neighbours(small_runs, tmp_path):
    studies = opened(small_runs, tmp_path, dremi={"estimator": "knn", "draws": 19})
    plant(studies, related(True))
    row = dremi(studies).numbers["nuclei"]
    assert row["p"] == 1 / 20
    assert row["dremi"] > 2 * row["chance"]


def test_units_give_equally_many_windows_and_undefined_ones_are_counted(small_runs, tmp_path):
    images = related(True)

    def holed(at: int):
        prediction, truth, noised = images(at)
        truth[0, : 8 * (at % 3)] = 1  # 0, 6 or 12 of 36 windows are constant
        return prediction, truth, noised

    studies = opened(small_runs, tmp_path, unit="well")
    plant(studies, holed)
    found = dremi(studies)
    sizes = found.tables["pairs"].groupby("unit").size()
    assert len(sizes) == 4
    assert sizes.nunique() == 1
    assert sizes.iloc[0] == min(72 - 6 * (a % 3 + b % 3) for a, b in wells(studies))
    assert f"{6 * sum(at % 3 for at in range(8))} without a correlation" in found.n


def wells(studies: Studies) -> list[tuple[int, ...]]:
    units = [studies.unit(one, field) for one, field in studies.fields()]
    return [tuple(at for at, own in enumerate(units) if own == name) for name in sorted(set(units))]


def test_what_cannot_be_said_is_refused_in_one_sentence(small_runs, tmp_path):
    few = opened(small_runs, tmp_path / "few", dremi={"of": "fields"})
    plant(few, regional(False))
    with pytest.raises(UsageError, match="needs 20 or more that are independent, and nuclei has 8"):
        dremi(few)
    wide = opened(small_runs, tmp_path / "wide", spatial={"window": 24})
    plant(wide, regional(False))
    with pytest.raises(UsageError, match="no unit of nuclei has 10 windows"):
        dremi(wide)
    blind = opened(small_runs, tmp_path / "blind")
    plant(blind, lambda at: (*regional(False)(at)[:1], 0.0, regional(False)(at)[2]))
    for study in (spatial, dremi):
        with pytest.raises(DataError, match="no field has a target image"):
            study(blind)
    huge = opened(small_runs, tmp_path / "huge", spatial={"window": 64})
    plant(huge, regional(False))
    with pytest.raises(UsageError, match="a window of 64 pixels does not fit"):
        spatial(huge)
