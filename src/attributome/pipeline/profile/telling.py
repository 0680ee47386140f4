"""What a person reads of an evaluation: one sentence per finding, with its n and its interval."""

from collections.abc import Mapping, Sequence
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


REMEDIES = {
    "none": "no remedy",
    "penalty": "the penalty on the overlap",
    "mask": "masked crops",
    "background": "other surroundings",
}


def compared(rows: Sequence[Row]) -> list[str]:
    """The sentences of `remedies.json`: what each training has, and what a gain is worth."""
    said = []
    for row in rows:
        name = REMEDIES[row["remedy"]]
        about = f"{name}{' (the network of this run)' if row['own'] else ''}: "
        if row["camo_median"] is None:
            about += "Grad-CAMO is undefined in all cells"
        else:
            ends = {"camo": row["camo_median"], "low": row["camo_low"], "high": row["camo_high"]}
            about += (
                f"Grad-CAMO {interval(ends, 'camo')}, chance {row['chance']:.3f}, "
                f"{row['undefined']:.0%} of cells undefined (n = {row['cells']} cells of "
                f"{row['wells']} wells)"
            )
        where, part = _judged(row)
        if part:
            ends = {"right": row[f"accuracy_{part}"]}
            ends |= {end: row[f"{end}_{part}"] for end in ("low", "high")}
            about += (
                f"; balanced accuracy on {where} {interval(ends, 'right')} (n = "
                f"{row[f'n_{part}']} cells of {row[f'wells_{part}']} wells)"
            )
        said.append(f"{about}; {'flagged' if row['flagged'] else 'the tests found nothing'}")
        if not row["own"]:
            said.append(f"{name}, against the network of this run: {gain(row)}")
    return said


def gain(row: Row) -> str:
    """What a remedy changed, and whether a map that moved is more than a map that moved."""
    where, part = _judged(row)
    if row["camo_gain"] is None:
        return "no cell has a map under both networks"
    ends = {"camo": row["camo_gain"], "low": row["camo_gain_low"], "high": row["camo_gain_high"]}
    told = f"Grad-CAMO {interval(ends, 'camo', sign=True)}"
    if not part:
        return f"{told}; no accuracy says what that is worth"
    ends = {"right": row[f"gain_{part}"]}
    ends |= {end: row[f"gain_{end}_{part}"] for end in ("low", "high")}
    told += f", balanced accuracy on {where} {interval(ends, 'right', sign=True)}"
    rose, better = _above(row["camo_gain_low"]), _above(ends["low"])
    if row["remedy"] == "mask":
        told += "; a network that is shown the cell alone can look nowhere else, so that its map "
        told += "is no evidence, and only its accuracy is"
    elif rose and better:
        told += "; both rose, by their intervals"
    elif rose and row["remedy"] == "penalty":
        told += (
            "; a penalty on maps can be gamed, by moving the map and not what is gone by: here "
            "Grad-CAMO rose and accuracy did not clearly rise, so that the rise alone does not "
            "say that the cell is gone by"
        )
    elif rose:
        told += "; the map moved, and accuracy did not clearly rise with it"
    else:
        told += "; Grad-CAMO did not clearly rise"
    if ends["high"] is not None and ends["high"] < 0:
        told += "; accuracy is clearly lower"
    return told


ALTERNATIVES = {
    "classifier": "features of the classifier",
    "untrained": "features of the same network before training",
    "contrastive": "contrastive features",
    "inpainting": "features of paired inpainting",
}


def alike(found: Row) -> list[str]:
    """The sentences of `alternatives.json`."""
    said = []
    for row in found["retrieval"]:
        name, of = ALTERNATIVES[row["profiles"]], row["of"]
        if row["reason"]:
            said.append(f"{name}: replicates in {of} cannot be judged: {row['reason']}")
        else:
            said.append(
                f"{name} find replicates in {of} with mean average precision "
                f"{interval(row, 'map')}, chance {row['chance']:.3f} (n = {row['n']} labels, "
                f"{row['wells']} wells)"
            )
    for row in found["batches"]:
        if row.get("protocol") == "linear, well folds" and row.get("balanced") is not None:
            said.append(
                f"the plate of {row['of']} is told from {ALTERNATIVES[row['profiles']]} with "
                f"balanced accuracy {interval(row, 'balanced')}, chance {row['chance']:.3f} "
                f"(n = {row['n']} wells)"
            )
    why = found["reasons"].items()
    return [*said, *(f"{ALTERNATIVES[name]}: none, because {reason}" for name, reason in why)]


def _judged(row: Row) -> tuple[str, str]:
    """The strictest part that accuracy is known of, and how its keys end."""
    for part, key in (("held-out plates", "held_out"), ("test wells", "test")):
        if row[f"accuracy_{key}"] is not None:
            return part, key
    return "", ""


def _above(low: float | None) -> bool:
    return low is not None and low > 0


def interval(row: Row, name: str, stem: str = "", *, sign: bool = False) -> str:
    """A value with its interval, where there is one."""
    low, high = row.get(f"{stem}low"), row.get(f"{stem}high")
    how = "+.3f" if sign else ".3f"
    ends = "" if low is None or high is None else f" ({low:{how}} to {high:{how}})"
    return f"{row[name]:{how}}{ends}"
