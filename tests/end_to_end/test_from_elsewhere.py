"""Predictors from elsewhere inside a job, on fields that are neither square nor divisible."""

import json
import warnings
from importlib import import_module

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attributome.data.images import write_tiff
from attributome.store import Run
from end_to_end.jobs import call, halves, summary, tiny

SIZE = (75, 110)
PADDED = "fields of 75x110 were padded to 80x112 and cropped back"
WINDOWS = "fields of 75x110 were predicted in overlapping windows of 64x64"
FACTORY = """
from torch import nn

def spots():
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.AvgPool2d(8), nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(), nn.Upsample(scale_factor=8), nn.Conv2d(4, 1, 3, padding=1),
    )
"""
NOTES = {"torchscript": PADDED, "exported": WINDOWS, "weights": PADDED}


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Seven fields without a target."""
    folder, draw = tmp_path_factory.mktemp("fields"), np.random.default_rng(1)
    for n in range(7):
        array = draw.integers(100, 4000, (1, *SIZE)).astype(np.uint16)
        write_tiff(folder / f"f{n}.ome.tif", array, ("bright field",), (0.3, 0.3))
    return folder


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """One network in three forms, which only takes multiples of 8: a file and what it needs."""
    (tmp_path / "my_networks.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = import_module("my_networks").spots().eval()

    def save(kind):
        path = tmp_path / {"torchscript": "net.pt", "exported": "net.pt2"}.get(
            kind, "net.safetensors"
        )
        if kind == "weights":
            save_file(net.state_dict(), path)
            return path, ("--trust", "--factory", "my_networks:spots")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
            if kind == "torchscript":
                torch.jit.script(net).save(path)
            else:
                free = {0: torch.export.Dim("batch", min=1, max=64)}
                example = (torch.zeros(2, 1, 64, 64),)
                torch.export.save(torch.export.export(net, example, dynamic_shapes=(free,)), path)
        return path, ("--trust",)

    return save


@pytest.mark.parametrize("kind", NOTES)
def test_a_predictor_from_elsewhere(fields, saved, tmp_path, capsys, kind):
    path, words = saved(kind)
    run = tmp_path / "run"
    given = ("run", "--images", fields, "--predictor", path, *words, "--out", run)
    changes = {"data__group": '""', "score__known": "{}", "score__controls": '["random"]'}
    changes |= {"masks__patch": "[64, 64]"}  # the exported program takes nothing smaller
    changes |= {"masks__noise_scale": "1.5", "masks__threshold": "0.8", "score__sizes": "[0.2]"}
    assert call(*given, *tiny(**changes)) == 0, capsys.readouterr().err
    found = summary(run)
    assert "predictor_pcc" not in found  # there is no truth to compare it with
    assert found["fields_test"] == 3
    told = json.loads((run / "provenance.json").read_text())
    assert told["predictor"]["source"] == path.name
    assert len(told["notes"]) == 1
    assert told["notes"][0].startswith(NOTES[kind])
    assert NOTES[kind] in (run / "report" / "index.html").read_text(encoding="utf-8")
    opened = Run.open(run)
    for unit in opened.units("explain"):
        assert opened.array("explain", unit, "prediction").shape == (1, *SIZE)
        assert opened.array("explain", unit, "map_learned_mask").shape == (1, *SIZE)
    assert halves(run) == []


def test_three_forms_of_one_network_say_the_same(fields, saved, tmp_path, capsys):
    """In windows that all of them take, so that nothing is padded and nothing is said."""
    predictions = []
    for kind in NOTES:
        path, words = saved(kind)
        run = tmp_path / kind
        given = ("run", "--images", fields, "--predictor", path, *words, "--out", run)
        changes = {"explain__methods": "{saliency = {}}", "data__group": '""'}
        changes |= {"score__controls": "[]", "score__panels": "0", "explain__window": "[64, 64]"}
        assert call(*given, *tiny(**changes)) == 0, capsys.readouterr().err
        opened = Run.open(run)
        predictions.append(opened.array("explain", opened.units("explain")[0], "prediction"))
        assert json.loads((run / "provenance.json").read_text())["notes"] == []
    for other in predictions[1:]:
        np.testing.assert_allclose(predictions[0], other, rtol=1e-4, atol=1e-5)
