"""Train a predictor on pairs of images and targets, and score one on pairs it has not seen."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attributome.core.arrays import pearson
from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.probe import predict
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Predictor, Progress, Scores, silent
from attributome.predictors.card import Task

Pair = tuple[Tensor, Tensor]
"""Images `(b, c, *s)`, and targets: `(b, k, *s)`, `(b, k)` numbers, or `(b,)` class indices."""


def fit_predictor(
    net: nn.Module,
    *,
    batches: Callable[[int], Iterable[Pair]],
    steps: int,
    validation: Sequence[Pair] | Callable[[], Iterable[Pair]],
    task: Task,
    plan: Plan,
    compute: Compute,
    folder: Path | None = None,
    identity: Mapping[str, object] | None = None,
    progress: Progress = silent,
) -> Story:
    """Train `net` in place and leave it with its best weights; targets are normalised already.

    `batches(epoch)` yields `steps` pairs. `validation` holds pairs or, where they do not fit in
    memory, reads them again for every epoch; each pair may have its own size.
    """
    kernels = [weight.ndim - 2 for weight in net.parameters() if weight.ndim in (4, 5)]
    compute.place(net, kernels[0] if kernels else 2)

    def step(pair: Pair, _number: int, _done: float) -> dict[str, Tensor]:
        x, y = (compute.move(part) for part in pair)
        return {"loss": losses(net(x).float(), y, task).mean()}

    def validate() -> dict[str, float]:
        outs, truths = [], []
        sums: dict[str, float] = {"loss": 0.0}
        count = 0
        for x, y in validation() if callable(validation) else validation:
            out, truth = net(compute.move(x)).float(), compute.move(y)
            sums["loss"] += losses(out, truth, task).sum().item()
            count += len(x)
            if task == "image":
                sums["pcc"] = sums.get("pcc", 0.0) + pearson(out, truth.float()).sum().item()
            else:
                outs.append(out)
                truths.append(truth)
        if not count:
            raise DataError("there are no validation samples; training needs at least one")
        held_out = {name: value / count for name, value in sums.items()}
        return held_out if task == "image" else held_out | agreement(outs, truths, task)

    return fit(
        net,
        plan,
        batches=batches,
        steps=steps,
        step=step,
        validate=validate,
        compute=compute,
        folder=folder,
        identity={"task": task, "steps": steps, **(identity or {})},
        progress=progress,
    )


def losses(out: Tensor, y: Tensor, task: Task) -> Tensor:
    """The loss of each sample `(b,)`: mean squared error, or cross-entropy for classes."""
    if task == "classification":
        if out.ndim != 2 or y.shape != out.shape[:1]:
            raise DataError(
                f"the predictor gives outputs of shape {tuple(out.shape)} for classes of shape "
                f"{tuple(y.shape)}; (batch, classes) for (batch,) is needed"
            )
        if int(y.min()) < 0 or int(y.max()) >= out.shape[1]:
            raise DataError(
                f"a target is class {int(y.max() if y.min() >= 0 else y.min())}, but the predictor "
                f"has {out.shape[1]} classes, counted from 0"
            )
        return F.cross_entropy(out, y.long(), reduction="none")
    if out.shape != y.shape:  # they would broadcast, and train towards nonsense
        raise DataError(
            f"the predictor gives outputs of shape {tuple(out.shape)} for targets of shape "
            f"{tuple(y.shape)}; they must be equal"
        )
    return (out - y).square().flatten(1).mean(1)


def agreement(outs: Sequence[Tensor], truths: Sequence[Tensor], task: Task) -> dict[str, float]:
    """Numbers that only a whole set has: the accuracy, or the PCC and R² of a regression."""
    out, y = torch.cat(list(outs)), torch.cat(list(truths))
    if task == "classification":
        return {"accuracy": (out.argmax(1) == y).float().mean().item()}
    per_output = out.T, y.T.to(out)
    return {
        "pcc": pearson(*per_output).mean().item(),
        "r2": explained(*per_output).mean().item(),
    }


def explained(out: Tensor, y: Tensor) -> Scores:
    """R² per row over everything but the first dimension; 0 where the truth is constant."""
    out, y = out.flatten(1), y.flatten(1)
    left = (out - y).square().mean(1)
    spread = (y - y.mean(1, keepdim=True)).square().mean(1)
    flat = spread <= torch.finfo(out.dtype).eps ** 2
    return torch.where(flat, 0.0, 1 - left / torch.where(flat, 1.0, spread))


def score_predictor(
    model: Predictor, samples: Iterable[Pair], *, task: Task, compute: Compute
) -> list[dict[str, float]]:
    """One row per sample: `pcc`, `r2`, `mse`; `error`; `correct`, `cross_entropy`."""
    rows: list[dict[str, float]] = []
    for x, y in samples:
        with compute.autocast():
            out = predict(model, compute.move(x)).float()
        truth = compute.move(y)
        loss = losses(out, truth, task)
        if task == "image":
            truth = truth.to(out)
            found = {"pcc": pearson(out, truth), "r2": explained(out, truth), "mse": loss}
        elif task == "regression":
            found = {"error": (out - truth).abs().mean(1)}
        else:
            found = {"correct": (out.argmax(1) == truth).float(), "cross_entropy": loss}
        table = {name: values.tolist() for name, values in found.items()}
        rows += [
            dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)
        ]
    return rows
