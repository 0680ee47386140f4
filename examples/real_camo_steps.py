"""The steps of real_camo.py: networks on planted plates and real cells, and what they look at."""

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from attributome.core.compute import Compute
from attributome.core.files import make_folder, write_whole
from attributome.core.probe import layer_output
from attributome.core.targets import Logit
from attributome.core.training import Plan
from attributome.data.images import read_image, read_labels
from attributome.data.planted_plates import Cue, planted_plates
from attributome.data.segmentation import segment
from attributome.predictors.cells import CellNetwork, cell_network
from attributome.profiles.camo.batches import Crops, camo_over, crops_of, feature_blocks
from attributome.profiles.camo.classes import Camo, class_camo
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.camo.summary import summarise
from attributome.profiles.causes import causal_tests, found, held_out_gap, untrained
from attributome.profiles.learning.classifier import (
    channel_statistics,
    classes_of,
    fit_classifier,
    rows_of,
    wells_of,
)
from attributome.profiles.learning.remedies import masked
from attributome.profiles.shortcuts import what_else_tells
from attributome.profiles.single_cells import SingleCells, crop_field, from_arrays

HERE = Compute()
PARTS = ("train", "validate", "held out")
PLATES = {"plates": 3, "wells": 6, "fields": 2, "cells": 4}
DIMS: dict[int, dict[str, Any]] = {
    2: {
        "plant": {**PLATES, "cue_strength": 1.5},
        "net": {"width": 12, "cam_cells": 20},
        "epochs": 30,
        "seeds": (11, 12, 13),
    },
    3: {
        "plant": {
            **PLATES,
            "size": (16, 32, 32),
            "treatments": 2,
            "cell_size": 0.85,
            "cue_strength": 2.0,
        },
        "net": {"width": 8, "cam_cells": 16, "quiet": 1.0},
        "epochs": 15,
        # at 15 these had learned no treatment yet
        "longer": {"penalty": 30, "penalty_of_the_class": 30},
        "seeds": (21, 22, 23),
    },
}
KINDS: dict[str, dict[str, Any]] = {
    "cheater": {},
    "twin": {},
    "penalty": {"penalty": 1.0},
    "masked_crops": {"erase": "mask"},
    "background_replaced": {"erase": "background"},
    "penalty_of_the_class": {"penalty": 1.0, "penalised": "class"},
}
REMEDIES = ("penalty", "masked_crops", "background_replaced")
BATCH, LR = 16, 3e-3

VOLUMES: dict[str, dict[str, Any]] = {
    "embryos": {"size": (24, 24, 24), "cam_cells": 12, "label": "stage", "epochs": 40},
    "tissue": {"size": (16, 24, 24), "cam_cells": 12, "label": "position", "epochs": 30},
    "ovule": {"size": (16, 32, 32), "cam_cells": 8, "label": "position", "epochs": 30},
}
JUMP: dict[str, Any] = {
    "size": (48, 48), "cam_cells": 12, "label": "compound", "epochs": 30, "diameter": 14.0,
    "grown": 10,
}  # fmt: skip
STAINS = ("mitochondria", "AGP", "RNA", "ER", "DNA")
SPEED = {"kind": "means", "rounds": 3}
FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"

WHICH = {
    "seeds": "the planted figures are of seeds that nothing was chosen on; sizes, epochs, strength "
    "of the cue and the form of the penalty were chosen on seeds 100, 101 and 102, and what the "
    "plates are made of on seed 0; in 3-D also on seed 11, see cue_in_3d",
    "scored_on": "Grad-CAMO of the true class; `validate`: wells of the training plates, which "
    "also chose the kept epoch; `held_out`: a plate on which the medium tells nothing",
    "quiet_in_3d": "without it (and with an effect of 1.5 and cells of full size, a share of 0.15 "
    "of the crop) the twin had 0.80, 0.83 and 0.68 on seeds 100, 101 and 102: the map of one of "
    "the two classes has 0.02 to 0.10 of its level in the cell all over the background, which is "
    "much more of a crop than the cell. The best share that a map on this grid can have is 0.90 to "
    "0.97. A grid as fine as the crop in the plane gave 0.69 and 0.60 (100, 102), quiet 1 gave "
    "0.91, 0.94 and 0.95, and quiet 0.5 with an effect of 1 0.47 (102)",
    "cue_in_3d": "a quiet network learns from the background more slowly: with a cue of 1 and an "
    "effect of 1.5 the cheater had 0.66, 0.74 and 0.90 and told 0.78 to 1.00 of held-out cells. A "
    "cue of 1.5, an effect of 1 and cells of full size were chosen first, and the cheater, with "
    "0.05, 0.12 and 0.10 on seeds 100 to 102, had 0.33 on seed 11, which is more than 0.1 above "
    "chance. So cells were made smaller and the cue 2, for which seeds 100 to 102 gave 0.02, 0.02 "
    "and 0.01; what is told here is of seeds that came after",
    "epochs_in_3d": "twins of 15 epochs had 0.86 and 0.94 (100, 102), of 30 epochs 0.85, 0.89 and "
    "0.73 (100 to 102): the low level in the background grows with training that nothing needs. "
    "Networks with a penalty have learned no treatment after 15 epochs (accuracy 0.5 on seed 11), "
    "and after 30 all of it (100, 101), so that they are trained longer",
    "penalty": "1 - the share of |map| on the cell, of the own logit minus the mean of the others; "
    "penalty_of_the_class is 1 - Grad-CAMO as it stands, of the own logit after its ReLU: the "
    "network evades it by evidence in the background against the other classes, which that ReLU "
    "cuts off; Grad-CAMO nears 1 while accuracy falls once the background is replaced",
    "embryos": "n = 2 volumes, one of each stage: stage and volume are the same thing, and no "
    "claim about embryos that were not seen is possible",
    "tissue": "n = 1 volume; the label is on which side of its middle (along y) a cell lies, of "
    "which nothing in a cell is known to tell",
    "ovule": "as tissue; binned 2 x 2 in the plane, with the labels that came with it",
    "jump": "n = 8 fields, one of each compound: whatever tells a field tells the compound, so "
    "accuracy on the other half of the same fields says nothing about compounds",
    "real_parts": "one half of each volume or field (by x) is trained on, of the other half one "
    "part (by depth, in fields by y) chooses the epoch and one is scored; tests are of both; "
    "crops of volumes overlap between parts, those of fields do not",
    "published": "30 % of profiles with more than half of the map on the cell, on other data, "
    "with another network and size of crop: context, and no bar",
}


def planted(dims: int, kind: str, seed: int, folder: Path) -> dict[str, Any]:
    """One network on planted plates, and all that is asked of it."""
    given, how = DIMS[dims], KINDS[kind]
    cue: Cue = "none" if kind == "twin" else "background"
    made = planted_plates(dims=dims, cue=cue, seed=seed, **given["plant"])
    crops = from_arrays(made.table, made.images, made.labels, made.own, made.channels, made.spacing)
    parts = {part: made.ids(part) for part in PARTS}
    epochs = epochs_of(dims, kind)
    return trained(crops, parts, "treatment", given["net"], epochs, seed, folder, how)[1]


def epochs_of(dims: int, kind: str) -> int:
    """How long a network of this kind is trained."""
    given = DIMS[dims]
    return int(given.get("longer", {}).get(kind, given["epochs"]))


def trained(
    crops: SingleCells,
    parts: Mapping[str, list[str]],
    label: str,
    shape: Mapping[str, Any],
    epochs: int,
    seed: int,
    folder: Path,
    how: Mapping[str, Any],
) -> tuple[CellNetwork, dict[str, Any]]:
    """A network and its Grad-CAMO, accuracy, causal tests and findings."""
    rows = rows_of(crops, parts)
    classes = classes_of(crops, parts["train"], label)
    # real data here have no plates that could be held out: what they hold out is not checked
    learned = parts if label == "treatment" else {name: parts[name] for name in PARTS[:2]}
    net = cell_network(
        len(crops.channels), len(classes), size=crops.size, kind="small", spacing=crops.spacing,
        dropout=0.0, seed=seed, **shape,
    )  # fmt: skip
    net.scale.set(*channel_statistics(crops, rows["train"]))
    plan = Plan(lr=LR, epochs=epochs)
    story = fit_classifier(
        net, crops, learned, label=label, plan=plan, batch=BATCH, seed=seed, compute=HERE,
        folder=folder, **how,
    )  # fmt: skip
    inside, outside = rows["validate"], rows["held out"]
    if label != "treatment":
        inside = np.concatenate([inside, outside])
    erase = how.get("erase", "none")
    asked: dict[str, Any] = {"label": label, "classes": classes, "compute": HERE, "erase": erase}
    looks = {
        "validate": camo_of(net, crops, inside, **asked),
        "held_out": camo_of(net, crops, outside, **asked),
        "untrained": camo_of(untrained(net, seed=seed), crops, inside, **asked),
    }
    tests = causal_tests(net, crops, inside, seed=seed, **asked)
    gap = held_out_gap(net, crops, inside, outside, seed=seed, **asked)
    seen = looks["validate"]
    camo, chance = (seen[name].to_numpy(float) for name in ("score_cell", "mask_fraction"))
    wells = wells_of(crops)[inside]
    apart = gap if label == "treatment" else None
    said = found(tests, camo=camo, chance=chance, wells=wells, gap=apart, seed=seed)
    rows_of_looks = {name: summarise(table, unit="unit").iloc[0] for name, table in looks.items()}
    return net, {
        "median_grad_camo": rows_of_looks["validate"]["median"],
        "chance": rows_of_looks["validate"]["chance"],
        "accuracy": gap["inside"],
        "held_out_accuracy": gap["outside"],
        "flagged": said.flagged,
        "reasons": said.reasons,
        "grad_camo": {name: row.to_dict() for name, row in rows_of_looks.items()},
        "accuracies": gap,
        "causal_tests": tests.to_dict("records"),
        "words": said.words,
        "cells": {part: len(ids) for part, ids in parts.items()},
        "grid": net.grid,
        "best_epoch": story.best_epoch + 1,
        "seconds": story.seconds,
    }


def camo_of(
    net: nn.Module, crops: SingleCells, rows: np.ndarray, *, label: str, erase: str,
    classes: tuple[str, ...], compute: Compute,
) -> pd.DataFrame:  # fmt: skip
    """Grad-CAMO of the true class of some cells, and the well of each."""
    codes = np.array([classes.index(str(name)) for name in crops.table[label]])

    def score(some: Crops) -> Camo:
        x = masked(some.images, some.labels, some.own) if erase == "mask" else some.images
        target = Logit(torch.from_numpy(codes[some.rows]))
        return class_camo(net, x, some.labels, some.own, layer=CellNetwork.cam_layer, target=target)

    batches = crops_of(crops, rows=rows, compute=compute)
    table = pd.concat(list(camo_over(batches, score)), ignore_index=True)
    return table.assign(target="true class", unit=wells_of(crops)[rows])


def volume(name: str, folder: Path, out: Path, training: Path) -> dict[str, Any]:
    """Segment, crop, train, features and Grad-CAMO of one kind of real volumes."""
    size, made, arrays = VOLUMES[name]["size"], [], []
    for field, image, labels, spacing in volumes(name, folder):
        part = crop_field(
            image[None], labels, field=field, channels=("nuclei",), size=size, border="pad",
            spacing=spacing,
        )  # fmt: skip
        table = part.tables["cells"]
        side = np.where(table["y"] < table["y"].median(), "low", "high")
        made.append(table.assign(stage=field, position=side, part=parts_of(table, "z")))
        arrays.append(part.arrays)
    return real(name, VOLUMES[name], pd.concat(made), arrays, ("signal",), spacing, out, training)


def volumes(
    name: str, folder: Path
) -> list[tuple[str, np.ndarray, np.ndarray, tuple[float, ...] | None]]:
    """Name, image, labels and spacing; the files say no spacing, these are told by the shapes."""

    def image(file: str) -> np.ndarray:
        return np.asarray(read_image(folder / file, axes="ZYX").array[0])

    if name == "embryos":
        raw = {f"{n}-cell": image(f"qcanet_images_raw__{n}_cell_stage.tif") for n in (8, 16)}
        return [(s, of, segment(of, diameter=16.0, scale="log"), None) for s, of in raw.items()]
    if name == "tissue":
        raw_tissue, steps = image("stardist_img3d.tif"), (2.0, 1.0, 1.0)
        labels = segment(raw_tissue, diameter=14.0, spacing=steps, method="log")
        return [("tissue", raw_tissue, labels, steps)]
    raw_ovule = image("ovule_patch_raw.tif")
    labels = read_labels(folder / "ovule_patch_label.tif", axes="ZYX")[:, ::2, ::2]
    z, y, x = labels.shape
    binned = np.asarray(raw_ovule.reshape(z, y, 2, x, 2).mean((2, 4)), np.float32)
    return [("ovule", binned, np.ascontiguousarray(labels), None)]


def parts_of(table: pd.DataFrame, other: str, gap: float = 0.0) -> np.ndarray:
    """Half of the cells to train on, by x; the rest in halves by another axis; "" within a gap."""
    x, y = (table[axis].to_numpy(float) for axis in ("x", other))
    right = x >= np.median(x)
    middle = float(np.median(y[right]))
    part = np.where(right, np.where(y < middle, "validate", "held out"), "train")
    near = (np.abs(x - np.median(x)) < gap) | (right & (np.abs(y - middle) < gap))
    return np.asarray(np.where(near, "", part))


def jump(folder: Path, out: Path, training: Path) -> dict[str, Any]:
    """Eight fields of Cell Painting: nuclei from their stain, grown to stand for the cells."""
    from skimage.segmentation import expand_labels

    made, arrays = [], []
    for row in pd.read_csv(folder / "fields.csv").to_dict("records"):
        image = read_image(folder / row["file"], axes="CYX").array[: len(STAINS)]
        nuclei = segment(image[STAINS.index("DNA")], diameter=JUMP["diameter"])
        cells = expand_labels(nuclei, JUMP["grown"]).astype(np.int32)
        part = crop_field(
            np.log(image + 1), cells, field=row["compound"], channels=STAINS, size=JUMP["size"],
            meta={"compound": row["compound"]},
        )  # fmt: skip
        table = part.tables["cells"]
        made.append(table.assign(part=parts_of(table, "y", JUMP["size"][0] / 2)))
        arrays.append(part.arrays)
    return real("jump", JUMP, pd.concat(made), arrays, STAINS, None, out, training)


def real(
    name: str,
    given: Mapping[str, Any],
    table: pd.DataFrame,
    arrays: list[Mapping[str, np.ndarray]],
    channels: tuple[str, ...],
    spacing: tuple[float, ...] | None,
    out: Path,
    training: Path,
) -> dict[str, Any]:
    """Train on one half, ask about the other, and write the features of all cells."""
    kept = (table["part"] != "").to_numpy()
    images, labels = (np.concatenate([of[key] for of in arrays]) for key in ("images", "labels"))
    table = table.assign(plate="one", well=table["field"] + ", " + table["part"])[kept]
    own = table["label"].to_numpy(np.int32)
    crops = from_arrays(table, images[kept], labels[kept], own, channels, spacing)
    parts = {part: table["id"][table["part"] == part].tolist() for part in PARTS}
    shape = {"width": 12, "cam_cells": given["cam_cells"]}
    net, told = trained(crops, parts, given["label"], shape, given["epochs"], 0, training, {})
    every = np.arange(len(crops))
    classes = classes_of(crops, parts["train"], given["label"])
    asked = {"label": given["label"], "erase": "none", "classes": classes, "compute": HERE}
    looks = {
        "all_cells": camo_of(net, crops, every, **asked),
        "all_cells_untrained": camo_of(untrained(net), crops, every, **asked),
    }
    told["grad_camo"] |= {n: summarise(t, unit="unit").iloc[0].to_dict() for n, t in looks.items()}
    whole = told["grad_camo"]["all_cells"]
    told["accuracy_of_the_part_that_is_scored"] = told.pop("held_out_accuracy")
    clear = np.array([(crops.labels(every[i : i + 1]) == 0).any() for i in every])
    if clear.any():
        others = what_else_tells(crops, every[clear], label=given["label"], draws=200)
        told["what_else_tells"] = others.to_dict("records")
    return told | {
        "fields": int(table["field"].nunique()),
        "crop": given["size"],
        "share_above_half": whole["above_half"],
        "share_above_half_uniform_map": whole["chance_above_half"],
        "share_above_half_untrained": told["grad_camo"]["all_cells_untrained"]["above_half"],
        "features": features(net, crops, out / f"{name}.parquet"),
        "cells_without_background": int((~clear).sum()),
        "what_this_can_say": WHICH[name],
    }


def features(net: CellNetwork, crops: SingleCells, path: Path) -> dict[str, Any]:
    """Write each cell's features and the Grad-CAMO of each, and say what these are like."""

    def score(some: Crops) -> Camo:
        return feature_camo(
            net, some.images, some.labels, some.own, layer=net.cam_layer, pool="mean"
        )

    scores = pd.concat(list(feature_blocks(crops_of(crops), score)), ignore_index=True)
    values = [layer_output(net, net.feature_layer, some.images) for some in crops_of(crops)]
    profile = torch.cat(values).flatten(1).numpy()
    names = [str(column) for column in scores if not str(column).startswith("Metadata_")]
    told = {f"{name}_camo": scores[name] for name in names}
    table = pd.DataFrame(profile, columns=names).assign(**told)
    about = crops.table.add_prefix("Metadata_").assign(chance=scores["Metadata_mask_share"])
    make_folder(path.parent)
    write_whole(path, partial(pd.concat([about, table], axis=1).to_parquet, index=False))
    flat = scores[names].to_numpy(float)
    return {
        "features": len(names),
        "undefined": np.isnan(flat).mean(),
        "median_grad_camo": np.nanmedian(flat),
        "chance": scores["Metadata_mask_share"].median(),
        "share_above_half": (flat[np.isfinite(flat)] > 0.5).mean(),
        "features_with_median_above_half": (np.nanmedian(flat, axis=0) > 0.5).mean(),
    }


def speed() -> dict[str, Any]:
    """The ratio that benchmarks/camo_speed.py measures, in a process of its own."""
    code = f"import json, camo_speed as c; print(json.dumps(c.measure(**{SPEED!r}, size=c.Size())))"
    asked = [sys.executable, "-c", f"import torch; torch.set_num_threads(1); {code}"]
    made = subprocess.run(asked, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(made.stdout.splitlines()[-1])
    return {"feature_camo_ratio": measured["ratio_loop"], "feature_camo_measured": measured}
