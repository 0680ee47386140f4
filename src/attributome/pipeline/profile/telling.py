"""What a person reads of an evaluation: one sentence per finding, with its n and its interval."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
PARTS = {
    "test": "wells of the training plates that it never saw",
    "held_out_plates": "plates that it never saw",
}
STAGES = {
    "raw": "as they are",
    "normalised": "normalised",
    "sphered": "sphered",
    "aligned": "sphered and aligned",
    "selected": "of selected features",
    "camo": "by Grad-CAMO",
}


def spoken(found: Row) -> list[str]:
    """The sentences of an evaluation."""
    said = []
    for part, words in PARTS.items():
        row = found["accuracy"][part]
        if row["reason"]:
            said.append(f"balanced accuracy on {words} is undefined: {row['reason']}")
        else:
            said.append(
                f"balanced accuracy on {words}: {interval(row, 'balanced')}, chance "
                f"{row['chance']:.3f} (n = {row['n']} cells of {row['wells']} wells, "
                f"{row['classes']} labels)"
            )
    for row in found["retrieval"]:
        name = STAGES[row["profiles"]]
        if row["reason"]:
            said.append(f"replicates of profiles {name} cannot be judged: {row['reason']}")
        else:
            said.append(
                f"profiles {name} find replicates with mean average precision "
                f"{interval(row, 'map')}, chance {row['chance']:.3f}; {row['p_share']:.0%} of "
                f"{row['n']} labels have q below 0.05 (n = {row['wells']} wells)"
            )
    for row in found["batches"]:
        if row.get("protocol") == "linear, well folds" and row.get("balanced") is not None:
            said.append(
                f"the plate of {row['of']} is told from profiles {STAGES[row['profiles']]} with "
                f"balanced accuracy {interval(row, 'balanced')}, chance {row['chance']:.3f} "
                f"(n = {row['n']} wells)"
            )
    for row in found["matching"]:
        if not row["reason"]:
            said.append(
                f"{row['kind']} of profiles {STAGES[row['profiles']]}: "
                f"{interval(row, 'accuracy')}, chance {row['chance']:.3f} (n = {row['n']} profiles "
                f"of {row['compounds']} compounds)"
            )
    return said


def looked(found: Row) -> list[str]:
    """The sentences of `camo.json`."""
    if found["median"] is None:
        return [f"Grad-CAMO is undefined in all of {found['undefined']} cells"]
    said = [
        f"Grad-CAMO is {interval(found, 'median', '')} in the median, chance "
        f"{found['chance']:.3f}, difference {interval(found, 'excess', 'excess_')} (n = "
        f"{found['cells']} cells of {found['wells']} wells, {found['undefined']} undefined)"
    ]
    share = interval(found, "share_above_half", "share_")
    said.append(
        f"the share of cells above one half is {share}; a uniform map has "
        f"{found['chance_above_half']:.3f}"
    )
    if features := found["features"]:
        said.append(
            f"{features['above_chance']} of {features['n']} features have a Grad-CAMO clearly "
            f"above chance (n = {found['wells']} wells)"
        )
    return said


def tested(found: Row) -> list[str]:
    """The sentences of `causes.json`; nothing found is no proof that nothing is there."""
    said = [
        f"crops changed, {row['test']}: balanced accuracy {interval(row, 'balanced')}, chance "
        f"{row['chance']:.3f} (n = {row['n']} cells of {row['wells']} wells)"
        for row in found["tests"]
    ]
    if gap := found["gap"]:
        said.append(
            f"balanced accuracy is {interval(gap, 'inside', 'inside_')} in other wells of the "
            f"training plates and {interval(gap, 'outside', 'outside_')} on held-out plates, "
            f"difference {interval(gap, 'gap', 'gap_')}"
        )
    if found["reasons"]:
        why = "; ".join(found["reasons"])
        return [*said, f"the classifier is flagged as going by what is not the cell: {why}"]
    return [*said, "none of these tests found that anything beside the cell is gone by"]


def interval(row: Row, name: str, stem: str = "") -> str:
    """A value with its interval, where there is one."""
    low, high = row.get(f"{stem}low"), row.get(f"{stem}high")
    return f"{row[name]:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")
