"""What is wrong with pairs before a network sees them: repeats, conflicts, leaks, easy answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from attributome.core.errors import DataError
from attributome.sequence.alphabet import UNKNOWN, strands
from attributome.sequence.networks.scores import score
from attributome.sequence.pairs.flags import Facts, Flag, judge
from attributome.sequence.pairs.trivial import trivial_scores

NEAR = 20
"""Sites that share a word of this many letters are nearly the same: half of a site of 40."""

LEAKS = ("pair", "mirna", "family", "site", "near site")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Audit:
    """What an audit found.

    `counts`: numbers of rows and what is in them. `duplicates`: rows whose miRNA, site and label
    another row (`same_as`) had before. `conflicts`: rows of pairs that have both labels.
    `leakage`: `what`, `part`, `share` (of the part's rows that training has as well, `near site`
    by a common word of 20 letters), `n`. `trivial`: on the test part `predictor`, `metric` (auc,
    ap), `value`, `low`, `high`, `n`, `groups`. `flags`: what to make of it, the worst first.
    """

    counts: dict[str, int]
    duplicates: pd.DataFrame
    conflicts: pd.DataFrame
    leakage: pd.DataFrame
    trivial: pd.DataFrame
    flags: list[Flag]


def audit(
    pairs: pd.DataFrame,
    splits: Mapping[str, Sequence[str]],
    *,
    k: int,
    rejected: pd.DataFrame | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Audit:
    """Audit a pair table and its parts; trivial predictors learn from `train`, judge `test`.

    Intervals are of a bootstrap over miRNAs. Without labels there is nothing to predict, and the
    tables that need them are empty.
    """
    part = _parts(pairs, splits)
    leakage = _leakage(pairs, part)
    duplicates, conflicts = _repeats(pairs, part)
    trivial = _trivial(pairs, part, k=k, draws=draws, seed=seed)
    counts = _counts(pairs, part, rejected)
    counts |= {
        "duplicates": len(duplicates),
        "conflicts": len(conflicts.drop_duplicates(["mirna", "site"])),
    }
    flags = judge(Facts(counts=counts, leakage=leakage, trivial=trivial))
    return Audit(
        counts=counts,
        duplicates=duplicates,
        conflicts=conflicts,
        leakage=leakage,
        trivial=trivial,
        flags=flags,
    )


def near_sites(
    sites: Sequence[str], others: Sequence[str], *, word: int = NEAR
) -> Bool[np.ndarray, " n"]:
    """Which of the sites share a word of `word` letters (no N in it) with any of the others."""
    known = np.unique(_words(sorted(set(others)), word))
    found = _words(sites, word)
    return np.asarray((np.isin(found, known) & (found >= 0)).any(1))


def _words(sequences: Sequence[str], length: int) -> Int64[np.ndarray, "n words"]:
    """Each word as a number in base 4, by where it starts; -1 where there is none."""
    codes = strands(list(sequences)).codes
    count = max(codes.shape[1] - length + 1, 0)
    found = np.zeros((len(codes), count), np.int64)
    whole = np.ones(found.shape, bool)
    for i in range(length):
        letters = codes[:, i : i + count]
        found = found * 4 + letters
        whole &= letters < UNKNOWN
    return np.where(whole, found, -1)


def _parts(pairs: pd.DataFrame, splits: Mapping[str, Sequence[str]]) -> pd.Series:
    """The part of each row, "" for one in none."""
    home = pd.Series("", index=pd.Index(pairs["id"], dtype=object), dtype=object)
    for name, ids in splits.items():
        wanted = pd.Index(list(ids), dtype=object)
        lost = wanted.difference(home.index, sort=False)
        if len(lost):
            raise DataError(f"part {name!r} names the pair {lost[0]!r}, which is not in the table")
        if (home.loc[wanted] != "").any():
            raise DataError(f"part {name!r} has pairs that another part has as well")
        home.loc[wanted] = name
    return home.reset_index(drop=True)


def _counts(pairs: pd.DataFrame, part: pd.Series, rejected: pd.DataFrame | None) -> dict[str, int]:
    counts = {
        "rows": len(pairs),
        "rejected": 0 if rejected is None else len(rejected),
        "mirnas": pairs["mirna"].nunique(),
        "families": pairs["family"].nunique(),
        "sites": pairs["site"].nunique(),
        "with_n": int((pairs["mirna"] + pairs["site"]).str.contains("N").sum()),
    }
    if "label" in pairs:
        counts["positives"] = int((pairs["label"] == 1).sum())
        counts["negatives"] = int((pairs["label"] == 0).sum())
        kinds = pairs.groupby("mirna")["label"].nunique()
        counts["mirnas_with_one_label"] = int((kinds == 1).sum())
    for name in ("train", "validate", "test"):
        inside = pairs[part == name]
        counts[name] = len(inside)
        if "label" in pairs:
            counts[f"{name}_positives"] = int((inside["label"] == 1).sum())
        counts[f"{name}_mirnas"] = inside["mirna"].nunique()
    return counts


def _repeats(pairs: pd.DataFrame, part: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    known = [name for name in ("mirna", "site", "label") if name in pairs]
    table = pairs[["id", *known]].assign(part=part.to_numpy())
    again = table.duplicated(known)
    first = table.groupby(known, sort=False)["id"].transform("first")
    duplicates = table.assign(same_as=first)[again].reset_index(drop=True)
    if "label" not in pairs:
        return duplicates, table[:0]
    kinds = table.groupby(["mirna", "site"])["label"].transform("nunique")
    conflicts = table[kinds > 1].sort_values(["mirna", "site"], kind="stable")
    return duplicates, conflicts.reset_index(drop=True)


def _leakage(pairs: pd.DataFrame, part: pd.Series) -> pd.DataFrame:
    train = pairs[part == "train"]
    rows = []
    for name in ("test", "validate"):
        inside = pairs[part == name]
        if not len(inside):
            continue
        both = pd.MultiIndex.from_frame(inside[["mirna", "site"]])
        seen: dict[str, np.ndarray] = {
            "pair": both.isin(pd.MultiIndex.from_frame(train[["mirna", "site"]])),
            **{
                what: inside[what].isin(train[what]).to_numpy()
                for what in ("mirna", "family", "site")
            },
            "near site": near_sites(inside["site"].tolist(), train["site"].tolist()),
        }
        for what in LEAKS:
            share = float(np.mean(seen[what]))
            rows.append({"what": what, "part": name, "share": share, "n": len(inside)})
    return pd.DataFrame(rows, columns=["what", "part", "share", "n"])


def _trivial(
    pairs: pd.DataFrame, part: pd.Series, *, k: int, draws: int, seed: int
) -> pd.DataFrame:
    columns = ["predictor", "metric", "value", "low", "high", "n", "groups"]
    train, test = pairs[part == "train"], pairs[part == "test"]
    if "label" not in pairs or not len(train) or not len(test):
        return pd.DataFrame(columns=columns)
    scores = trivial_scores(train, test, k=k)
    labels, mirnas = test["label"].to_numpy(np.int64), test["mirna"].to_numpy()
    found = []
    for name in scores.columns.drop("id"):
        table = score(
            labels, scores[name].to_numpy(), mirnas, draws=draws, seed=seed, metrics=("auc", "ap")
        )
        found.append(table.assign(predictor=name))
    return pd.concat(found, ignore_index=True)[columns]
