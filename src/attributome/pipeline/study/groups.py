"""Whether groups of fields, such as drugs or cell lines, differ in efficacy or in score."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import UsageError
from attributome.pipeline.study.looked import look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found
from attributome.studies.groups import compare_groups
from attributome.studies.paired import corrected

VALUES = {"efficacy": "efficacy", "pcc": "correlation with the truth"}
DRAWS = 2000
NEAR_ZERO = 0.05
"""A median nearer to 0 than this is the denominator of no fold change."""
BLOCK = "\0block"
ABOUT = ("predictor", "value", "by", "inside", "level")
SAID = 6
"""Pairs that are told in words, the surest first; the table has all."""


def groups(studies: Studies) -> Found:
    """Efficacy and score of each predictor, compared between the groups of `groups.by`.

    Every column gives a comparison; of several columns the first is also compared inside each
    combination of the others (drugs at each time). `groups.within` are the columns of a block, such
    as the plate, inside which groups of units are permuted. The control, where a column has it, is
    what its other groups are compared with; else every pair is.

    A group of one unit is told and not tested, and a fold change whose denominator is within 0.05
    of 0, or of another sign, is undefined. Raises `UsageError` without `groups.by`, and where
    no column has the control.
    """
    asked = studies.job.groups
    table = with_columns(studies, _looked(studies), [*asked.by, *asked.within])
    block = _blocked(table, asked.within)
    ways: list[tuple[str, tuple[str, ...]]] = [(column, ()) for column in asked.by]
    ways += [(asked.by[0], asked.by[1:])] if len(asked.by) > 1 else []
    control_of = {column: _control(table, column, asked.control) for column in asked.by}
    if asked.control and not any(control_of.values()):
        there = {column: sorted(table[column].dropna().unique()) for column in asked.by}
        raise UsageError(f"groups.control is {asked.control!r}, and no column has it: {there}")
    tests, described, parts = [], [], []
    for name, rows in table.groupby("predictor", sort=False):
        for value in VALUES:
            if rows[value].isna().all():
                continue
            for by, inside in ways:
                control = control_of[by] if control_of[by] in set(rows[by]) else None
                found = compare_groups(
                    rows, value, by, unit="unit", block=block, within=inside, control=control,
                    draws=DRAWS, seed=studies.job.seed,
                )  # fmt: skip
                about = {"predictor": str(name), "value": value, "by": by}
                tests.append(_marked(found.levels, about, inside))
                described.append(_marked(found.groups, about, inside))
                if len(found.pairs):
                    parts.append(_marked(found.pairs, about, inside))
    known = pd.concat(described, ignore_index=True)
    pairs = _pairs(parts, known, table, block)
    return Found(
        numbers={
            "pairs": pairs.to_dict("records"),
            "tested": int(pairs["p"].notna().sum()) if len(pairs) else 0,
            "told": int((pairs["holm"] <= 0.05).sum()) if len(pairs) else 0,
        },
        n=f"{shared(table)}, {_counted(table, asked.by)}",
        test="ranks of units"
        + (f" within {', '.join(asked.within)}" if asked.within else "")
        + f", groups permuted {DRAWS} times; Holm, and Benjamini and Hochberg, over all pairs of "
        "all predictors and scores",
        words=_words(pairs),
        tables={
            "fields": table.drop(columns=[BLOCK], errors="ignore"),
            "levels": _levels(tests, known),
            "groups": known,
            "pairs": pairs,
        },
    )


def with_columns(studies: Studies, table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A table of fields with columns of the runs' own tables, as text; an empty one is missing.

    Raises `UsageError` where the job names no column in `groups.by`, or one that is not there.
    """
    if not studies.job.groups.by:
        one = studies.opened[0]
        there = [*map(str, one.judged.manifest.table.columns)]
        raise UsageError(f"groups.by names no column; the table has: {', '.join(there)}")
    known = {
        (one.name, field): [_text(studies.meta(one, field, column)) for column in columns]
        for one, field in studies.fields()
    }
    more = [known[pair] for pair in zip(table["predictor"], table["field"], strict=True)]
    named = pd.DataFrame(more, columns=[*columns], index=table.index)
    new = [column for column in dict.fromkeys(columns) if column not in table]
    if len(new) != len(columns):
        raise UsageError(
            f"groups.by and groups.within name {[*columns]}: each must come once, and none may be "
            f"called like {[*map(str, table.columns)]}"
        )
    return table.join(named)


def _text(value: Any) -> str | None:
    return None if pd.isna(value) or str(value) == "" else str(value)


def _looked(studies: Studies) -> pd.DataFrame:
    def ask(one: Opened, field: str) -> Rows:
        note = look(studies, one, field).note
        return [{key: np.nan if note[key] is None else float(note[key]) for key in VALUES}]

    return measured(studies, "groups", ask, options={})


def _blocked(table: pd.DataFrame, within: Sequence[str]) -> str | None:
    """The column of blocks, made of several where several are named."""
    if not within:
        return None
    if len(within) == 1:
        return within[0]
    table[BLOCK] = [" / ".join(map(str, row)) for row in table[[*within]].to_numpy()]
    return BLOCK


def _control(table: pd.DataFrame, column: str, control: str) -> str | None:
    return control if control and control in set(table[column]) else None


def _marked(part: pd.DataFrame, about: dict[str, str], inside: Sequence[str]) -> pd.DataFrame:
    """With what it is about; the levels of the other columns are joined to one."""
    level = [" / ".join(map(str, row)) for row in part[[*inside]].to_numpy()] if inside else ""
    bare = part.drop(columns=[*inside])
    told: dict[str, Any] = about | {"inside": " / ".join(inside), "level": level}
    for at, (key, one) in enumerate(told.items()):
        bare.insert(at, key, one)
    return bare


def _pairs(
    parts: list[pd.DataFrame], known: pd.DataFrame, table: pd.DataFrame, block: str | None
) -> pd.DataFrame:
    """All pairs; one with a lone unit has no test, and one with a median near 0 no fold change."""
    if not parts:
        return pd.DataFrame(columns=["predictor", "value", "p", "holm"])
    pairs = pd.concat(parts, ignore_index=True)
    pairs.loc[pairs[["n1", "n2"]].min(axis=1) < 2, "p"] = np.nan
    medians = known.set_index([*ABOUT, "group"])["median"].to_dict()
    below = np.array([medians.get((*row, second), np.nan) for *row, second in _rows(pairs)])
    pairs.loc[~((np.abs(below) >= NEAR_ZERO) & (pairs["fold"] > 0)), "fold"] = np.nan
    pairs["least_p"] = [_least(row, table, block) for row in pairs.to_dict("records")]
    return corrected(pairs)


def _rows(pairs: pd.DataFrame) -> list[list[Any]]:
    found: list[list[Any]] = pairs[[*ABOUT, "second"]].to_numpy().tolist()
    return found


def _levels(parts: list[pd.DataFrame], known: pd.DataFrame) -> pd.DataFrame:
    """Whether any group differs; not tested where fewer than two groups have two units."""
    levels = pd.concat(parts, ignore_index=True)
    enough = known[known["units"] > 1].groupby([*ABOUT]).size().to_dict()
    lone = [enough.get(tuple(row), 0) < 2 for row in levels[[*ABOUT]].to_numpy()]
    levels.loc[lone, ["statistic", "p"]] = np.nan
    return corrected(levels)


def _least(row: Mapping[Hashable, Any], table: pd.DataFrame, block: str | None) -> float:
    """The smallest p of all ways to deal the units of a pair to its groups, and of the draws."""
    if row["p"] != row["p"]:
        return math.nan
    part = table[(table["predictor"] == row["predictor"]) & table[row["value"]].notna()]
    if row["inside"]:
        columns = part[row["inside"].split(" / ")].to_numpy()
        part = part[[" / ".join(one) == row["level"] for one in columns]]
    part = part[part[row["by"]].isin([row["first"], row["second"]])].drop_duplicates("unit")
    ways = 1
    for _, some in [("", part)] if block is None else part.groupby(block):
        ways *= math.comb(len(some), int((some[row["by"]] == row["first"]).sum()))
    return max(min(1.0, 2 / ways), 1 / (1 + DRAWS))


def _counted(table: pd.DataFrame, by: Sequence[str]) -> str:
    units = table.drop_duplicates(["unit", *by])
    return "; ".join(
        f"{column}: "
        + ", ".join(f"{n} of {name}" for name, n in units[column].value_counts().items())
        for column in by
    )


def _words(pairs: pd.DataFrame) -> tuple[str, ...]:
    """The surest differences, or what so few units could have shown."""
    tested = pairs[pairs["p"].notna()].sort_values("p", kind="stable")
    alone = len(pairs) - len(tested)
    said = [_said(row) for row in tested[tested["holm"] <= 0.05].head(SAID).to_dict("records")]
    if not len(tested):
        said.append("No pair of groups has two units on each side, so that nothing is tested.")
    elif not said:
        least = float(tested["least_p"].min())
        many = f"{len(tested)} pair{'s' * (len(tested) != 1)} tested"
        said.append(
            f"No pair of groups differs ({many}, smallest Holm p {tested['holm'].min():.2g})."
        )
        if least * len(tested) > 0.05:
            said.append(
                f"It could not have been shown: with so few units no p falls below {least:.2g}, "
                f"and {many} ask for {0.05 / len(tested):.2g}."
            )
    if alone and len(tested):
        said.append(
            f"{alone} pair{'s' * (alone != 1)} with a lone unit, or in no common block, "
            f"{'is' if alone == 1 else 'are'} told and not tested."
        )
    return tuple(said)


def _said(row: Mapping[Hashable, Any]) -> str:
    where = f" (at {row['level']})" if row["level"] else ""
    ends = (
        f", {row['difference_low']:+.3f} to {row['difference_high']:+.3f}"
        if row["difference_low"] == row["difference_low"]
        else ""
    )
    fold = f"; fold change {row['fold']:.2f}" if row["fold"] == row["fold"] else ""
    return (
        f"{row['predictor']}: {VALUES[row['value']]} of {row['first']} differs from that of "
        f"{row['second']}{where} by {row['difference']:+.3f}{ends} (Hedges' g "
        f"{row['hedges_g']:.2f}{fold}; {row['n1']} and {row['n2']} units, Holm p = "
        f"{row['holm']:.2g})."
    )
