"""Is a classifier right where its mask says so: asked of a run on small images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.files import read_json
from attributome.pipeline.study.everything import study
from attributome.pipeline.study.job import StudyJob
from attributome.pipeline.study.opening import Studies, open_studies
from end_to_end.jobs import call, sets
from end_to_end.small_image_data import plant_cifar10

TINY = {
    "data.normalise": "training", "predictor.task": "classification", "predictor.network": "cnn",
    "predictor.patch": "[32, 32]", "masks.patch": "[32, 32]",
    "predictor.sizes": "{width = 4}", "predictor.classes": "3", "predictor.epochs": "1",
    "predictor.steps": "3", "predictor.batch": "16", "predictor.lr": "0.003",
    "masks.epochs": "1", "masks.steps": "3", "masks.batch": "8", "masks.starts": "1",
    "masks.features": "[4, 4, 4, 8, 8, 4]", "masks.noise_scale": "1.0", "masks.threshold": "0.8",
}  # fmt: skip


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three planted classes; enough is right, and enough wrong."""
    home = tmp_path_factory.mktemp("classifier")
    given = {**TINY, "data.source": f'"{plant_cifar10(home / "cifar", each=36)}"', "name": '"toy"'}
    for what in ("predictor", "masks"):
        assert call("train", what, "--out", home / "run", *sets(given)) == 0
    return home / "run"


def corrupt(folder: Path, source: Path) -> Path:
    """The test images under one corruption at five severities, in the layout of CIFAR-10-C."""
    flat = np.frombuffer((source / "test_batch.bin").read_bytes(), np.uint8).reshape(-1, 3073)
    images = flat[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(float)
    draw = np.random.default_rng(0)
    folder.mkdir()
    noisy = [images + draw.normal(0, 15 * level, images.shape) for level in range(1, 6)]
    np.save(folder / "gaussian_noise.npy", np.concatenate(noisy).clip(0, 255).astype(np.uint8))
    np.save(folder / "labels.npy", np.tile(flat[:, 0], 5))
    return folder


def opened(run: Path, out: Path, **given: object) -> Studies:
    job = StudyJob.model_validate({"runs": [str(run)], **given})
    return open_studies(job, out, compute=Compute())


def test_right_answers_of_clean_and_corrupted_images(classifier: Path, tmp_path: Path):
    folder = corrupt(tmp_path / "corrupted", classifier.parent / "cifar")
    asked = {"correctness": {"data": [str(folder)], "most": 30}}
    study(opened(classifier, tmp_path / "out", **asked), ["correctness"], command="typed")
    home = tmp_path / "out" / "studies" / "correctness"
    images = pd.read_parquet(home / "images.parquet")
    tested = images[images["split"] == "test"]
    assert sorted(set(tested["data"])) == [
        "as it is", *(f"gaussian_noise, {level}" for level in range(1, 6)),
    ]  # fmt: skip
    # an image in all its corruptions is one unit, and none of them chose the threshold
    assert (tested.groupby("unit").size() == 6).all()
    assert not set(tested["unit"]) & set(images.loc[images["split"] == "validate", "unit"])
    clean = tested[tested["data"] == "as it is"]
    assert ((clean["top"] == clean["truth"]) == clean["correct"].astype(bool)).all()
    told = read_json(home / "found.json")["numbers"]["toy"]
    assert told["efficacy"]["n"] == len(tested) == 180
    right = tested.loc[tested["correct"] == 1, "efficacy"].to_numpy()
    wrong = tested.loc[tested["correct"] == 0, "efficacy"].to_numpy()
    pairs = np.sign(right[:, None] - wrong[None]).mean() / 2 + 0.5
    assert told["efficacy"]["auroc"] == pytest.approx(pairs, abs=1e-6)
    assert set(told["gain_in_auroc"]) == {"probability"}
    assert "within_groups" in told


def test_a_second_call_asks_the_network_nothing(classifier: Path, tmp_path: Path):
    study(opened(classifier, tmp_path), ["correctness"], command="first")
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").rglob("*.parquet")}
    told = json.loads((tmp_path / "summary.json").read_text())
    study(opened(classifier, tmp_path), ["correctness"], command="second")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").rglob("*.parquet")} == parts
    assert json.loads((tmp_path / "summary.json").read_text()) == told


def test_a_predictor_of_images_is_refused(small_runs: dict[str, Path], tmp_path: Path):
    with pytest.raises(UsageError, match="studied of classifiers"):
        study(opened(small_runs["other"], tmp_path), ["correctness"], command="typed")
