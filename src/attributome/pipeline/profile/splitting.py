"""Which wells train, validate and test, and which plates nobody trains on."""

from collections.abc import Mapping, Sequence

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

PARTS = ("train", "validate", "test")
HELD_OUT = "held_out_plates"


def split_wells(
    wells: pd.DataFrame,
    shares: Mapping[str, float],
    held_out: int | Sequence[str],
    *,
    seed: int,
) -> dict[str, list[str]]:
    """The wells (`plate/well`) of each part, and the plates that are held out.

    `wells` has a row for each with `plate`, `well` and `label` (missing: in no part). Wells of the
    other plates stand label after label, each in an order that is drawn; the first of a label
    trains, so that no part has a label which nobody has learnt, and each other goes to the part
    that lags furthest behind its share.
    """
    plates = _held_out(sorted({*wells["plate"]}), held_out, seed)
    rest = wells[~wells["plate"].isin(plates) & wells["label"].notna()]
    names = rest["plate"] + "/" + rest["well"]
    if len(rest) < len(shares):
        raise DataError(
            f"{len(rest)} wells cannot fill {len(shares)} parts ({', '.join(shares)}): cells of "
            f"one well are alike, so that parts are made of whole wells"
        )
    draw = rng(seed, "split wells")
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    done = 0
    for _, some in names.groupby(rest["label"].to_numpy(), sort=True):
        order = draw.permutation(len(some))
        for place, name in enumerate(some.sort_values().to_numpy()[order]):
            done += 1
            most = max(shares, key=lambda part: shares[part] * done - len(parts[part]))
            first = place == 0 and "train" in shares
            parts["train" if first else most].append(str(name))
    for part in shares:
        if not parts[part]:
            raise DataError(
                f"no well is left for the part {part!r}: {len(rest)} wells of "
                f"{rest['label'].nunique()} labels are too few for data.shares"
            )
    return {part: sorted(some) for part, some in parts.items()} | {HELD_OUT: plates}


def _held_out(plates: Sequence[str], asked: int | Sequence[str], seed: int) -> list[str]:
    if isinstance(asked, int):
        if asked >= len(plates):
            raise UsageError(
                f"data.held_out_plates is {asked}, and there are {len(plates)} plates: one at "
                f"least is needed to train on"
            )
        order = rng(seed, "held out plates").permutation(len(plates))[:asked]
        return sorted(plates[i] for i in order)
    unknown = [name for name in asked if name not in plates]
    if unknown or len({*asked}) >= len(plates):
        raise UsageError(
            f"data.held_out_plates names {', '.join(unknown or asked)}; there are "
            f"{', '.join(plates[:10])}, and one at least is needed to train on"
        )
    return sorted({*asked})
