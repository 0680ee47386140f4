"""A run of the FCGR pipeline as its layout says, with made-up numbers that behave like real."""

import numpy as np
import pandas as pd

from attributome.core.files import write_json, write_text
from attributome.sequence.alphabet import reverse_complement, strands
from attributome.sequence.fcgr import kmers, windows
from attributome.sequence.regions import seed_match
from attributome.store import Run

LETTERS = "ACGT"
METHODS = {
    "expected_gradients_shuffled": {"references": 20, "seed": 0},
    "mutagenesis": {},
    "integrated_gradients": {"steps": 50},
    "saliency": {},
}
BRANCHES = ("site", "mirna")
NOISE = {
    "mutagenesis": 0.0,
    "expected_gradients_shuffled": 0.02,
    "integrated_gradients": 0.06,
    "saliency": 0.3,
}
PREDICTORS = {
    "network": (0.86, 0.87),
    "seed_kind": (0.69, 0.70),
    "seed_rule": (0.60, 0.60),
    "rc_product": (0.80, 0.79),
    "logistic": (0.46, 0.47),
    "mirna_identity": (0.50, 0.50),
    "site_identity": (0.50, 0.50),
}


def begun(root, *, k=3):
    """A run that has only begun."""
    data = {"source": "pairs.csv", "k": k, "split": "mirna"}
    job = {"name": root.name, "seed": 0, "data": data}
    asked = {"attributome": "0.1.0", "job": job}
    return Run.begin(root, {**asked, "data": {"rows": 240, "rejected": 2, "sha256": "ab" * 32}})


def pair_table(*, mirnas=12, each=14, labels=True, hostile="", site=40):
    """Pairs of which half hold the seed match of their miRNA; one name is `hostile`."""
    draw = np.random.default_rng(0)
    rows = []
    for m in range(mirnas):
        mirna = word(draw, 22)
        for n in range(each):
            text = word(draw, site)
            if n % 2:
                seed = reverse_complement(mirna[1:8]) + ("A" if n % 4 == 1 else "")
                start = 8 + (5 * n) % (site - 20)
                text = text[:start] + seed + text[start + len(seed) :]
            family = hostile or f"family {m // 2}"
            name = hostile if hostile and not rows else str(len(rows))
            rows.append((name, mirna, text[:site], n % 2, family))
    table = pd.DataFrame(rows, columns=["id", "mirna", "site", "label", "family"])
    return table if labels else table.drop(columns="label")


def word(draw, length):
    return "".join(draw.choice(list(LETTERS), length))


def whole(root, *, k=3, methods=tuple(METHODS), epistasis=6, block=64, **made):
    """A run in which nothing is missing."""
    run = begun(root, k=k)
    pairs = pair_table(**made)
    add_data(run, pairs)
    add_audit(run)
    add_network(run, k)
    add_evaluation(run)
    for start in range(0, len(pairs), block):
        rows = pairs.iloc[start : start + block].reset_index(drop=True)
        add_unit(run, start, rows, k, methods, min(epistasis, len(rows)) if start == 0 else 0)
    add_findings(run, pairs, k)
    return run


def add_data(run, pairs):
    pairs.to_parquet(run.root / "pairs.parquet", index=False)
    write_text(
        run.root / "rejected.csv",
        "row,column,value,reason\n7,site,ACGX,letter 'X' at position 4 is not one of A\n"
        "9,mirna,,it is empty\n",
    )
    names = list(dict.fromkeys(pairs["mirna"]))
    parts = {"train": names[: len(names) // 2], "validate": names[len(names) // 2 :][:1]}
    parts["test"] = [m for m in names if m not in parts["train"] + parts["validate"]]
    ids = {part: pairs.loc[pairs["mirna"].isin(m), "id"].tolist() for part, m in parts.items()}
    write_json(run.root / "splits.json", ids)


def add_audit(run, *, red=False):
    flags = [{"level": "green", "title": "No miRNA is in two parts", "words": "0 % of test rows."}]
    amber = {"level": "amber", "title": "Two rows were rejected", "words": "Their reasons follow."}
    if red:
        title = "miRNA identity alone reaches AUC 0.97"
        flags.insert(0, {"level": "red", "title": title, "words": "The labels follow the miRNA."})
    trivial = [
        {"predictor": name, "metric": "auc", "value": auc, "low": auc - 0.04, "high": auc + 0.04}
        for name, (auc, _) in PREDICTORS.items()
        if name != "network"
    ]
    seen = (("pair", 0.0), ("mirna", 0.0), ("family", 0.4), ("site", 0.03), ("near site", 0.05))
    leakage = [
        {"what": what, "part": part, "share": share, "n": n}
        for part, n in (("test", 70), ("validate", 14))
        for what, share in seen
    ]
    counts = {"rows": 168, "mirnas": 12, "sites": 168, "positives": 84, "duplicates": 0}
    run.save(
        "audit",
        {"counts": counts, "trivial": trivial, "leakage": leakage, "flags": [*flags, amber]},
    )


def add_network(run, k):
    about = {
        "kind": "ours",
        "arguments": {"k": k, "width": 32},
        "encoding": {"k": k, "site_bins": 1, "mirna_bins": 1},
        "versions": {"torch": "2.13", "numpy": "2.4"},
        "sha256": "cd" * 32,
        "parts": {"train": 84, "validate": 14, "test": 70},
    }
    write_json(run.root / "network" / "network.json", about)
    lines = [f"{n},{0.7 - 0.03 * n:.3f},{0.7 - 0.02 * n:.3f}" for n in range(8)]
    write_text(run.root / "network" / "log.csv", "\n".join(["epoch,train,held_out", *lines]) + "\n")


def add_evaluation(run):
    rows = []
    for name, values in PREDICTORS.items():
        for metric, value in zip(("auc", "ap"), values, strict=True):
            ends = {"low": value - 0.05, "high": value + 0.05}
            n = {"n": 70, "groups": 5}
            rows.append({"predictor": name, "metric": metric, "value": value, **ends, **n})
    rows.append({"predictor": "seed_rule", "metric": "mcc", "value": None, "low": None, **n})
    against = [
        {"a": "network", "b": name, "metric": "auc", "difference": 0.86 - auc, "low": 0.01}
        | {"high": 0.3, "p": 0.01}
        for name, (auc, _) in PREDICTORS.items()
        if name != "network"
    ]
    run.save(
        "evaluation", {"scores": rows, "comparisons": against, "part": "test", "words": ["Fine."]}
    )


def add_unit(run, start, rows, k, methods, doubles):
    """One block of explained pairs."""
    draw = np.random.default_rng(start)
    found = [seed_match(m, s) for m, s in zip(rows["mirna"], rows["site"], strict=True)]
    logit = np.array([2.0 if match.kind else -1.5 for match in found]) + draw.normal(
        0, 1, len(rows)
    )
    table = rows[[c for c in ("id", "mirna", "site", "label") if c in rows]].assign(
        logit=logit,
        predicted=(logit > 0).astype(int),
        seed_kind=[match.kind for match in found],
        seed_start=[match.start for match in found],
        seed_stop=[match.stop for match in found],
    )
    batch = {branch: strands(rows[branch].tolist()) for branch in BRANCHES}
    arrays = {}
    truth = {}
    for branch in BRANCHES:
        tracks = np.full(batch[branch].codes.shape, np.nan, np.float32)
        for row, match in enumerate(found):
            length = int(batch[branch].lengths[row])
            tracks[row, :length] = draw.normal(0, 0.05, length)
            seed = slice(match.start, match.stop) if branch == "site" else slice(1, 8)
            tracks[row, seed] += 0.45 if match.kind else 0.02
        truth[branch] = tracks
        arrays[f"mutants_{branch}"] = mutants(tracks, batch[branch].codes, draw)
        arrays[f"hypothetical_{branch}"] = 0.8 * np.nan_to_num(
            mutants(tracks, batch[branch].codes, draw)
        )
    scores = []
    for method in methods:
        for branch in BRANCHES:
            tracks = truth[branch] + draw.normal(0, NOISE[method], truth[branch].shape)
            arrays[f"track_{method}_{branch}"] = tracks.astype(np.float32)
            arrays[f"map_{method}_{branch}"] = pixel_map(tracks, batch[branch], k, draw, method)
            for row, match in enumerate(found):
                whole = np.nansum(np.abs(tracks[row]))
                inside = np.abs(tracks[row, match.start : match.stop]).sum() / whole
                seeded = branch == "site" and bool(match.kind)
                scores.append(
                    {
                        "id": rows["id"][row],
                        "method": method,
                        "branch": branch,
                        "completeness_error": abs(draw.normal(0, 0.004)),
                        "off_support": 0.3 if method == "saliency" else 0.0,
                        "rank_mutagenesis": min(1.0, 0.97 - NOISE[method] + draw.normal(0, 0.02)),
                        "seed_share": inside if seeded else np.nan,
                        "seed_length_share": (match.stop - match.start) / 40 if seeded else np.nan,
                        "deletion": 1.2 + draw.normal(0, 0.1),
                        "insertion": 1.4 + draw.normal(0, 0.1),
                    }
                )
    note = {"methods": {m: METHODS[m] for m in methods}, "target": "z1 - z0"}
    note |= {"ids": rows["id"].tolist(), "epistasis_ids": rows["id"].tolist()[:doubles]}
    if doubles:
        arrays["epistasis"] = draw.normal(0, 0.05, (doubles, 22, batch["site"].codes.shape[1]))
        for row in range(doubles):
            if found[row].kind:
                for i in range(1, 8):
                    at = found[row].start + 7 - i
                    arrays["epistasis"][row, i, at] += 0.6
        arrays["epistasis"] = arrays["epistasis"].astype(np.float32)
    tables = {"pairs": table, "scores": pd.DataFrame(scores)}
    run.write("explain", f"pairs-{start:06d}", arrays=arrays, tables=tables, note=note)


def mutants(tracks, codes, draw):
    """z(mutant) - z(reference): 0 at the own letter, NaN behind the end."""
    changes = -tracks[..., None] + draw.normal(0, 0.05, (*tracks.shape, 4))
    own = np.arange(4) == codes[..., None]
    return np.where(own, 0.0 * changes, changes).astype(np.float32)


def pixel_map(tracks, batch, k, draw, method):
    """Windows' scores at their pixels; saliency has values where no k-mer is, too."""
    maps = np.zeros((len(batch), 4**k), np.float32)
    if method == "saliency":
        maps += draw.normal(0, 0.02, maps.shape).astype(np.float32)
    at = windows(batch, k)
    for row, start in zip(*np.nonzero(at >= 0), strict=True):
        maps[row, at[row, start]] += tracks[row, start : start + k].mean()
    return maps


def add_findings(run, pairs, k):
    """Motifs, k-mers, contrasts, trust and the summary."""
    draw = np.random.default_rng(3)
    words = kmers(k)
    mean = draw.normal(0, 0.1, len(words))
    q = np.minimum(1.0, 10.0 ** (-20 * np.abs(mean)) + draw.random(len(words)) * 0.3)
    table = pd.DataFrame({"kmer": words, "n": draw.integers(8, 90, len(words)), "mean": mean})
    table = table.assign(low=mean - 0.05, high=mean + 0.05, effect=3 * mean, p=q / 2, q=q)
    table.to_parquet(run.root / "kmers.parquet", index=False)
    names = [f"site k-mer {w}" for w in words] + [f"miRNA nt {n}" for n in range(1, 23)]
    delta = np.clip(draw.normal(0, 0.25, len(names)), -1, 1)
    q = np.minimum(1.0, 10.0 ** (-8 * np.abs(delta)))
    contrasts = pd.DataFrame({"name": names, "n1": 84, "n0": 84, "difference": delta / 5})
    contrasts.assign(cliffs_delta=delta, cohens_d=2 * delta, p=q / 3, q=q).to_parquet(
        run.root / "contrasts.parquet", index=False
    )
    run.save("motifs", {"motifs": motifs(pairs), "frame": frame(), "stability": stability()})
    run.save("trust", {"checks": checks()})
    summary = {"auc": 0.86, "auc_low": 0.81, "auc_high": 0.91, "ap": 0.87, "default_method": METHOD}
    run.save("summary", summary)


METHOD = "expected_gradients_shuffled"


def motifs(pairs):
    """A seed of the first miRNA, and a weak one with a hostile or a plain name."""
    draw = np.random.default_rng(4)
    word_ = reverse_complement(pairs["mirna"][0][1:8])
    sharp = np.full((7, 4), 0.05)
    sharp[np.arange(7), [LETTERS.index(letter) for letter in word_]] = 0.85
    weak = draw.dirichlet(np.ones(4), 6)
    return [
        {
            "name": "motif 1",
            "consensus": word_,
            "n": 40,
            "mirnas": 9,
            "probabilities": sharp.tolist(),
            "contributions": (np.where(sharp > 0.5, 0.4, 0.0)).tolist(),
            "matches": [{"mirna": pairs["mirna"][0], "kind": "7mer-m8", "word": word_, "q": 1e-4}],
            "own": [{"share": 0.9, "low": 0.8, "high": 0.95, "chance": 0.1, "n": 40}],
        },
        {
            "name": "motif 2",
            "consensus": "GGAACC",
            "n": 12,
            "mirnas": 4,
            "probabilities": weak.tolist(),
            "contributions": (0.1 - weak).tolist(),
            "matches": [],
            "own": [],
        },
    ]


def frame():
    """Site evidence opposite each nucleotide, and the same with foreign miRNAs."""
    rows = []
    for n in range(1, 23):
        mean = 0.4 if 2 <= n <= 8 else 0.01
        ends = {"low": mean - 0.05, "high": mean + 0.05, "n": 160, "groups": 12}
        rows.append({"nucleotide": n, "mean": mean, "control": 0.05, **ends})
    return {"first": 2, "last": 8, "profile": rows}


def stability():
    """One statement that holds and one that does not."""
    return [
        {"of": "motifs in letters", "stable": False, "words": "motifs in letters: not stable"},
        {"of": "the seed frame", "stable": True, "words": "the seed frame: stable; p = 0.025"},
    ]


def checks():
    """What the trust panel holds."""
    keys = ("value", "low", "high", "chance", "n", "passed")
    values = {
        "completeness": (0.004, 0.003, 0.006, None, 168, True),
        "deletion": (1.2, 1.1, 1.3, 0.2, 168, True),
        "insertion": (1.4, 1.2, 1.5, 0.3, 168, True),
        "seed_enrichment": (0.62, 0.58, 0.66, 0.18, 84, True),
        "randomisation": (0.81, 0.7, 0.9, None, 32, False),
        "random_control": (0.02, -0.03, 0.05, 0.0, 168, None),
    }
    return [{"check": name} | dict(zip(keys, row, strict=True)) for name, row in values.items()]
