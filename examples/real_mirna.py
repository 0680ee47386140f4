"""Our network on real pairs of a miRNA and a site, beside the upstream one and rules of one line.

Two data sets: pairs from chimeric reads without the usual miRNA bias (Hejret et al. 2023, corrected
by Sammut et al. 2025), tested on the part that comes with them; and miRAW (Pla et al. 2018), tested
on miRNAs that training never saw. Then: do attributions say what mutations do, and two speeds.

Needs the folder of real data in ATTRIBUTOME_DATA, complexcgr and captum; `make real-mirna` runs it
into runs/mirna. What is done is not done again; summary.json says all. Exit 1: a bar is missed.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from attributome import __version__
from attributome.core.compute import choose
from attributome.core.errors import Refusal
from attributome.core.files import digest, make_folder, read_json, write_json
from attributome.core.seeds import rng
from attributome.core.targets import Difference
from attributome.core.training import Plan
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.explainers import DEFAULT, LETTER_METHODS, explained
from attributome.sequence.evidence.references import Context
from attributome.sequence.evidence.trust import agreement_of_pairs, over_groups, permuted
from attributome.sequence.networks.fit import fit_pairs, predict_pairs
from attributome.sequence.networks.saving import load_network, new_network, save_network
from attributome.sequence.networks.scores import compare, score
from attributome.sequence.pairs.reading import read_pairs
from attributome.sequence.pairs.splits import split_pairs
from attributome.sequence.pairs.trivial import TRIVIAL

RULES = ("rc_product", "seed_rule", "mirna_identity")
SEED, K = 0, 5
SETS = {
    "hejret": {"file": "hejret2023_corrected.csv.gz", "site": 50, "train": 0, "epochs": 5},
    "miraw_unseen_mirna": {"file": "miraw_sites.csv.gz", "site": 40, "train": 12_000, "epochs": 3},
}
"""`train` is how many pairs are drawn for training, 0 being all."""

KINDS = {
    "ours": {
        "k": K,
        "plan": {"lr": 2e-3, "weight_decay": 0.05, "clip": 1.0, "minutes": 4.0},
    },
    # as its authors train it, less epochs, on what the clock leaves
    "upstream": {
        "k": 4,
        "plan": {"lr": 3e-3, "weight_decay": 1e-5, "clip": 1.0, "minutes": 4.0, "epochs": 6},
    },
}
METHODS = (
    *(name for name in LETTER_METHODS if name != "mutagenesis"),
    "expected_gradients_shuffled",
    "integrated_gradients_by_branch",
)
EXPLAINED = 96
"""Pairs of the Hejret test part whose every substitution is tried."""

BENCHMARKS: dict[str, tuple[str, dict[str, int]]] = {
    "fcgr_encode": ("encode_ratio_complexcgr", {"k": 6, "count": 20_000, "rounds": 3}),
    "fcgr_ig": ("ig_ratio_captum", {"k": 6, "rounds": 3}),
}
"""Modules of benchmarks/, the ratio that each is asked for, and how much it does here."""

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
MINUTES = {"hejret": 9.0, "miraw_unseen_mirna": 9.0, "mutagenesis": 2.0, "speed": 2.0}
"""What each step is expected to take, so that the time left can be told."""


def main() -> int:
    data = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data")).resolve() / "mirna"
    files = [data / str(one["file"]) for one in SETS.values()]
    if missing := [path for path in files if not path.exists()]:
        print(f"no real data at {missing[0]}: set ATTRIBUTOME_DATA", file=sys.stderr)
        return 3
    lost = [name for name in ("captum", "complexcgr") if not importlib.util.find_spec(name)]
    if lost:
        print(f"{lost[0]} is not installed, and a ratio needs it: pip install it", file=sys.stderr)
        return 2
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mirna")
    try:
        return run(data, out)
    except Refusal as error:
        print(error, file=sys.stderr)
        return error.exit_code


def run(data: Path, out: Path) -> int:
    steps: dict[str, Callable[[Callable[[float, str], None]], dict[str, Any]]] = {
        name: lambda tell, name=name: one_set(name, data, out / name, tell) for name in SETS
    }
    steps["mutagenesis"] = lambda tell: agreements(data, out, tell)
    steps["speed"] = speeds
    summary: dict[str, Any] = {"attributome": __version__, "seed": SEED}
    for name, step in steps.items():
        summary |= once(out / "steps" / f"{name}.json", name, step)
    write_json(out / "summary.json", summary)
    return tell_all(summary)


def once(path: Path, name: str, step: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The result of a step, from its file where it has been done with the same settings."""
    mark = digest({"asked": [SETS, KINDS, METHODS, EXPLAINED, K, SEED], "version": __version__})
    if path.exists() and (kept := read_json(path))["mark"] == mark:
        return dict(kept["found"])
    make_folder(path.parent)
    started, told = time.monotonic(), [0.0]
    after = sum(list(MINUTES.values())[list(MINUTES).index(name) + 1 :])

    def tell(done: float, words: str) -> None:
        spent = time.monotonic() - started
        if spent - told[0] > 5:
            told[0] = spent
            here = spent / done - spent if done > 0.02 else 60 * MINUTES[name]
            left = after + here / 60
            print(f"{name}: {done:4.0%}, {words}; about {left:.0f} min left in all", flush=True)

    found = step(tell)
    write_json(path, {"mark": mark, "found": found})
    return found


def one_set(name: str, data: Path, out: Path, tell: Callable[..., None]) -> dict[str, Any]:
    """AUC and AP of every predictor on the test part."""
    pairs, parts = prepared(name, data)
    train, test = (pairs[pairs["id"].isin(parts[part])] for part in ("train", "test"))
    logits = {}
    for at, kind in enumerate(KINDS):

        def here(done: float, words: str, at: int = at, kind: str = kind) -> None:
            tell((at + done) / len(KINDS), f"{kind}: {words}")

        network = trained(kind, name, pairs, parts, out / kind, here)
        logits[kind] = predict_pairs(network, test)
    logits |= {rule: TRIVIAL[rule](train, test, k=K) for rule in RULES}
    truth, groups = test["label"].to_numpy(), test["mirna"].to_numpy()
    found = {predictor: scored(truth, each, groups) for predictor, each in logits.items()}
    return {
        name: found,
        f"{name}_ours_minus": differences(truth, logits, groups),
        f"{name}_pairs": {part: len(ids) for part, ids in parts.items()},
    }


def differences(
    truth: np.ndarray, logits: dict[str, np.ndarray], groups: np.ndarray
) -> dict[str, dict[str, float]]:
    """How far ours is above each other predictor, on the same draws of miRNAs."""
    table = compare(truth, logits, groups, seed=SEED)
    found: dict[str, dict[str, float]] = {}
    for row in table[table["a"] == "ours"].to_dict("records"):
        values = {"": "difference", "_low": "low", "_high": "high"}
        found.setdefault(row["b"], {}).update(
            {f"{row['metric']}{end}": round(row[key], 4) for end, key in values.items()}
        )
    return found


def scored(truth: np.ndarray, logits: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """AUC and AP with their intervals, miRNAs being what is drawn again."""
    table = score(truth, logits, groups, seed=SEED, metrics=("auc", "ap"))
    found: dict[str, float] = {"n": len(truth), "mirnas": len(set(groups))}
    for row in table.to_dict("records"):
        metric = row["metric"]
        found[metric] = round(row["value"], 4)
        found |= {f"{metric}_{end}": round(row[end], 4) for end in ("low", "high")}
    return found


def prepared(name: str, data: Path) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Pairs and parts; what is chosen is chosen on families or miRNAs that are not trained on."""
    pairs = read_pairs(data / SETS[name]["file"], k=K).pairs
    if name == "hejret":
        given = split_pairs(pairs, "given", seed=SEED)
        known = pairs[~pairs["id"].isin(given["test"])]
        parts = split_pairs(known, "family", shares={"train": 0.85, "validate": 0.15}, seed=SEED)
        return pairs, {**parts, "test": given["test"]}
    shares = {"train": 0.68, "validate": 0.12, "test": 0.2}
    parts = split_pairs(pairs, "mirna", shares=shares, seed=SEED)
    some = rng(SEED, "train").permutation(len(parts["train"]))[: SETS[name]["train"]]
    held = rng(SEED, "validate").permutation(len(parts["validate"]))[:3000]
    parts["train"] = [parts["train"][i] for i in sorted(some)]
    parts["validate"] = [parts["validate"][i] for i in sorted(held)]
    return pairs, parts


def trained(
    kind: str,
    name: str,
    pairs: pd.DataFrame,
    parts: dict[str, list[str]],
    folder: Path,
    tell: Callable[[float, str], None],
) -> Any:
    """A network of this kind, from its folder where that is whole."""
    asked = {"kind": kind, "set": name, "plan": KINDS[kind]["plan"], **SETS[name]}
    if (folder / "network.json").exists():
        network, card = load_network(folder)
        if card.get("asked") == asked:
            return network
    k = KINDS[kind]["k"]
    shape = {"k": k}
    if kind == "ours":
        longest = int(pairs["mirna"].str.len().max())
        shape |= {"site_bins": SETS[name]["site"] - k + 1, "mirna_bins": longest - k + 1}
    network = new_network(kind, shape, seed=SEED)
    plan = Plan(**{"epochs": SETS[name]["epochs"], **KINDS[kind]["plan"]})
    compute = choose(precision="fp32")
    training = folder / "training"
    story = fit_pairs(
        network, pairs, parts, plan=plan, seed=SEED, compute=compute, folder=training, progress=tell
    )
    save_network(folder, network, {"asked": asked, "rows": story.rows, "seconds": story.seconds})
    return network


def agreements(data: Path, out: Path, tell: Callable[..., None]) -> dict[str, Any]:
    """Per method: the median over pairs of the rank correlation with mutagenesis, by position."""
    pairs, parts = prepared("hejret", data)
    network, _ = load_network(out / "hejret" / "ours")
    test = pairs[pairs["id"].isin(parts["test"])]
    some = test.iloc[np.sort(rng(SEED, "explained").permutation(len(test))[:EXPLAINED])]
    context = Context(
        mirna=strands(some["mirna"].tolist()),
        site=strands(some["site"].tolist()),
        encoding=network.encoding,
        seed=SEED,
    )
    target = Difference(1, 0)
    truth = explained("mutagenesis", network, target, context).tracks
    found = {"random": agreement_of_pairs(permuted(truth, SEED), truth)}
    for done, method in enumerate(METHODS, start=1):
        tell(done / (len(METHODS) + 1), method)
        tracks = explained(method, network, target, context).tracks
        found[method] = agreement_of_pairs(tracks, truth)
    both = {method: table["both"].to_numpy() for method, table in found.items()}
    rows = over_groups(both, some["mirna"].to_numpy(), seed=SEED).to_dict("records")
    ranks: dict[str, Any] = {"default": DEFAULT}
    for row in rows:
        numbers = {key: round(row[key], 4) for key in ("median", "low", "high")}
        ranks[row["name"]] = {**numbers, "n": row["n"], "mirnas": row["groups"]}
    return {"mutagenesis_rank_correlation": ranks}


def speeds(tell: Callable[..., None]) -> dict[str, Any]:
    """Ratios of speed to the peers, and whether the results are the same, as benchmarks say.

    Each in a process of its own, as one who types it has it: where memory has been used before, it
    costs a peer with large batches less to ask for it again.
    """
    found: dict[str, Any] = {}
    for at, (name, (key, size)) in enumerate(BENCHMARKS.items()):
        tell(at / len(BENCHMARKS), name)
        code = f"import json, {name}; print(json.dumps({name}.measure(**{size!r})))"
        asked = [sys.executable, "-c", code]
        made = subprocess.run(asked, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True)
        measured = json.loads(made.stdout)
        found |= {f"{name}_measured": measured}
        found[key] = measured[key]
        found[f"{name}_same"] = all(same for words, same in measured.items() if "_equal" in words)
    return found


def benchmark(name: str) -> ModuleType:
    """A module of benchmarks/, which is no package."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)


def tell_all(summary: dict[str, Any]) -> int:
    """Print values beside their bars; 1 where one is missed."""
    for name in SETS:
        first = summary[name]["ours"]
        print(f"\n{name}: {first['n']} test pairs of {first['mirnas']} miRNAs")
        for predictor, row in summary[name].items():
            both = [
                f"{m.upper()} {row[m]:.3f} ({row[f'{m}_low']:.3f} to {row[f'{m}_high']:.3f})"
                for m in ("auc", "ap")
            ]
            print(f"  {predictor:15}  {'   '.join(both)}")
        for predictor, row in summary[f"{name}_ours_minus"].items():
            low, high = row["auc_low"], row["auc_high"]
            print(f"  ours minus {predictor}: AUC {row['auc']:+.3f} ({low:+.3f} to {high:+.3f})")
    ranks = summary["mutagenesis_rank_correlation"]
    print("\nrank correlation with mutagenesis, median over pairs")
    for method in (name for name in ranks if name != "default"):
        row = ranks[method]
        star = "  (default)" if method == ranks["default"] else ""
        print(f"  {method:32} {row['median']:.3f} ({row['low']:.3f} to {row['high']:.3f}){star}")
    print("\nbars")
    missed = 0
    for words, value, bar in bars(summary):
        kept = value >= bar
        missed += not kept
        print(f"  {'kept' if kept else 'MISSED':6}  {words}: {value:.3f}, bar {bar:.3f}")
    return int(missed > 0)


def bars(summary: dict[str, Any]) -> list[tuple[str, float, float]]:
    hejret, miraw = summary["hejret"], summary["miraw_unseen_mirna"]
    rows = [
        ("AP on Hejret", hejret["ours"]["ap"], 0.86),
        ("AP on Hejret above rc_product", hejret["ours"]["ap"], hejret["rc_product"]["ap"]),
        # what the seed rule reached on another draw of miRNAs
        ("AUC on miRAW, fixed bar", miraw["ours"]["auc"], 0.867),
    ]
    for other in ("rc_product", "upstream", "seed_rule", "mirna_identity"):
        rows.append((f"AUC on Hejret above {other}", hejret["ours"]["auc"], hejret[other]["auc"]))
        rows.append((f"AUC on miRAW above {other}", miraw["ours"]["auc"], miraw[other]["auc"]))
    ranks = summary["mutagenesis_rank_correlation"]
    default = ranks[ranks["default"]]["median"]
    rows.append(("rank correlation of the default method", default, 0.8))
    for name, (key, _) in BENCHMARKS.items():
        rows.append((key, summary[key], benchmark(name).BOUNDS[key]))
        rows.append((f"{name}: the same values", float(summary[f"{name}_same"]), 1.0))
    return rows


if __name__ == "__main__":
    sys.exit(main())
