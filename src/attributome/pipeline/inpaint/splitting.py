"""Which fields train, validate and test: whole fields, and of each group some in every part."""

from collections.abc import Mapping

import pandas as pd

from attributome.core.errors import DataError
from attributome.core.seeds import rng

PARTS = ("train", "validate", "test")


def split_fields(
    table: pd.DataFrame, shares: Mapping[str, float], *, seed: int
) -> dict[str, list[str]]:
    """The fields of each part; a part without a share has none, and each other at least one.

    Fields stand in a row, group after group, both in an order that is drawn, and each goes to the
    part that lags furthest behind its share: so each part sees nearly its share of every group.
    """
    fields = table[["group", "field"]].astype(str).drop_duplicates("field")
    if len(fields) < len(shares):
        raise DataError(
            f"{len(fields)} fields cannot fill {len(shares)} parts ({', '.join(shares)}): cells of "
            f"one field are alike, so that parts are made of whole fields"
        )
    draw = rng(seed, "split fields")
    fields = fields.sort_values(["group", "field"]).reset_index(drop=True)
    codes = pd.factorize(fields["group"])[0]
    order = draw.permutation(int(codes.max()) + 1)[codes]
    row = pd.DataFrame({"group": order, "turn": draw.random(len(fields))})
    queue = fields["field"].to_numpy()[row.sort_values(["group", "turn"]).index]
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for done, field in enumerate(queue, start=1):
        most = max(shares, key=lambda part: shares[part] * done - len(parts[part]))
        parts[most].append(str(field))
    for part in shares:
        if not parts[part]:
            richest = max(parts.values(), key=len)
            parts[part].append(richest.pop())
    return {part: sorted(some) for part, some in parts.items()}
