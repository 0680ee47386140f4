"""Whether the published Keras network and its import agree, layer by layer; for an environment
with tf_keras beside attributome (`pip install tf_keras tensorflow-cpu h5py`).

    python benchmarks/keras_check.py                    # both published networks, both file forms
    python benchmarks/keras_check.py --store FOLDER     # a small network, kept with its activations
    python benchmarks/keras_check.py --against FOLDER   # the same check where tf_keras is absent

Weights are drawn, norms and their statistics among them, so that a norm behind the wrong
convolution, a wrong epsilon or kernels laid the wrong way round cannot pass. An error is the
largest difference of a layer's activations, as a share of the largest activation; above `BAR` the
exit code is 1. Both sides compute in float32, as published, and again in float64, where rounding is
out of the way and what is left is the import. No file of the publishers is needed or read.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from attributome.inpainting.keras_weights import import_keras
from attributome.inpainting.network import MARKER_WIDTH, WIDTHS

BAR = 1e-5
SMALL, SMALL_MARKER = (6, 8, 10, 10, 8), 3
KINDS = ("float32", "float64")
FORMS = {"model": "model.h5", "weights": "weights.h5"}
SOURCE = tuple(f"conv{i}_1" for i in range(1, 6))
MARKER = tuple(f"rfpconv{i}_1" for i in range(1, 4))
DECODER = tuple(f"conv{i}_1" for i in range(6, 11))
LAYERS = (*SOURCE, *MARKER, *DECODER, "y_gfp")


def main() -> int:
    parser = argparse.ArgumentParser(description="compare the Keras network with its import")
    parser.add_argument("--store", type=Path, help="write a small network and its activations here")
    parser.add_argument("--against", type=Path, help="compare with what --store wrote; no tf_keras")
    parser.add_argument("--size", type=int, default=64, help="height and width of a crop")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    if asked.against:
        found = stored(asked.against)
    elif asked.store:
        keep(asked.store, 16, 2, asked.seed)
        found = stored(asked.store)
    else:
        for name, markers in (("yeast", 1), ("human", 2)):
            with tempfile.TemporaryDirectory() as folder:
                keep(
                    Path(folder), asked.size, asked.cells, asked.seed, markers, WIDTHS, MARKER_WIDTH
                )
                found |= {f"{name}, {form}": one for form, one in stored(Path(folder)).items()}
    print(json.dumps(found, indent=2))
    worst = max(error for layers in found.values() for error in layers.values())
    print(f"largest error {worst:.2e}, the bar is {BAR:.0e}", file=sys.stderr)
    return int(not worst <= BAR)


def keep(folder, size, cells, seed, markers=1, widths=SMALL, thin=SMALL_MARKER):
    """Build it in Keras, draw weights, and write both file forms, the inputs and what it made."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tf_keras

    folder.mkdir(parents=True, exist_ok=True)
    tf_keras.backend.clear_session()  # names of norms are counted from the start again
    model = published(tf_keras, markers, widths, thin)
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([drawn(draw, weight.name, weight.shape) for weight in layer.weights])
    if tuple(widths) == WIDTHS:
        wanted = {1: 7_323_521, 2: 7_324_529}[markers]
        if model.count_params() != wanted:
            raise SystemExit(f"the network has {model.count_params()} weights and not {wanted}")
    model.save(folder / FORMS["model"])
    model.save_weights(folder / FORMS["weights"])
    source = draw.random((cells, size, size, 1 + markers), np.float32)
    marker = draw.random((cells, size, size, markers), np.float32)
    layers = {}
    for kind in KINDS:
        tf_keras.backend.set_floatx(kind)
        twin = published(tf_keras, markers, widths, thin)
        twin.set_weights(model.get_weights())
        spy = tf_keras.Model(twin.inputs, [twin.get_layer(name).output for name in LAYERS])
        seen = spy.predict([source.astype(kind), marker.astype(kind)], verbose=0)
        layers |= {f"{name} {kind}": array for name, array in zip(LAYERS, seen, strict=True)}
    tf_keras.backend.set_floatx("float32")
    np.savez_compressed(folder / "activations.npz", source=source, marker=marker, **layers)
    about = {"widths": [*widths], "marker_width": thin, "tf_keras": tf_keras.__version__}
    (folder / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


def stored(folder):
    """The error of each layer, for both file forms and both kinds of numbers."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    with np.load(folder / "activations.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files}
    given = [torch.from_numpy(kept[n].transpose(0, 3, 1, 2).copy()) for n in ("source", "marker")]
    found = {}
    for form, name in FORMS.items():
        net = import_keras(
            folder / name, widths=about["widths"], marker_width=about["marker_width"]
        )
        for kind in KINDS:
            number = getattr(torch, kind)
            seen = activations(net.to(number), [x.to(number) for x in given])
            found[f"{form}, {kind}"] = {
                layer: error(seen[layer], kept[f"{layer} {kind}"]) for layer in LAYERS
            }
    return found


def activations(net, given):
    """What every layer gives, after its ReLU where it has one."""
    seen = {}

    def keep_as(layer):
        return lambda _module, _inputs, out: seen.update({layer: out.clone()})

    hooks = [net.get_submodule(layer).register_forward_hook(keep_as(layer)) for layer in LAYERS]
    with torch.no_grad():
        net(*given)
    for hook in hooks:
        hook.remove()
    return seen


def error(ours, theirs):
    difference = np.abs(ours.numpy().transpose(0, 2, 3, 1) - theirs).max()
    return float(difference / np.abs(theirs).max())


def published(tf_keras, markers, widths, thin):
    """The graph of Lu et al. (2019); norms are made in the order in which they are numbered."""
    layers = tf_keras.layers

    def conv(name, width, x):
        return layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)

    def normed(name, width, x, pool=False):
        x = layers.BatchNormalization()(conv(name, width, x))
        return layers.MaxPooling2D(2)(x) if pool else x

    source = layers.Input((None, None, 1 + markers))
    marker = layers.Input((None, None, markers))
    x = normed("conv1_1", widths[0], source, pool=True)
    x = normed("conv2_1", widths[1], x, pool=True)
    y = normed("rfpconv1_1", thin, marker, pool=True)
    y = normed("rfpconv2_1", 2 * thin, y, pool=True)
    for name, width in zip(SOURCE[2:], widths[2:], strict=True):
        x = normed(name, width, x)
    y = normed("rfpconv3_1", 2 * thin, y)
    x = layers.Concatenate()([x, y])
    for name, width in zip(DECODER, reversed(widths), strict=True):
        x = conv(name, width, x)
        if name in ("conv8_1", "conv9_1"):
            x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(1, 1, padding="same", name="y_gfp")(x)
    return tf_keras.Model([source, marker], x)


def drawn(draw, name, shape):
    """Values of a size at which every layer keeps some signal, and every norm does something."""
    layer, what = name.split(":")[0].rsplit("/", 1)
    if what == "kernel":
        if layer == "y_gfp":  # of one sign: what cancels is the rounding of all layers before
            return draw.uniform(0, 2 / shape[2], shape).astype(np.float32)
        spread = np.sqrt(2 / np.prod(shape[:3]))
        return (spread * draw.standard_normal(shape)).astype(np.float32)
    low, high = {
        "bias": (-0.1, 0.3),
        "gamma": (0.5, 1.5),
        "beta": (-0.3, 0.3),
        "moving_mean": (-0.5, 0.5),
        "moving_variance": (0.05, 2.0),  # where epsilon still shows, 25 bars and more
    }[what]
    return draw.uniform(low, high, shape).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
