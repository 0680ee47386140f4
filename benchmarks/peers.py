"""Compare with captum, shap, Quantus and pytorch-grad-cam, into peers.json; exit 1 if behind."""

import argparse
import sys
import time
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from peers_stand_ins import stand_in_for_torchvision
from peers_turns import QUICK, Row, Scale
from run import machine

from attributome import __version__
from attributome.core.files import write_json
from attributome.terminal import Terminal

RESULTS = Path(__file__).with_name("peers.json")
PACKAGES = ("torch", "captum", "grad-cam", "shap", "quantus", "monai", "numpy", "scipy")


def main() -> int:
    stand_in = stand_in_for_torchvision()  # before any peer is imported
    import peers_cams
    import peers_forward
    import peers_gradients

    works = {w.__name__: w for m in (peers_cams, peers_forward, peers_gradients) for w in m.WORKS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=works, metavar="NAME", default=[*works])
    parser.add_argument("--quick", action="store_true", help="one round of small works, no bounds")
    parser.add_argument("--seconds", type=float, default=Scale().seconds, help="for each work")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    where, started, rows = machine(), time.monotonic(), []
    scale = QUICK if asked.quick else Scale(seconds=asked.seconds)
    told = {
        "machine": where,
        "versions": {"attributome": __version__} | {name: version(name) for name in PACKAGES},
        "torchvision": stand_in,
        "quick": asked.quick,
    }
    with Terminal() as terminal, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        bar = terminal.bars("bench-peers")
        for place, name in enumerate(asked.only):

            def say(done: float, words: str, name: str = name, place: int = place) -> None:
                bar((place + min(done, 0.99)) / len(asked.only), f"{name}, {words}")

            rows.append(works[name](replace(scale, say=say)))
            terminal.console.print(line(rows[-1]), highlight=False, markup=False, soft_wrap=True)
            kept = all(one["holds"] for one in rows)
            seconds = round(time.monotonic() - started, 1)
            write_json(asked.out, told | {"seconds": seconds, "kept": kept, "rows": rows})
    if behind := [one["work"] for one in rows if not one["holds"]]:
        print("behind the bound:", ", ".join(behind))
    return 1 if behind and not asked.quick else 0


def line(row: Row) -> str:
    """One row as people read it."""
    low, high = row.get("quartiles", [row["ratio"]] * 2)
    return (
        f"{row['work']:22} {row['ratio']:9.2f} ({low:.2f}–{high:.2f})  bound {row['bound']:6.2f}  "
        f"{'ok' if row['holds'] else 'BEHIND':6}  agreement {row['agreement']:.3g}  {row['peer']}"
    )


if __name__ == "__main__":
    sys.exit(main())
