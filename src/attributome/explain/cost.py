"""What a method will cost, told before it runs: passes through the model, seconds and bytes.

F is one forward pass of one image. A backward pass to the input costs about one F more, one from
a layer less, and one that also needs the gradients of weights about two.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.probe import at_once, run, still
from attributome.core.types import Images, Predictor
from attributome.explain.lines import FIRST


@dataclass(frozen=True, slots=True)
class Cost:
    """Passes through the model for each image; with `at_most` they may be fewer."""

    forwards: int
    backwards: int
    at_most: bool = False

    @property
    def passes(self) -> int:
        """All passes in units of F."""
        return self.forwards + self.backwards


@dataclass(frozen=True, slots=True)
class Ask:
    """What a formula may depend on: parameters with their defaults, image size, layer channels."""

    params: Mapping[str, Any]
    size: tuple[int, ...]
    channels: int | None

    def __getitem__(self, name: str) -> Any:
        return self.params[name]


Formula = Callable[[Ask], Cost | None]


def _both(n: int) -> Cost:
    return Cost(n, n)


def _at_layer(_: Ask) -> Cost:
    return Cost(1, 1, at_most=True)  # backwards through the head only


def _line(ask: Ask) -> Cost:
    if ask["steps"] is not None:
        return _both(ask["steps"])
    gradients = FIRST  # doubled, and one more, until the sum is right
    while 2 * gradients + 1 <= ask["most"]:
        gradients = 2 * gradients + 1
    return Cost(gradients + 2, gradients, at_most=True)


def _windows(ask: Ask) -> Cost:
    windows = _along(ask["window"], ask.size)
    strides = windows if ask["stride"] is None else _along(ask["stride"], ask.size)
    each = zip(ask.size, windows, strides, strict=True)
    return Cost(1 + math.prod(max(0, math.ceil((n - w) / s)) + 1 for n, w, s in each), 0)


def _features(ask: Ask) -> Cost:
    if ask["features"] is not None:
        return Cost(1 + int(ask["features"].max()) + 1, 0, at_most=True)
    along = round(64 ** (1 / len(ask.size)))
    return Cost(1 + math.prod(math.ceil(n / math.ceil(n / along)) for n in ask.size), 0)


def _channels(ask: Ask) -> Cost | None:
    return None if ask.channels is None else Cost(2 + ask.channels, 0)


def _bottleneck(ask: Ask) -> Cost:
    seen, pulls = ask["background"], ask["steps"] * ask["draws"]
    # the background runs once for a whole batch
    return Cost(1 + pulls + (0 if seen is None else len(seen)), pulls, at_most=seen is not None)


FORMULAS: dict[str, Formula] = {
    "saliency": lambda _: _both(1),
    "input_x_gradient": lambda _: _both(1),
    "guided_backprop": lambda _: _both(1),
    "integrated_gradients": _line,
    "smooth_grad": lambda ask: _both(ask["draws"]),
    "var_grad": lambda ask: _both(ask["draws"]),
    "expected_gradients": lambda ask: _both(ask["draws"]),
    "deep_lift": lambda _: Cost(2, 1),
    "deep_shap": lambda ask: Cost(1 + len(ask["background"]), len(ask["background"])),
    "lrp": lambda _: _both(1),
    "grad_cam": _at_layer,
    "grad_cam_plus_plus": _at_layer,
    "xgrad_cam": _at_layer,
    "hires_cam": _at_layer,
    "layer_cam": _at_layer,
    "eigen_grad_cam": _at_layer,
    "eigen_cam": lambda _: Cost(1, 0),
    "score_cam": _channels,
    "ablation_cam": _channels,
    "occlusion": _windows,
    "feature_ablation": _features,
    "rise": lambda ask: Cost(1 + ask["masks"], 0),
    "kernel_shap": lambda ask: Cost(ask["evaluations"], 0, at_most=True),
    "owen": lambda ask: Cost(2 * (4 ** ask["depth"] - 1) // 3 + 2, 0),
    "extremal_perturbation": lambda ask: _both(ask["steps"] * len(ask["areas"])),
    "information_bottleneck": _bottleneck,
    "random": lambda _: Cost(0, 0),
    "blurred_noise": lambda _: Cost(0, 0),
    "intensity": lambda _: Cost(0, 0),
    "edges": lambda _: Cost(0, 0),
    "local_variance": lambda _: Cost(0, 0),
    "centre": lambda _: Cost(0, 0),
    "prediction": lambda _: Cost(1, 0),
    "learned_mask": lambda _: Cost(1, 0),  # of the generator, once it is trained
}
"""One line for each method; what has none is unknown, and the forecast says so."""


def forecast(
    name: str, params: Mapping[str, Any], size: Sequence[int], *, channels: int | None = None
) -> Cost | None:
    """Passes for an image of this spatial size, or None where they are not known beforehand.

    `params` holds every parameter of the method, defaults included; `channels` are those of its
    layer, where it has one.
    """
    formula = FORMULAS.get(name)
    return formula(Ask(params, tuple(size), channels)) if formula else None


@dataclass(frozen=True, slots=True)
class Measured:
    """One forward pass of one image, as it ran: `saved` bytes are what a backward pass keeps."""

    seconds: float
    saved: int
    numbers: int


def measure(model: Predictor, x: Images, *, repeats: int = 3) -> Measured:
    """Run the model on `x` a few times; the median counts, per image.

    A model without a gradient saves nothing.
    """
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with still(model):
        times = []
        for _ in range(repeats):
            begin = time.perf_counter()
            with torch.no_grad():
                float(run(model, x).flatten()[0])  # waits for the device
            times.append(time.perf_counter() - begin)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, _same):
            kept = run(model, x.detach().requires_grad_())
        del kept  # storages must stay apart while they are counted
    return Measured(median(times) / len(x), sum(held.values()) // len(x), x[0].numel())


def seconds(cost: Cost, measured: Measured, images: int) -> float:
    """Time for that many images; a forecast, for batches of the size that was measured."""
    return cost.passes * measured.seconds * images


def memory(cost: Cost, measured: Measured, x: Images) -> int:
    """Bytes that the largest group of passes holds, besides weights and what one layer needs.

    A method lays as many versions of the batch side by side as `at_once` allows.
    """
    rows = at_once(x, max(1, cost.forwards)) * len(x)
    saved = measured.saved if cost.backwards else 0
    return rows * (saved + 2 * measured.numbers * x.element_size())


def training_passes(steps: int, batch: int, *, generator: float = 1.0) -> float:
    """F to train a mask generator whose own forward pass costs `generator` F.

    A step runs the generator forwards and backwards with its weights' gradients, and the predictor
    forwards and backwards to its input; the clean answer is known.
    """
    return steps * batch * (3 * generator + 2)


def break_even(training: float, per_image: float, per_image_mask: float) -> int | None:
    """The number of images from which a learned mask is cheaper than another method.

    All three in one unit, such as F or seconds. None where the mask costs as much for each image:
    it is never cheaper.
    """
    if min(training, per_image, per_image_mask) < 0:
        raise UsageError(f"costs of {training}, {per_image} and {per_image_mask} must not be < 0")
    if per_image <= per_image_mask:
        return None
    return math.floor(training / (per_image - per_image_mask)) + 1


def in_words(name: str, cost: Cost | None, measured: Measured, images: int) -> str:
    """One line for the screen."""
    if cost is None:
        return f"{name}: cost unknown"
    about = "at most " if cost.at_most else ""
    return (
        f"{name}: {about}{cost.forwards} forward and {cost.backwards} backward passes per image, "
        f"{about}about {seconds(cost, measured, images):.1f} s for {images} images"
    )


def _along(size: int | Sequence[int], space: Sequence[int]) -> tuple[int, ...]:
    return (size,) * len(space) if isinstance(size, int) else tuple(size)


def _same(tensor: Tensor) -> Tensor:
    return tensor
