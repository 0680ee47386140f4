"""A run of single-cell profiles as its layout says, with made-up numbers that behave like real."""

import html
import re
from functools import cache

import numpy as np
import pandas as pd

from attributome.core.files import plain, write_json, write_text
from attributome.report.profile import build_profile
from attributome.store import Run

TREATMENTS = ("DMSO", "stavudine", "taxol", "nocodazole", "rotenone", "staurosporine")
PLATES = ("BR0117", "BR0118", "BR0119")
CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
TESTS = (
    "as it is",
    "cell erased, mean",
    "cell erased, around",
    "cell erased, another's background",
    "neighbours erased",
    "background replaced",
    "surroundings replaced",
    "cell swapped",
    "cell swapped: the label of the new cell",
)
STAGES = ("raw", "normalised", "sphered", "selected", "camo")
EACH = 14
"""Cells of a well."""


def begun(root, *, plates=PLATES, held_out=1):
    """A run that has only begun."""
    job = {"name": root.name, "seed": 0, "network": {"source": ""}}
    job |= {"data": {"source": "plates", "label": "treatment", "control": ["DMSO"]}}
    job |= {"camo": {"layer": "body", "features": True, "worst": 12}}
    count = len(wells(plates))
    data = {"fields": 2 * count, "plates": len(plates), "wells": count, "sha256": "ab" * 32}
    asked = {"attributome": "0.1.0", "job": job, "data": data, "network": {"sha256": None}}
    run = Run.begin(root, asked)
    kept = [name for name in names(plates) if not name.startswith(f"{plates[-1]}/")]
    parts = {"train": kept[::2], "validate": kept[1::4], "test": kept[3::4]}
    write_json(root / "splits.json", {**parts, "held_out_plates": [*plates[-1:]] * held_out})
    table = wells(plates)
    table["field"] = table["plate"] + "/" + table["well"] + "/1"
    table.assign(control=table["treatment"] == "DMSO").to_parquet(root / "fields.parquet")
    return run


def wells(plates=PLATES):
    """Wells of six columns, whose treatments go along the rows."""
    return pd.DataFrame(
        [
            {"plate": plate, "well": f"{row}{column:02d}", "treatment": TREATMENTS[k % 6]}
            for plate in plates
            for k, (row, column) in enumerate(
                (row, column) for row in "BCDEFG" for column in range(2, 12)
            )
        ]
    )


def names(plates=PLATES):
    table = wells(plates)
    return [*(table["plate"] + "/" + table["well"])]


def whole(root, *, dims=2, cheating=False, **changes):
    """A run in which nothing is missing."""
    run = begun(root)
    add_network(run, dims=dims)
    table = add_camo(run, dims=dims, cheating=cheating)
    add_worst(run, table, dims=dims)
    add_features(run, cheating=cheating)
    add_causes(run, cheating=cheating)
    add_profiles(run)
    add_evaluation(run, cheating=cheating, **changes)
    add_umap(run, table)
    add_remedies(run)
    add_alternatives(run)
    sum_up(run)
    return run


def add_network(run, *, dims=2):
    size = [96, 96] if dims == 2 else [12, 64, 64]
    card = {"format": 1, "kind": "cell classifier", "weights_sha256": "cd" * 32, "size": size}
    card |= {"classes": [*TREATMENTS], "label": "treatment", "channels": [*CHANNELS]}
    card |= {"kwargs": {"channels": 5, "classes": 6, "size": size, "kind": "efficientnet"}}
    card |= {"trained": {"remedy": "none", "epochs_done": 22, "best_epoch": 17, "seconds": 740.0}}
    card |= {"versions": {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.0"}}
    write_json(run.root / "network" / "network.json", card)
    note = {"cells": EACH, "shape": [EACH, 5, *size], "channels": [*CHANNELS], "border": "drop"}
    note |= {"spacing": None if dims == 2 else [1.5, 0.5, 0.5], "segmented": True}
    run.write("crops", "f", note=note | {"segmentation": {"method": "otsu", "spacing": None}})
    write_text(run.root / "network" / "log.csv", "epoch,loss,val_loss,val_error\n1,1.6,1.5,0.7\n")
    for stage, seconds in (("crop", 61.0), ("train", 740.0), ("camo", 93.5)):
        run.save(f"times/{stage}", {"seconds": seconds})


def scores(cheating=False, *, plates=PLATES, seed=0):
    """A row per cell: maps on the cell, or anywhere; a few are empty."""
    draw = np.random.default_rng(seed)
    some = wells(plates)
    table = some.loc[some.index.repeat(EACH)].reset_index(drop=True)
    count = len(table)
    number = table.groupby(["plate", "well"]).cumcount()
    table.insert(0, "cell_id", table["plate"] + "/" + table["well"] + "/1_" + number.astype(str))
    share = np.clip(draw.normal(0.3, 0.05, count), 0.1, 0.6)
    less = 0.06 * (pd.factorize(table["treatment"])[0] % 4)
    score = np.clip(draw.beta(9, 3, count) - less, 0, 1)
    if cheating:
        score = np.clip(share + draw.normal(0, 0.1, count), 0, 1)
    near = (1 - score) * draw.uniform(0.1, 0.4, count)
    lost = draw.random(count) < 0.01
    table["score_cell"] = np.where(lost, np.nan, score).astype(np.float32)
    table["score_neighbour"] = np.where(lost, np.nan, near).astype(np.float32)
    table["score_background"] = np.where(lost, np.nan, 1 - score - near).astype(np.float32)
    table["mask_fraction"] = share.astype(np.float32)
    return table.assign(target="treatment", layer="body", field=table["plate"] + "/x")


@cache
def _by_well(cheating):
    table = scores(cheating)
    return [
        {"plate": key[0], "well": key[1], "treatment": key[2], "undefined": int(lost),
         "cells": int(some["score_cell"].notna().sum()), "median": float(np.nanmedian(values)),
         "chance": float(some["mask_fraction"].median())}
        for key, some in table.groupby(["plate", "well", "treatment"])
        for values, lost in [(some["score_cell"], some["score_cell"].isna().sum())]
    ]  # fmt: skip


def by_well(cheating):
    return [dict(row) for row in _by_well(cheating)]


def add_camo(run, *, dims=2, cheating=False, grid=None, reasons=None):
    table = scores(cheating)
    table.to_parquet(run.root / "camo.parquet", index=False)
    about = table[["cell_id", "plate", "well", "treatment"]].rename(columns={"cell_id": "id"})
    about.assign(field="f", own=1).to_parquet(run.root / "cells.parquet", index=False)
    held = table.dropna(subset=["score_cell"])
    middle, guess = float(held["score_cell"].median()), float(held["mask_fraction"].median())
    excess = middle - guess
    half = float((held["score_cell"] > 0.5).mean())
    if reasons is None:
        told = "Grad-CAMO is not clearly above chance (+0.00, from -0.02)"
        reasons = [told] if cheating else []
    flag = {"level": "flagged" if reasons else "nothing found", "reasons": reasons}
    by = by_well(cheating)
    found = {
        "layer": "body",
        "grid": grid or ([8, 8] if dims == 2 else [12, 8, 8]),
        "method": "grad_cam",
        "target": "treatment",
        "interpolation": "linear, half-pixel centres",
        "formula": "camo-1",
        "how": "camo-1; linear, half-pixel centres; crop 96x96; level 0.5 on the enlarged map",
        "cells": len(held),
        "undefined": len(table) - len(held),
        "unknown": 0,
        "wells": len(by),
        "median": middle, "low": middle - 0.03, "high": middle + 0.02, "chance": guess,
        "excess": excess, "excess_low": excess - 0.03, "excess_high": excess + 0.03,
        "share_above_half": half, "share_low": max(half - 0.04, 0), "share_high": half + 0.03,
        "chance_above_half": 0.002,
        "by": by,
        "controls": controls(middle, guess),
        "features": {"n": 320, "median": 0.5, "above_chance": 240, "q05": 0.22},
        "flag": {**flag, "words": []},
    }  # fmt: skip
    run.save("camo", plain(found))
    return table


def controls(middle, guess):
    values = {"none": middle, "rolled mask": guess - 0.08, "neighbour's mask": 0.13}
    values["random weights"] = guess + 0.03
    return [
        {"control": name, "cells": 480, "undefined": 2, "median": value, "low": value - 0.03,
         "high": value + 0.03, "chance": 0.24 if name == "neighbour's mask" else guess}
        for name, value in values.items()
    ]  # fmt: skip


def crops(count, *, dims=2, seed=0, at=0.0):
    """Round cells with a neighbour; maps that lie `at` so many radii beside the cell."""
    draw = np.random.default_rng(seed)
    space = (64, 64) if dims == 2 else (12, 48, 48)
    steps = np.ones(dims) if dims == 2 else np.array([3.0, 1.0, 1.0])
    middle = (np.array(space) - 1) / 2
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in space), indexing="ij"), -1)
    images, labels, maps = [], [], []
    for _ in range(count):
        radius = draw.uniform(0.2, 0.28) * space[-1]
        far = np.zeros(dims)
        far[-2:] = radius * 1.7 * np.array([np.sin(a := draw.uniform(0, 6.28)), np.cos(a)])
        away = [np.linalg.norm((grid - middle - move) * steps, axis=-1) for move in (0, far)]
        label = np.where(away[0] < radius, 1, np.where(away[1] < 0.8 * radius, 2, 0))
        body = sum(np.exp(-((d / radius) ** 4)) for d in away)
        spots = ndimage_noise(draw, (len(CHANNELS), *space))
        images.append(900 * body * (0.5 + spots) + 100 + draw.normal(0, 12, spots.shape))
        labels.append(label)
        looked = np.linalg.norm((grid - middle - at * far) * steps, axis=-1)
        maps.append(draw.uniform(0.2, 1) * np.exp(-((looked / radius) ** 2)))
    arrays = {"images": np.stack(images).astype(np.uint16), "labels": np.stack(labels)}
    arrays["labels"] = arrays["labels"].astype(np.int32)
    return arrays | {"maps": np.stack(maps).astype(np.float32)}


def ndimage_noise(draw, shape):
    from scipy.ndimage import gaussian_filter

    found = gaussian_filter(draw.normal(size=shape), (0, *[1.5] * (len(shape) - 1)))
    return np.clip(found / found.std(), -1, 2) * 0.25 + 0.25


def add_worst(run, table, *, dims=2, count=8):
    held = table.dropna(subset=["score_cell"]).sort_values("score_cell")
    spacing = None if dims == 2 else [1.5, 0.5, 0.5]
    for name, at, some in (("worst", 1.0, held.head(count)), ("best", 0.0, held.tail(count)[::-1])):
        arrays = crops(count, dims=dims, seed=len(name), at=at)
        if name == "worst":
            arrays["maps"][1] = 0
        about = some.rename(columns={"cell_id": "id"})
        kept = about[["id", "field", "plate", "well", "treatment", "score_cell"]].assign(own=1)
        note = {"channels": [*CHANNELS], "spacing": spacing}
        tables = {"cells": kept.reset_index(drop=True)}
        run.write("worst", name, arrays=arrays, tables=tables, note=note)


def add_features(run, *, cheating=False, count=320):
    draw = np.random.default_rng(1)
    middle = np.clip(draw.normal(0.32 if cheating else 0.55, 0.15, count), 0.02, 0.98)
    table = pd.DataFrame({"feature": [f"Cells_body_mean_{n:03d}" for n in range(count)]})
    table["median"], table["low"], table["high"] = middle, middle - 0.04, middle + 0.04
    table.loc[:2, ["median", "low", "high"]] = np.nan
    table = table.assign(chance=0.3, undefined=3, cells=2500, wells=180)
    table.to_parquet(run.root / "camo_features.parquet", index=False)


def add_causes(run, *, cheating=False, few=False):
    honest = (0.78, 0.19, 0.21, 0.18, 0.77, 0.76, 0.74, 0.11, 0.69)
    cheat = (0.78, 0.77, 0.78, 0.76, 0.77, 0.09, 0.07, 0.76, 0.08)
    ends = {"low": None, "high": None} if few else {}
    tests = [
        {"test": name, "balanced": value, "low": value - 0.04, "high": value + 0.04,
         "chance": 1 / 6, "n": 820, "wells": 60, "retained": (value - 1 / 6) / (0.78 - 1 / 6)}
        | ends
        for name, value in zip(TESTS, cheat if cheating else honest, strict=True)
    ]  # fmt: skip
    others = {"plate": 0.17, "position": 0.31, "background": 0.74 if cheating else 0.2}
    others["cell"] = 0.62
    predictors = [
        {"what": what, "protocol": how, "balanced": value - less, "low": value - less - 0.03,
         "high": value - less + 0.03, "chance": 1 / 6, "n": 2400, "wells": 180, "reason": ""}
        for what, value in others.items()
        for how, less in (("well folds", 0.0), ("leave plate out", 0.04 if what == "cell" else 0.1))
    ]  # fmt: skip
    predictors[1] = {"what": "plate", "protocol": "leave plate out", "reason": "1 plate is left"}
    reasons = []
    if cheating:
        reasons = ["Grad-CAMO is not clearly above chance (+0.00, from -0.02)"]
        reasons.append("with the cell erased, balanced accuracy stays at 0.76 or more")
    gap = {"inside": 0.83, "outside": 0.78, "gap": -0.05, "gap_low": -0.09, "gap_high": 0.01}
    words = ["Grad-CAMO is 0.67 in the median, +0.37 [+0.34, +0.40] against chance"]
    found = {"part": "held_out_plates", "cells": 820, "tests": tests, "predictors": predictors}
    found |= {"gap": gap, "gap_reason": "", "reason": "", "words": words}
    run.save("causes", {**found, "flagged": bool(reasons), "reasons": reasons})


def add_profiles(run):
    stages = {name: {"wells": 180, "features": 320, "dropped": 0, "reason": ""} for name in STAGES}
    stages["normalised"]["references"] = dict.fromkeys(PLATES, 10)
    about = {"method": "ZCA", "regularisation": "relative 0.01", "lambda": 0.2, "controls": 12}
    stages["sphered"] |= about
    stages["aligned"] = {"reason": "not asked for"}
    stages["selected"] |= {"features": 214, "dropped": 106}
    stages["camo"] |= {"features": 240, "dropped": 80, "left_out": 611}
    write_json(run.root / "profiles" / "profiles.json", {"reference": "controls", "stages": stages})


def add_evaluation(run, *, cheating=False, plate=0.36):
    """`plate` is how well it is told from the last profiles; guessing is one third."""
    part = {"reason": "", "chance": 1 / 6, "classes": 6}
    accuracy = {
        name: {"balanced": value, "low": value - 0.04, "high": value + 0.03, "n": n, "wells": w}
        | part
        for name, value, n, w in (
            ("validate", 0.85, 410, 30), ("test", 0.83, 400, 30), ("held_out_plates", 0.78, 820, 60)
        )
    }  # fmt: skip
    found = {"label": "treatment", "classes": [*TREATMENTS], "accuracy": accuracy}
    steps = list(enumerate(STAGES))
    found["retrieval"] = [
        {"profiles": name, "map": 0.41 + 0.07 * n, "low": 0.35 + 0.07 * n, "high": 0.47 + 0.07 * n,
         "p_share": 0.2 * n, "n": 5, "wells": 150, "chance": 0.19, "reason": ""}
        for n, name in steps
    ]  # fmt: skip
    told = [0.92, 0.55, 0.41, 0.38, plate]
    found["batches"] = [
        {"profiles": name, "of": "controls", "protocol": "linear, well folds", "balanced": told[n],
         "low": told[n] - 0.08, "high": told[n] + 0.08, "chance": 1 / 3, "n": 30, "reason": ""}
        for n, name in steps
    ]  # fmt: skip
    found["matching"] = [
        {"profiles": name, "kind": kind, "accuracy": 0.3 + 0.06 * n - less, "low": 0.2 + 0.06 * n,
         "high": 0.42 + 0.06 * n, "chance": 0.21, "n": 15, "compounds": 5, "reason": ""}
        for kind, less in (("NSC", 0.0), ("NSCB", 0.05)) for n, name in steps
    ]  # fmt: skip
    found["before_after"] = [
        {"profiles": name, "wells": 180, "features": 320 - 20 * n, "reason": "",
         "map": 0.41 + 0.07 * n, "map_low": 0.35 + 0.07 * n, "map_high": 0.47 + 0.07 * n,
         "batch": told[n], "batch_low": told[n] - 0.08, "batch_high": told[n] + 0.08,
         "silhouette_treatment": 0.04 + 0.03 * n, "silhouette_plate": 0.2 - 0.05 * n,
         "silhouette_treatment_low": 0.03 * n, "silhouette_treatment_high": 0.08 + 0.03 * n,
         "silhouette_plate_low": 0.16 - 0.05 * n, "silhouette_plate_high": 0.24 - 0.05 * n}
        for n, name in steps
    ]  # fmt: skip
    found["channels"] = [
        {"a": CHANNELS[i], "b": CHANNELS[j], "r": 0.85 - 0.13 * (j - i) - less, "low": 0.3,
         "high": 0.7, "where": where, "n": 180, "undefined": 0, "fields": 180}
        for where, less in (("all pixels", 0.0), ("in cells", 0.45))
        for i in range(5) for j in range(i + 1, 5)
    ]  # fmt: skip
    words = ["profiles as they are find replicates with mean average precision 0.410"]
    run.save("evaluation", {**found, "channels_reason": "", "umap": "", "words": words})


def add_umap(run, table):
    draw = np.random.default_rng(2)
    camo = table.groupby(["plate", "well"])["score_cell"].median().reset_index()
    some = wells().merge(camo, on=["plate", "well"])
    parts = []
    for stage, by in (("raw", "plate"), ("sphered", "treatment"), ("camo", "treatment")):
        angle = 2 * np.pi * pd.factorize(some[by])[0] / some[by].nunique()
        places = 5 * np.stack([np.cos(angle), np.sin(angle)], 1) + draw.normal(size=(len(some), 2))
        made = pd.DataFrame({"id": some["plate"] + "/" + some["well"], "x": places[:, 0]})
        made["y"], made["camo"] = places[:, 1], some["score_cell"].astype(float)
        made["treatment"], made["plate"] = some["treatment"], some["plate"]
        parts.append(made.assign(profiles=stage))
    pd.concat(parts, ignore_index=True).to_parquet(run.root / "umap.parquet", index=False)


def add_remedies(run):
    values = {"none": (0.33, 0.52), "penalty": (0.71, 0.6), "mask": (0.98, 0.63)}
    values["background"] = (0.66, 0.64)
    rows = [
        {"remedy": name, "camo_median": camo, "camo_low": camo - 0.02, "camo_high": camo + 0.02,
         "chance": 0.3, "accuracy_held_out": right, "low": right - 0.04, "high": right + 0.04,
         "accuracy_test": right + 0.1, "undefined": 0.02, "flagged": name == "none"}
        for name, (camo, right) in values.items()
    ]  # fmt: skip
    write_json(run.root / "remedies.json", {"remedies": rows, "words": ["a penalty can be gamed"]})


def add_alternatives(run):
    kinds = ("classifier", "untrained", "contrastive", "inpainting")
    wells = {"all wells": 150, "unseen wells": 80}
    steps = [(name, of, 0.1 * n + (0.05 if of == "all wells" else 0.0))
             for of in wells for n, name in enumerate(kinds)]  # fmt: skip
    found = {
        "features": [{"profiles": name, "wells": 180, "features": 320, "seconds": 60.0 * n or None}
                     for n, name in enumerate(kinds)],
        "reasons": {},
        "retrieval": [
            {"profiles": name, "of": of, "map": 0.3 + more, "low": 0.25 + more, "high": 0.35 + more,
             "chance": 0.19, "n": 5, "wells": wells[of], "reason": ""}
            for name, of, more in steps
        ],
        "neighbours": [
            {"profiles": name, "of": of, "protocol": "leave plate out", "balanced": 0.4 + more,
             "low": 0.3 + more, "high": 0.5 + more, "chance": 1 / 6, "n": wells[of], "reason": ""}
            for name, of, more in steps
        ],
        "batches": [
            {"profiles": name, "of": "controls", "protocol": "linear, well folds",
             "balanced": 0.5, "low": 0.4, "high": 0.6, "chance": 1 / 3, "n": 30, "reason": ""}
            for name in kinds
        ],
        "trajectory": {"file": "trajectory.gif", "how": "pca", "epochs": 9, "cells": 40},
        "words": ["contrastive features find replicates"],
    }  # fmt: skip
    run.save("alternatives", found)
    (run.root / "trajectory.gif").write_bytes(b"GIF89a" + bytes(60))


def sum_up(run):
    found = run.load("causes") or {}
    words = [*found.get("words", ()), *(run.load("evaluation") or {}).get("words", ())]
    run.save("summary", {"words": words, "seconds": 894.5})


def changed(run, name, change):
    """The same run with something else in one of its JSON files."""
    found = run.load(name)
    change(found)
    run.save(name, found)
    return run


def text(run):
    return build_profile(run).read_text(encoding="utf-8")


def section(page, name):
    """One section as the words a reader sees."""
    inside = page.split(f'<section id="{name}"')[1].split("</section>")[0]
    inside = re.sub(r"<title>.*?</title>", " ", inside)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", inside)).split())


def looked(folder, **changes):
    """A run in which only Grad-CAMO was asked for."""
    run = begun(folder / "demo")
    add_camo(run, **changes)
    return run
