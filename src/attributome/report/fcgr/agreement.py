"""Which methods agree with mutagenesis, and with each other: rank correlations pair by pair."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from scipy.stats import rankdata

from attributome.core.bootstrap import cluster_bootstrap
from attributome.report.charts import WIDE, Size
from attributome.report.drawing import below, both, whisker
from attributome.report.fcgr.facts import BRANCHES, FcgrFacts
from attributome.report.fcgr.words import BRANCH, method
from attributome.report.figures import Figure
from attributome.report.numbers import num, plural, span
from attributome.report.svg import Axis, marker, place, tag

ASKED = 0.8
REFERENCE = "mutagenesis"
Tracks = Float[np.ndarray, "n length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """Rank correlation of a method with mutagenesis on one branch; NaN where it is undefined."""

    method: str
    branch: str
    mean: float
    low: float
    high: float
    n: int
    undefined: int
    groups: int


def ranks(facts: FcgrFacts) -> list[Rank]:
    """Every method and branch, in the order of the methods."""
    table = facts.scores
    if table.empty or "rank_mutagenesis" not in table:
        return []
    mirna = dict(zip(facts.explained["id"], facts.explained["mirna"], strict=True))
    found = []
    for name in facts.methods:
        for branch in BRANCHES:
            rows = table[(table["method"] == name) & (table["branch"] == branch)]
            if name == REFERENCE or rows.empty:
                continue
            values = rows[["rank_mutagenesis"]].to_numpy(np.float64)
            groups = rows["id"].astype(str).map(mirna).astype(str).to_numpy()
            line = cluster_bootstrap(values, groups).iloc[0]
            found.append(
                Rank(
                    method=name,
                    branch=branch,
                    mean=float(line["mean"]),
                    low=float(line["low"]),
                    high=float(line["high"]),
                    n=int(line["n"]),
                    undefined=int(np.isnan(values).sum()),
                    groups=int(line["groups"]),
                )
            )
    return found


def agreement(facts: FcgrFacts) -> dict[str, Any] | None:
    """Chart, table and matrix; None where no method was scored."""
    found = ranks(facts)
    if not found:
        return None
    return {
        "sentence": sentence(facts, found),
        "figure": figure(found),
        "lines": [
            {
                "label": method(r.method)[0],
                "branch": BRANCH[r.branch],
                "mean": num(r.mean),
                "interval": span(r.low, r.high) or "undefined",
                "n": f"{plural(r.n, 'pair')} of {plural(r.groups, 'miRNA')}",
                "undefined": str(r.undefined),
            }
            for r in found
        ],
        "matrix": matrix(facts),
    }


def sentence(facts: FcgrFacts, found: list[Rank]) -> str:
    """What the default method reaches, and how it was measured against what was asked."""
    own = [r for r in found if r.method == facts.default and isfinite(r.mean)]
    if not own:
        return "The default method of this page is mutagenesis itself."
    told = " and ".join(
        f"{num(r.mean)} ({span(r.low, r.high)}) on the {BRANCH[r.branch]}" for r in own
    )
    verdict = "as asked" if min(r.mean for r in own) >= ASKED else "less than asked"
    name = method(facts.default)[0]
    return (
        f"The method that this page shows first, {name}, has a mean rank correlation with "
        f"mutagenesis of {told}, n = {plural(own[0].n, 'pair')} of "
        f"{plural(own[0].groups, 'miRNA')}: {verdict} ({num(ASKED)})."
    )


def figure(found: list[Rank]) -> Figure:
    """Mean rank correlation with its interval, one row per method."""
    names = list(dict.fromkeys(r.method for r in found))
    ends = [v for r in found for v in (r.mean, r.low) if isfinite(v)]
    x = Axis(label="rank correlation with mutagenesis (Spearman)", low=min([0.0, *ends]), high=1.0)

    def draw(size: Size) -> tuple[Markup, float]:
        wide = size is WIDE
        left, tall, top = (258, 44, 12) if wide else (8, 60, 12)
        right, bottom = size.width - 14, top + tall * len(names)
        parts = [below(x, (left, right, top, bottom), size.ticks)]
        at = place(x, ASKED, left, right)
        parts.append(tag("path", d=f"M{at:.1f} {top}V{bottom}", class_="rule"))
        for n, name in enumerate(names):
            middle = top + tall * n + (tall / 2 if wide else tall - 20)
            where = {"x": 0, "y": middle + 4} if wide else {"x": left, "y": middle - 20}
            label = method(name)[0]
            short = label if len(label) <= 40 else f"{label[:39]}…"
            parts.append(tag("text", short, class_="name rule-name", **where))
            parts += [
                _mark(r, x, (left, right), middle - 6 + 12 * BRANCHES.index(r.branch))
                for r in found
                if r.method == name
            ]
        return Markup("").join(parts), bottom + 44

    told = ", ".join(f"{method(r.method)[0]} {BRANCH[r.branch]} {num(r.mean)}" for r in found)
    return Figure(
        title="Against mutagenesis, the reference",
        drawing=both(draw, f"Rank correlations: {told}."),
        shows="Circle: site; square: miRNA; lines: 95 % intervals from a bootstrap of miRNAs. "
        f"Dotted: {num(ASKED)}, what the default method is asked to reach.",
        n=f"up to {plural(max(r.n for r in found), 'pair')}.",
        bad="the method that is shown lies left of the dotted line.",
    )


def _mark(rank: Rank, x: Axis, ends: tuple[float, float], middle: float) -> Markup:
    if not isfinite(rank.mean):
        told = f"{BRANCH[rank.branch]}: undefined"
        return tag("text", told, x=ends[0] + 6, y=middle + 4, class_="small")
    hue, shape = ("blue", "circle") if rank.branch == "site" else ("vermillion", "square")
    drawn = []
    if isfinite(rank.low) and isfinite(rank.high):
        drawn = [whisker(x, (rank.low, rank.high), middle, ends)]
    told = f"{BRANCH[rank.branch]} {num(rank.mean)} ({span(rank.low, rank.high)})"
    return tag(
        "g", *drawn, marker(shape, place(x, rank.mean, *ends), middle, 4, title=told), class_=hue
    )


def matrix(facts: FcgrFacts) -> dict[str, Any] | None:
    """Every two methods: median rank correlation of their tracks, sites above the diagonal."""
    names = facts.methods
    ranked = {
        (name, branch): standing(facts.tracks(name, branch))
        for name in names
        for branch in BRANCHES
    }
    names = [name for name in names if all(len(ranked[name, branch]) for branch in BRANCHES)]
    if len(names) < 2:
        return None
    rows = []
    for i, a in enumerate(names):
        cells: list[dict[str, Any] | None] = []
        for j, b in enumerate(names):
            branch = "site" if i < j else "mirna"
            cells.append(None if i == j else _cell(ranked[a, branch], ranked[b, branch], branch))
        rows.append((method(a)[0], cells))
    return {"names": [method(name)[0] for name in names], "rows": rows, "n": len(facts.explained)}


def standing(tracks: Tracks) -> Tracks:
    """Ranks within each track, centred, of length 1; NaN where all values are alike."""
    if not tracks.size:
        return tracks
    there = np.isfinite(tracks)
    placed = rankdata(np.asarray(tracks, np.float64), axis=1, nan_policy="omit")
    count = there.sum(1, keepdims=True)
    centred = np.where(there, placed - (count + 1) / 2, 0.0)
    norm = np.sqrt((centred**2).sum(1, keepdims=True))
    found: np.ndarray = np.divide(centred, norm, out=np.full_like(centred, np.nan), where=norm > 0)
    return found


def _cell(a: Tracks, b: Tracks, branch: str) -> dict[str, Any]:
    each = (a * b).sum(1)
    each = each[np.isfinite(each)]
    value = float(np.median(each)) if each.size else float("nan")
    known = isfinite(value)
    positive = "rank" if branch == "site" else "overlap"
    return {
        "text": num(value) if known else "undefined",
        "kind": (positive if value >= 0 else "opposed") if known else "none",
        "shade": round(60 * min(abs(value), 1.0)) if known else 0,
        "words": f"{BRANCH[branch]}: median rank correlation {num(value)}, "
        f"{plural(each.size, 'pair')}",
    }
