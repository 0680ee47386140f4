"""Versions of one work take turns in one process; a row says how they compare."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor

from attributome.core.types import Progress, silent

Row = dict[str, Any]
Version = Callable[[], Any]

LONG = 0.1
MOST_CALLS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured, and who hears how far it is."""

    quick: bool = False
    least: int = 5
    most: int = 25
    seconds: float = 20.0
    say: Progress = field(default=silent, compare=False)

    def size(self, whole: int, small: int) -> int:
        """A size of the work: `small` in a quick run, whose figures prove nothing."""
        return small if self.quick else whole

    def short(self) -> "Scale":
        """For a second setting beside the one that is judged."""
        return replace(self, least=min(5, self.least), most=5, seconds=0.0)


QUICK = Scale(quick=True, least=1, most=1, seconds=0.0)


@dataclass(frozen=True, slots=True)
class Turns:
    """What each version gave, and the seconds it took in every round."""

    gave: dict[str, Any]
    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def ratios(self, peer: str, ours: str = "ours", *, cpu: bool = False) -> list[float]:
        """Peer over ours, round by round: a drift of the machine meets both."""
        took = self.cpu if cpu else self.wall
        return [p / max(o, 1e-9) for p, o in zip(took[peer], took[ours], strict=True)]

    def seconds(self, name: str) -> float | None:
        return round(median(self.wall[name]), 6) if name in self.wall else None


def in_turns(versions: Mapping[str, Version], scale: Scale) -> Turns:
    """Rounds of all versions after one call to warm up; every round begins with another version.

    The order is turned round as well, so that nobody always follows whoever fills the memory most.

    At least `least` rounds; more, up to `most`, while `seconds` last. A quick version runs several
    times in a row, to be on the processor about as long as a slow one: on a busy machine only what
    runs long is interrupted, which would flatter the quick one.
    """
    gave, alone = dict[str, Any](), dict[str, float]()
    for name, version in versions.items():
        began = time.perf_counter()
        gave[name] = version()
        alone[name] = time.perf_counter() - began
        if alone[name] < LONG:  # the first call also sets things up
            alone[name] = _span(version)[0]
    span = min(LONG, max(alone.values()))
    calls = {name: max(1, min(MOST_CALLS, round(span / one))) for name, one in alone.items()}
    turns = Turns(gave, {n: [] for n in versions}, {n: [] for n in versions})
    started, done = time.monotonic(), 0
    while done < scale.least or (done < scale.most and time.monotonic() - started < scale.seconds):
        start = done // 2 % len(versions)
        names = [*versions][start:] + [*versions][:start]
        for name in names if done % 2 else reversed(names):
            wall, cpu = _span(versions[name], calls[name])
            turns.wall[name].append(wall)
            turns.cpu[name].append(cpu)
        done += 1
        spent = (time.monotonic() - started) / scale.seconds if scale.seconds else 1.0
        scale.say(min(1.0, max(done / scale.most, min(done / scale.least, spent))), f"round {done}")
    return turns


def _span(version: Version, calls: int = 1) -> tuple[float, float]:
    """Seconds of one call, on the clock and on the processor: the mean of several."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        version()
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def row(
    work: str,
    turns: Turns,
    *,
    peer: str,
    bound: float,
    agreement: float,
    meaning: str,
    note: str,
    against: str = "peer",
    **more: Any,
) -> Row:
    """The row of a timed work: the ratio is the median over rounds of peer / ours."""
    ratios = turns.ratios(against)
    return {
        "work": work,
        "peer": peer,
        "ratio": round(median(ratios), 3),
        "agreement": agreement,
        "n": len(ratios),
        "ours_s": turns.seconds("ours"),
        "peer_s": turns.seconds(against),
        "floor_s": turns.seconds("floor"),
        "bound": bound,
        "holds": median(ratios) >= bound,
        "note": note,
        "agreement_is": meaning,
        "quartiles": quarters(ratios),
        "cpu_ratio": round(median(turns.ratios(against, cpu=True)), 3),
        **more,
    }


def fastest(turns: Turns, names: Sequence[str]) -> str:
    """The setting of the peer that took the least time."""
    return min(names, key=lambda name: median(turns.wall[name]))


def settings(turns: Turns, names: Sequence[str]) -> dict[str, float]:
    """The ratio of every setting that was tried."""
    return {name: round(median(turns.ratios(name)), 3) for name in names}


def quarters(values: list[float]) -> list[float]:
    """Lower and upper quartile; of one value, the value twice."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return [round(low, 3), round(high, 3)]


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest value of `b`."""
    a, b = torch.as_tensor(a).detach().double(), torch.as_tensor(b).detach().double()
    if a.shape != b.shape:
        raise ValueError(f"outputs of shapes {tuple(a.shape)} and {tuple(b.shape)}: not one work")
    return float((a - b).abs().max() / b.abs().max())


def correlation(a: Tensor, b: Tensor) -> float:
    """The smallest Pearson correlation over samples."""
    a, b = torch.as_tensor(a).detach().double(), torch.as_tensor(b).detach().double()
    if a.shape != b.shape:
        raise ValueError(f"outputs of shapes {tuple(a.shape)} and {tuple(b.shape)}: not one work")
    a, b = (v.flatten(1) - v.flatten(1).mean(1, keepdim=True) for v in (a, b))
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).min())


LARGEST = "largest difference over the largest value of the peer's output"
PCC = "Pearson correlation, the smallest over samples"


def times(x: Tensor) -> str:
    """A shape as people write it."""
    return " x ".join(map(str, x.shape))
