"""Methods and metrics that only call the model: attributome beside captum and Quantus."""

from collections.abc import Callable
from functools import cache
from itertools import product
from math import ceil, comb

import numpy as np
import torch
from peers_subject import crop_cnn, images, plain_cnn, seeded
from peers_turns import (
    LARGEST,
    PCC,
    Row,
    Scale,
    Turns,
    correlation,
    difference,
    fastest,
    in_turns,
    row,
    settings,
    times,
)
from torch import Tensor, nn

from attributome.core.targets import Logit
from attributome.explain.perturbation import occlusion
from attributome.explain.segments import blocks
from attributome.explain.shapley import kernel_shap as our_kernel_shap
from attributome.metrics.orders import flipping

CLASS = 1
SETTINGS = (1, 4, 16, 64, 256)
"""What is tried for captum's `perturbations_per_eval`; 1 is its default."""


def named(at_once: int) -> str:
    return f"perturbations_per_eval={at_once}"


SAMPLED = (named(1), named(16), named(64), named(256))


def kernel_shap(scale: Scale) -> Row:
    """Ten features, as many versions of each image for both, and the exact values to check them."""
    net, x = _crops(scale, 8)
    labels, evaluations = _ten_blocks(x), 256
    turns = _kernel_shap(net, x, labels, evaluations, scale)
    best = fastest(turns, SAMPLED)
    large, y = _large(scale)
    heavy = _kernel_shap(large, y, _ten_blocks(y), 64, scale.short())
    torch.manual_seed(0)
    ours = per_feature(turns.gave["ours"], labels, spread=True)
    theirs = per_feature(turns.gave[best], labels, spread=False)
    right = exact_shapley(net, x, labels, 10)
    return row(
        "kernel_shap",
        turns,
        peer="captum KernelShap",
        against=best,
        bound=8.0,
        agreement=correlation(ours, theirs),
        meaning=f"{PCC}, over features: both draw coalitions by chance",
        note=f"crop CNN, {times(x)}, 10 features, {evaluations} versions of each image; the "
        f"fastest of captum's settings, {best}; floor: forwards of as many versions",
        ratios_of_settings=settings(turns, SAMPLED),
        ratios_with_larger_network=settings(heavy, SAMPLED),
        larger_network=f"plain CNN, {times(y)}, 64 versions of each image",
        ours_error=difference(ours, right),
        peer_error=difference(theirs, right),
        error_is="largest difference from the exact Shapley values, over the largest of them",
    )


def occlusion_default(scale: Scale) -> Row:
    """Captum as it comes: one window per call."""
    return _occlusion("occlusion_default", scale, 15.0, named(1))


def occlusion_tuned(scale: Scale) -> Row:
    """Captum at the `perturbations_per_eval` that was fastest here."""
    return _occlusion("occlusion_tuned", scale, 1.0)


def pixel_flipping(scale: Scale) -> Row:
    """The target after every one of 32 steps, most relevant pixels first."""
    net, x = _crops(scale, 8)
    turns = _flipped(net, x, scale)
    large, y = _large(scale)
    return row(
        "pixel_flipping",
        turns,
        peer="Quantus PixelFlipping",
        bound=4.0,
        agreement=difference(turns.gave["ours"][:, 1:], torch.tensor(turns.gave["peer"])),
        meaning=LARGEST,
        note=f"crop CNN, {times(x)}, 32 steps; ours evaluates the images themselves as well; "
        "floor: forwards of as many versions",
        ratios_with_larger_network=settings(_flipped(large, y, scale.short()), ["peer"]),
        larger_network=f"plain CNN, {times(y)}",
    )


def per_feature(maps: Tensor, labels: Tensor, *, spread: bool) -> Tensor:
    """One number per sample and feature, of a map that spreads it over pixels or repeats it."""
    inside = nn.functional.one_hot(labels.flatten(1)).to(maps)
    sums = torch.einsum("bp,bpn->bn", maps[:, 0].flatten(1), inside)
    return sums if spread else sums / inside.sum(1)


def exact_shapley(net: nn.Module, x: Tensor, labels: Tensor, n: int) -> Tensor:
    """Shapley's formula over all 2^n coalitions, with 0 for what is left out."""
    every = torch.tensor(list(product((False, True), repeat=n)))
    with torch.no_grad():
        seen = torch.stack([net(x * kept[labels][:, None])[:, CLASS] for kept in every]).double()
    place = {tuple(kept): row for row, kept in enumerate(every.tolist())}
    phi = torch.zeros(len(x), n, dtype=torch.double)
    for kept, row_with in place.items():
        size = sum(kept)
        for i in (i for i in range(n) if kept[i]):
            without = place[(*kept[:i], False, *kept[i + 1 :])]
            phi[:, i] += (seen[row_with] - seen[without]) / (n * comb(n - 1, size - 1))
    return phi


def _kernel_shap(
    net: nn.Module, x: Tensor, labels: Tensor, evaluations: int, scale: Scale
) -> Turns:
    from captum.attr import KernelShap

    peer, each = KernelShap(net), labels[:, None]

    def captums(at_once: int) -> Callable[[], Tensor]:
        return lambda: peer.attribute(
            x,
            target=CLASS,
            feature_mask=each,
            n_samples=evaluations,
            perturbations_per_eval=at_once,
        )

    def ours() -> Tensor:
        return our_kernel_shap(net, x, Logit(CLASS), features=labels, evaluations=evaluations)

    return in_turns(
        {
            "ours": ours,
            **{named(k): captums(k) for k in (1, 16, 64, 256)},
            "floor": lambda: _forwards(net, x, evaluations),
        },
        scale,
    )


@cache
def _occluded(scale: Scale, *, large: bool) -> Turns:
    """All settings in turns; both rows read them."""
    from captum.attr import Occlusion

    net, x = _large(scale) if large else _crops(scale, 1)
    window, stride = 4, 2
    peer = Occlusion(net)

    def captums(at_once: int) -> Callable[[], Tensor]:
        return lambda: peer.attribute(
            x,
            sliding_window_shapes=(x.shape[1], window, window),
            strides=(x.shape[1], stride, stride),
            target=CLASS,
            perturbations_per_eval=at_once,
        )

    windows = ((x.shape[2] - window) // stride + 1) * ((x.shape[3] - window) // stride + 1)
    return in_turns(
        {
            "ours": lambda: occlusion(net, x, Logit(CLASS), window=window, stride=stride),
            **{named(k): captums(k) for k in SETTINGS},
            "floor": lambda: _forwards(net, x, windows),
        },
        scale.short() if large else scale,
    )


def _occlusion(work: str, scale: Scale, bound: float, against: str = "") -> Row:
    names = [named(k) for k in SETTINGS]
    turns, heavy = _occluded(scale, large=False), _occluded(scale, large=True)
    against = against or fastest(turns, names)
    return row(
        work,
        turns,
        peer="captum Occlusion",
        against=against,
        bound=bound,
        agreement=difference(turns.gave["ours"], turns.gave[against]),
        meaning=LARGEST,
        note=f"crop CNN, {times(turns.gave['ours'])}, windows of 4 x 4 pixels every 2 pixels, "
        f"captum's {against} (1 is its default); floor: forwards of as many versions",
        ratios_of_settings=settings(turns, names),
        ratios_with_larger_network=settings(heavy, names),
        larger_network=f"plain CNN, {times(heavy.gave['ours'])}",
    )


def _flipped(net: nn.Module, x: Tensor, scale: Scale) -> Turns:
    from quantus import PixelFlipping

    steps, maps, fill = 32, images(*x.shape, seed=5), torch.zeros_like(x)
    peer = PixelFlipping(
        features_in_step=x[0].numel() // steps,
        perturb_baseline=0.0,
        normalise=False,
        disable_warnings=True,
    )
    told = {"x_batch": x.numpy(), "y_batch": np.full(len(x), CLASS), "a_batch": maps.numpy()}
    return in_turns(
        {
            "ours": lambda: flipping(net, x, Logit(CLASS), maps, fill, steps=steps),
            "peer": lambda: peer(model=net, **told, softmax=False, device="cpu"),
            "floor": lambda: _forwards(net, x, steps),
        },
        scale,
    )


def _crops(scale: Scale, count: int) -> tuple[nn.Module, Tensor]:
    """Crops of single cells and a small network: what surrounds the model takes the time."""
    return seeded(crop_cnn, 1, 5), images(scale.size(count, 1), 1, 32, 32)


def _large(scale: Scale) -> tuple[nn.Module, Tensor]:
    """A network that takes the time itself, so that nobody can be much faster than another."""
    side = scale.size(64, 32)
    return seeded(plain_cnn, 1, 5), images(2, 1, side, side)


def _ten_blocks(x: Tensor) -> Tensor:
    return blocks(x, (ceil(x.shape[2] / 5), ceil(x.shape[3] / 2)))


def _forwards(net: nn.Module, x: Tensor, copies: int) -> None:
    """The model alone, on as many versions of the batch as the work needs; 2^17 pixels at once."""
    group = max(1, 2**17 // x.numel())
    with torch.no_grad():
        for start in range(0, copies, group):
            net(x.repeat(min(group, copies - start), 1, 1, 1))


WORKS = (kernel_shap, occlusion_default, occlusion_tuned, pixel_flipping)
