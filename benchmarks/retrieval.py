"""Average precision of 10,000 profiles beside copairs; exit 1 if it differs or is not far quicker.

Both start from the same table and the same double-precision features, and take turns in one
process with one thread; a ratio is the median over rounds of the peer's processor time over ours.
Three kinds of negatives: other treatments of the same plate, the negative controls, and all other
treatments. Needs copairs in the environment.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from peers_turns import Scale, in_turns, quarters

from attributome.core.seeds import rng
from attributome.profiles.wells.retrieval import average_precision, control_index

BOUND = 3.0
EQUAL = 1e-9
RULES: dict[str, dict[str, list[str]]] = {
    "same plate": {
        "pos_sameby": ["treatment"],
        "pos_diffby": [],
        "neg_sameby": ["plate"],
        "neg_diffby": ["treatment"],
    },
    "controls": {
        "pos_sameby": ["treatment", "control"],
        "pos_diffby": [],
        "neg_sameby": [],
        "neg_diffby": ["treatment", "control"],
    },
    "all others": {
        "pos_sameby": ["treatment"],
        "pos_diffby": [],
        "neg_sameby": [],
        "neg_diffby": ["treatment"],
    },
}


def profiles(count: int, features: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Plates of 384 wells, every sixteenth a control; a treatment moves its wells a little."""
    place = np.arange(count)
    plate, well = place // 384, place % 384
    control = well % 16 == 0
    names = np.where(control, "DMSO", np.char.add("t", (plate // 5 * 384 + well).astype(str)))
    table = pd.DataFrame({"plate": plate, "treatment": names, "control": control_index(control)})
    draw = rng(seed, "benchmark", "retrieval")
    codes = np.unique(names, return_inverse=True)[1]
    moved = 0.3 * draw.standard_normal((codes.max() + 1, features))
    return table, moved[codes] + draw.standard_normal((count, features))


def measure(
    kind: str, *, count: int = 10_000, features: int = 300, rounds: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Ratio, largest difference, and what was measured, for one kind of negatives."""
    from copairs.map import average_precision as peer

    table, values = profiles(count, features, seed)
    rules = RULES[kind]
    versions: dict[str, Callable[[], pd.DataFrame]] = {
        "ours": lambda: average_precision(table, values, **rules),
        "copairs": lambda: peer(table, values, **rules, progress_bar=False),
    }
    before = _peak()
    mine = versions["ours"]()
    ours_peak = _peak() - before
    turns = in_turns(versions, Scale(least=rounds, most=rounds, seconds=0.0))
    theirs = turns.gave["copairs"]
    defined = theirs["n_pos_pairs"].to_numpy() > 0
    gaps = np.abs(mine["average_precision"] - theirs["average_precision"])[defined]
    ratios = turns.ratios("copairs", cpu=True)
    return {
        "ratio": round(median(ratios), 2),
        "quartiles": quarters(ratios),
        "difference": float(gaps.max()),
        "differing": int((gaps > EQUAL).sum()),
        "mean_average_precision": round(float(mine["average_precision"].mean()), 6),
        "profiles": int(defined.sum()),
        "pairs": int((mine["positives"] + mine["negatives"]).sum() // 2),
        "ours_cpu_s": round(median(turns.cpu["ours"]), 3),
        "peer_cpu_s": round(median(turns.cpu["copairs"]), 3),
        "wall_ratio": round(median(turns.ratios("copairs")), 2),
        "ours_mib_more": round(ours_peak, 1),
        "mib_more": round(_peak() - before, 1),
        "setting": {"count": count, "features": features, "rounds": rounds},
        "versions": {name: version(name) for name in ("copairs", "numpy")},
        "load": round(os.getloadavg()[0], 2),
    }


def _peak() -> float:
    """The most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[*RULES], help="same plate, controls, …")
    parser.add_argument("--quick", action="store_true", help="one round of little, no bound")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    size = {"count": 1500, "rounds": 1} if asked.quick else {"rounds": asked.rounds}
    found = {kind: measure(kind, **size) for kind in asked.kinds}
    print(json.dumps(found, indent=2))
    wrong = [kind for kind, row in found.items() if row["difference"] > EQUAL]
    behind = [kind for kind, row in found.items() if row["ratio"] < BOUND and not asked.quick]
    if wrong or behind:
        print("not kept:", ", ".join(wrong + behind))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
