"""A run of cell inpainting as its layout says, with made-up numbers that behave like real."""

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage

from attributome.core.files import make_folder, write_json, write_text
from attributome.profiles.formats import write_parquet
from attributome.store import Run

PROTEINS = ("Erg6", "Nup49", "Sec13", "Snf7", "Vma1")
LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
REACH = {"conv1_1": 0.55, "conv2_1": 0.63, "conv3_1": 0.71, "conv4_1": 0.73, "conv5_1": 0.66}
SHIFT = {"leave one cell out": 0.08, "leave field out": -0.12, "field folds": 0.0}
LINEAR = "linear, field folds"
CROP = 32


def begun(root, *, fields=20, rejected=3):
    """A run that has only begun."""
    job = {"name": root.name, "seed": 0, "data": {"kind": "cells", "source": "cells"}}
    job |= {"evaluate": {"k": 11, "layer": "conv3_1", "pool": "max"}, "predict": {"part": "test"}}
    job |= {"train": {"epochs": 12, "loss": "mse"}, "features": {"pools": ["max", "mean"]}}
    data = {"cells": 1240, "rejected": rejected, "groups": 5, "fields": fields, "sha256": "ab" * 32}
    asked = {"attributome": "0.1.0", "job": job, "data": data, "network": {"sha256": None}}
    return Run.begin(root, asked)


def whole(root, *, proteins=PROTEINS, fields=20, points=1240, **changes):
    """A run in which nothing is missing."""
    run = begun(root, fields=fields)
    add_data(run, fields=fields)
    add_network(run)
    add_features(run)
    add_evaluation(run, proteins=proteins, fields=fields, **changes)
    add_predictions(run, proteins)
    add_findings(run, proteins)
    add_umap(run, proteins, fields=fields, points=points)
    return run


def add_data(run, *, fields=20):
    names = [f"field-{n:02d}" for n in range(fields)]
    half, rest = int(0.6 * fields), int(0.8 * fields)
    parts = {"train": names[:half], "validate": names[half:rest], "test": names[rest:]}
    write_json(run.root / "splits.json", parts)
    write_text(
        run.root / "rejected.csv",
        "where,value,reason\nrow 7,Erg6_3,the crop is constant\nrow 9,,it has no group\n"
        "row 12,Snf7_1,it leaves its field\n",
    )
    card = {"channels": ["GFP", "RFP"], "targets": ["GFP"], "markers": ["RFP"], "format": 1}
    write_json(run.root / "cells" / "prepared" / "cells.json", card)


def add_network(run, *, epochs=12, examples=4):
    folder = run.root / "network"
    card = {"format": 1, "kind": "inpainter", "weights_sha256": "cd" * 32}
    card |= {"kwargs": {"targets": 1, "markers": 1, "widths": [16, 32, 48, 48, 32]}}
    card |= {"versions": {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.0"}}
    card |= {"trained": {"epochs_done": epochs, "seconds": 512.0}}
    write_json(folder / "network.json", card)
    at = np.arange(1, epochs + 1)
    mse = 0.012 + 0.03 * np.exp(-at / 2.5)
    log = pd.DataFrame({"epoch": at, "loss": mse * 0.97, "val_loss": mse, "val_mse": mse})
    write_text(folder / "log.csv", log.assign(val_copy_marker=0.0237, lr=1e-4).to_csv(index=False))
    source, marker, truth = crops(examples, seed=1)
    make_folder(folder / "examples")
    for name, array in (("source", source), ("marker", marker), ("truth", truth)):
        np.save(folder / "examples" / f"{name}.npy", array)
    for epoch in at.tolist():
        np.save(folder / "examples" / f"prediction-{epoch:04d}.npy", blurred(truth, 8.0 / epoch))
    names = [f"Erg6_{n}" for n in range(examples)]
    pairs = pd.DataFrame({"source": names, "target": [f"{name}b" for name in names]})
    write_text(folder / "examples" / "pairs.csv", pairs.to_csv(index=False))


def crops(count, *, seed=0):
    """Round cells with spots of protein: source (protein, marker), marker, truth."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:CROP, :CROP] - CROP / 2
    body = np.exp(-(((x**2 + y**2) / 90) ** 2))
    found = []
    for _ in range(2 * count):
        spots = sum(
            np.exp(-((x - a) ** 2 + (y - b) ** 2) / 6) for a, b in draw.uniform(-8, 8, (4, 2))
        )
        noise = draw.normal(0, 0.02, (2, CROP, CROP))
        found.append(np.stack([0.6 * body * spots, 0.8 * body]) + noise)
    pictures = np.clip(np.stack(found), 0, 1).astype(np.float32)
    return pictures[:count], pictures[count:, 1:], pictures[count:, :1]


def blurred(truth, width):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(truth, (0, 0, width, width)).astype(np.float32)


def add_features(run):
    block = pd.DataFrame({"Metadata_id": ["a"], "conv3_1_max_000": np.float32([1.0])})
    about = {"weights_sha256": "cd" * 32, "layers": [*LAYERS], "pools": ["max", "mean"]}
    write_parquet(run.root / "features.parquet", [block], {**about, "recipe": "yeast"})


def add_evaluation(
    run, *, proteins=PROTEINS, fields=20, gain=0.2, gap=0.08, masks=True, mse=0.0151
):
    """`gain` over raw intensities, `gap` between neighbours from anywhere and across fields."""
    few = fields < 3
    half = None if few else 0.04
    chance = 1 / len(proteins)
    protocols = {**SHIFT, "leave one cell out": gap}

    def row(features, layer, pool, protocol, value):
        ends = {"low": None, "high": None} if few else {"low": value - half, "high": value + half}
        counts = {"n": 1240, "undefined": 0, "units": fields, "constant": 0}
        key = {"features": features, "layer": layer, "pool": pool, "protocol": protocol}
        number = {"balanced": value, **ends, "chance": chance}
        return {**key, **number, **counts, "classes": len(proteins), "reason": ""}

    rows, differences = [], []
    raw = 0.71 - gain
    for layer in LAYERS:
        for pool, less in (("max", 0.0), ("mean", 0.03)):
            for protocol in (*protocols, LINEAR):
                shift = protocols.get(protocol, 0.06)
                if protocol == LINEAR and (layer, pool) != ("conv3_1", "max"):
                    continue
                ours = min(REACH[layer] - less + shift, 1.0)
                rows.append(row("ours", layer, pool, protocol, ours))
                plain = 0.38 - less / 2 + shift / 2
                rows.append(row("untrained", layer, pool, protocol, plain))
                if few:
                    continue
                for name, other in (("untrained", plain), ("raw_intensity", raw + shift / 2)):
                    gone = {"difference": ours - other}
                    ends = {end: gone["difference"] + step for end, step in ENDS.items()}
                    key = {"layer": layer, "pool": pool, "protocol": protocol, "against": name}
                    differences.append({**key, **gone, **ends})
    for protocol in (*protocols, LINEAR):
        shift = protocols.get(protocol, 0.06)
        rows.append(row("raw_intensity", "raw", "", protocol, raw + shift / 2))
        rows.append(row("prepared_intensity", "prepared", "", protocol, 0.47 + shift / 2))
    plate = {"features": "ours", "layer": "conv3_1", "pool": "max", "protocol": "leave plate out"}
    rows.append({**plate, "reason": "there is one plate; give at least 2"})
    pretext = {"part": "test", "pairs": 248, "fields": max(fields // 5, 1), "mse": mse}
    pretext |= {"mse_low": None if few else mse - 0.0012, "mse_high": None if few else mse + 0.0014}
    pretext |= {"copy_marker": 0.0237, "constant": 0.0311, "zeros": 0.0482}
    pretext["by_group"] = [
        {"group": name, "pairs": 50, "mse": mse + 0.001 * n, "copy_marker": 0.0237 + 0.002 * n}
        for n, name in enumerate(proteins)
    ]
    run.save(
        "evaluation",
        {
            "label": "group",
            "classes": [*proteins],
            "cells": 1240,
            "fields": fields,
            "part": "all",
            "pretext": pretext,
            "accuracy": rows,
            "recalls": recalls(proteins),
            "confusion": confusion(proteins),
            "looking": looking(fields) if masks else None,
            "differences": differences,
            "words": [
                "mean squared error on test fields 0.0151 (0.0139 to 0.0165) (n = 248 pairs)",
                "with neighbours of the same field it would be 0.790, which the field explains too",
            ],
        },
    )
    summary = {"pretext_mse": mse, "copy_marker_mse": 0.0237, "seconds": 530.2}
    run.save("summary", summary)
    for stage, seconds in (("train", 512.0), ("evaluate", 18.2)):
        run.save(f"times/{stage}", {"seconds": seconds})


ENDS = {"low": -0.03, "high": 0.03}


def recalls(proteins):
    at = {"features": "ours", "layer": "conv3_1", "pool": "max", "protocol": "field folds"}
    rows = counted(len(proteins))
    return [
        {"label": name, "recall": float(rows[n, n] / rows[n].sum()), "n": int(rows[n].sum()), **at}
        for n, name in enumerate(proteins)
    ]


def counted(count):
    """Most cells are right, and each class is most often taken for the next."""
    right = 200 - 15 * (np.arange(count) % 6)
    return (np.full((count, count), 8) + np.diag(right) + 20 * np.eye(count, k=1)).astype(int)


def confusion(proteins):
    at = {"layer": "conv3_1", "pool": "max", "protocol": "field folds"}
    return {"labels": [*proteins], "counts": counted(len(proteins)).tolist(), **at}


def looking(fields):
    few = fields < 3
    return [
        {
            "layer": layer,
            "inside": 0.82 - 0.05 * n,
            "chance": 0.41,
            "excess": 0.41 - 0.05 * n,
            "low": None if few else 0.37 - 0.05 * n,
            "high": None if few else 0.45 - 0.05 * n,
            "cells": 59520,
            "fields": fields,
            "undefined": 12,
        }
        for n, layer in enumerate(LAYERS)
    ]


def add_predictions(run, proteins=PROTEINS, *, count=12):
    folder = run.root / "predictions"
    make_folder(folder)
    source, marker, truth = crops(count, seed=3)
    drawn = np.concatenate([blurred(truth[[n]], 0.4 + 0.25 * n) for n in range(count)])
    arrays = {"source": source, "marker": marker, "truth": truth, "prediction": drawn}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    names = [proteins[n % len(proteins)] for n in range(count)]
    pairs = pd.DataFrame({"source": [f"{p}_{n}" for n, p in enumerate(names)]})
    pairs["target"] = [f"{p}_{n}b" for n, p in enumerate(names)]
    pairs["group"], pairs["field"] = names, [f"field-{16 + n % 4}" for n in range(count)]
    pairs["mse"] = ((drawn - truth) ** 2).mean((1, 2, 3))
    pairs["copy_marker"] = ((marker - truth) ** 2).mean((1, 2, 3))
    pairs["constant"], pairs["zeros"] = truth.var(), (truth**2).mean((1, 2, 3))
    pairs.to_parquet(folder / "pairs.parquet", index=False)


def add_findings(run, proteins=PROTEINS, *, sets=True):
    draw = np.random.default_rng(0)
    count = len(proteins)
    kind = np.arange(count)[:, None] % 3 == np.arange(12) % 3
    middles = draw.normal(size=(count, 12)) + 3 * kind
    merges = linkage(middles, "average", "correlation")
    square = 1 - np.corrcoef(middles)
    clusters = [{"label": p, "cluster": 1 + n % 3} for n, p in enumerate(proteins)]
    tree = {"n": count, "labels": [*proteins], "order": leaves_list(merges).tolist()}
    tree |= {"merges": merges.tolist(), "clusters": clusters}
    tree["distances"] = square.tolist() if count <= 200 else None
    variable = [
        {"label": p, "cells": 248, "fields": 4, "within": 18 + n % 7, "within_low": 17 + n % 7,
         "within_high": 19.5 + n % 7, "between": 27.0}
        for n, p in enumerate(proteins)
    ]  # fmt: skip
    enriched = [
        {"set": name, "cluster": 1, "hits": 2, "size": 3, "background": count, "odds": 8.0 - n,
         "p": 0.0004 * 20**n, "q": 0.0008 * 20**n}
        for n, name in enumerate(("COPII coat", "nuclear pore", "vacuole"))
    ]  # fmt: skip
    enrichment = enriched if sets else None
    found = {"proteins": tree, "enrichment": enrichment, "variability": variable}
    run.save("findings", {**found, "layer": "conv3_1", "pool": "max", "n": count})


def add_umap(run, proteins=PROTEINS, *, fields=20, points=1240):
    draw = np.random.default_rng(0)
    label, field = np.arange(points) % len(proteins), np.arange(points) // 7 % fields
    angle = 2 * np.pi * label / len(proteins)
    middle = 6 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.8 * np.cos(field)[:, None]
    place = middle + draw.normal(size=(points, 2))
    table = pd.DataFrame({"id": [f"c{n:05d}" for n in range(points)]})
    table["label"] = [proteins[n] for n in label]
    table["field"] = [f"field-{n:02d}" for n in field]
    table["x"], table["y"] = place[:, 0], place[:, 1]
    table.to_parquet(run.root / "umap.parquet", index=False)


def evaluated(folder, **changes):
    """The page of a run that has only been evaluated."""
    run = begun(folder / "demo", fields=changes.get("fields", 20), rejected=0)
    add_evaluation(run, **changes)
    return run


def changed(run, change):
    """The same run with something else in its evaluation."""
    found = run.load("evaluation")
    change(found)
    run.save("evaluation", found)
    return run
