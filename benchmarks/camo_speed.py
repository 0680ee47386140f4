"""Grad-CAMO of 256 features of a batch of 3-D crops, beside a loop over features; exit 1 if behind.

Three ways in which features come from a layer: `means` of its channels, an `mlp` of such means, and
`convolutions` above it, which must be differentiated. For each there are two loops. `loop` runs the
network forwards once and then, for each feature, backwards to the layer (no further, which is the
least that it could do), weighs the channels, enlarges the map to the crop and sums it in the mask.
`plain` calls `class_camo` for each feature, as one does with a library for single targets: forwards
and backwards each time; it is timed on a few features and scaled to all. Ours also gives the shares
of neighbours and background, IoU, Dice and pointing.

Ratios are of processor time, the median over rounds that take turns. Scores must be equal within
1e-5. The memory is how far a fresh process grows while ours runs, beyond the network and its batch;
`maps_mib` is what the enlarged maps of all features alone would take.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from memory import MEBI, forget_peak, resident, resident_peak
from peers_turns import Scale, in_turns, quarters
from torch import Tensor, nn

from attributome.core.arrays import resize
from attributome.core.probe import layer_output, predict_with, still
from attributome.core.targets import Logit
from attributome.profiles.camo.classes import class_camo
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.camo.scores import Overlap

KINDS = ("means", "mlp", "convolutions")
BOUND = 20.0
BOUNDED = ("means",)
"""What `BOUND` holds for. With an MLP the forward pass, which the loop shares, is a third of ours,
and the ratio was about the bound; behind convolutions ours does the work of the loop."""
AGREE = 1e-5


@dataclass(frozen=True, slots=True)
class Size:
    """What is measured."""

    cells: int = 32
    crop: tuple[int, ...] = (24, 48, 48)
    features: int = 256
    plain: int = 4
    seed: int = 0


class Net(nn.Module):
    """Two channels to a grid of (z/2, y/4, x/4), and features made of it in one of `KINDS`."""

    def __init__(self, kind: str, features: int) -> None:
        super().__init__()
        width = features if kind == "means" else 64
        self.layer = nn.Sequential(
            nn.Conv3d(2, 16, 3, stride=(1, 2, 2), padding=1),
            nn.SiLU(),
            nn.Conv3d(16, width, 3, stride=2, padding=1),
            nn.SiLU(),
        )
        mean = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.mlp = nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, features))
        above: dict[str, Sequence[nn.Module]] = {
            "means": (mean,),
            "mlp": (mean, self.mlp),
            "convolutions": (nn.Conv3d(64, 64, 3, stride=2, padding=1), nn.SiLU(), mean, self.mlp),
        }
        self.above = nn.Sequential(*above[kind])

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.above(self.layer(x))
        return features


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A network and a batch of crops, the cell in the middle of each."""

    kind: str
    net: Net
    x: Tensor
    labels: Tensor
    own: Tensor
    features: int

    def ours(self, features: Sequence[int] | None = None) -> Overlap:
        ways: dict[str, dict[str, Any]] = {
            "means": {"pool": "mean"},
            "mlp": {"pool": "mean", "head": self.net.mlp},
        }
        return feature_camo(
            self.net, self.x, self.labels, self.own, layer="layer", features=features,
            **ways.get(self.kind, {}),
        ).scores  # fmt: skip

    def loop(self) -> Tensor:
        cell = (self.labels == 1)[:, None].to(self.x)
        act = layer_output(self.net, "layer", self.x)
        found = []
        with still(self.net), torch.enable_grad():
            leaf = act.requires_grad_()
            out = predict_with(self.net, "layer", self.x, leaf)
            for j in range(self.features):
                (grad,) = torch.autograd.grad(out[:, j].sum(), leaf, retain_graph=True)
                with torch.no_grad():
                    weights = grad.mean((2, 3, 4), keepdim=True)
                    maps = resize((weights * act).sum(1, keepdim=True).relu(), self.x)
                    inside = (maps * cell).flatten(1).sum(1)
                    found.append(inside / maps.flatten(1).sum(1))
        return torch.stack(found, 1)

    def plain(self, features: int) -> Tensor:
        scores = [
            class_camo(self.net, self.x, self.labels, self.own, layer="layer", target=Logit(j))
            for j in range(features)
        ]
        return torch.cat([one.scores.cell for one in scores], 1)


def work(kind: str, size: Size) -> Work:
    with torch.random.fork_rng():
        torch.manual_seed(size.seed)
        net = Net(kind, size.features)
        x = torch.randn(size.cells, 2, *size.crop)
    labels = torch.zeros(size.cells, *size.crop, dtype=torch.int32)
    z, y, w = size.crop
    labels[:, :, : y // 4] = 2
    labels[:, z // 4 : 3 * z // 4, y // 4 : 3 * y // 4, w // 4 : 3 * w // 4] = 1
    return Work(kind, net, x, labels, torch.ones(size.cells, dtype=torch.int32), size.features)


def measure(kind: str, size: Size, *, rounds: int) -> dict[str, Any]:
    """Ratios, agreement and memory of one kind of features."""
    given = work(kind, size)
    versions: dict[str, Callable[[], Any]] = {
        "ours": given.ours,
        "loop": given.loop,
        "plain": lambda: given.plain(size.plain),
    }
    turns = in_turns(versions, Scale(least=rounds, most=rounds, seconds=0.0))
    scores = turns.gave["ours"]
    gaps = [
        (scores.cell[:, : other.shape[1]] - other).abs().nan_to_num(0).max().item()
        for other in (turns.gave["loop"], turns.gave["plain"])
    ]
    same_undefined = torch.equal(scores.cell.isnan(), turns.gave["loop"].isnan())
    ratios = turns.ratios("loop", cpu=True)
    plain = [one * size.features / size.plain for one in turns.ratios("plain", cpu=True)]
    return {
        "ratio_loop": round(median(ratios), 1),
        "quartiles_loop": quarters(ratios),
        "ratio_plain": round(median(plain), 1),
        "largest_gap": max(gaps),
        "same_undefined": same_undefined,
        "seconds": {name: round(median(took), 4) for name, took in turns.cpu.items()},
        **peak_in_child(kind, size),
    }


def peak_in_child(kind: str, size: Size) -> dict[str, float]:
    """The growth of a fresh process; freed blocks of 1 MiB go back at once (see `memory.py`)."""
    told = json.dumps({"kind": kind, "size": asdict(size)})
    done = subprocess.run(
        [sys.executable, __file__, "--peak", told],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak(kind: str, size: Size) -> dict[str, float]:
    given = work(kind, size)
    given.ours([0])  # what is set up once does not count
    act = layer_output(given.net, "layer", given.x).nbytes / MEBI
    before = resident()
    forget_peak()
    given.ours()
    maps = given.x[:, :1].nbytes / MEBI * size.features
    grown = (resident_peak() - before) / MEBI
    return {"peak_mib": round(grown), "layer_mib": round(act), "maps_mib": round(maps)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few small crops, one round, no bound")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=32)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.peak:
        told = json.loads(asked.peak)
        told["size"]["crop"] = tuple(told["size"]["crop"])
        print(json.dumps(peak(told["kind"], Size(**told["size"]))))
        return 0
    size = Size(cells=2, crop=(8, 16, 16), features=16) if asked.quick else Size(cells=asked.cells)
    rounds = 1 if asked.quick else asked.rounds
    found = {kind: measure(kind, size, rounds=rounds) for kind in asked.kinds}
    bounded = [found[kind]["ratio_loop"] for kind in BOUNDED if kind in found]
    told = {
        "feature_camo_ratio": min(bounded) if bounded else None,
        "kinds": found,
        "size": asdict(size),
        "threads": asked.threads,
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(told, indent=2))
    wrong = [
        kind
        for kind, one in found.items()
        if one["largest_gap"] > AGREE or not one["same_undefined"]
    ]
    behind = [] if asked.quick else [ratio for ratio in bounded if ratio < BOUND]
    if wrong or behind:
        print(f"not kept: {wrong} differ, ratios {behind} are below {BOUND:g}")
    return 1 if wrong or behind else 0


if __name__ == "__main__":
    sys.exit(main())
