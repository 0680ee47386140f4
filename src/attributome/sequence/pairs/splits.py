"""Which pairs train, validate and test: whole groups, so that nothing is known from training.

By rows, the same miRNA stands on both sides, and on the common data sets its share of positives
alone then tells nine labels of ten; a split by miRNA asks what was learned about pairs.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.sequence.pairs.reading import labels_of

How = Literal["given", "random", "stratified", "mirna", "family", "site"]

SHARES: Mapping[str, float] = {"train": 0.7, "validate": 0.15, "test": 0.15}

LARGEST = 0.25
"""How much of a part one group may be, unless twice the mean group is more."""

GIVEN = {
    "train": "train",
    "training": "train",
    "validate": "validate",
    "validation": "validate",
    "valid": "validate",
    "val": "validate",
    "dev": "validate",
    "test": "test",
    "testing": "test",
}
"""What a file may call the parts."""


def split_pairs(
    pairs: pd.DataFrame, how: How, *, shares: Mapping[str, float] = SHARES, seed: int = 0
) -> dict[str, list[str]]:
    """Ids of each part, in the order of the table; every pair is in one part.

    `random` and `stratified` (each label apart) keep rows with the same miRNA and site together;
    `mirna`, `family` (with all families that share a miRNA) and `site` keep those groups whole.
    `shares` are shares of rows, met as nearly as whole groups allow; each part gets a group.
    `given` follows the column `split`, and cuts a part to validate from train by miRNA where the
    column has none, as large beside it as `shares` says.

    Raises `DataError` where the groups cannot fill the parts, where a file's parts are unknown, and
    for `stratified` where there are no labels of both kinds.
    """
    if how not in get_args(How):
        raise UsageError(f"no split {how!r}: there are {', '.join(get_args(How))}")
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError(f"shares {dict(shares)} must be above 0 and sum to 1")
    if not len(pairs):
        raise DataError("there are no pairs to split")
    if how == "given":
        parts = _given(pairs, shares, seed)
    elif how == "stratified":
        parts = _stratified(pairs, shares, seed)
    else:
        parts = _drawn(groups_of(pairs, how), how, shares, seed)
    ids = pairs["id"].to_numpy()
    names = [*shares] if how != "given" else ["train", "validate", "test"]
    return {name: ids[parts == name].tolist() for name in names}


def groups_of(pairs: pd.DataFrame, how: How) -> Int[np.ndarray, " n"]:
    """The number of each pair's group under a kind of split."""
    if how in ("mirna", "site"):
        return _codes(pairs[how])
    mirnas = _codes(pairs["mirna"])
    if how == "family":  # a miRNA that stands under two family names ties them together
        return _tied(mirnas, _codes(pairs["family"]))
    sites = _codes(pairs["site"])
    codes: np.ndarray = pd.factorize(mirnas * (sites.max(initial=0) + 1) + sites)[0]
    return codes


def _codes(values: pd.Series) -> Int[np.ndarray, " n"]:
    codes: np.ndarray = pd.factorize(values)[0].astype(np.int64)
    return codes


def _tied(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Groups of rows that share `a` or `b`, directly or over other rows."""
    nodes = int(a.max() + b.max() + 2)
    links = coo_array((np.ones(len(a)), (a, a.max() + 1 + b)), shape=(nodes, nodes))
    found: np.ndarray = connected_components(links, directed=False)[1][a].astype(np.int64)
    return found


def _given(pairs: pd.DataFrame, shares: Mapping[str, float], seed: int) -> np.ndarray:
    if "split" not in pairs:
        raise DataError("the pairs have no column `split`: choose another kind of split")
    words = pairs["split"].astype(str).str.lower()
    unknown = ~words.isin([*GIVEN])
    if unknown.any():
        row = int(unknown.to_numpy().argmax())
        raise DataError(
            f"the column split says {pairs['split'].iloc[row]!r} for pair "
            f"{pairs['id'].iloc[row]!r}: it must say train, validate or test"
        )
    parts = words.map(GIVEN).to_numpy(dtype=object)
    lost = [part for part in ("train", "test") if not (parts == part).any()]
    if lost:
        raise DataError(f"the column split names no pair of part {lost[0]}: use another split")
    if not (parts == "validate").any():
        cut = shares.get("validate", SHARES["validate"])
        cut /= cut + shares.get("train", SHARES["train"])
        inside = parts == "train"
        parts[inside] = _drawn(
            _codes(pairs["mirna"][inside]), "mirna", {"train": 1 - cut, "validate": cut}, seed
        )
    return parts


def _stratified(pairs: pd.DataFrame, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """Each label apart; a pair with both labels goes where its first row goes."""
    labels = labels_of(pairs)
    groups = groups_of(pairs, "stratified")
    of_group = labels[np.unique(groups, return_index=True)[1]]
    parts = np.empty(len(pairs), object)
    for label in (0, 1):
        inside = of_group[groups] == label
        if not inside.any():
            raise DataError(f"a stratified split needs both labels; no pair has label {label}")
        kind = f"pairs of label {label}"
        parts[inside] = _drawn(pd.factorize(groups[inside])[0], kind, shares, seed)
    return parts


def _drawn(
    groups: Int[np.ndarray, " n"], kind: str, shares: Mapping[str, float], seed: int
) -> np.ndarray:
    """The part of each row: groups go to parts by lot, the largest first.

    The lot is weighed with the rows that each part still lacks, so that small groups fill what
    large ones left and the shares come out. A group far above the others that would be more than
    `LARGEST` of a part goes to the largest part: a test of hardly more than one miRNA says nothing.
    """
    sizes = np.bincount(groups)
    names = [*shares]
    if len(sizes) < len(names):
        raise DataError(
            f"{len(sizes)} groups ({kind}) cannot fill {len(names)} parts ({', '.join(names)}): "
            f"give at least as many groups as parts, or another kind of split"
        )
    draw = rng(seed, "split", kind)
    order = draw.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    lacking = np.array([shares[name] for name in names]) * sizes.sum()
    most = np.maximum(lacking * LARGEST, 2 * sizes.mean())
    most[lacking.argmax()] = np.inf
    held = np.zeros(len(names), np.int64)
    home = np.empty(len(sizes), np.int64)
    large = int((sizes > 1).sum())
    for left, group in zip(range(len(order), 0, -1), order[:large], strict=False):
        weights = np.where(sizes[group] <= most, np.maximum(lacking, 1e-9), 0.0)
        if (held == 0).sum() >= left:  # every group that is left must fill a part
            weights = (held == 0).astype(float)
        part = int(draw.choice(len(names), p=weights / weights.sum()))
        home[group] = part
        held[part] += 1
        lacking[part] -= sizes[group]
    singles = order[large:]
    home[singles] = np.repeat(np.arange(len(names)), _quotas(lacking, held == 0, len(singles)))
    parts: np.ndarray = np.array(names, object)[home[groups]]
    return parts


def _quotas(lacking: np.ndarray, empty: np.ndarray, count: int) -> Int[np.ndarray, " parts"]:
    """Whole numbers that sum to `count`, at least 1 where `empty`, near to what is lacking."""
    wanted = np.maximum(lacking, 0.0)
    wanted *= count / wanted.sum() if wanted.any() else 0.0
    quotas: np.ndarray = np.maximum(empty * (count > 0), np.floor(wanted).astype(np.int64))
    while quotas.sum() != count:
        step = 1 if quotas.sum() < count else -1
        room = np.where((quotas > empty) | (step > 0), step * (wanted - quotas), -np.inf)
        quotas[int(room.argmax())] += step
    return quotas
