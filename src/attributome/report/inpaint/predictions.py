"""The worst, the middle and the best of the painted pairs, with pictures."""

from typing import Any

import numpy as np

from attributome.core.errors import DataError
from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.inpaint.strips import Strip, loaded, strip
from attributome.report.inpaint.words import PARTS
from attributome.report.numbers import plural, share, short

EACH = 2
"""Pairs of each kind."""
NAMES = ("source", "marker", "truth", "prediction")


def predictions(facts: InpaintFacts) -> dict[str, Any] | None:
    """Strips by rank of their error; None where nothing was painted to look at."""
    folder = facts.root / "predictions"
    table = facts.pairs
    if table.empty or not (folder / "prediction.npy").is_file():
        return None
    arrays = {name: loaded(folder / f"{name}.npy") for name in NAMES}
    count = len(arrays["prediction"])
    if {len(array) for array in arrays.values()} != {count} or count > len(table):
        told = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(
            f"{folder} holds pictures of different numbers of pairs ({told}) beside "
            f"{len(table)} rows in pairs.parquet; the first rows are those with pictures"
        )
    held = table.iloc[:count]
    order = np.argsort(held["mse"].to_numpy(np.float64), kind="stable").tolist()
    order = [row for row in order if np.isfinite(held["mse"].iloc[row])]
    part = str((facts.job.get("predict") or {}).get("part") or "test")
    better = int((table["mse"] < table["copy_marker"]).sum())
    return {
        "kinds": [
            {"name": name, "strips": [_strip(facts, arrays, row) for row in rows]}
            for name, rows in _chosen(order).items()
            if rows
        ],
        "part": PARTS.get(part, part),
        "stored": count,
        "count": f"{len(table):,}",
        "better": f"In {share(better / len(table))} of {plural(len(table), 'pair')} the painted "
        "protein is nearer to the truth than the marker is.",
    }


def _chosen(order: list[int]) -> dict[str, list[int]]:
    """Rows of the worst, the middle and the best; none of them twice."""
    worst = order[::-1][:EACH]
    best = [row for row in order[:EACH] if row not in worst]
    rest = [row for row in order if row not in {*worst, *best}]
    start = max((len(rest) - EACH) // 2, 0)
    return {"Worst": worst, "Median": rest[start : start + EACH], "Best": best}


def _strip(facts: InpaintFacts, arrays: dict[str, np.ndarray], row: int) -> Strip:
    line = facts.pairs.iloc[row]
    remark = (
        f"Mean squared error {short(float(line['mse']))}, showing the marker "
        f"{short(float(line['copy_marker']))}; group {line['group']}, field {line['field']}"
    )
    title = f"{line['target']} beside {line['source']}"
    painted = {"painted": arrays["prediction"]}
    return strip(facts, title, arrays, row, painted, remark=remark, error=True)
