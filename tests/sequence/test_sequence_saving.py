"""A saved network comes back to the bit with what is known of it, or not at all."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.sequence.networks.saving import load_network, new_network, save_network

KWARGS = {"k": 3, "widths": [2, 2, 2, 2], "hidden": [4, 4, 4, 4, 4], "dropout": 0.2}


OURS = {"k": 3, "site_bins": 6, "mirna_bins": 4, "width": 3, "hidden": 5}


@pytest.fixture
def saved(tmp_path):
    """A folder with a network that has been trained a little, and the network."""
    return written(tmp_path / "network", "upstream", KWARGS)


def written(folder, kind, kwargs):
    net = new_network(kind, kwargs, seed=3)
    net.train()(*pictures(net))
    about = {"parts": {"train": np.int64(7)}, "test": {"auc": float("nan"), "ap": np.float32(0.5)}}
    save_network(folder, net, about)
    return folder, net


def pictures(net):
    bins = net.encoding.site_bins, net.encoding.mirna_bins
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.rand(4, count, 8, 8, generator=draw) for count in bins)


def edit(folder, **change):
    card = json.loads((folder / "network.json").read_text()) | change
    (folder / "network.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [("upstream", KWARGS), ("ours", OURS), ("ours", OURS | {"positions": False})],
)
def test_a_network_comes_back_to_the_bit(tmp_path, kind, kwargs):
    folder, net = written(tmp_path / "network", kind, kwargs)
    got, about = load_network(folder)
    assert not got.training
    assert type(got) is type(net)
    assert got.encoding == net.encoding
    assert torch.equal(got(*pictures(net)), net.eval()(*pictures(net)))
    assert about["kind"] == kind
    assert about["kwargs"] | kwargs == about["kwargs"]
    assert about["encoding"] == asdict(net.encoding)
    assert set(about["versions"]) == {"attributome", "python", "torch", "numpy"}
    assert about["parts"] == {"train": 7}
    assert about["test"] == {"auc": None, "ap": 0.5}  # undefined is null in JSON


def test_a_loaded_network_saved_again_says_the_same(saved, tmp_path):
    folder, _ = saved
    net, about = load_network(folder)
    assert save_network(tmp_path / "again", net, about) == about


def test_a_seed_decides_the_first_weights_and_nobody_elses_draws():
    before = torch.get_rng_state()
    nets = [new_network("upstream", KWARGS, seed=seed).output.weight for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


def test_channels_last_is_no_hindrance(tmp_path, saved):
    _, net = saved
    net.to(memory_format=torch.channels_last)
    save_network(tmp_path / "last", net, {})
    got, _ = load_network(tmp_path / "last")
    weight = got.m_rna_model.conv2[0].weight
    assert torch.equal(weight, net.m_rna_model.conv2[0].weight)


def test_other_weights_are_refused(saved):
    folder, _ = saved
    weights = load_file(folder / "weights.safetensors")
    weights["output.bias"] += 1
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(DataError, match="SHA-256 differs"):
        load_network(folder)


def test_weights_of_another_shape_are_named(saved):
    folder, _ = saved
    weights = load_file(folder / "weights.safetensors")
    weights["output.bias"] = torch.zeros(3)
    save_file(weights, folder / "weights.safetensors")
    edit(folder, weights_sha256=digest_of(folder / "weights.safetensors"))
    with pytest.raises(DataError, match=r"output.bias is \(3,\) and not \(2,\)"):
        load_network(folder)


def digest_of(path):
    return digest(path.read_bytes())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"kind": "attributome.core.files:write_text"}, DataError, "attributome builds upstream"),
        ({"kind": None}, DataError, "network None"),
        ({"kwargs": ["k"]}, DataError, "dict of keyword arguments"),
        ({"kwargs": KWARGS | {"kk": 3}}, UsageError, "refuses .*'kk'"),
        ({"kwargs": KWARGS | {"k": 4}}, DataError, "says the images are .*'k': 3"),
        ({"kwargs": KWARGS | {"widths": [2, 2, 2, 4]}}, DataError, "is .* and not"),
        ({"format": 2}, DataError, "format 2"),
    ],
)
def test_a_card_that_cannot_be_is_refused(saved, change, error, words):
    folder, _ = saved
    edit(folder, **change)
    with pytest.raises(error, match=words):
        load_network(folder)


@pytest.mark.parametrize("lost", ["network.json", "weights.safetensors"])
def test_half_a_folder_is_refused(saved, lost):
    folder, _ = saved
    (folder / lost).unlink()
    with pytest.raises(DataError, match=lost):
        load_network(folder)


def test_a_network_that_could_not_be_built_again_is_not_saved(tmp_path):
    with pytest.raises(UsageError, match="a Linear is none of the networks"):
        save_network(tmp_path, nn.Linear(2, 2), {})


def test_an_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="no network 'upstrem'.*did you mean 'upstream'"):
        new_network("upstrem", {})
