"""A saved inpainter comes back to the bit with what is known of it, or not at all."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from attributome.core.errors import DataError
from attributome.inpainting.network import Inpainter
from attributome.inpainting.saving import load_inpainter, save_inpainter

SMALL = {"widths": (4, 5, 6, 6, 4), "marker_width": 3}
OPTIONS = [
    {},
    {"targets": 2, "markers": 3, "norm": "group"},
    {"residual": True, "marker_depth": 1},
]


def images(net):
    draw = torch.Generator().manual_seed(0)
    counts = net.targets + net.markers, net.markers
    return [torch.rand(4, count, 8, 8, generator=draw) for count in counts]


def written(folder, **options):
    net = Inpainter(**SMALL | options, seed=3)
    net.train()(*images(net))
    about = {
        "channels": ("gfp", "rfp"),
        "n": np.int64(7),
        "mse": float("nan"),
        "r": np.float32(0.5),
    }
    save_inpainter(folder, net, about)
    return net


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_network_comes_back_to_the_bit(tmp_path, options):
    net = written(tmp_path / "net", **options)
    got, card = load_inpainter(tmp_path / "net")
    assert not got.training
    assert got.kwargs == net.kwargs
    assert torch.equal(got(*images(net)), net.eval()(*images(net)))
    known = {"channels": ["gfp", "rfp"], "n": 7, "mse": None, "r": 0.5, "kind": "inpainter"}
    assert card | known == card
    assert set(card["versions"]) == {"attributome", "python", "torch", "numpy"}
    assert save_inpainter(tmp_path / "again", got, card) == card


def test_channels_last_is_no_hindrance(tmp_path):
    net = Inpainter(**SMALL).to(memory_format=torch.channels_last)
    save_inpainter(tmp_path, net, {})
    got, _ = load_inpainter(tmp_path)
    for name, value in net.state_dict().items():
        assert torch.equal(got.state_dict()[name], value)


def edit(folder, **change):
    card = json.loads((folder / "network.json").read_text()) | change
    (folder / "network.json").write_text(json.dumps(card))


def reweigh(change):
    def spoil(folder):
        path = folder / "weights.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path)
        edit(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())

    return spoil


BROKEN = {
    "another kind": (lambda f: edit(f, kind="upstream"), "is of kind 'upstream' and format 1"),
    "another format": (lambda f: edit(f, format=2), "format 2; this reads 'inpainter' and 1"),
    "unknown option": (lambda f: edit(f, kwargs={"depth": 3}), "builds no network: .*'depth'"),
    "no options": (lambda f: edit(f, kwargs=None), "builds no network"),
    "impossible": (lambda f: edit(f, kwargs={"markers": 0}), "builds no network: .* 0 marker"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "but no weights.safetensors"),
    "other weights": (
        lambda f: (f / "weights.safetensors").write_bytes(b"x"),
        "its SHA-256 differs",
    ),
    "missing": (reweigh(lambda w: w.pop("y_gfp.bias")), "y_gfp.bias is missing"),
    "unknown": (reweigh(lambda w: w.update(a=torch.ones(1))), "a is unknown"),
    "shape": (
        reweigh(lambda w: w.update({"y_gfp.bias": torch.ones(2)})),
        r"y_gfp.bias is \(2,\) and not \(1,\)",
    ),
    "not finite": (
        reweigh(lambda w: w.update({"y_gfp.bias": torch.full((1,), torch.nan)})),
        "y_gfp.bias holds what is not finite",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, name):
    written(tmp_path)
    spoil, says = BROKEN[name]
    spoil(tmp_path)
    with pytest.raises(DataError, match=says):
        load_inpainter(tmp_path)


def test_a_folder_without_a_card_is_no_network(tmp_path):
    with pytest.raises(DataError, match="network.json"):
        load_inpainter(tmp_path)
