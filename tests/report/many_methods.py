"""A run with several methods, as the pipeline writes it, with made-up numbers."""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import ndimage
from synthetic import QUALITY, SUMMARY, choices, log, panel_arrays, provenance, scores, write_panel

from attributome.core.files import write_text
from attributome.store import Run

METHODS = {
    "learned_mask": 0.94,
    "integrated_gradients": 0.86,
    "grad_cam_plus_plus": 0.79,
    "occlusion": 0.83,
    "saliency": 0.62,
    "var_grad": 0.55,
}
REGIONS = {"cell": 1, "background": 0}


def several_run(root, *, methods=METHODS, fields=12, examples=2, name="several", **more):
    """A scored run of several methods, in which nothing is missing."""
    draw = np.random.default_rng(0)
    data = {"source": "planted", "inputs": ["bright field"], "targets": ["DNA"], "group": "well"}
    job = {"name": name, "seed": 0, "data": data, "score": {"regions": REGIONS}}
    job["explain"] = {"methods": {method: {} for method in methods}}
    run = Run.begin(root, {"attributome": "0.1.0", "job": job})
    samples = [f"well A{n + 1:02d}, field 1" for n in range(fields)]
    each = [tables(sample, draw, methods) for sample in samples]
    together = {name: pd.concat(part[name] for part in each) for name in each[0]}
    run.write("score", "all", tables=together)
    for sample in samples[:examples]:
        add_field(run, sample, draw, methods, **more)
    run.save("leaderboard", leaderboard(run))
    run.save("summary", SUMMARY | certified(fields))
    run.save("provenance", provenance())
    run.save("choices", choices())
    for part, best in (("predictor", 0.92), ("masks", 0.95)):
        write_text(root / part / "log.csv", log(draw, best))
    return run


def certified(fields):
    """The summary keys of a certified efficacy, and of a classifier's accuracy."""
    return {
        "certified_passed": fields - 1,
        "certified_fields": fields,
        "certified_share": 0.661,
        "certified_floor": 0.9,
        "predictor_accuracy": 0.917,
        "predictor_accuracy_low": 0.615,
        "predictor_accuracy_high": 0.998,
        "predictor_fields": fields,
    }


def tables(sample, draw, methods):
    """The score tables of one field."""
    lead = next(iter(methods))
    controls = {name: value for name, value in QUALITY.items() if name != "learned_mask"}
    found = scores(sample, draw, dict(methods) | controls)
    table = found["scores"]
    table.loc[table["method"].isin(methods), "kind"] = "method"
    table.loc[table["method"] == lead, "kind"] = "signature"
    alike = [
        (
            sample,
            a,
            b,
            1 - 2 * abs(methods[a] - methods[b]) + draw.normal(0, 0.05),
            draw.uniform(0.1, 0.6),
        )
        for a, b in combinations(sorted(methods), 2)
    ]
    on_cell = {m: float(np.clip(q - 0.15 + draw.normal(0, 0.04), 0, 1)) for m, q in methods.items()}
    lies = [(sample, method, "cell", share, 0.41) for method, share in on_cell.items()]
    lies += [(sample, method, "background", 1 - share, 0.59) for method, share in on_cell.items()]
    sums = [
        (sample, "integrated_gradients", abs(draw.normal(0, 0.004))),
        (sample, "deep_lift", 0.3 + draw.normal(0, 0.02)),
    ]
    columns = ["sample", "method", "completeness_error"]
    return {
        **found,
        "agreement": pd.DataFrame(alike, columns=["sample", "a", "b", "rank", "overlap"]),
        "regions": pd.DataFrame(lies, columns=["sample", "method", "region", "share", "area"]),
        "checks": pd.DataFrame([s for s in sums if s[1] in methods], columns=columns),
    }


def leaderboard(run):
    """The leaderboard of the scores of a run, its intervals made up."""
    table = run.table("score", "scores")
    table = table[table["kind"] != "soft"]
    best = table[table["kind"] == "control"].groupby("method")["efficacy"].median()
    rows = []
    for (method, kind), mine in table.groupby(["method", "kind"]):
        half = float(mine["efficacy"].median())
        beats = None if kind == "control" else bool(half > best.max())
        rows.append(
            {
                "method": str(method),
                "kind": str(kind),
                "n": len(mine),
                "undefined": 0,
                "median": half,
                "low": half - 0.03,
                "high": min(1.0, half + 0.02),
                "curve_median": 0.9 * half,
                "curve_low": 0.9 * half - 0.04,
                "curve_high": 0.9 * half + 0.03,
                "beats_controls": beats,
                "nearest_control": None if kind == "control" else str(best.idxmax()),
                "p_holm": None if kind == "control" else (0.0002 if beats else 0.41),
            }
        )
    rows.sort(key=lambda row: -row["median"])
    return {"area": "the area of each field's signature", "level": 0.05, "rows": rows}


def add_field(run, unit, draw, methods, *, size=(64, 80), silent=(), colour=False, **note):
    """An example field with a signed map of every method but the leading one."""
    arrays, ranks = panel_arrays(draw, size), []
    if colour:
        for name in ("input", "noisy_input"):
            arrays[name] = np.concatenate([arrays[name] * tint for tint in (1.0, 0.6, 0.2)])
        note["channels"] = ["red", "green", "blue"]
    for n, method in enumerate(list(methods)[1:]):
        rough = ndimage.gaussian_filter(draw.normal(size=size), 1.5 + n % 6)
        signed = arrays["map"][0] - 0.3 + (1 - methods[method]) * 6 * rough
        signed = np.maximum(signed, 0) if "cam" in method or "var" in method else signed
        signed = signed[None] * 0.02 * (method not in silent)
        arrays[f"map_{method}"] = signed.astype(np.float32)
        ranks.append(signed.ravel().argsort(kind="stable").argsort() / signed.size)
    arrays["disagreement"] = (2 * np.std(ranks, 0)).reshape(1, *size).astype(np.float32)
    if next(iter(methods)) != "learned_mask":
        arrays["map"] = arrays["map"] * 3e-4
    write_panel(run, unit, arrays, **note)
    run.write("explain", unit, note={"target": "the sum of the model's outputs"})
