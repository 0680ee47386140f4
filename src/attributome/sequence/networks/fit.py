"""Train a network on pairs, and ask one about pairs.

The k-mers of each distinct sequence are looked up once; a batch of images is made from those
indices on the device, so no text is read twice and memory is one batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.core.probe import in_chunks, still
from attributome.core.seeds import rng, seed_of
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Progress, silent
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import window_counts
from attributome.sequence.images import Encoding, Image, cells_of, scattered
from attributome.sequence.networks.saving import NETWORKS, load_network, new_network, save_network
from attributome.sequence.networks.scores import ranking

__all__ = [
    "NETWORKS",
    "fit_pairs",
    "load_network",
    "new_network",
    "predict_pairs",
    "save_network",
    "trained",
]

WATCHED = ("loss", "auc_gap")
"""Held-out numbers that may be watched: the cross-entropy, and 1 minus the AUC."""

Rows = Int[np.ndarray, " rows"]


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """One branch of a pair table: the cells of its distinct sequences, and which each pair has."""

    cells: Int[Tensor, "distinct windows"]
    totals: Int[Tensor, " distinct"]
    row: Int[np.ndarray, " n"]
    k: int
    bins: int

    def images(self, which: Rows, compute: Compute) -> Image:
        """Images of the distinct sequences `which`, made on the device."""
        at = torch.from_numpy(which).to(self.cells.device)
        made = scattered(self.cells[at].long(), self.totals[at], self.k, self.bins)
        return compute.move(made)


@runtime_checkable
class InTwo(Protocol):
    """A network whose branches meet in its head and nowhere before."""

    def site_features(self, images: Tensor) -> Tensor: ...

    def mirna_features(self, images: Tensor) -> Tensor: ...

    def head(self, site: Tensor, mirna: Tensor) -> Tensor: ...


def fit_pairs(
    net: nn.Module,
    pairs: pd.DataFrame,
    parts: Mapping[str, Sequence[str]],
    *,
    plan: Plan,
    batch: int = 64,
    seed: int = 0,
    compute: Compute,
    folder: Path | None = None,
    balance: bool = False,
    progress: Progress = silent,
) -> Story:
    """Train `net` in place on the ids of `parts["train"]` and leave it with its best weights.

    What is best is judged on `parts["validate"]` after each epoch: cross-entropy as `val_loss` and
    AUC as `val_auc`; `plan.watch="auc_gap"` watches 1 - AUC instead of the loss. An epoch's rows
    are cut into batches of equal size, `batch` or a little fewer, so that no row is left out and
    batch normalisation never sees a single one. `balance` weighs both labels alike. Order and
    dropout are drawn by (seed, epoch) and (seed, step): a resumed training ends with the same bits.
    """
    if batch < 2:
        raise UsageError(f"a batch of {batch} pairs has no spread; give at least 2")
    if plan.watch not in WATCHED:
        raise UsageError(f"held-out {plan.watch!r} cannot be watched; {' and '.join(WATCHED)} can")
    train, held = (_rows(pairs, parts, part) for part in ("train", "validate"))
    if len(both := np.intersect1d(train, held)):
        raise DataError(f"pair {pairs['id'].iloc[both[0]]!r} is to be trained and validated on")
    truth = np.full(len(pairs), -1)
    for part, rows in (("train", train), ("validate", held)):
        truth[rows] = _labels(pairs, rows, part)
    compute.place(net, 2)
    site, mirna = _coded(net, pairs, compute)
    labels = torch.from_numpy(truth).to(compute.device)
    weight = _weights(truth[train], compute) if balance else None
    steps = -(-len(train) // batch)
    steps -= len(train) // steps < 2  # 3 pairs in batches of 2 are one batch

    def batches(epoch: int) -> list[Rows]:
        return np.array_split(rng(seed, "order", epoch).permutation(train), steps)

    def step(rows: Rows, number: int, _done: float) -> dict[str, Tensor]:
        given = site.images(site.row[rows], compute), mirna.images(mirna.row[rows], compute)
        with _drawing(seed, number, compute.device):
            out = net(*given)
        return {"loss": F.cross_entropy(out.float(), labels[rows], weight)}

    def validate() -> dict[str, float]:
        out = _logits(net, site, mirna, held, max(batch, 256), compute)
        loss = F.cross_entropy(out, labels[held], weight).item()
        gap = (out[:, 1] - out[:, 0]).double().cpu().numpy()
        auc = float(ranking(truth[held], gap, np.ones((len(held), 1)))[0][0])
        found = {"loss": loss, "auc": auc}
        return found if plan.watch == "loss" else found | {"auc_gap": 1 - auc}

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
            "network": type(net).__name__,
            "kwargs": getattr(net, "kwargs", None),
            "batch": batch,
            "seed": seed,
            "balance": balance,
            "train": _mark(pairs, truth, train),
            "validate": _mark(pairs, truth, held),
        },
        progress=progress,
    )


def predict_pairs(
    net: nn.Module,
    pairs: pd.DataFrame,
    *,
    batch: int = 256,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> Float32[np.ndarray, " n"]:
    """Logit differences z1 - z0, which need no labels; above 0 the network says interaction.

    Without `compute` the network stays on its device, in its own precision. Rows are sorted so
    that a sequence that many pairs share passes through its branch once per batch.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} pairs is none; give at least 1")
    if compute is None:
        like = next(net.parameters(), torch.empty(0))
        compute = Compute(device=str(like.device))
    else:
        compute.place(net, 2)
    site, mirna = _coded(net, pairs, compute)
    out = _logits(net, site, mirna, np.arange(len(pairs)), batch, compute, progress)
    found: np.ndarray = (out[:, 1] - out[:, 0]).cpu().numpy()
    return found


def trained(
    plan: Plan, story: Story, parts: Mapping[str, Sequence[str]], *, batch: int, seed: int
) -> dict[str, Any]:
    """What the card of a trained network says of its training; `save_network` adds the rest."""
    return {
        "plan": asdict(plan),
        "batch": batch,
        "seed": seed,
        "parts": {part: len(ids) for part, ids in parts.items()},
        "epochs": len(story.rows),
        "seconds": round(story.seconds, 1),
        "best": story.rows[story.best_epoch],
    }


def _logits(
    net: nn.Module,
    site: Coded,
    mirna: Coded,
    rows: Rows,
    batch: int,
    compute: Compute,
    progress: Progress = silent,
) -> Float[Tensor, "rows 2"]:
    """Logits in evaluation, in the order of `rows`."""
    lead = min((site, mirna), key=lambda branch: len(branch.cells))
    order = np.argsort(lead.row[rows], kind="stable")

    def work(some: slice) -> Tensor:
        made = _forward(net, site, mirna, rows[order[some]], compute).float()
        progress(some.stop / max(1, len(rows)), f"pair {some.stop} of {len(rows)}")
        return made

    with still(net), torch.no_grad(), compute.autocast():
        parts = in_chunks(work, len(rows), batch)
    found = torch.cat(parts) if parts else torch.empty(0, 2, device=compute.device)
    back = torch.empty_like(found)
    back[torch.from_numpy(order).to(found.device)] = found
    return back


def _forward(net: nn.Module, site: Coded, mirna: Coded, rows: Rows, compute: Compute) -> Tensor:
    """One batch; each distinct sequence once where the branches meet only in the head."""
    if not isinstance(net, InTwo):
        made: Tensor = net(*(each.images(each.row[rows], compute) for each in (site, mirna)))
        return made
    features = []
    for each, branch in ((site, net.site_features), (mirna, net.mirna_features)):
        distinct, back = np.unique(each.row[rows], return_inverse=True)
        features.append(branch(each.images(distinct, compute))[torch.from_numpy(back)])
    return net.head(*features)


def _coded(net: nn.Module, pairs: pd.DataFrame, compute: Compute) -> tuple[Coded, Coded]:
    encoding = getattr(net, "encoding", None)
    if not isinstance(encoding, Encoding):
        raise UsageError(
            f"a {type(net).__name__} does not say what images it reads; set its `encoding`"
        )
    k, bins = encoding.k, (encoding.site_bins, encoding.mirna_bins)
    site, mirna = (
        _branch(pairs, name, k, count, compute.device)
        for name, count in zip(("site", "mirna"), bins, strict=True)
    )
    return site, mirna


def _branch(pairs: pd.DataFrame, column: str, k: int, bins: int, device: str) -> Coded:
    if column not in pairs:
        raise DataError(f"the pairs have no column {column!r}; they have {list(pairs)}")
    row, distinct = pd.factorize(pairs[column])
    batch = strands(list(distinct))
    cells = cells_of(batch, k, bins)
    blank = ~(cells >= 0).any(1).numpy()
    lost = (row < 0) | np.append(blank, True)[row]
    if lost.any():
        raise DataError(
            f"the {column} of pair {pairs['id'].iloc[int(lost.argmax())]!r} has no word of {k} "
            f"letters without an N; leave such pairs out"
        )
    small = torch.int16 if bins * 4**k <= torch.iinfo(torch.int16).max else torch.int32
    totals = torch.from_numpy(window_counts(batch, k))
    return Coded(cells.to(device, small), totals.to(device), row.astype(np.int64), k, bins)


def _rows(pairs: pd.DataFrame, parts: Mapping[str, Sequence[str]], part: str) -> Rows:
    """Where the ids of a part stand in the table."""
    if not len(ids := parts.get(part, ())):
        raise DataError(f"the split has no pairs in its part {part!r}, and training needs them")
    table = pd.Index(pairs["id"])
    if not table.is_unique:
        raise DataError(f"the id {table[table.duplicated()][0]!r} stands for two pairs")
    found = table.get_indexer(pd.Index(ids))
    if (found < 0).any():
        raise DataError(
            f"the part {part!r} names the pair {ids[int((found < 0).argmax())]!r}, which is not in "
            f"the table"
        )
    rows: np.ndarray = found.astype(np.int64)
    return rows


def _labels(pairs: pd.DataFrame, rows: Rows, part: str) -> Int[np.ndarray, " rows"]:
    if "label" not in pairs:
        raise DataError("training needs labels, and the pairs have no column 'label'")
    labels = pairs["label"].iloc[rows]
    wrong = ~labels.isin([0, 1]).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"the pair {pairs['id'].iloc[rows[at]]!r} of the part {part!r} has the label "
            f"{labels.iloc[at]}; training needs 0 or 1"
        )
    if labels.nunique() < 2:
        raise DataError(
            f"all {len(rows)} pairs of the part {part!r} have the label {int(labels.iloc[0])}; "
            f"training needs both labels there"
        )
    found: np.ndarray = labels.to_numpy(np.int64)
    return found


def _weights(truth: Int[np.ndarray, " rows"], compute: Compute) -> Float[Tensor, " 2"]:
    """What makes both labels of the training part count alike; their mean over the pairs is 1."""
    counts = np.bincount(truth, minlength=2)
    return torch.from_numpy(len(truth) / (2 * counts)).float().to(compute.device)


def _mark(pairs: pd.DataFrame, truth: Int[np.ndarray, " n"], rows: Rows) -> str:
    some = pairs.iloc[rows]
    columns = some["mirna"], some["site"], truth[rows]
    return digest("\n".join(f"{m} {s} {label}" for m, s, label in zip(*columns, strict=True)))


@contextmanager
def _drawing(seed: int, number: int, device: str) -> Iterator[None]:
    """Dropout of this step from its own seed; the draws of everybody else go on as they were."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed_of(seed, "dropout", number))
        yield
