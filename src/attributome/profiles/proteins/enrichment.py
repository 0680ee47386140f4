"""Whether clusters of proteins hold more of a known set (a compartment, a complex) than chance."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError

Background = Literal["annotated", "clustered"]


def read_sets(path: Path) -> dict[str, list[str]]:
    """Named sets of labels: GMT (name, description, members; TABs), or a CSV of `set,member`.

    A member that a set names twice counts once; the order is that of the file.
    """
    end = path.suffix.lower()
    if end not in (".gmt", ".csv"):
        raise UsageError(f"{path} is no file of sets that can be read: give a .gmt or a .csv")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sets = _gmt(file.read().splitlines(), path) if end == ".gmt" else _csv(file, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not sets:
        raise DataError(f"{path} holds no sets")
    return {name: [*dict.fromkeys(members)] for name, members in sets.items()}


def enrich(
    clusters: Mapping[str, int],
    sets: Mapping[str, Sequence[str]],
    *,
    smallest: int = 3,
    largest: int = 500,
    background: Background = "annotated",
) -> pd.DataFrame:
    """Whether each cluster holds more of each set than by chance; the surest first.

    `p` is the hypergeometric chance of `hits` or more members of the set among the `drawn` of the
    cluster, and `q` its correction over all tests (Benjamini and Hochberg 1995), those without a
    hit among them. `background` is what is drawn from: the clustered labels that are in any set, as
    what nobody annotated could not have been a hit; or, with "clustered", all clustered labels,
    which gives smaller p. `size` and `drawn` count members within the background, whose size the
    column `background` says; sets of fewer than `smallest` or more than `largest` such members are
    not tested. `odds` is the odds ratio, infinite where the set is in the cluster alone, or fills
    it, and NaN where either has no other choice.

    One label counts as one draw, so labels that depend on each other (two antibodies of one gene)
    should be averaged before they are clustered.
    """
    from scipy.stats import false_discovery_control, hypergeom

    if background not in ("annotated", "clustered"):
        raise UsageError(
            f"background {background!r}; it is 'annotated' (labels in any set) or 'clustered'"
        )
    if not 1 <= smallest <= largest:
        raise UsageError(f"sets of {smallest} to {largest} members; give 1 or more, rising")
    if len(set(clusters.values())) < 2:
        raise DataError(
            f"{len(clusters)} labels in {len(set(clusters.values()))} cluster; at least two "
            f"clusters are needed to say that one holds more of a set"
        )
    known = {label for members in sets.values() for label in members}
    pool = [label for label in clusters if background == "clustered" or label in known]
    if not known.intersection(pool):
        raise DataError(
            f"none of the {len(clusters)} clustered labels (such as {next(iter(clusters))!r}) is "
            f"in any of the {len(sets)} sets (such as {min(known, default='')!r}): are they names "
            f"of one kind?"
        )
    place = {label: i for i, label in enumerate(pool)}
    inside = {
        name: [place[label] for label in dict.fromkeys(members) if label in place]
        for name, members in sets.items()
    }
    tested = [name for name, members in inside.items() if smallest <= len(members) <= largest]
    if not tested:
        most = max(map(len, inside.values()))
        raise DataError(
            f"no set has {smallest} to {largest} members among the {len(pool)} labels of the "
            f"background; the largest of {len(sets)} has {most}"
        )
    numbers, of = np.unique([clusters[label] for label in pool], return_inverse=True)
    drawn = np.bincount(of, minlength=len(numbers))
    hits = np.stack([np.bincount(of[inside[name]], minlength=len(numbers)) for name in tested])
    size = hits.sum(1, keepdims=True)
    p = hypergeom.sf(hits - 1, len(pool), size, drawn[None])
    p = np.clip(p, 0, 1)
    only_set, only_cluster = size - hits, drawn - hits
    neither = len(pool) - hits - only_set - only_cluster
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = hits * neither / (only_set * only_cluster)
    table = pd.DataFrame(
        {
            "set": np.repeat(np.array(tested, object), len(numbers)),
            "cluster": np.tile(numbers, len(tested)),
            "hits": hits.ravel(),
            "size": np.repeat(size.ravel(), len(numbers)),
            "drawn": np.tile(drawn, len(tested)),
            "background": len(pool),
            "odds": odds.ravel(),
            "p": p.ravel(),
            "q": false_discovery_control(p.ravel()),
        }
    )
    return table.sort_values(["p", "set", "cluster"], kind="stable", ignore_index=True)


def _gmt(lines: Sequence[str], path: Path) -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = (part.strip() for part in line.split("\t"))
        members = [member for member in rest[1:] if member]
        if not name or not members:
            raise DataError(
                f"line {number} of {path} has no members: a name, a description and at least one "
                f"member are needed, with TABs between them"
            )
        if name in sets:
            raise DataError(f"line {number} of {path} names the set {name!r} a second time")
        sets[name] = members
    return sets


def _csv(file: Iterable[str], path: Path) -> dict[str, list[str]]:
    rows = csv.DictReader(file)
    has = rows.fieldnames or []
    if lost := [name for name in ("set", "member") if name not in has]:
        raise DataError(
            f"{path} has no column {lost[0]!r}; it has {', '.join(has) or 'nothing'}, and needs "
            f"set and member"
        )
    sets: dict[str, list[str]] = {}
    for number, row in enumerate(rows, 1):
        name, member = ((row[key] or "").strip() for key in ("set", "member"))
        if not name or not member:
            raise DataError(f"row {number} of {path} has no {'member' if name else 'set'}")
        sets.setdefault(name, []).append(member)
    return sets
