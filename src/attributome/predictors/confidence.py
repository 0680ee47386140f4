"""A second network that says how wrong a predictor is, from its prediction and the mask alone.

It sees what exists where no truth does: the prediction, the importance mask and perhaps the input,
and it answers with the error 1 - |PCC| that it expects. What it says is worth what
`studies/confidence.py` finds on fields that trained nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.core.probe import predict
from attributome.core.seeds import rng
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Images, Progress, silent
from attributome.core.windows import over_field
from attributome.predictors.cells import RESNETS, Scale
from attributome.predictors.networks import MeanAndMax

Field = Float[np.ndarray, "c *s"]
Window = Sequence[int] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A prediction whose error is known; `judged` makes one.

    `inputs` `(c, *s)` is what the head sees and `error` is 1 - |PCC| of all of it. `unit` names
    what is independent, such as the well. A cell with its surroundings is one as well (see
    `cell_confidence.py`): its error is NaN where it is undefined, and `id` says which cell it is.
    """

    inputs: Float[np.ndarray, "c *s"]
    error: float
    unit: str
    id: str = ""


def judged(
    prediction: Float[np.ndarray, "k *s"],
    mask: Float[np.ndarray, "1 *s"],
    truth: Float[np.ndarray, "k *s"],
    *,
    unit: str,
    image: Float[np.ndarray, "i *s"] | None = None,
) -> Judged:
    """The channels [prediction, mask, image] and the true error of the prediction, 0 to 1.

    A constant prediction agrees with nothing and has the error 1; a constant truth is refused.
    """
    shown = [prediction, mask] + ([image] if image is not None else [])
    inputs = np.concatenate(shown).astype(np.float32)
    if not (np.isfinite(inputs).all() and np.isfinite(truth).all()):
        raise DataError(
            f"a prediction of unit {unit!r}, its mask or truth is not finite everywhere"
        )
    a, b = (
        one.astype(np.float64).ravel() - one.mean(dtype=np.float64) for one in (prediction, truth)
    )
    if truth.min() == truth.max():
        raise DataError(f"the truth of a field of unit {unit!r} is constant: it has no correlation")
    flat = prediction.min() == prediction.max()
    correlation = 0.0 if flat else a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)
    return Judged(inputs=inputs, error=float(1 - min(1.0, abs(correlation))), unit=unit)


class ConfidenceHead(nn.Module):
    """`(b, c, *s)` of any size to the claimed error `(b, 1)`, from 0 to 1; `kwargs` rebuild it."""

    def __init__(
        self,
        body: nn.Module,
        features: int,
        *,
        kwargs: Mapping[str, object],
        channels: int,
        dims: int,
    ) -> None:
        super().__init__()
        self.kwargs, self.channels, self.dims = dict(kwargs), channels, dims
        self.scale = Scale(channels, dims)
        self.body = body
        self.pool = MeanAndMax()
        self.head = nn.Linear(features, 1)

    def forward(self, x: Images) -> Float[Tensor, "b 1"]:
        """The error that is expected of each prediction."""
        found: Tensor = self.head(self.pool(self.body(self.scale(x)))).sigmoid()
        return found


class Residual(nn.Module):
    """Two convolutions and a way around them, which averages where it halves (He et al. 2019).

    The usual way around is a 1x1 convolution with a stride, which looks at one pixel in four. With
    few channels, channels last, its backward pass corrupts memory on some CPUs (`core/compute.py`).
    """

    def __init__(self, before: int, after: int, dims: int, stride: int) -> None:
        super().__init__()
        conv = partial({2: nn.Conv2d, 3: nn.Conv3d}[dims], bias=False)
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
        self.stride = stride
        self.first = nn.Sequential(conv(before, after, 3, stride=stride, padding=1), norm(after))
        self.second = nn.Sequential(conv(after, after, 3, padding=1), norm(after))
        self.around = nn.Sequential(conv(before, after, 1), norm(after))

    def forward(self, x: Tensor) -> Tensor:
        deep = self.second(F.relu(self.first(x)))
        if self.stride > 1:  # not AvgPool3d, which refuses an axis of one voxel
            n = deep.shape
            if x.ndim == 4:
                x = F.adaptive_avg_pool2d(x, (n[2], n[3]))
            else:
                x = F.adaptive_avg_pool3d(x, (n[2], n[3], n[4]))
        return F.relu(deep + self.around(x))


def confidence_head(
    channels: int,
    dims: int,
    *,
    kind: Literal["small", "resnet"] = "small",
    version: str = "18",
    width: int = 8,
    seed: int = 0,
) -> ConfidenceHead:
    """An untrained head for images of 2 or 3 dimensions, its weights drawn by `seed`.

    `small` is four residual blocks of `width` to 8 times `width` features; `resnet` is MONAI's
    ResNet `version` 10, 18, 34 or 50. Batch norm keeps what a norm of each sample would erase: that
    a whole field is brighter than those of the training.
    """
    if dims not in (2, 3) or min(channels, width) < 1:
        raise UsageError(f"{channels} channels, {dims} dims and width {width} make no network")
    if kind not in ("small", "resnet") or version not in RESNETS:
        raise UsageError(
            f"kind {kind!r}, version {version!r}; there are small, and resnet {', '.join(RESNETS)}"
        )
    kwargs = {"channels": channels, "dims": dims, "kind": kind, "version": version}
    with torch.random.fork_rng(devices=[]):  # the layers draw from the global generator only
        torch.manual_seed(seed)
        if kind == "small":
            widths = [channels, width, 2 * width, 4 * width, 8 * width]
            body: nn.Module = nn.Sequential(
                *(Residual(widths[i], widths[i + 1], dims, 1 if i == 0 else 2) for i in range(4))
            )
            features = widths[-1]
        else:
            body, features = _resnet(channels, dims, version)
        return ConfidenceHead(
            body, 2 * features, kwargs={**kwargs, "width": width}, channels=channels, dims=dims
        )


def fit_confidence(
    net: ConfidenceHead,
    samples: Sequence[Judged],
    parts: Mapping[str, Sequence[int]],
    *,
    plan: Plan,
    batch: int = 16,
    window: Window = None,
    augment: bool = True,
    seed: int = 0,
    compute: Compute,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Story:
    """Train `net` in place on the rows `parts["train"]` and leave it with its best weights.

    The loss is the mean squared error of the claim. What is best is judged on whole fields of
    `parts["validate"]`: `val_loss`, and beside it `val_constant`, that of claiming the mean error
    of the training fields whatever is seen. A unit on both sides is refused. With `window` each
    field shows one crop an epoch, at a place drawn anew, which is asked for the error of the whole
    field; without, all training fields must have one size. `augment` flips y and x. Channels are
    scaled by their mean and spread over the training fields, which stay with the weights. Order,
    crops and flips are drawn by (seed, epoch): a resumed training ends with the same bits.
    """
    train, held = (_rows(samples, parts, part) for part in ("train", "validate"))
    if both := sorted({samples[i].unit for i in train} & {samples[i].unit for i in held}):
        raise DataError(f"unit {both[0]!r} trains and validates: a unit must be whole")
    _check(net, samples, [*train, *held], train, window)
    if batch < 1:
        raise UsageError(f"batch {batch}; at least 1 is needed")
    steps = -(-len(train) // batch)
    errors = np.array([samples[i].error for i in train])
    truths = np.array([samples[i].error for i in held])
    _prepare(net, [samples[i].inputs for i in train], float(errors.mean()))
    compute.place(net, net.dims)
    constant = float(((truths - errors.mean()) ** 2).mean())

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = rng(seed, "confidence order", epoch).permutation(len(train))
        for rows in np.array_split(order, steps):
            crops = [
                _view(samples[train[i]].inputs, window, augment, seed, epoch, i)
                for i in rows.tolist()
            ]
            y = torch.from_numpy(errors[rows]).float()[:, None]
            yield torch.from_numpy(np.stack(crops)).float(), y

    def step(pair: tuple[Tensor, Tensor], _number: int, _done: float) -> dict[str, Tensor]:
        x, y = (compute.move(one) for one in pair)
        return {"loss": (net(x).float() - y).square().mean()}

    def validate() -> dict[str, float]:
        claims = [
            claimed_error(net, samples[i].inputs, window=window, compute=compute) for i in held
        ]
        return {"loss": float(((np.array(claims) - truths) ** 2).mean()), "constant": constant}

    return fit(
        net,
        plan,
        batches=batches,
        steps=steps,
        step=step,
        validate=validate,
        compute=compute,
        folder=folder,
        identity={
            "network": net.kwargs,
            "data": _mark([samples[i] for i in (*train, *held)], len(train)),
            "batch": batch,
            "window": None if window is None else list(window),
            "augment": augment,
            "seed": seed,
        },
        progress=progress,
    )


def claimed_error(
    net: ConfidenceHead,
    inputs: Field,
    *,
    window: Window = None,
    overlap: float = 0.5,
    compute: Compute,
) -> float:
    """The claim for one field: of all of it, or the mean of `claimed_map` over its windows."""
    if window is not None:
        found = claimed_map(net, inputs, window=window, overlap=overlap, compute=compute)
        return float(found.mean(dtype=np.float64))
    _fits(net, inputs)
    with compute.autocast():
        return float(predict(net, compute.move(torch.from_numpy(inputs)[None].float()))[0, 0])


def claimed_map(
    net: ConfidenceHead,
    inputs: Field,
    *,
    window: Sequence[int],
    overlap: float = 0.5,
    compute: Compute,
) -> Float[np.ndarray, "1 *s"]:
    """Where in a field the prediction is claimed to be wrong: the claims of windows, blended."""
    _fits(net, inputs)

    def work(x: Tensor) -> Tensor:
        claims = predict(net, x)
        return claims.view(-1, *[1] * (x.ndim - 1)).expand(-1, 1, *x.shape[2:]).clone()

    return over_field(work, inputs, window=window, overlap=overlap, compute=compute)


def _prepare(net: ConfidenceHead, fields: Sequence[np.ndarray], mean: float) -> None:
    """Scale the channels, and begin with the mean error as the claim of everything."""
    count = sum(field[0].size for field in fields)
    sums = sum(field.reshape(len(field), -1).sum(1, dtype=np.float64) for field in fields)
    centre = np.asarray(sums) / count
    powers = sum(
        ((field.reshape(len(field), -1) - centre[:, None]) ** 2).sum(1) for field in fields
    )
    spread = np.sqrt(np.asarray(powers) / count)
    if not (spread > 0).all():
        raise DataError(
            f"channel {int(np.argmin(spread))} is constant over all training fields: it says "
            f"nothing of the error and must be left out"
        )
    net.scale.set(torch.from_numpy(centre).float(), torch.from_numpy(spread).float())
    share = min(max(mean, 0.01), 0.99)
    with torch.no_grad():
        net.head.bias.fill_(float(np.log(share / (1 - share))))


def _view(
    field: Field, window: Window, augment: bool, seed: int, epoch: int, row: int
) -> np.ndarray:
    """A field as an epoch shows it: cropped and flipped."""
    draw = rng(seed, "confidence view", epoch, int(row))
    for axis, wide in enumerate(window or (), start=1):
        spare = field.shape[axis] - wide
        start = int(draw.integers(spare + 1))
        field = field.take(range(start, start + wide), axis)
    turned = tuple(axis for axis in (-2, -1) if augment and draw.random() < 0.5)
    return np.flip(field, turned) if turned else field


def _resnet(channels: int, dims: int, version: str) -> tuple[nn.Module, int]:
    from monai.networks.nets.resnet import ResNet  # takes seconds to import

    block, layers = RESNETS[version]
    net = ResNet(
        block, list(layers), [64, 128, 256, 512], dims, channels, feed_forward=False,
        bias_downsample=False,
    )  # fmt: skip
    body = nn.Sequential(
        net.conv1, net.bn1, net.act, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4
    )
    return body, 512 if block == "basic" else 2048


def _rows(
    samples: Sequence[Judged], parts: Mapping[str, Sequence[int]], part: str
) -> Sequence[int]:
    rows = list(parts.get(part, ()))
    if not rows:
        raise DataError(f"no rows {part}: parts are {sorted(parts)}, and each of both needs fields")
    if wrong := [row for row in rows if not 0 <= row < len(samples)]:
        raise DataError(f"row {wrong[0]} of the part {part!r} is not among {len(samples)} samples")
    return rows


def _check(
    net: ConfidenceHead,
    samples: Sequence[Judged],
    rows: Sequence[int],
    train: Sequence[int],
    window: Window,
) -> None:
    for row in rows:
        _fits(net, samples[row].inputs)
        if not 0 <= samples[row].error <= 1:
            raise DataError(f"the error of row {row} is {samples[row].error}, not from 0 to 1")
    sizes = {samples[row].inputs.shape[1:] for row in train}
    if window is None and len(sizes) > 1:
        raise UsageError(
            f"training fields have the sizes {sorted(sizes)[:2]} and others: give a window"
        )
    if window is not None:
        least = [min(size[axis] for size in sizes) for axis in range(net.dims)]
        if len(window) != net.dims or any(
            not 1 <= w <= most for w, most in zip(window, least, strict=True)
        ):
            raise UsageError(
                f"a window of {tuple(window)} for training fields of at least {tuple(least)}: give "
                f"one number for each axis, and none beyond the field"
            )


def _fits(net: ConfidenceHead, inputs: np.ndarray) -> None:
    if inputs.ndim != net.dims + 1 or len(inputs) != net.channels:
        raise DataError(
            f"inputs of shape {inputs.shape} for a head of {net.channels} channels in "
            f"{net.dims} dimensions"
        )


def _mark(samples: Sequence[Judged], train: int) -> str:
    """Which data a checkpoint was made with."""
    told = [
        [one.unit, one.error, list(one.inputs.shape), float(one.inputs.sum(dtype=np.float64))]
        for one in samples
    ]
    return digest({"train": train, "samples": told})
