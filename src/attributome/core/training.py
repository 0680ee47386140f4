"""The one training loop: early stop on held-out data, best checkpoint, resume, budget, log.

It owns the folder that it writes: `last.safetensors` (weights, optimiser and the story so far),
`best.safetensors` (weights) and `log.csv`. An epoch counts when `last` has been renamed into
place, so a killed training goes on from the last whole epoch, and draws are named by
(seed, epoch, step), so it ends with the same bits as one that was never killed.
"""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.files import digest, write_text, write_whole
from attributome.core.types import Progress, silent

Batch = TypeVar("Batch")
Terms = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast to train. `watch` names the held-out number that must fall."""

    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epochs: int = 100
    patience: int | None = None
    minutes: float | None = None
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = 0.05
    clip: float | None = None
    watch: str = "loss"


@dataclass(slots=True, kw_only=True)
class Story:
    """What has happened: one row per epoch, the best epoch, and the seconds spent."""

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best: float = math.inf
    seconds: float = 0.0
    finished: bool = False


def fit(
    net: nn.Module,
    plan: Plan,
    *,
    batches: Callable[[int], Iterable[Batch]],
    steps: int,
    step: Callable[[Batch, int, float], Terms],
    validate: Callable[[], Mapping[str, float]],
    compute: Compute,
    folder: Path | None = None,
    identity: Mapping[str, object] | None = None,
    progress: Progress = silent,
) -> Story:
    """Train `net` in place and leave it with its best weights.

    `batches(epoch)` yields `steps` batches; `step(batch, number, done)` returns the terms of the
    loss with the one to minimise under "loss", where `done` in [0, 1] is the share of the plan
    behind us, for schedules; `validate()` runs in evaluation mode and without gradients.
    `identity` is what a checkpoint must have been made with to be gone on from.
    """
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=plan.lr, betas=plan.betas, weight_decay=plan.weight_decay
    )
    scaler = torch.amp.GradScaler(enabled=compute.precision == "fp16")
    mark = digest({"plan": asdict(plan), **(identity or {})})
    story = _resume(net, optimizer, folder, mark) if folder else Story()
    kept = _copy(net)
    before, started = story.seconds, time.monotonic()
    while not story.finished:
        epoch = len(story.rows)
        sums: dict[str, float] = {}
        net.train()
        for number, batch in enumerate(batches(epoch)):
            spent = before + time.monotonic() - started
            done = _done(plan, (epoch * steps + number) / (plan.epochs * steps), spent)
            for group in optimizer.param_groups:
                group["lr"] = plan.lr * _rate(plan, done)
            with compute.autocast():
                terms = step(batch, epoch * steps + number, done)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(terms["loss"]).backward()
            if plan.clip is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(net.parameters(), plan.clip)
            scaler.step(optimizer)
            scaler.update()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            progress(min(done, 0.99), _words(epoch, terms["loss"].item(), story))  # 1 is the end
        net.eval()
        with torch.no_grad(), compute.autocast():
            held_out = validate()
        _judge(story, plan, epoch, sums, held_out, steps)
        story.seconds = before + time.monotonic() - started
        story.finished = _over(story, plan)
        if story.best_epoch == epoch:
            kept = _copy(net)
        if folder:
            _save(folder, net, optimizer, story, mark, improved=story.best_epoch == epoch)
    net.load_state_dict(load_file(folder / "best.safetensors") if folder else kept)
    progress(1.0, f"best epoch {story.best_epoch + 1}: held-out {plan.watch} {story.best:.4g}")
    return story


def _done(plan: Plan, share: float, seconds: float) -> float:
    spent = seconds / (60 * plan.minutes) if plan.minutes else 0.0
    return min(1.0, max(share, spent))


def _rate(plan: Plan, done: float) -> float:
    if done < plan.warmup:
        return (done + 0.01) / (plan.warmup + 0.01)
    if plan.schedule == "constant":
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - plan.warmup) / (1 - plan.warmup)))


def _words(epoch: int, loss: float, story: Story) -> str:
    best = f", best held-out {story.best:.4g}" if story.rows else ""
    return f"epoch {epoch + 1}, loss {loss:.4g}{best}"


def _judge(
    story: Story,
    plan: Plan,
    epoch: int,
    sums: Mapping[str, float],
    held_out: Mapping[str, float],
    steps: int,
) -> None:
    if plan.watch not in held_out:
        raise KeyError(f"validate() gives {sorted(held_out)}, and {plan.watch!r} is watched")
    row = {name: value / steps for name, value in sums.items()}
    row |= {f"val_{name}": value for name, value in held_out.items()}
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    if bad:
        raise DataError(
            f"training gave a number that is not finite in epoch {epoch + 1} ({', '.join(bad)}): "
            f"look for empty or extreme images, or lower the learning rate"
        )
    story.rows.append({"epoch": epoch + 1, **row})
    if held_out[plan.watch] < story.best:
        story.best, story.best_epoch = float(held_out[plan.watch]), epoch


def _over(story: Story, plan: Plan) -> bool:
    waited = len(story.rows) - 1 - story.best_epoch
    tired = plan.patience is not None and waited >= plan.patience
    late = plan.minutes is not None and story.seconds >= 60 * plan.minutes
    return len(story.rows) >= plan.epochs or tired or late


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _save(
    folder: Path,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    story: Story,
    mark: str,
    *,
    improved: bool,
) -> None:
    weights = {name: value.contiguous() for name, value in net.state_dict().items()}
    if improved:
        write_whole(folder / "best.safetensors", lambda part: save_file(weights, part))
    state = optimizer.state_dict()["state"]
    moments = {
        f"optimizer.{i}.{name}": value.contiguous()
        for i, slot in state.items()
        for name, value in slot.items()
    }
    tensors = {f"net.{name}": value for name, value in weights.items()} | moments
    told = {"story": json.dumps(asdict(story)), "mark": mark}
    write_whole(folder / "last.safetensors", lambda part: save_file(tensors, part, metadata=told))
    write_text(folder / "log.csv", _csv(story.rows))


def _resume(net: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, mark: str) -> Story:
    path = folder / "last.safetensors"
    if not path.exists():
        return Story()
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read the checkpoint {path}: {error}") from error
    if told.get("mark") != mark:
        raise DataError(
            f"{path} was made with other settings, data or another predictor; give this training a "
            f"new folder, or delete that one to begin again"
        )
    net.load_state_dict({n[4:]: v for n, v in tensors.items() if n.startswith("net.")})
    weights = list(net.parameters())
    slots: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".")
            like = weights[int(index)]
            # the strides of the weight, or the optimiser's kernels round differently from now on
            laid = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            slots.setdefault(int(index), {})[moment] = laid
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    return Story(**json.loads(told["story"]))


def _csv(rows: list[dict[str, float]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
