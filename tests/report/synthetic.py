"""A run as the pipeline writes it, with made-up numbers that behave like real ones."""

import numpy as np
import pandas as pd
from scipy import ndimage

from attributome.core.files import write_text
from attributome.store import Run

QUALITY = {
    "learned_mask": 0.94,
    "random": 0.41,
    "translated": 0.35,
    "flipped": 0.37,
    "blurred_noise": 0.38,
    "intensity": 0.80,
    "edges": 0.66,
}
AREAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
SUMMARY = {
    "efficacy_median": 0.94,
    "efficacy_low": 0.91,
    "efficacy_high": 0.96,
    "mask_size_median": 0.084,
    "random_mask_efficacy_median": 0.41,
    "translated_mask_efficacy_median": 0.35,
    "intensity_mask_efficacy_median": 0.80,
    "uniform_soft_efficacy_median": 0.95,
    "area_ratio_to_intensity": 0.71,
    "predictor_pcc": 0.91,
    "planted_recall": 0.87,
    "planted_precision": 0.72,
    "decoy_ratio": 0.18,
    "guarantee": "With 90 % confidence, at least 90 % of new fields like these keep PCC >= 0.9.",
    "seconds": 171.4,
    "fields_test": 12,
    "something_new": 0.123456,
}


def whole_run(root, *, fields=12, size=(64, 80), examples=2, intensity=0.80, **panel):
    """A run in which nothing is missing."""
    draw = np.random.default_rng(0)
    run = started(root)
    quality = {**QUALITY, "intensity": intensity}
    each = [scores(f"well A{n + 1:02d}, field 1", draw, quality) for n in range(fields)]
    for start in (0, 1):  # two parts, as from two processes
        parts = each[start::2]
        tables = {name: pd.concat(part[name] for part in parts) for name in parts[0]}
        run.write("score", f"shard {start + 1}", tables=tables)
    for n in range(examples):
        add_panel(run, f"well A{n + 1:02d}, field 1", draw, size=size, **panel)
    run.save("summary", {**SUMMARY, "intensity_mask_efficacy_median": intensity})
    run.save("provenance", provenance())
    run.save("choices", choices())
    for part, top in (("predictor", 0.92), ("masks", 0.95)):
        write_text(root / part / "log.csv", log(draw, top))
    return run


def started(root):
    """A run that has only begun."""
    data = {"source": "planted", "inputs": ["bright field"], "targets": ["DNA"], "group": "well"}
    job = {"name": "demo", "seed": 0, "data": data, "explain": {"methods": {"learned_mask": {}}}}
    return Run.begin(root, {"attributome": "0.1.0", "job": job})


def scores(sample, draw, quality):
    """The score tables of one field."""
    shift = draw.normal(0, 0.02)
    value = {m: min(0.995, q + shift + draw.normal(0, 0.025)) for m, q in quality.items()}
    rows = [
        (sample, m, "signature" if m == "learned_mask" else "control", 0.084, v)
        for m, v in value.items()
    ]
    rows += [(sample, "uniform_soft", "soft", 0.45, 0.95 + shift / 3)]
    rows += [(sample, "learned_mask_soft", "soft", 0.12, 0.97 + shift / 3)]
    columns = ["sample", "method", "kind", "mask_size", "efficacy"]
    curve = [
        (sample, m, area, 1 - (1 - v) ** (0.4 + 0.25 * np.log2(area / 0.02)))
        for m, v in value.items()
        for area in AREAS
    ]
    least = [
        (sample, m, np.nan if v < 0.36 else 0.07 * (1.02 - v) ** 0.8 * 5 + 0.02)
        for m, v in value.items()
    ]
    share = np.clip(draw.normal([0.87, 0.72, 0.61, 0.11, 0.28], 0.05), 0, 1)
    known = ["recall", "precision", "region_importance", "decoy_importance", "context"]
    return {
        "scores": pd.DataFrame(rows, columns=columns),
        "curve": pd.DataFrame(curve, columns=["sample", "method", "area", "efficacy"]),
        "smallest": pd.DataFrame(least, columns=["sample", "method", "area"]),
        "planted": pd.DataFrame([[sample, *share]], columns=["sample", *known]),
        "predictor": pd.DataFrame({"sample": [sample], "pcc": [0.91]}),
    }


def add_panel(run, unit, draw, *, size=(64, 80), pixel_size=(0.65, 0.65), empty=False, **note):
    """An example field."""
    arrays = panel_arrays(draw, size, empty=empty)
    write_panel(run, unit, arrays, pixel_size=pixel_size, **note)


def panel_arrays(draw, size, *, empty=False):
    """Round cells with bright nuclei; 3-D where `size` is."""
    grain = ndimage.gaussian_filter(draw.normal(size=size), 1.2)
    cells, nuclei = np.zeros(size), np.zeros(size)
    for centre in draw.uniform(0, 1, (9, len(size))) * size:
        far = np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(size), centre, strict=True)))
        radius = min(size[-2:]) / 7
        cells += np.exp(-((far - radius) ** 2) / (radius / 4) ** 2)
        nuclei = np.maximum(nuclei, np.exp(-((far / radius / 0.7) ** 4)))
    image = (3 * grain + 1.5 * cells - nuclei).astype(np.float32)
    importance = np.clip(ndimage.gaussian_filter(nuclei, 1) + 0.05 * grain, 0, 1)
    importance = (0 * importance if empty else importance).astype(np.float32)
    kept = importance > 0.5
    prediction = (2000 * nuclei + 300 + 40 * grain).astype(np.float32)
    noisy = image + np.where(kept, 0, draw.normal(0, 1.5, size)).astype(np.float32)
    return {
        "input": image[None],
        "target": prediction[None] + draw.normal(0, 60, size).astype(np.float32),
        "prediction": prediction[None],
        "map": importance[None],
        "signature": kept[None].astype(np.uint8),
        "noisy_input": noisy[None],
        "noisy_prediction": prediction[None] * 0.9 + 80,
        "regions": ndimage.label(np.roll(nuclei, 3, -1) > 0.2)[0].astype(np.int32),
    }


def write_panel(run, unit, arrays, *, pixel_size=(0.65, 0.65), **note):
    """Arrays as an example field, with what is noted beside them."""
    size, kept = arrays["map"].shape[1:], arrays["signature"]
    told = {
        "channels": ["bright field"],
        "target_channels": ["DNA"],
        "pixel_size": pixel_size and list((1.0, *pixel_size)[-len(size) :]),
        "efficacy": 0.93,
        "mask_size": float(kept.mean()),
        "noise": "gaussian 1.5",
        "meta": {"well": "A01"},
        "task": "image",
    }
    run.write("panel", unit, arrays=arrays, note={**told, **note})


def provenance():
    """How the run was made."""
    return {
        "command": "attributome demo",
        "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.1"},
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "seconds": {"train predictor": 61.2, "train masks": 80.1, "explain": 20.3},
        "data": {
            "fields": 94,
            "sha256": "9f2c" * 16,
            "splits": {"train": 36, "validate": 6, "calibrate": 40, "test": 12},
            "group": "well",
        },
        "predictor": {"sha256": "ab01" * 16, "source": "trained in this run"},
        "masks": {"sha256": "77de" * 16},
        "notes": ["fields of 150x210 were padded to 160x224 and cropped back"],
    }


def choices():
    """How noise and threshold were chosen, and the guarantee."""
    scales, cuts = np.linspace(0.25, 2.5, 8), np.linspace(0.1, 0.9, 9)
    noise = [
        {"value": v, "median": m, "low": m - 0.05, "high": m + 0.05}
        for v, m in zip(scales.tolist(), (0.9 * np.exp(-scales)).tolist(), strict=True)
    ]
    kept = [
        {"value": v, "median": m, "low": m - 0.03, "high": m + 0.02, "mask_size": 0.4 * (1 - v)}
        for v, m in zip(cuts.tolist(), (0.99 - 0.3 * cuts**3).tolist(), strict=True)
    ]
    proof = [
        {"value": v, "failures": round(30 * v**3), "fields": 40, "p": min(1.0, 0.015 + v**3)}
        for v in cuts.tolist()
    ]
    return {
        "noise": {"kind": "gaussian", "scale": 1.5, "floor": 0.25, "fields": 8, "curve": noise},
        "threshold": {"value": 0.5, "target": 0.9, "fields": 40, "curve": kept},
        "guarantee": {
            "given": True,
            "sentence": "With 90 % confidence, at least 90 % of new fields like these keep "
            "PCC >= 0.9 at this mask.",
            "reason": "",
            "confidence": 0.9,
            "share": 0.9,
            "floor": 0.9,
            "threshold": 0.43,
            "fields": 40,
            "needed": 22,
            "curve": proof,
        },
    }


def log(draw, top):
    """A training curve."""
    epoch = np.arange(1, 21)
    loss = np.exp(-epoch / 5) + 0.1
    pcc = top * (1 - np.exp(-epoch / 4))
    table = pd.DataFrame({"epoch": epoch, "loss": loss, "val_loss": loss * 1.1, "val_pcc": pcc})
    table["val_size"] = 0.1 + 0.5 * np.exp(-epoch / 3) + draw.normal(0, 0.004, 20)
    return str(table.to_csv(index=False))
