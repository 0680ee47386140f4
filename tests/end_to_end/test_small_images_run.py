"""The two jobs of docs/small_images.md on planted data, as a user types them: `run` to a report."""

import json
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from attributome.predictors.card import read_card
from attributome.store import Run
from end_to_end.jobs import call, halves, sentence, sets, summary
from end_to_end.small_image_data import plant_cell_cycle, plant_cifar10

PAGE = Path(__file__).resolve().parents[2] / "docs" / "small_images.md"
NARROW = "[4, 4, 4, 8, 8, 4]"
TINY = {
    "predictor.epochs": "2",
    "predictor.steps": "4",
    "predictor.batch": "12",
    "masks.epochs": "2",
    "masks.steps": "3",
    "masks.batch": "8",
    "masks.features": NARROW,
    "masks.starts": "2",
    "data.most": "{validate = 6, test = 2}",
    "score.controls": '["random", "translated"]',
    "score.sizes": "[0.1, 0.3]",
    "score.panels": "1",
}
CIFAR = TINY | {"predictor.sizes": "{width = 4, depth = 11}", "predictor.classes": "3"}
CELLS = TINY | {
    "predictor.sizes": "{width = 4}",
    "predictor.patch": "[32, 32]",
    "masks.patch": "[32, 32]",
}


def jobs(text: str) -> list[str]:
    """The jobs of the page, in its order."""
    return re.findall(r"```toml\n(.*?)```", text, re.DOTALL)


def test_the_page_has_two_jobs_that_name_their_network():
    told = [tomllib.loads(job) for job in jobs(PAGE.read_text(encoding="utf-8"))]
    assert [job["predictor"]["network"] for job in told] == ["vgg", "resnet"]
    assert {job["data"]["normalise"] for job in told} == {"training"}


@pytest.mark.parametrize(
    ("which", "plant", "tiny", "names"),
    [
        (0, plant_cifar10, CIFAR, ("predictor_accuracy", "vgg_like")),
        (1, plant_cell_cycle, CELLS, ("predictor_error", "resnet_regressor")),
    ],
    ids=["CIFAR-10", "cell cycle"],
)
def test_a_layout_of_the_originals_runs_from_its_files_to_a_report(
    tmp_path, capsys, which, plant, tiny, names
):
    folder, job, run = plant(tmp_path / "data"), tmp_path / "job.toml", tmp_path / "run"
    job.write_text(jobs(PAGE.read_text(encoding="utf-8"))[which], encoding="utf-8")
    words = ("run", job, "--images", folder, "--out", run, *sets(tiny))
    assert call(*words) == 0, capsys.readouterr().err
    found = summary(run)
    assert found[names[0]] >= 0
    assert found["fields_test"] == 2
    assert 0 <= found["efficacy_median"] <= 1
    card = read_card(run / "predictor" / "predictor.json")
    assert card.factory.endswith(names[1])
    assert card.normalise == "training"
    assert len(card.input_scaling["center"]) == len(card.inputs)
    opened = Run.open(run)
    for unit in opened.units("explain"):
        maps = opened.array("explain", unit, "map_learned_mask")
        assert maps.shape == (1, 32, 32)
        assert 0 <= maps.min() <= maps.max() <= 1
    splits = json.loads((run / "splits.json").read_text())
    assert set(splits) == {"train", "validate", "test"}
    assert halves(run) == []
    assert (run / "report" / "index.html").is_file()
    # one number has no correlation: judged image by image, each epoch of a regressor would be a 1
    log = pd.read_csv(run / "masks" / "log.csv")
    assert 0 < log["val_loss"].min() < 0.999


def test_a_resnet_gives_no_classes(tmp_path, capsys):
    folder = plant_cifar10(tmp_path / "data")
    words = ("train", "predictor", "--images", folder, "--out", tmp_path / "run")
    changes = CIFAR | {
        "predictor.task": '"classification"',
        "predictor.network": '"resnet"',
        "predictor.patch": "[32, 32]",
        "masks.patch": "[32, 32]",
    }
    assert call(*words, *sets(changes)) == 2
    assert "use vgg or cnn for classification" in sentence(capsys.readouterr().err)


def test_two_markers_are_two_runs(tmp_path, capsys):
    folder = plant_cell_cycle(tmp_path / "data")
    words = ("run", "--images", folder, "--out", tmp_path / "run")
    assert call(*words, *sets({"data.targets": '["Cdt1", "Geminin"]'})) == 2
    assert "one marker" in sentence(capsys.readouterr().err)
