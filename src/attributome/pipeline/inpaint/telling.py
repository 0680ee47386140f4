"""What a person reads of an evaluation: one sentence per finding, with its n and its interval."""

from collections.abc import Mapping
from typing import Any

from attributome.pipeline.inpaint.judging import ANYWHERE, HELD_OUT

Row = Mapping[str, Any]
RIVALS = {"untrained": "an untrained network", "raw_intensity": "raw intensity"}


def spoken(found: Mapping[str, Any], lead: tuple[str, str]) -> list[str]:
    """The sentences of an evaluation whose headline is of one layer and pool."""
    said = _pretext(found["pretext"])
    if not found["accuracy"]:
        only = ", ".join(found["classes"])
        return [
            *said,
            f"balanced accuracy is undefined: all {found['cells']} cells have the label {only}",
        ]
    if found["cells"] < found["cells_in_all"]:
        said.append(
            f"{found['cells']} of {found['cells_in_all']} cells were told apart: those of "
            f"{found['fields']} fields that were drawn"
        )
    rows = {
        (row["features"], row["layer"], row["pool"], row["protocol"]): row
        for row in found["accuracy"]
    }
    protocol = next((p for p in HELD_OUT if _known(rows.get(("ours", *lead, p)))), None)
    if protocol is None:
        reason = rows["ours", *lead, ANYWHERE]["reason"]
        return [*said, f"balanced accuracy is undefined: {reason}"]
    mine = rows["ours", *lead, protocol]
    name = " ".join(lead)
    said.append(
        f"balanced accuracy of {name} by {protocol}: {interval(mine)}, chance {mine['chance']:.3f} "
        f"(n = {mine['n']} cells of {mine['units']} fields, {mine['classes']} labels)"
    )
    anywhere = rows["ours", *lead, ANYWHERE]
    if protocol != ANYWHERE and _known(anywhere):
        said.append(
            f"with neighbours of the same field too it is {anywhere['balanced']:.3f}, a number "
            f"that the field's own light and staining can raise"
        )
    for row in found["differences"]:
        if (row["layer"], row["pool"], row["protocol"]) == (*lead, protocol):
            said.append(_against(row, mine, name))
    lost = mine["undefined"]
    if lost:
        said.append(f"{lost} cells could not be judged and count in no accuracy")
    for row in found["looking"] or []:
        if row["layer"] == lead[0] and row["inside"] is not None:
            said.append(
                f"{row['inside']:.0%} of the maxima of {row['layer']} lie in the own cell, by "
                f"chance {row['chance']:.0%} (n = {row['fields']} fields)"
            )
    return said


def interval(row: Row, name: str = "balanced") -> str:
    """A value with its interval."""
    ends = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
    return f"{row[name]:.3f}{ends}"


def _pretext(found: Row | None) -> list[str]:
    if found is None:
        return ["pretext error is undefined: no held-out field has two cells of one group"]
    ends = ""
    if found["mse_low"] is not None:
        ends = f" ({found['mse_low']:.4f} to {found['mse_high']:.4f})"
    return [
        f"mean squared error on {found['part']} fields {found['mse']:.4f}{ends}; showing the "
        f"marker {found['copy_marker']:.4f}, a constant {found['constant']:.4f} (n = "
        f"{found['pairs']} pairs of {found['fields']} fields)"
    ]


def _against(row: Row, mine: Row, name: str) -> str:
    sure = "is not told apart from"
    if row["low"] > 0 or row["high"] < 0:
        sure = "is better than" if row["low"] > 0 else "is worse than"
    return (
        f"{name} {sure} {RIVALS[row['against']]} by {row['protocol']}: difference "
        f"{interval(row, 'difference')} (n = {mine['units']} fields)"
    )


def _known(row: Row | None) -> bool:
    return row is not None and row.get("balanced") is not None
