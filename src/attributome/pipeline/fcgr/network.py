"""The verb that trains a network on pairs, and the network that the other verbs look at."""

from pathlib import Path
from typing import Any

from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.core.weights import CARD
from attributome.pipeline.fcgr.work import NETWORK, PairWork
from attributome.sequence.images import Encoding
from attributome.sequence.networks.fit import fit_pairs, trained
from attributome.sequence.networks.saving import load_network, new_network, save_network
from attributome.sequence.networks.upstream import load_upstream
from attributome.sequence.tracks import BRANCHES

MOST_BINS = 64
"""Position channels beyond which all later windows share one."""


def train(work: PairWork) -> Path:
    """Train the network of the job on its own pairs; a finished one is left as it is."""
    asked, how = work.job.network, work.job.train
    if asked.source:
        raise UsageError(
            f"network.source names {asked.source}, so there is nothing to train; leave it empty to "
            f"train a network here"
        )
    folder = work.run.root / NETWORK
    if (folder / CARD).is_file():
        return folder
    net = new_network(asked.kind, _keywords(work), seed=work.job.seed)
    plan = Plan(
        lr=how.lr,
        weight_decay=how.weight_decay,
        epochs=how.epochs,
        patience=how.patience,
        minutes=how.minutes,
        clip=how.clip,
        watch=how.watch,
    )
    with work.timed("train") as progress:
        story = fit_pairs(
            net,
            work.pairs,
            work.splits,
            plan=plan,
            batch=how.batch,
            seed=work.job.seed,
            compute=work.compute,
            folder=folder,
            balance=how.balance,
            progress=progress,
        )
        told = trained(plan, story, work.splits, batch=how.batch, seed=work.job.seed)
        told |= {"split": work.job.data.split, "data": work.run.asked["data"]}
        save_network(folder, net, told)
    return folder


def _keywords(work: PairWork) -> dict[str, Any]:
    """What builds the network: the options, and position channels for the longest sequence."""
    asked, k = work.job.network, work.job.data.k
    words: dict[str, Any] = {"k": k}
    if asked.kind == "ours":
        for branch in BRANCHES:
            longest = int(work.pairs[branch].str.len().max())
            words[f"{branch}_bins"] = min(longest - k + 1, MOST_BINS)
    if asked.dropout is not None:
        words["dropout"] = asked.dropout
    options = {n: tuple(v) if isinstance(v, list) else v for n, v in asked.options.items()}
    return words | options


def network(work: PairWork) -> nn.Module:
    """The network that is explained: the one the job names, or the one trained in this run."""
    asked, k = work.job.network, work.job.data.k
    source = Path(asked.source) if asked.source else work.run.root / NETWORK
    if not asked.source and not (source / CARD).is_file():
        raise DataError(
            f"{work.run.root} has no trained network yet: run `attributome fcgr train` first, or "
            f"name one with --checkpoint"
        )
    if source.is_dir():
        net, _ = load_network(source)
    else:
        net = load_upstream(source, k=k)
    encoding: Encoding = encoding_of(net)
    if encoding.k != k:
        raise UsageError(
            f"{source} was made for k = {encoding.k}, and the job says {k}: give --k {encoding.k}"
        )
    return work.compute.place(net, 2).eval()


def encoding_of(net: nn.Module) -> Encoding:
    """What images a network takes."""
    encoding = net.encoding
    if not isinstance(encoding, Encoding):
        raise UsageError(f"the encoding of a {type(net).__name__} is {encoding!r}")
    return encoding
