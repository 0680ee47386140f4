"""Paired cell inpainting on real yeast cells, beside an untrained network and raw intensities.

1000 cells of five proteins, four fields of view of each (Lu et al. 2019). Each protein's fields are
dealt to four folds. Four networks are trained, each on the cells of three folds, so that every
field is held out once: that gives the pretext error on held-out fields. How well features tell
the proteins apart is then asked in two ways:

* as published: all cells go through one network, which has seen three fields of each protein, and
  are judged by cells of other fields. Whoever drew its pairs knew the proteins, and so the
  features may know more of those three fields than of new ones;
* cross-fitted: cells go through the network that has not seen their field, and are judged by the
  cells that it has seen. This is what a new field can expect.

The five proteins lie in three places: AAC1 and AAC3 are mitochondrial carriers of one family, AAH1
and AAP1 are enzymes of the cytoplasm, AAR2 belongs to the spliceosome. Whoever knows the place of
each cell and guesses among the proteins of it is right in `guessing_within_places`; so places are
asked for as well.

Beside ours stand an untrained network, raw intensities, and `labelled`: the same layers, trained
on the proteins' names of the same three fields of four. Printed beside the bars is what they leave
out: how far each is above the best layer and pool of the untrained network and the intensities.

Needs the folder of real data in ATTRIBUTOME_DATA; `make real-yeast` runs it into runs/yeast, with
two processes of one thread. What is done is not done again; summary.json says all. Exit 1: a bar
is missed.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from real_yeast_labels import labelled_home, labels_asked, train_labelled
from real_yeast_networks import (
    FOLDS,
    SEED,
    K,
    card,
    folds_of,
    home,
    network,
    read,
    settings,
    train_all,
    trained,
    views,
)

from attributome import __version__
from attributome.core.errors import Refusal
from attributome.core.files import digest, make_folder, read_json, write_json
from attributome.core.seeds import rng
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.inpainting.preprocess import prepare
from attributome.inpainting.pretext import pretext_errors
from attributome.inpainting.saving import load_inpainter
from attributome.profiles.features import extract
from attributome.profiles.intensities import baselines
from attributome.profiles.neighbours import Accuracy, knn_accuracy, linear_accuracy

POOLS = ("max", "mean")
ONE_CELL, ONE_FIELD = "leave one cell out", "leave field out"
KNN, LINEAR = "field folds", "linear, field folds"
PLACE, PLACE_FOLDS = "places, leave field out", "places, field folds"
WHITE, WHITE_FOLDS = "whitened, leave field out", "whitened, field folds"
ALL = "all_layers"
"""Every layer's maxima and means side by side."""
PLACES = {"AAC1": "mitochondria", "AAC3": "mitochondria", "AAH1": "cytoplasm", "AAP1": "cytoplasm"}
"""Of proteins; AAR2 has one of its own."""

WHICH = {
    "as_published": "one network that was trained on three of four fields of each protein; all "
    "cells are judged by cells of other fields (ours, untrained, raw_intensity; _8_views: "
    "features are means over the eight turned and mirrored views of a cell)",
    "cross_fitted": "cells of each fold through the network that was trained without that fold, "
    "and judged by the cells that it was trained on (ours_cross_fitted)",
    "raw_intensity": "raw: the crops as they are stored; prepared: as the network sees them, "
    "from 0 to 1 in each crop",
    "places": "labels are the three places of the five proteins; the grouping was first seen in "
    "the table of which protein is taken for which, and is what is known of these proteins",
    "guessing_within_places": "balanced accuracy, over proteins, of knowing each cell's place and "
    "taking the protein of some cell of that place which may judge it",
    "labelled": "the layers of one network, trained on the proteins' names of three of four "
    "fields of each protein; `labelled_network` says how many cells it recognises itself",
    "whitened": "neighbours in the directions that tell the other fields apart from what varies "
    "within them, fitted without labels and without the field (or fold) that is judged; all "
    "layers together",
    "chosen_with_accuracies_in_view": "width, epochs, the summary of the source, means over eight "
    "views, whitening, that all layers go to it and to the linear classifier together, and what "
    "the bars are about (below); learning rate and norm were kept from early runs without a "
    "comparison of their own; the strength of the linear classifier's penalty is chosen in inner "
    "folds of its training fields",
    "kept_epoch": "the best of the epochs by the pretext error on the held-out fields, so that "
    "pretext_mse is the least of them; pretext_mse_last_epoch is not chosen at all",
    "bars": "the nearest-neighbour bar is about maxima, the published pool, of one view, and "
    "raw_intensity is raw; `above_the_best_rival` compares the best layer and pool with the best "
    "of the untrained network and of both intensities, all as they come or all whitened",
}


def main() -> int:
    data = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data")).resolve()
    path = data / "yeast_inpainting" / "yeast5.npz"
    if not path.exists():
        print(f"no real data at {path}: set ATTRIBUTOME_DATA", file=sys.stderr)
        return 3
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/yeast")
    try:
        return run(path, out)
    except Refusal as error:
        print(error, file=sys.stderr)
        return error.exit_code


def run(path: Path, out: Path) -> int:
    raw = read(path)
    cells = prepare(raw, "yeast")
    started = time.monotonic()
    told = trained(labelled_home(out), labels_asked())
    train_all(path, out, [] if told else [train_labelled])
    nets = [load_inpainter(home(out, fold))[0] for fold in range(FOLDS)]
    found: dict[str, Any] = {"balanced_accuracy": {}, "intervals": {}}
    found |= of_the_pretext(nets, cells, out)
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "raw_intensity": lambda: of_intensities(raw, cells),
        "untrained": lambda: of_network(network(), cells, 1),
        "ours": lambda: of_network(nets[-1], cells, 1),
        "untrained_8_views": lambda: of_network(network(), cells, 8),
        "ours_8_views": lambda: of_network(nets[-1], cells, 8),
        "ours_cross_fitted": lambda: cross_fitted(nets, cells),
        "labelled": lambda: of_network(load_inpainter(labelled_home(out))[0], cells, 1),
    }
    for at, (name, step) in enumerate(steps.items()):
        told = once(out / "steps" / f"{name}.json", step)
        found["balanced_accuracy"][name] = {p: column(rows, 0) for p, rows in told.items()}
        found["intervals"][name] = {p: column(rows, slice(1, 3)) for p, rows in told.items()}
        print(f"evaluation: {at + 1} of {len(steps)}, {name}", flush=True)
    table = cells.table
    summary = {
        "attributome": __version__,
        **found,
        "margins": margins(found["balanced_accuracy"]),
        "above_the_best_rival": above(found["balanced_accuracy"]),
        "guessing_within_places": guessing(cells),
        "labelled_network": card(labelled_home(out))["told"],
        "which": WHICH,
        "n": len(cells),
        "fields": int(table["field"].nunique()),
        "labels": table["group"].value_counts().sort_index().to_dict(),
        "chance": 1 / table["group"].nunique(),
        "settings": settings(),
        "seconds": {
            "training_of_each_network": [card(home(out, fold))["seconds"] for fold in range(FOLDS)],
            "this_call": round(time.monotonic() - started, 1),
        },
    }
    write_json(out / "summary.json", summary)
    return tell_all(summary)


def of_the_pretext(nets: list[Inpainter], cells: Cells, out: Path) -> dict[str, Any]:
    """Errors on fields that the network has not seen; intervals draw fields again."""
    folds = folds_of(cells)
    parts = [
        pretext_errors(net, cells, np.flatnonzero(folds == fold), seed=SEED)
        for fold, net in enumerate(nets)
    ]
    table = pd.concat(parts, ignore_index=True)
    names = ["mse", "copy_marker", "mean", "zeros"]
    sums = table.groupby("field")[names].sum().to_numpy()
    sizes = table.groupby("field").size().to_numpy()
    again = weights_of(len(sizes))
    low, high = np.quantile((again @ sums) / (again @ sizes)[:, None], [0.025, 0.975], axis=0)
    values = {name: round(float(of), 6) for name, of in table[names].mean().items()}
    ends = {
        name: [round(float(a), 6), round(float(b), 6)]
        for name, a, b in zip(names, low, high, strict=True)
    }
    last = [card(home(out, fold))["rows"][-1]["val_mse"] for fold in range(FOLDS)]
    return {
        "pretext_mse": values["mse"],
        "copy_marker_mse": values["copy_marker"],
        "pretext": values | {"pairs": len(table), "fields": len(sizes)},
        "pretext_intervals": ends,
        "pretext_mse_last_epoch": round(float(np.average(last, weights=np.bincount(folds))), 6),
        "pretext_by_protein": table.groupby("group")[["mse", "copy_marker"]]
        .mean()
        .round(6)
        .to_dict("index"),
    }


Rows = dict[str, dict[str, list[float]]]
"""By protocol and layer: balanced accuracy, and the ends of its interval."""


def features_of(net: Inpainter, cells: Cells, count: int) -> dict[str, np.ndarray]:
    """By layer and pool, and all of them together; means over `count` views."""
    names = [f"{layer}_{pool}" for layer in net.layers for pool in POOLS]
    made: dict[str, np.ndarray] = {}
    for seen in views(cells, count):
        table = pd.concat(list(extract(net, seen, pools=POOLS)), ignore_index=True)
        for name in names:
            part = table.filter(like=f"{name}_").to_numpy(np.float64) / count
            made[name] = made[name] + part if name in made else part
    return made | {ALL: np.concatenate([made[name] for name in names], 1)}


def of_network(net: Inpainter, cells: Cells, count: int) -> Rows:
    return of_features(features_of(net, cells, count), cells)


def of_intensities(raw: Cells, cells: Cells) -> Rows:
    made = {}
    for name, given in (("raw", raw), ("prepared", cells)):
        table = pd.concat(list(baselines(given)), ignore_index=True)
        made[name] = table.filter(regex="^raw_").to_numpy(np.float64)
    return of_features(made, cells)


def of_features(features: dict[str, np.ndarray], cells: Cells) -> Rows:
    """Every protocol for every layer; cells of the field itself never judge but in the first."""
    proteins, fields = (cells.table[name].to_numpy(str) for name in ("group", "field"))
    found: Rows = {}
    for name, values in features.items():
        judge = {
            ONE_CELL: knn_accuracy(values, proteins, k=K, units=fields, seed=SEED),
            ONE_FIELD: knn_accuracy(values, proteins, k=K, without=fields, seed=SEED),
            KNN: knn_accuracy(values, proteins, k=K, without=fields, folds=FOLDS, seed=SEED),
            LINEAR: linear_accuracy(values, proteins, fields, folds=FOLDS, seed=SEED),
        }
        places = places_of(proteins)
        judge |= {
            PLACE: knn_accuracy(values, places, k=K, without=fields, seed=SEED),
            PLACE_FOLDS: knn_accuracy(values, places, k=K, without=fields, folds=FOLDS, seed=SEED),
        }
        if name in (ALL, "raw", "prepared"):
            white = partial(knn_accuracy, values, proteins, k=K, without=fields, whitened=True)
            judge |= {WHITE: white(seed=SEED), WHITE_FOLDS: white(folds=FOLDS, seed=SEED)}
        for protocol, accuracy in judge.items():
            found.setdefault(protocol, {})[name] = numbers(accuracy)
    return found


def places_of(proteins: np.ndarray) -> np.ndarray:
    return np.array([PLACES.get(name, name) for name in proteins])


def guessing(cells: Cells) -> dict[str, float]:
    """How often the protein is right where the place is known and the protein guessed."""
    proteins, fields = (cells.table[name].to_numpy(str) for name in ("group", "field"))
    places, found = places_of(proteins), {}
    for protocol, apart in ((ONE_FIELD, fields), (KNN, folds_of(cells))):
        may = (apart[:, None] != apart) & (places[:, None] == places)
        right = ((proteins[:, None] == proteins) & may).sum(1) / may.sum(1)
        found[protocol] = round(float(pd.Series(right).groupby(proteins).mean().mean()), 4)
    return found


def numbers(accuracy: Accuracy) -> list[float]:
    return [round(accuracy.balanced, 4), round(accuracy.low, 4), round(accuracy.high, 4)]


def cross_fitted(nets: list[Inpainter], cells: Cells) -> Rows:
    """Each cell judged by what the network without its field was trained on; eight views."""
    proteins, fields = (cells.table[name].to_numpy(str) for name in ("group", "field"))
    folds, places = folds_of(cells), places_of(proteins)
    said: dict[tuple[str, str], np.ndarray] = {}
    for fold, net in enumerate(nets):
        held = folds == fold
        made = features_of(net, cells, 8)
        for name in (*(f"{layer}_max" for layer in net.layers), ALL):
            for protocol, labels in ((KNN, proteins), (PLACE_FOLDS, places)):
                near = knn_accuracy(made[name], labels, k=K, without=folds, draws=1)
                said.setdefault((protocol, name), labels.copy())[held] = near.predicted[held]
        line = linear_accuracy(made[ALL], proteins, folds, folds=FOLDS, draws=1, seed=SEED)
        said.setdefault((LINEAR, ALL), proteins.copy())[held] = line.predicted[held]
    found: Rows = {}
    for (protocol, name), predicted in said.items():
        truth = places if protocol == PLACE_FOLDS else proteins
        found.setdefault(protocol, {})[name] = judged(truth, predicted, fields)
    return found


def judged(truth: np.ndarray, predicted: np.ndarray, fields: np.ndarray) -> list[float]:
    """Mean recall over proteins, and its interval from drawing fields again."""
    right = pd.crosstab(fields, truth, values=predicted == truth, aggfunc="sum").fillna(0)
    count = pd.crosstab(fields, truth)
    value = (right.sum() / count.sum()).mean()
    again = weights_of(len(count))
    top, below = again @ right.to_numpy(float), again @ count.to_numpy(float)
    shares = np.divide(top, below, out=np.full(top.shape, np.nan), where=below > 0)
    low, high = np.quantile(np.nanmean(shares, axis=1), [0.025, 0.975])
    return [round(float(of), 4) for of in (value, low, high)]


def weights_of(units: int, draws: int = 1000) -> np.ndarray:
    draw = rng(SEED, "fields drawn again")
    return draw.multinomial(units, np.full(units, 1 / units), size=draws)


def column(rows: dict[str, list[float]], at: Any) -> dict[str, Any]:
    return {name: values[at] for name, values in rows.items()}


def once(path: Path, step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of a step, from its file where it was found with the same settings."""
    mark = digest({"asked": settings(), "version": __version__})
    if path.exists() and (kept := read_json(path))["mark"] == mark:
        return dict(kept["found"])
    found = step()
    make_folder(path.parent)
    write_json(path, {"mark": mark, "found": found})
    return found


def margins(accuracy: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """How far each layer of ours is above the untrained one, intensities, and the labelled one."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for views_of in ("", "_8_views"):
        for protocol, rows in accuracy[f"ours{views_of}"].items():
            plain = accuracy["untrained" + views_of][protocol]
            stains = accuracy["raw_intensity"][protocol]
            for name, value in rows.items():
                row = {"untrained": value - plain[name]}
                row |= {kind: value - of for kind, of in stains.items()}
                row["best_untrained_layer"] = value - max(plain.values())
                if not views_of:
                    row["labelled"] = value - accuracy["labelled"][protocol][name]
                made = found.setdefault(f"{protocol}{views_of}", {})
                made[name] = {key: round(of, 4) for key, of in row.items()}
    return found


def above(accuracy: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The best layer and pool less the best rival by the same protocol, of one view."""
    found: dict[str, dict[str, float]] = {}
    for protocol in (ONE_FIELD, WHITE, PLACE):
        rivals = (accuracy[name][protocol] for name in ("untrained", "raw_intensity"))
        best = max(value for rows in rivals for value in rows.values())
        found[protocol] = {
            name: round(max(accuracy[name][protocol].values()) - best, 4)
            for name in ("ours", "labelled")
        }
    return found


def bars(summary: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Words, value, and what the value must be above."""
    accuracy = summary["balanced_accuracy"]
    ours, plain = accuracy["ours"][ONE_FIELD], accuracy["untrained"][ONE_FIELD]
    best = max((name for name in ours if name.endswith("_max")), key=lambda name: ours[name])
    highest = max(of for name, of in plain.items() if name.endswith("_max"))
    other = max(highest, accuracy["raw_intensity"][ONE_FIELD]["raw"])
    return [
        ("pretext MSE on held-out fields below 0.0237", -summary["pretext_mse"], -0.0237),
        (
            "pretext MSE below copying the marker of these pairs",
            -summary["pretext_mse"],
            -summary["copy_marker_mse"],
        ),
        (f"{best}, {ONE_FIELD}: 0.10 above untrained and raw", ours[best], other + 0.1),
        (
            "linear classifier of all layers, field folds",
            accuracy["ours_8_views"][LINEAR][ALL],
            0.69,
        ),
    ]


def tell_all(summary: dict[str, Any]) -> int:
    """Print values beside their bars; 1 where one is missed."""
    print(f"\n{summary['n']} cells, {summary['fields']} fields; balanced accuracy (chance 0.2)")
    for name, protocols in summary["balanced_accuracy"].items():
        for protocol, rows in protocols.items():
            says = "  ".join(f"{layer} {value:.3f}" for layer, value in rows.items())
            print(f"  {name}, {protocol}: {says}")
    told = summary["labelled_network"]["recognised_of_held_out_fields"]
    print(f"  a network that is told the proteins recognises {told:.3f} of the held-out fields")
    known = ", ".join(f"{of:.3f} {how}" for how, of in summary["guessing_within_places"].items())
    print(f"  knowing the place and guessing the protein: {known}")
    print("  the best layer and pool above the best of any rival's, all treated alike:")
    for how, rows in summary["above_the_best_rival"].items():
        print(f"    {how}: " + ", ".join(f"{name} {gap:+.3f}" for name, gap in rows.items()))
    print("\nbars")
    missed = 0
    for words, value, bar in bars(summary):
        kept = value > bar
        missed += not kept
        print(f"  {'kept' if kept else 'MISSED':6}  {words}: {abs(value):.4f}, bar {abs(bar):.4f}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
