"""Weights of the published networks, as Keras 2 wrote them (HDF5), in an `Inpainter`.

A file is a whole model (layers under `model_weights`, the graph in `model_config`) or weights
only (layers at the root). Its norms have automatic names, and neither their number nor their
place in the file says which convolution they follow: the graph does.

A file is somebody else's: links that leave it, types that are not numbers and sizes that are not
expected are refused before anything of that size is read.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.network import EPS, MARKER_WIDTH, WIDTHS, Inpainter

NORMED = (
    "conv1_1",
    "conv2_1",
    "rfpconv1_1",
    "rfpconv2_1",
    "conv3_1",
    "conv4_1",
    "conv5_1",
    "rfpconv3_1",
)
"""Convolutions that a norm follows, in the order in which the published code makes them."""

PLAIN = ("conv6_1", "conv7_1", "conv8_1", "conv9_1", "conv10_1", "y_gfp")
CONV = {"kernel": "weight", "bias": "bias"}
NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
LARGEST_TEXT = 2**24
"""Bytes of an attribute; the published `model_config` has some ten thousand."""

Found = Mapping[str, Mapping[str, Any]]
"""Layers by name, each with its arrays (not read yet) by their bare names."""


def import_keras(
    path: Path, *, widths: Sequence[int] = WIDTHS, marker_width: int = MARKER_WIDTH
) -> Inpainter:
    """The network of a Keras file, in evaluation mode on the CPU.

    How many target and marker channels it reads is taken from the file; every other shape must be
    that of `Inpainter(targets, markers, widths=…, marker_width=…)`, by default the published one.
    Norms are given to the convolution before them in the file's graph; where the file has none,
    by the rank of the number in their name.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError(f"{path} is HDF5, which h5py reads: install attributome[keras]") from error

    path = Path(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"cannot read {path} as a Keras file (HDF5): {error}") from error
    with file:
        try:
            root, config = _root(file, str(path))
            layers = {name: _arrays(root, name, str(path)) for name in _layer_names(root, path)}
            net = Inpainter(*_channels(layers, str(path)), widths=widths, marker_width=marker_width)
            names = _norms(layers, config, str(path))
            weights = _weights(net, layers, names, str(path))
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error
    net.load_state_dict({**net.state_dict(), **weights})  # what is left counts batches
    return net.eval()


def _root(file: Any, path: str) -> tuple[Any, Any]:
    """The group of the layers, and the graph where the file has one."""
    import h5py

    if "model_weights" not in file:
        if "layer_names" not in file.attrs:
            raise DataError(
                f"{path} has neither 'model_weights' nor the attribute 'layer_names': it is no "
                f"Keras 2 model or weights file (a .keras archive is not one either)"
            )
        return file, None
    root = _inside(file, "model_weights", path)
    if not isinstance(root, h5py.Group):
        raise DataError(f"'model_weights' of {path} is not a group")
    if "model_config" not in file.attrs:
        return root, None
    texts = _texts(file, "model_config", path)
    try:
        return root, json.loads(texts[0])
    except (json.JSONDecodeError, RecursionError, IndexError) as error:
        raise DataError(f"the model_config of {path} is not JSON: {error}") from error


def _layer_names(root: Any, path: Path) -> list[str]:
    if "layer_names" not in root.attrs:
        raise DataError(f"{path} does not list its layers ('layer_names' is missing)")
    return _texts(root, "layer_names", str(path))


def _texts(owner: Any, name: str, path: str) -> list[str]:
    """An attribute that holds texts; nothing else is read."""
    import h5py

    about = owner.attrs.get_id(name)
    if 0 in (about.shape or ()):
        return []  # Keras lists nothing as numbers
    text = h5py.check_string_dtype(about.dtype)
    if text is None or about.get_storage_size() > LARGEST_TEXT:
        raise DataError(f"the attribute {name!r} of {path} does not hold texts of a sane size")
    found = np.atleast_1d(np.asarray(owner.attrs[name], object)).ravel()
    return [each.decode() if isinstance(each, bytes) else str(each) for each in found]


def _inside(group: Any, name: str, path: str) -> Any:
    """A member that lies in the file itself, step by step; links elsewhere are refused."""
    import h5py

    here = group
    for step in name.split("/"):
        link = here.get(step, getlink=True) if isinstance(here, h5py.Group) and step else None
        if link is None:
            raise DataError(f"{path} has no {name!r} in {group.name!r}")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{name!r} in {path} is a link to elsewhere, which is not followed")
        here = here[step]
    return here


def _arrays(root: Any, layer: str, path: str) -> dict[str, Any]:
    """The arrays of a layer by their bare names: `kernel` for `conv1_1/kernel:0`."""
    import h5py

    group = _inside(root, layer, path)
    if not isinstance(group, h5py.Group) or "weight_names" not in group.attrs:
        raise DataError(f"the layer {layer!r} of {path} does not list its arrays ('weight_names')")
    found = {}
    for name in _texts(group, "weight_names", path):
        array = _inside(group, name, path)
        if not isinstance(array, h5py.Dataset):
            raise DataError(f"{name!r} of the layer {layer!r} of {path} is not an array")
        found[name.rsplit("/", 1)[-1].split(":")[0]] = array
    return found


def _channels(layers: Found, path: str) -> tuple[int, int]:
    """How many targets the file's network predicts, and how many markers it reads."""
    counts = []
    for layer, axis in (("y_gfp", 3), ("rfpconv1_1", 2)):
        kernel = _array(layers, layer, "kernel", path)
        if len(kernel.shape) != 4 or not 1 <= kernel.shape[axis] <= 1024:
            raise DataError(
                f"the kernel of {layer!r} in {path} has shape {kernel.shape}; it must have four "
                f"axes (height, width, channels in, channels out)"
            )
        counts.append(kernel.shape[axis])
    return counts[0], counts[1]


def _array(layers: Found, layer: str, name: str, path: str) -> Any:
    if layer not in layers:
        raise DataError(f"{path} has no layer {layer!r}; it has {', '.join(layers)}")
    if name not in layers[layer]:
        has = ", ".join(layers[layer]) or "nothing"
        raise DataError(f"the layer {layer!r} of {path} has no {name!r}; it has {has}")
    return layers[layer][name]


def _norms(layers: Found, config: Any, path: str) -> dict[str, str]:
    """The norm behind each convolution."""
    norms = [name for name, arrays in layers.items() if "gamma" in arrays]
    if len(norms) != len(NORMED):
        raise DataError(
            f"{path} has {len(norms)} batch norms ({', '.join(norms)}); the network has one behind "
            f"each of {', '.join(NORMED)}"
        )
    return _by_rank(norms, path) if config is None else _by_graph(norms, config, path)


def _by_graph(norms: Sequence[str], config: Any, path: str) -> dict[str, str]:
    try:
        listed = {layer["config"]["name"]: layer for layer in config["config"]["layers"]}
        inputs = {name: _inbound(layer.get("inbound_nodes")) for name, layer in listed.items()}
        epsilons = {name: float(listed[name]["config"]["epsilon"]) for name in norms}
        merges = [inputs[n] for n, one in listed.items() if one["class_name"] == "Concatenate"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the model_config of {path} is not the graph of a Keras model with the norms "
            f"{', '.join(norms)}: {error!r}"
        ) from error
    found: dict[str, str] = {}
    for name in norms:
        before = inputs[name]
        if len(before) != 1 or before[0] not in NORMED or before[0] in found:
            raise DataError(
                f"in {path} the norm {name!r} follows {' and '.join(before) or 'nothing'}; the "
                f"network has one norm behind each of {', '.join(NORMED)}"
            )
        if abs(epsilons[name] - EPS) > 1e-3 * EPS:
            raise DataError(f"the norm {name!r} of {path} has epsilon {epsilons[name]}, not {EPS}")
        found[before[0]] = name
    wanted = [found["conv5_1"], found["rfpconv3_1"]]
    if any(merge != wanted for merge in merges):
        raise DataError(
            f"{path} joins {' and '.join(merges[0])}; the network joins {' and '.join(wanted)}, "
            f"the source first"
        )
    return found


def _inbound(nodes: Any) -> list[str]:
    """Names of the layers before a layer, in the words of Keras 2 or Keras 3."""
    if not nodes:
        return []
    if len(nodes) > 1:
        raise ValueError("a layer that runs twice")
    if isinstance(nodes[0], dict):
        given = nodes[0]["args"]
        tensors = given[0] if given and isinstance(given[0], list) else given
        return [str(each["config"]["keras_history"][0]) for each in tensors]
    return [str(each[0]) for each in nodes[0]]


def _by_rank(norms: Sequence[str], path: str) -> dict[str, str]:
    """Norms in the order of their numbers; the first has none, or 1."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d+))?", name) for name in norms]
    stems = {part[1] for part in parts if part}
    numbers = {name: int(part[2] or 0) for name, part in zip(norms, parts, strict=True) if part}
    if len(stems) != 1 or len(set(numbers.values())) != len(NORMED):
        raise DataError(
            f"{path} has no graph, and the norms {', '.join(norms)} are not numbered in one row, "
            f"so nothing says which convolution they follow"
        )
    return dict(zip(NORMED, sorted(norms, key=numbers.__getitem__), strict=True))


def _weights(
    net: Inpainter, layers: Found, norms: Mapping[str, str], path: str
) -> dict[str, torch.Tensor]:
    """The network's own names and layouts, every shape checked before the first array is read."""
    plan = []
    for conv in (*NORMED, *PLAIN):
        prefix = conv if conv == "y_gfp" else f"{conv}.conv"
        plan += [(conv, keras, f"{prefix}.{ours}") for keras, ours in CONV.items()]
    for conv, norm in norms.items():
        plan += [(norm, keras, f"{conv}_norm.{ours}") for keras, ours in NORM.items()]
    state = net.state_dict()
    arrays = []
    for layer, name, ours in plan:
        array = _array(layers, layer, name, path)
        wanted = tuple(state[ours].shape)
        if len(wanted) == 4:
            wanted = (wanted[2], wanted[3], wanted[1], wanted[0])
        _check(array, wanted, f"{name!r} of the layer {layer!r} in {path}")
        arrays.append((array, f"{name!r} of the layer {layer!r} in {path}", ours))
    return {ours: torch.from_numpy(_read(array, what, ours)) for array, what, ours in arrays}


def _check(array: Any, wanted: tuple[int, ...], what: str) -> None:
    if array.shape != wanted:
        raise DataError(f"{what} has shape {array.shape}; this network needs {wanted}")
    if array.dtype.kind != "f":
        raise DataError(f"{what} holds {array.dtype}; weights are floating numbers")
    elsewhere = bool(array.external) or array.is_virtual
    # a chunk is unpacked whole, and may be declared larger than the array that it is of
    large = array.chunks is not None and np.prod(array.chunks, dtype=float) > 2 * array.size + 1024
    if elsewhere or large:
        where = "another file" if elsewhere else f"chunks of {array.chunks}"
        raise DataError(f"{what} lies in {where}, which is not read")


def _read(array: Any, what: str, ours: str) -> Float32[np.ndarray, "..."]:
    values: np.ndarray = np.asarray(array[()], np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{what} holds numbers that are not finite")
    if ours.endswith("running_var") and (values < 0).any():
        raise DataError(f"{what} holds a variance below 0")
    laid = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values
    return np.ascontiguousarray(laid)
