"""Groups of fields compared, and what treatments change: planted images, a real run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.data.planted import write_planted
from attributome.pipeline.study.dremi import dremi
from attributome.pipeline.study.groups import groups
from attributome.pipeline.study.job import StudyJob
from attributome.pipeline.study.opening import Studies, open_studies
from attributome.pipeline.study.perturbations import features, hedges, perturbations
from attributome.pipeline.study.saving import save
from attributome.studies.effects import effects
from end_to_end.jobs import call, sets
from end_to_end.study_runs import SHORT

FIELDS, SIDE = 24, 48
DRUGS = ("control", "a", "b", "c")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished run of 24 fields: four drugs, two times, two plates, and one lone donor."""
    home = tmp_path_factory.mktemp("groups")
    table = pd.read_csv(write_planted(home, fields=FIELDS, size=(SIDE, SIDE), seed=3), dtype=str)
    at = np.arange(FIELDS)
    table["drug"] = np.array(DRUGS)[at % 4]
    table["time"] = np.where(at // 4 % 2, "48 h", "24 h")
    table["plate"] = np.where(at < 12, "P1", "P2")
    table["donor"] = np.where(at == 5, "lone", "known")
    table["any"] = np.array(["left", "right"])[np.random.default_rng(1).permutation(at % 2)]
    table["gap"] = np.where(at == 3, "", "there")
    table["pair"] = [f"U{one // 8}{one % 4}" for one in at]
    table["split"] = ["train", "train", "validate", "calibrate"] + ["test"] * (FIELDS - 4)
    table.to_csv(home / "fields.csv", index=False)
    given = sets(SHORT | {"data.source": f'"{home / "fields.csv"}"', "name": '"cells"'})
    for what in ("predictor", "masks"):
        assert call("train", what, "--out", home / "run", *given) == 0
    return home / "run"


def opened(run: Path, out: Path, names: tuple[str, ...] = ("cells",), **given: object) -> Studies:
    job = {"runs": tuple(f"{name}={run}" for name in names), "split": "all", **given}
    return open_studies(StudyJob.model_validate(job), out, compute=Compute())


def plant(studies: Studies, images) -> None:
    """What was seen of each field: `images(at, one)` are prediction, truth and mask."""
    for one, field in studies.fields():
        at = int(field.removeprefix("field"))
        prediction, truth, mask, efficacy = images(at, one.name)
        arrays = {"x": truth, "prediction": prediction, "truth": truth, "noised": prediction}
        arrays = {key: np.asarray(value, np.float32)[None] for key, value in arrays.items()}
        arrays |= {"maps": np.asarray(mask, np.float32)[None], "mask": np.asarray(mask, bool)[None]}
        pcc = float(np.corrcoef(prediction.ravel(), truth.ravel())[0, 1])
        note = {"efficacy": efficacy, "size": 0.1, "pcc": pcc, "channels": ["x"]}
        note |= {"target_channels": ["stain"], "pixel_size": None, "meta": {}}
        studies.run.write("look", f"{one.name}/{field}", arrays=arrays, note=note)


def stain(at: int, word: int = 0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng([word, at]).standard_normal((SIDE, SIDE)), 2)


def shuffled(when=lambda at: True):
    """Predictions of the stain; the targets of drug `a` are those of other fields."""

    def images(at: int, _: str):
        away = DRUGS[at % 4] == "a" and when(at)
        noise = 0.3 * stain(at, 1)
        mask = stain(at, 2) > 0.2
        return stain(at) + noise, stain(at + 100 * away), mask, 0.9 - 0.001 * (7 * at % 24)

    return images


def of(table: pd.DataFrame, **same: object) -> pd.DataFrame:
    for key, value in same.items():
        table = table[table[key] == value]
    return table


def test_a_group_whose_targets_are_shuffled_is_found_and_nothing_else(run, tmp_path):
    asked = {"by": ["drug"], "control": "control", "within": ["plate"]}
    studies = opened(run, tmp_path, groups=asked)
    plant(studies, shuffled())
    found = groups(studies)
    pairs = found.tables["pairs"]
    assert len(pairs) == 6
    sure = pairs[pairs["holm"] <= 0.05]
    assert sure[["value", "first", "second"]].to_numpy().tolist() == [["pcc", "a", "control"]]
    assert sure["difference_high"].item() < -0.5
    assert found.numbers["told"] == 1
    assert (pairs["blocks"] == 2).all()
    assert pairs["least_p"].to_numpy() == pytest.approx(max(2 / 400, 1 / 2001))
    assert "correlation with the truth of a differs from that of control" in found.words[0]
    median = found.tables["groups"].set_index(["value", "group"])["median"]
    fold = of(pairs, value="pcc", first="b")["fold"].item()
    assert fold == pytest.approx(median["pcc", "b"] / median["pcc", "control"])
    assert found.tables["levels"].set_index("value")["holm"]["pcc"] < 0.05


def test_labels_that_mean_nothing_find_nothing_and_a_lone_unit_is_told_and_not_tested(
    run, tmp_path
):
    studies = opened(run, tmp_path, groups={"by": ["any", "donor"]})
    plant(studies, shuffled())
    found = groups(studies)
    pairs = found.tables["pairs"]
    assert found.numbers["told"] == 0
    lone = of(pairs, by="donor", inside="")
    assert len(lone) == 2
    assert lone[["p", "holm", "q", "least_p"]].isna().all(axis=None)
    assert lone["difference"].notna().all()
    described = of(found.tables["groups"], by="donor", inside="", group="lone")
    assert described["units"].tolist() == [1, 1]
    assert of(found.tables["levels"], by="donor", inside="")["p"].isna().all()
    assert any("told and not tested" in words for words in found.words)


def test_a_fold_change_over_almost_nothing_is_undefined(run, tmp_path):
    studies = opened(run, tmp_path, groups={"by": ["drug"], "control": "a"})

    def images(at: int, name: str):
        prediction, truth, mask, _ = shuffled()(at, name)
        return prediction, truth, mask, 0.04 if at % 4 == 1 else 0.4

    plant(studies, images)
    pairs = groups(studies).tables["pairs"]
    assert of(pairs, value="efficacy")["fold"].isna().all()
    assert of(pairs, value="efficacy")["difference"].tolist() == pytest.approx([0.36] * 3)


def test_drugs_are_compared_inside_each_time(run, tmp_path):
    asked = {"by": ["drug", "time"], "control": "control"}
    studies = opened(run, tmp_path, groups=asked)
    plant(studies, shuffled(when=lambda at: at // 4 % 2 == 1))
    pairs = of(groups(studies).tables["pairs"], value="pcc")
    nested = of(pairs, by="drug", inside="time")
    assert set(nested["level"]) == {"24 h", "48 h"}
    assert set(nested["second"]) == {"control"}
    effect = nested.set_index(["level", "first"])["difference"]
    assert effect["48 h", "a"] < -0.5
    assert abs(effect["24 h", "a"]) < 0.1
    assert nested["least_p"].to_numpy() == pytest.approx(2 / 20)
    alone = of(pairs, by="time", inside="")
    assert alone[["first", "second"]].to_numpy().tolist() == [["24 h", "48 h"]]


def test_few_units_are_said_to_be_too_few(run, tmp_path):
    asked = {"by": ["drug"], "control": "control"}
    studies = opened(run, tmp_path, unit="pair", groups=asked)
    plant(studies, shuffled())
    found = groups(studies)
    assert found.numbers["told"] == 0
    assert any("no p falls below 0.1" in words for words in found.words)
    assert found.n.startswith("24 fields of 12 units")


@pytest.mark.parametrize("study", [groups, perturbations])
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "groups.by names no column; the table has: id, .*drug"),
        ({"by": ["dose"], "control": "control"}, "no column 'dose'"),
        ({"by": ["drug"], "control": "d"}, "groups.control is 'd'"),
        ({"by": ["drug", "drug"], "control": "a"}, "each must come once"),
    ],
)
def test_groups_that_cannot_be_meant_are_refused(run, tmp_path, study, asked, words):
    studies = opened(run, tmp_path, groups=asked)
    plant(studies, shuffled())
    with pytest.raises(UsageError, match=words):
        study(studies)


def test_a_field_without_a_group_is_refused(run, tmp_path):
    studies = opened(run, tmp_path, groups={"by": ["gap"]})
    plant(studies, shuffled())
    with pytest.raises(DataError, match="1 rows have no 'gap'"):
        groups(studies)


def treated(follows: bool):
    """Each drug smooths the truth by more; predictions follow, or are as smooth in all drugs."""

    def images(at: int, name: str):
        draw = np.random.default_rng(at)
        raw = draw.standard_normal((SIDE, SIDE))
        levels = (0.8, 1.0, 1.3, 1.7)
        spread = levels[at % 4]
        truth = gaussian_filter(raw, spread * draw.uniform(0.95, 1.05))
        own = spread if follows else levels[at // 4 % 4]
        other = gaussian_filter(raw + 0.2 * draw.standard_normal(raw.shape), own)
        mask = stain(at, 2 + (name == "other" and at % 4 == 3)) > 0.1
        return other, truth, mask, 0.9

    return images


def test_predictions_that_change_as_the_truth_are_told_from_those_that_do_not(run, tmp_path):
    rows = {}
    for follows in (True, False):
        asked = {"by": ["drug"], "control": "control", "within": ["plate"]}
        studies = opened(run, tmp_path / str(follows), groups=asked)
        plant(studies, treated(follows))
        found = perturbations(studies)
        rows[follows] = found.numbers["cells"]
        assert rows[follows]["n"] == 12
        moved = found.tables["changes"].set_index(["of", "value", "first"])["hedges_g"]
        assert moved["truth", "grain", "c"] < moved["truth", "grain", "b"] < -1
    assert rows[True]["rank"] > 0.8
    assert rows[True]["holm"] <= 0.01
    assert rows[True]["same_sign"] > rows[False]["same_sign"]
    assert abs(rows[True]["chance"]) < 0.2
    assert rows[False]["holm"] > 0.05


def test_signatures_of_two_predictors_part_where_a_drug_parts_them(run, tmp_path):
    asked = {"by": ["drug"], "control": "control"}
    studies = opened(run, tmp_path, names=("cells", "other"), groups=asked)
    plant(studies, treated(True))
    found = perturbations(studies)
    overlaps, moved = (found.tables[key] for key in ("overlaps", "overlap_changes"))
    assert set(overlaps["pair"]) == {"cells and other"}
    assert len(overlaps) == FIELDS
    assert (overlaps.loc[overlaps["group"] != "c", "iou"] == 1).all()
    gap = overlaps[overlaps["group"] == "c"]
    np.testing.assert_allclose(gap["iou"], gap["iou_chance"], atol=0.2)
    assert moved.set_index("first")["holm"].to_dict() == pytest.approx(
        {"a": 1, "b": 1, "c": 3 * moved.set_index("first")["p"]["c"]}
    )
    assert moved.set_index("first")["p"]["c"] < 0.01
    assert found.words[-1].startswith("Signatures of cells and other share 1.00")


@pytest.mark.parametrize("blocks", [np.zeros(12, int), np.arange(12) // 4, np.arange(12) // 6])
def test_the_quick_hedges_g_is_that_of_effects(blocks):
    draw = np.random.default_rng(0)
    values, first = draw.standard_normal((12, 3)), draw.permutation(12) < 5
    want = [effects(column, first, blocks)["hedges_g"] for column in values.T]
    np.testing.assert_allclose(hedges(values, first, blocks), want, rtol=1e-10)
    assert np.isnan(hedges(values, np.ones(12, bool), blocks)).all()


def test_features_are_blind_to_brightness_and_contrast():
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((256, 256))
    told = features(noise)
    assert told == pytest.approx(features(3 * noise + 7))
    want = {"skewness": 0, "bright": 0.1587, "grain": 1, "coarse": 1 / 64}
    assert told == pytest.approx(want, abs=0.02)
    flat = np.stack([noise] * 3)
    assert features(flat) == pytest.approx(told)
    assert all(np.isnan(value) for value in features(np.full((8, 8), 0.1)).values())
    assert np.isnan(features(noise[:5, :5])["coarse"])


def test_dremi_over_fields_takes_one_pair_for_each_unit(run, tmp_path):
    def images(at: int, _: str):
        truth = stain(at)
        return truth + 0.05 * at * stain(at, 1), truth, truth > 0, 0.9 - 0.02 * at

    asked = {"of": "fields", "estimator": "kde"}
    studies = opened(run, tmp_path / "fields", dremi=asked)
    plant(studies, images)
    found = dremi(studies)
    row = found.numbers["cells"]
    assert (row["n"], row["units"]) == (FIELDS, FIELDS)
    assert row["holm"] == 1 / 200
    assert row["rank_low"] > 0.8
    coarse = opened(run, tmp_path / "units", unit="pair", dremi=asked)
    plant(coarse, images)
    with pytest.raises(UsageError, match="cells has 12"):
        dremi(coarse)


@pytest.mark.parametrize("study", [groups, perturbations])
def test_a_second_call_measures_nothing_again_and_says_the_same(run, tmp_path, study):
    def files() -> dict[str, int]:
        paths = (tmp_path / "parts").rglob("*")
        return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file()}

    asked = {"by": ["drug"], "control": "control"}
    studies = opened(run, tmp_path, split="test", groups=asked)
    first = study(studies)
    before = files()
    again = study(opened(run, tmp_path, split="test", groups=asked))
    assert files() == before
    for key, table in first.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[key])
    save(studies, study.__name__, first, command="as typed")
