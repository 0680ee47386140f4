"""Means of features over cells, block by block: the profile of a protein, a well, a compound.

As published (Lu et al. 2019) every cell weighs alike, so that a field with many cells, or an
antibody with many fields, decides. `through` averages such units first, and then weighs them alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import METADATA, feature_names

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Sums over the cells of each group: of every feature, of its square, of where it is defined.

    `cells` counts all cells of a group, `undefined` those that lack a feature. `least` and `most`
    are each feature's range over all groups, NaN where it is never defined.
    """

    keys: list[Key]
    features: list[str]
    total: Float[np.ndarray, "g f"]
    squares: Float[np.ndarray, "g f"] | None
    count: Int[np.ndarray, "g f"]
    cells: Int[np.ndarray, " g"]
    undefined: Int[np.ndarray, " g"]
    least: Float[np.ndarray, " f"]
    most: Float[np.ndarray, " f"]


def average(
    blocks: Iterable[pd.DataFrame], by: str, *, through: Sequence[str] = ()
) -> pd.DataFrame:
    """The mean profile of each `Metadata_<by>`, a row for each by rising name; float64 features.

    Without `through` all cells weigh alike. With `("field",)` the cells of each field are averaged
    first and then the fields; with `("field", "antibody")` cells, then fields, then antibodies. A
    unit is one within the unit above it: the cells of two labels in one field are two units.

    A feature is averaged where it is defined, and is NaN where that is nowhere. `Metadata_cells`
    and `Metadata_fields` say how many there were, `Metadata_undefined` how many of the cells lacked
    some feature, and `Metadata_units` how many means or cells the last step is the mean of. Memory
    holds one block and one profile for each of the smallest units.
    """
    names = [by, *reversed(through)]
    if len(set(names)) < len(names):
        raise UsageError(f"averages by {by!r} through {', '.join(through)} name one column twice")
    fields: dict[Any, set[Any]] = {}
    sums = sums_of(_counted(blocks, by, fields), names)
    keys, means = sums.keys, _ratio(sums.total, sums.count)
    for depth in range(len(through), 0, -1):
        keys, means = _above(keys, means, depth)
    labels = _sorted([key[0] for key in keys])
    place = {key[0]: i for i, key in enumerate(keys)}
    groups = [key[0] for key in sums.keys]
    cells, undefined = (
        _per_label(labels, groups, counts) for counts in (sums.cells, sums.undefined)
    )
    units = cells
    if through:
        outer = [key[0] for key in {key[:2] for key in sums.keys}]
        units = _per_label(labels, outer, np.ones(len(outer), np.int64))
    known = pd.DataFrame(
        {
            f"{METADATA}{by}": labels,
            f"{METADATA}cells": cells,
            f"{METADATA}fields": [len(fields[label]) for label in labels],
            f"{METADATA}undefined": undefined,
            f"{METADATA}units": units,
        }
    )
    rows = [place[label] for label in labels]
    return pd.concat([known, pd.DataFrame(means[rows], columns=sums.features)], axis=1)


def sums_of(
    blocks: Iterable[pd.DataFrame],
    names: Sequence[str],
    *,
    squares: bool = False,
    complete: bool = False,
) -> Sums:
    """Sums over cells that share all of `Metadata_<name>`, of blocks as they come.

    `complete` leaves cells that lack a feature out of everything but `cells` and `undefined`.
    """
    columns = [f"{METADATA}{name}" for name in names]
    places: dict[Key, int] = {}
    features: list[str] = []
    held: list[np.ndarray] = []
    least = most = np.empty(0)
    for block in blocks:
        _need(block, columns)
        if not features:
            features = feature_names(block)
            least, most = np.full((2, len(features)), np.nan)
        if feature_names(block) != features:
            raise DataError(
                f"a block has {len(feature_names(block))} features and not the {len(features)} of "
                f"the first block, or others"
            )
        x = block[features].to_numpy(np.float64)
        if np.isinf(x).any():
            raise DataError("some features are infinite; a mean over them says nothing")
        defined = ~np.isnan(x)
        whole = defined.all(1)
        if complete:
            defined &= whole[:, None]
        least, most = (
            f(was, f.reduce(np.where(defined, x, np.nan), 0))
            for f, was in ((np.fmin, least), (np.fmax, most))
        )
        x = np.where(defined, x, 0)
        codes, found = pd.MultiIndex.from_frame(block[columns]).factorize()
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(len(found)))
        parts = [x, defined.astype(np.int64), np.ones(len(x), np.int64), ~whole]
        if squares:
            parts.append(x**2)
        rows = np.array([places.setdefault(key, len(places)) for key in found], np.int64)
        for i, part in enumerate(parts):
            dtype = np.float64 if part.dtype == np.float64 else np.int64
            new = np.add.reduceat(part[order].astype(dtype), starts, axis=0)
            if i == len(held):
                held.append(np.zeros((0, *new.shape[1:]), dtype))
            if len(held[i]) < len(places):
                held[i] = _roomier(held[i], len(places))
            held[i][rows] += new
    if not places:
        raise DataError("there are no cells to average")
    total, count, cells, undefined, *more = (each[: len(places)] for each in held)
    return Sums(
        keys=[*places],
        features=features,
        total=total,
        squares=more[0] if more else None,
        count=count,
        cells=cells,
        undefined=undefined,
        least=least,
        most=most,
    )


def _counted(
    blocks: Iterable[pd.DataFrame], by: str, fields: dict[Any, set[Any]]
) -> Iterator[pd.DataFrame]:
    """The blocks as they come, with the fields of each label noted on the way."""
    columns = [f"{METADATA}{by}", f"{METADATA}field"]
    for block in blocks:
        if not len(block):
            continue
        _need(block, columns)
        pairs = block[columns].drop_duplicates().itertuples(index=False, name=None)
        for label, field in pairs:
            fields.setdefault(label, set()).add(field)
        yield block


def _need(block: pd.DataFrame, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in block:
            has = [str(name) for name in block.columns if str(name).startswith(METADATA)]
            raise UsageError(f"no column {column!r}; there is {', '.join(has) or 'no metadata'}")
        empty = block[column].isna()
        if empty.any():
            raise DataError(f"{int(empty.sum())} cells of a block have no {column}")


def _above(
    keys: list[Key], means: Float[np.ndarray, "u f"], depth: int
) -> tuple[list[Key], Float[np.ndarray, "g f"]]:
    """Means over the units of each group, with one name less in the key."""
    places: dict[Key, int] = {}
    rows = np.array([places.setdefault(key[:depth], len(places)) for key in keys])
    total = np.zeros((len(places), means.shape[1]))
    count = np.zeros(total.shape, np.int64)
    np.add.at(total, rows, np.nan_to_num(means))
    np.add.at(count, rows, ~np.isnan(means))
    return [*places], _ratio(total, count)


def _per_label(
    labels: Sequence[Any], groups: Sequence[Any], counts: Int[np.ndarray, " g"]
) -> Int[np.ndarray, " n"]:
    place = {label: i for i, label in enumerate(labels)}
    summed = np.zeros(len(labels), np.int64)
    np.add.at(summed, [place[group] for group in groups], counts)
    return summed


def _sorted(labels: list[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError as error:
        raise DataError(f"the labels are of several types and have no order: {error}") from error


def _roomier(array: np.ndarray, needed: int) -> np.ndarray:
    """The same rows with room for more, doubled so that many small blocks cost little."""
    larger = np.zeros((max(needed, 2 * len(array)), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient, and NaN where b is 0."""
    divided: np.ndarray = np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
    return divided
