"""What the network uses: seed enrichment, motifs, k-mers, and contrasts of the two labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log10
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from attributome.core.bootstrap import cluster_bootstrap
from attributome.report.charts import WIDE, Size
from attributome.report.drawing import Box, below, beside, both
from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.logos import information, logo, stacked
from attributome.report.fcgr.words import method
from attributome.report.figures import Figure
from attributome.report.numbers import defined, num, number, plural, share, short, times
from attributome.report.svg import Axis, around, marker, place, tag

LEVEL, KMERS, MOTIFS, POINTS, NAMED = 0.05, 40, 8, 1200, 5
SMALLEST_Q = 1e-12  # what is smaller is drawn there, and said to be at most that


@dataclass(frozen=True, slots=True, kw_only=True)
class Motif:
    """One motif: its logos, and where it was found."""

    name: str
    consensus: str
    found: str
    match: str
    own: str
    bits: Markup
    evidence: Markup | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """The share of a method's evidence in the seed match against the match's share of length."""

    label: str
    share: str
    interval: str
    length: str
    ratio: str
    n: str


def enrichment(facts: FcgrFacts) -> list[Enriched]:
    """One line per method; pairs without a seed match do not enter."""
    table = facts.scores
    if table.empty or not {"seed_share", "seed_length_share"} <= set(table.columns):
        return []
    mirna = dict(zip(facts.explained["id"], facts.explained["mirna"], strict=True))
    lines = []
    for name in facts.methods:
        rows = table[(table["method"] == name) & (table["branch"] == "site")]
        rows = rows[rows["seed_share"].notna() & (rows["seed_length_share"] > 0)]
        if rows.empty:
            continue
        groups = rows["id"].astype(str).map(mirna).astype(str).to_numpy()
        found = cluster_bootstrap(rows[["seed_share"]].to_numpy(np.float64), groups).iloc[0]
        length = float(rows["seed_length_share"].mean())
        lines.append(
            Enriched(
                label=method(name)[0],
                share=share(float(found["mean"])),
                interval=_shares(float(found["low"]), float(found["high"])),
                length=share(length),
                ratio=f"{times(float(found['mean']) / length)} ×",
                n=f"{plural(len(rows), 'pair')} of {plural(int(found['groups']), 'miRNA')}",
            )
        )
    return lines


def _shares(low: float, high: float) -> str:
    return f"{share(low)} to {share(high)}" if isfinite(low) and isfinite(high) else "undefined"


def motifs(facts: FcgrFacts) -> dict[str, Any] | None:
    """The motifs with their logos; None where nobody looked for any."""
    if not facts.motifs:
        return None
    found = facts.motifs.get("motifs") or []
    return {
        "shown": [_motif(row, n) for n, row in enumerate(found[:MOTIFS], 1)],
        "more": max(len(found) - MOTIFS, 0),
        "stability": [
            {"words": str(row.get("words") or ""), "stable": bool(row.get("stable"))}
            for row in facts.motifs.get("stability") or []
        ],
    }


def _motif(row: Mapping[str, Any], n: int) -> Motif:
    name = str(row.get("name") or f"motif {n}")
    consensus = str(row.get("consensus") or "")
    pwm, cwm = row.get("probabilities") or [], row.get("contributions") or []
    top = stacked(cwm)
    counted = [
        plural(int(row[key]), noun)
        for key, noun in (("n", "seqlet"), ("mirnas", "miRNA"))
        if row.get(key) is not None
    ]
    return Motif(
        name=name,
        consensus=consensus,
        found=" of ".join(counted),
        match=_match(row.get("matches") or []),
        own=_own(row.get("own") or []),
        bits=logo(information(pwm), unit="bits", top=2.0, alt=f"Letters of {name}: {consensus}"),
        evidence=logo(cwm, unit="evidence", top=top, alt=f"Evidence per letter of {name}")
        if top
        else None,
    )


def _match(rows: Sequence[Mapping[str, Any]]) -> str:
    """The best match to a seed, where it is better than chance."""
    sure = [row for row in rows if defined(row.get("q")) and row["q"] < LEVEL]
    if not sure:
        return "Like no seed match of these miRNAs (q ≥ 0.05)."
    best = sure[0]
    q = _q(best["q"])
    return f"Like the {best['kind']} match {best['word']} of {best['mirna']} (q {q})."


def _own(rows: Sequence[Mapping[str, Any]]) -> str:
    """How often its seqlets hold the seed match of the miRNA of their own pair."""
    if not rows or not defined(rows[0].get("share")):
        return ""
    row = rows[0]
    ends = _shares(number(row.get("low")), number(row.get("high")))
    by_chance = f"; by chance {share(row['chance'])}" if defined(row.get("chance")) else ""
    return (
        f"{share(row['share'])} of its seqlets ({ends}) hold the seed match of their own "
        f"miRNA{by_chance}."
    )


def kmers(facts: FcgrFacts) -> dict[str, Any] | None:
    """The k-mers with the largest mean, as rows of text; None where there is no table."""
    table = facts.kmers
    if table.empty:
        return None
    order = table.assign(size=table["mean"].abs()).sort_values(
        "size", ascending=False, kind="stable"
    )
    rows = [
        {
            "kmer": str(row["kmer"]),
            "n": f"{int(row['n']):,}",
            "mean": short(row["mean"]),
            "interval": _span(row.get("low"), row.get("high")),
            "effect": short(row.get("effect")),
            "q": _q(row["q"]) if defined(row["q"]) else "not tested",
            "sure": bool(row["q"] < LEVEL),
        }
        for row in order.head(KMERS).to_dict("records")
    ]
    return {
        "rows": rows,
        "sure": int((table["q"] < LEVEL).sum()),
        "tested": int(table["q"].notna().sum()),
        "count": len(table),
    }


def _q(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.2g}"


def _span(low: Any, high: Any) -> str:
    return f"{short(low)} to {short(high)}" if defined(low) and defined(high) else "undefined"


def volcano(facts: FcgrFacts) -> Figure | None:
    """Effect against q of every feature that was compared between the labels."""
    table = facts.contrasts
    if table.empty:
        return None
    size = "cliffs_delta" if "cliffs_delta" in table else "difference"
    known = table[table["q"].notna() & table[size].notna()].sort_values("q", kind="stable")
    if known.empty:
        return None
    shown = known.head(POINTS)
    height = -np.log10(shown["q"].to_numpy(np.float64).clip(SMALLEST_Q, 1.0))
    across = shown[size].to_numpy(np.float64)
    reach = max(float(np.abs(across).max()), 0.1) * 1.12
    label = (
        "Cliff's delta (right: larger in pairs that interact)" if size == "cliffs_delta" else size
    )
    x = Axis(label=label, low=-reach, high=reach)
    y = around([0.0, *height.tolist(), 1.6], "−log₁₀ q (false-discovery rate)")
    names = [str(name) for name in shown["name"]]

    def draw(canvas: Size) -> tuple[Markup, float]:
        box = (canvas.left, canvas.width - 14, 30, canvas.height - 44)
        parts = [beside(y, box), below(x, box, canvas.ticks), _line(y, box)]
        points = list(zip(names, across.tolist(), height.tolist(), strict=True))
        # the surest are drawn last, on top
        parts += [_point(point, x, y, box) for point in reversed(points)]
        parts += _labels(points, x, y, box, near=300 if canvas is WIDE else 9999)
        return Markup("").join(parts), canvas.height

    sure = int((known["q"] < LEVEL).sum())
    left = len(known) - len(shown)
    lost = len(table) - len(known)
    groups = [plural(int(known[c].max()), "pair") for c in ("n1", "n0") if c in known]
    return Figure(
        title="Pairs that interact against pairs that do not",
        drawing=both(draw, f"{sure} of {len(known)} features differ at q below {LEVEL}."),
        shows=f"One mark per feature; filled: q < {LEVEL} (Benjamini–Hochberg), labels permuted "
        f"within each miRNA. {sure} of {plural(len(known), 'feature')} differ."
        + (f" {left} with the largest q are not drawn." if left else "")
        + (f" {lost} are undefined." if lost else ""),
        n=(" against ".join(groups) + " at most.") if groups else f"{len(known)} features.",
        bad="no filled mark, or filled marks that have nothing to do with pairing.",
    )


def _line(y: Axis, box: Box) -> Markup:
    left, right, top, bottom = box
    at = place(y, -log10(LEVEL), bottom, top)
    name = tag("text", f"q = {LEVEL}", x=right - 2, y=at - 5, class_="small end rule-name")
    return tag("g", tag("path", d=f"M{left} {at:.1f}H{right}", class_="rule"), name)


def _point(point: tuple[str, float, float], x: Axis, y: Axis, box: Box) -> Markup:
    name, value, height = point
    left, right, top, bottom = box
    sure = height > -log10(LEVEL)
    hue = "ink" if not sure else "vermillion" if value > 0 else "blue"
    told = f"{name}: {num(value)}, q {_q(10**-height)}"
    shape = "ring" if not sure else "up" if value > 0 else "down"
    at = (place(x, value, left, right), place(y, height, bottom, top))
    return tag("g", marker(shape, *at, 3, title=told), class_=hue)


def _labels(
    points: Sequence[tuple[str, float, float]], x: Axis, y: Axis, box: Box, *, near: float
) -> list[Markup]:
    """Names of the surest features, where they do not lie on each other."""
    left, right, top, bottom = box
    done: list[tuple[float, float]] = []
    parts = []
    for name, value, height in points:
        if len(done) == NAMED or height <= -log10(LEVEL):
            break
        at, up = place(x, value, left, right), place(y, height, bottom, top)
        if any(abs(up - b) < 15 and abs(at - a) < near for a, b in done):
            continue
        done.append((at, up))
        late = at > (left + right) / 2
        side = "small rule-name end" if late else "small rule-name"
        text = name if len(name) <= 26 else f"{name[:25]}…"
        parts.append(tag("text", text, x=at + (-7 if late else 7), y=up + 4, class_=side))
    return parts


def shown_table(table: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for the downloads of the page, three digits each."""
    kept = [column for column in columns if column in table]
    return [
        {column: _rounded(row[column]) for column in kept} for row in table[kept].to_dict("records")
    ]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.3g}") if isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
