"""A Keras file becomes the same network, layer by layer, whatever its order and its names."""

import json
import sys

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.keras_weights import import_keras
from attributome.inpainting.network import WIDTHS, Inpainter

TINY = (5, 6, 7, 7, 6)
"""As in the published widths, two layers of each branch are equally wide."""

CREATED = ("conv1", "conv2", "rfpconv1", "rfpconv2", "conv3", "conv4", "conv5", "rfpconv3")
AFTER = {"conv1": "pool", "conv2": "pool", "rfpconv1": "pool", "rfpconv2": "pool"}
SOURCE, MARKER = ("conv1", "conv2", "conv3", "conv4", "conv5"), ("rfpconv1", "rfpconv2", "rfpconv3")
DECODER = ("conv6", "conv7", "conv8", "conv9", "conv10")


def drawn(widths, thin, targets=1, markers=1, seed=0):
    """Weights of every layer as Keras lays them, with norms that do something."""
    draw = np.random.default_rng(seed)
    weights = {}

    def conv(name, before, after, size=3):
        limit = np.sqrt(6 / (size * size * (before + after)))
        weights[name] = {
            "kernel:0": draw.uniform(-limit, limit, (size, size, before, after)),
            "bias:0": draw.uniform(-0.1, 0.3, after),
        }

    def chain(names, before, outs):
        for name, after in zip(names, outs, strict=True):
            conv(f"{name}_1", before, after)
            before = after
        return before

    chain(SOURCE, targets + markers, widths)
    chain(MARKER, markers, (thin, 2 * thin, 2 * thin))
    last = chain(DECODER, widths[-1] + 2 * thin, widths[::-1])
    conv("y_gfp", last, targets, 1)
    for name in CREATED:
        width = weights[f"{name}_1"]["bias:0"].size
        weights[f"norm of {name}"] = {
            "gamma:0": draw.uniform(0.2, 0.4, width),
            "beta:0": draw.uniform(-0.3, 0.3, width),
            "moving_mean:0": draw.uniform(0, 0.5, width),
            "moving_variance:0": draw.uniform(0.01, 0.1, width),  # small, so that epsilon shows
        }
    return {n: {v: a.astype(np.float32) for v, a in one.items()} for n, one in weights.items()}


def names_of(first=0):
    """What Keras calls the norms, counted from `first`."""
    numbers = range(first, first + 8)
    return {
        f"norm of {name}": "batch_normalization" + (f"_{n}" if n else "")
        for name, n in zip(CREATED, numbers, strict=True)
    }


def graph(norms, epsilon=1e-3, turned=False, modern=False):
    """A model_config: what comes before what."""
    layers = []

    def layer(kind, name, before, **config):
        nodes = [[[each, 0, 0, {}] for each in before]] if before else []
        if modern and before:
            tensors = [
                {"class_name": "__keras_tensor__", "config": {"keras_history": [each, 0, 0]}}
                for each in before
            ]
            nodes = [{"args": [tensors] if len(before) > 1 else tensors, "kwargs": {}}]
        config["name"] = name
        layers.append({"class_name": kind, "name": name, "config": config, "inbound_nodes": nodes})
        return name

    ends = []
    for names, here in (
        (SOURCE, layer("InputLayer", "x", [])),
        (MARKER, layer("InputLayer", "y", [])),
    ):
        for name in names:
            here = layer("Conv2D", f"{name}_1", [here])
            here = layer("BatchNormalization", norms[f"norm of {name}"], [here], epsilon=epsilon)
            if name in AFTER:
                here = layer("MaxPooling2D", f"pool_{name}", [here])
        ends.append(here)
    here = layer("Concatenate", "merge", ends[::-1] if turned else ends)
    for name in (*DECODER, "y_gfp"):
        here = layer("Conv2D", name if name == "y_gfp" else f"{name}_1", [here])
    return json.dumps({"class_name": "Model", "config": {"name": "m", "layers": layers}})


def by_depth(weights, norms):
    """Layers as a file lists them: both branches in turn, and layers without weights between."""
    order = ["x", "conv1_1", "y", "norm of conv1", "rfpconv1_1", "norm of rfpconv1", "pool_conv1"]
    order += ["conv2_1", "norm of conv2", "conv3_1", "rfpconv2_1", "norm of conv3", "conv4_1"]
    order += ["norm of rfpconv2", "norm of conv4", "rfpconv3_1", "conv5_1", "norm of rfpconv3"]
    order += ["norm of conv5", "merge", *(f"{name}_1" for name in DECODER), "y_gfp"]
    assert {*weights} <= {*order}
    return [(norms.get(name, name), weights.get(name, {})) for name in order]


def write(path, weights, norms=None, config="", whole=True, inner=None):
    """A file as Keras lays it out; `inner` is the scope that stands before names of arrays."""
    norms = norms or names_of()
    listed = by_depth(weights, norms)
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["keras_version"] = np.bytes_("2.1.5")
            file.attrs["model_config"] = np.bytes_(config or graph(norms))
        root.attrs["layer_names"] = [name.encode() for name, _ in listed]
        for name, arrays in listed:
            group = root.create_group(name)
            scope = f"{name}{inner}" if inner else name
            group.attrs["weight_names"] = [f"{scope}/{each}".encode() for each in arrays]
            for each, array in arrays.items():
                group[f"{scope}/{each}"] = array
    return path


def forward(weights, source, marker):
    """The Keras network in NumPy, channels last: every layer's activation, and the output."""
    found = {}

    def conv(name, x, squash=True):
        kernel = weights[name]["kernel:0"].astype(float)
        reach = kernel.shape[0] // 2
        padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        out = np.zeros((*x.shape[:3], kernel.shape[3])) + weights[name]["bias:0"]
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                out += padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
        found[name] = np.maximum(out, 0) if squash else out
        return found[name]

    def norm(name, x):
        one = {each: array.astype(float) for each, array in weights[f"norm of {name}"].items()}
        scale = one["gamma:0"] / np.sqrt(one["moving_variance:0"] + 1e-3)
        return (x - one["moving_mean:0"]) * scale + one["beta:0"]

    def pool(x):
        n, h, w, c = x.shape
        return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

    def up(x):
        return x.repeat(2, 1).repeat(2, 2)

    ends = []
    for names, x in ((SOURCE, source), (MARKER, marker)):
        for name in names:
            x = norm(name, conv(f"{name}_1", x))
            x = pool(x) if name in AFTER else x
        ends.append(x)
    x = np.concatenate(ends, 3)
    for name in DECODER:
        x = conv(f"{name}_1", x)
        x = up(x) if name in ("conv8", "conv9") else x
    return conv("y_gfp", x, squash=False), found


def compare(net, weights, size=8):
    """The largest error of each layer, seen by the network itself."""
    draw = np.random.default_rng(5)
    source = draw.random((2, size, size + 4, net.targets + net.markers))
    marker = draw.random((2, size, size + 4, net.markers))
    wanted, layers = forward(weights, source, marker)
    kept = {}

    def keep(name):
        return lambda _module, _inputs, out: kept.update({name: out})

    hooks = [net.get_submodule(name).register_forward_hook(keep(name)) for name in layers]
    with torch.no_grad():
        given = [torch.from_numpy(x.transpose(0, 3, 1, 2)).float() for x in (source, marker)]
        out = net(*given)
    for hook in hooks:
        hook.remove()
    errors = {n: np.abs(kept[n].numpy().transpose(0, 2, 3, 1) - x).max() for n, x in layers.items()}
    assert np.abs(out.numpy().transpose(0, 2, 3, 1) - wanted).max() == errors["y_gfp"]
    assert len(errors) == 14
    return errors


def read(path, **more):
    return import_keras(path, **{"widths": TINY, "marker_width": 3} | more)


@pytest.fixture(scope="module")
def tiny():
    return drawn(TINY, 3)


@pytest.mark.parametrize("markers", [1, 2])
def test_the_published_network_layer_by_layer(tmp_path, markers):
    weights = drawn(WIDTHS, 16, markers=markers)
    net = import_keras(write(tmp_path / "model.h5", weights))
    assert not net.training
    assert (net.targets, net.markers) == (1, markers)
    errors = compare(net, weights)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize("first", [0, 1, 8, 93])
def test_the_graph_says_which_norm_is_whose(tmp_path, tiny, first, modern):
    """Also where 93 to 100 sort otherwise as texts, and where the numbers say something else."""
    norms = names_of(first)
    path = write(tmp_path / "a.h5", tiny, norms, graph(norms, modern=modern), inner="_1")
    assert max(compare(read(path), tiny).values()) < 1e-5
    turned = dict(zip(norms, reversed(norms.values()), strict=True))
    path = write(tmp_path / "b.h5", tiny, turned, graph(turned, modern=modern))
    assert max(compare(read(path), tiny).values()) < 1e-5


@pytest.mark.parametrize("first", [0, 1, 8, 93])
def test_without_a_graph_the_numbers_say_it(tmp_path, tiny, first):
    path = write(tmp_path / "weights.h5", tiny, names_of(first), whole=False)
    assert max(compare(read(path), tiny).values()) < 1e-5


def test_several_proteins_and_markers(tmp_path):
    weights = drawn(TINY, 3, targets=2, markers=3)
    net = read(write(tmp_path / "model.h5", weights))
    assert (net.targets, net.markers) == (2, 3)
    assert max(compare(net, weights).values()) < 1e-5


def test_this_file_sees_a_wrong_epsilon_order_or_norm(tmp_path, tiny):
    path = write(tmp_path / "model.h5", tiny)

    def worst(change):
        net = read(path)
        change(net)
        return max(compare(net, tiny).values())

    def torchs(net):
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-5

    def swapped(net):
        net.conv3_1_norm, net.conv4_1_norm = net.conv4_1_norm, net.conv3_1_norm

    def marker_first(net):
        weight = net.conv6_1.conv.weight.data
        net.conv6_1.conv.weight.data = torch.cat([weight[:, 6:], weight[:, :6]], 1)

    assert worst(lambda net: None) < 1e-5
    for change in (torchs, swapped, marker_first):
        assert worst(change) > 1e-3, change


def test_it_goes_on_training(tmp_path, tiny):
    net = read(write(tmp_path / "model.h5", tiny)).train()
    net(torch.rand(2, 2, 8, 8), torch.rand(2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert net.kwargs == Inpainter(widths=TINY, marker_width=3).kwargs


def broken(path, weights, change, **more):
    write(path, weights, **more)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replace(layer, array, value, **how):
    def change(file):
        name = f"model_weights/{layer}/{layer}/{array}:0"
        del file[name]
        if value is not None:
            file.create_dataset(name, data=value, **how)

    return change


def outside(kind):
    def change(file):
        del file["model_weights/conv1_1"]
        file["model_weights/conv1_1"] = kind

    return change


def external(file):
    name = "model_weights/conv1_1/conv1_1/kernel:0"
    del file[name]
    file.create_dataset(name, (3, 3, 2, 5), "f4", external=[("other.bin", 0, h5py.h5f.UNLIMITED)])


def virtual(file):
    name = "model_weights/conv1_1/conv1_1/kernel:0"
    del file[name]
    layout = h5py.VirtualLayout((3, 3, 2, 5), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 3, 2, 5))
    file.create_virtual_dataset(name, layout)


def objects(file):
    name = "model_weights/conv1_1/conv1_1/bias:0"
    del file[name]
    file.create_dataset(name, (5,), h5py.vlen_dtype(np.uint8))


def unlisted(file):
    names = [n for n in file["model_weights"].attrs["layer_names"] if n != "conv9_1"]
    file["model_weights"].attrs["layer_names"] = names


def numbers(file):
    file.attrs["model_config"] = np.arange(3)


KERNEL = np.zeros((3, 3, 2, 5), np.float32)
NAN = np.full(5, np.nan, np.float32)
CONV1 = "of the layer 'conv1_1' in"
BROKEN = {
    "shape": (
        replace("conv1_1", "kernel", KERNEL[:2]),
        r"has shape \(2, 3, 2, 5\); .* \(3, 3, 2, 5",
    ),
    "no array": (replace("conv1_1", "kernel", None), "has no 'conv1_1/kernel:0' in"),
    "no layer": (unlisted, "has no layer 'conv9_1'; it has x, conv1_1"),
    "whole numbers": (replace("conv1_1", "bias", np.arange(5)), f"'bias' {CONV1} .* holds int64"),
    "objects": (objects, f"'bias' {CONV1} .* holds object; weights are floating numbers"),
    "nan": (
        replace("conv1_1", "bias", NAN),
        f"'bias' {CONV1} .* holds numbers that are not finite",
    ),
    "variance": (
        replace("batch_normalization", "moving_variance", -np.ones(5, np.float32)),
        "'moving_variance' of the layer 'batch_normalization' .* a variance below 0",
    ),
    "soft link": (outside(h5py.SoftLink("/elsewhere")), "'conv1_1' in .* is a link to elsewhere"),
    "other file": (outside(h5py.ExternalLink("other.h5", "/")), "is a link to elsewhere"),
    "external": (external, f"'kernel' {CONV1} .* lies in another file, which is not read"),
    "virtual": (virtual, "lies in another file, which is not read"),
    "huge chunks": (
        replace("conv1_1", "bias", NAN, chunks=(2**20,), maxshape=(None,), compression="gzip"),
        r"lies in chunks of \(1048576,\), which is not read",
    ),
    "config": (lambda file: file.attrs.update(model_config=b"{"), "model_config of .* is not JSON"),
    "config of numbers": (numbers, "'model_config' of .* does not hold texts"),
    "another graph": (
        lambda file: file.attrs.update(model_config=b"[]"),
        "is not the graph of a Keras",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_of_something_else_is_refused_in_one_sentence(tmp_path, tiny, name):
    change, says = BROKEN[name]
    path = broken(tmp_path / "model.h5", tiny, change)
    with pytest.raises(DataError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_the_published_shapes_are_asked_for(tmp_path, tiny):
    says = r"'kernel' of the layer 'conv1_1' in .*needs \(3, 3, 2, 96\)"
    with pytest.raises(DataError, match=says):
        import_keras(write(tmp_path / "model.h5", tiny))


def test_a_graph_of_another_network_is_refused(tmp_path, tiny):
    norms = names_of()
    for config, says in (
        (graph(norms, epsilon=1e-5), "epsilon 1e-05, not 0.001"),
        (graph(norms, turned=True), "the source first"),
        (
            graph(norms).replace('"conv3_1", 0', '"conv9_1", 0'),
            "'batch_normalization_4' follows conv9",
        ),
    ):
        with pytest.raises(DataError, match=says):
            read(write(tmp_path / "model.h5", tiny, norms, config))


def test_norms_that_nothing_tells_apart_are_refused(tmp_path, tiny):
    norms = names_of() | {"norm of conv3": "my_norm"}
    with pytest.raises(DataError, match="not numbered in one row"):
        read(write(tmp_path / "model.h5", tiny, norms, whole=False))
    fewer = {name: arrays for name, arrays in tiny.items() if name != "norm of conv3"}
    with pytest.raises(DataError, match="has 7 batch norms"):
        read(write(tmp_path / "fewer.h5", fewer, whole=False))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match=r"cannot read .*text.h5 as a Keras file"):
        import_keras(tmp_path / "text.h5")
    with pytest.raises(DataError, match="absent.h5"):
        import_keras(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["layers"] = np.arange(3)
    with pytest.raises(DataError, match="it is no Keras 2 model or weights file"):
        import_keras(tmp_path / "other.h5")


def test_a_truncated_file_is_refused(tmp_path, tiny):
    path = write(tmp_path / "model.h5", tiny)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"model.h5"):
        read(path)


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"install attributome\[keras\]"):
        import_keras(tmp_path / "model.h5")
