"""Figures for a paper or a slide, made on request with matplotlib.

Signed maps are drawn on a symmetric scale whose number is beside it, with zero in white.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attributome.core.errors import DataError
from attributome.report.fcgr.explorer import chosen, with_epistasis
from attributome.report.fcgr.facts import BRANCHES, FcgrFacts, read
from attributome.report.fcgr.plots import (
    DPI,
    Kind,
    Map,
    canvas,
    draw_map,
    saved,
    signed_scale,
    top_of,
)
from attributome.report.fcgr.words import BRANCH, method
from attributome.report.pictures import SIGNED
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import fcgr
from attributome.sequence.findings.complementarity import pairing
from attributome.store import Run, folder_name


def write_figures(
    run: Run, folder: Path, *, pairs: int = 8, kind: Kind = "overlay", dpi: int = DPI
) -> list[Path]:
    """Write figures of a run: of at most `pairs` pairs, evenly over outcomes, and of its motifs.

    `<pair>_{site,mirna}.png` (map of the default method), `<pair>_tracks.png`,
    `<pair>_epistasis.png` where there is one, and `motif_<n>.png`.
    """
    facts = read(run)
    if facts.explained.empty and not facts.motifs:
        raise DataError(f"{run.root} has nothing to draw yet: run `attributome fcgr explain` on it")
    written = [
        path
        for row in chosen(facts, pairs).to_dict("records")
        for path in _pair(facts, row, folder, kind, dpi)
    ]
    for n, motif in enumerate(facts.motifs.get("motifs") or [], 1):
        name = str(motif.get("name") or f"motif {n}")
        figure = logo(np.asarray(motif["contributions"], np.float64), title=name)
        written.append(saved(figure, folder / f"motif_{n}.png", dpi=dpi))
    return written


def heat_map(image: Map, evidence: Map, *, title: str, kind: Kind = "overlay") -> Figure:
    """A CGR image in grey, its evidence on a symmetric scale, or evidence over the image.

    In an overlay the opacity of a pixel is its evidence's size, so that 0 shows the image itself.
    """
    figure, axes = canvas(4.6, 4.2)
    draw_map(axes, image, evidence, kind=kind)
    axes.set_title(title)
    return figure


def tracks(
    mirna: str,
    site: str,
    values: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " s"]],
    *,
    title: str,
) -> Figure:
    """Evidence per letter: the miRNA 3'→5' above, the site 5'→3' below, on one scale."""
    figure, rows = canvas(max(6.0, 0.2 * len(site) + 1), 3.6, rows=2)
    top = max(top_of(np.nan_to_num(each)) for each in values)
    above = values[0][: len(mirna)][::-1]  # without the padding, and as it lies on the site
    shown = ((mirna[::-1], above, "miRNA 3′→5′"), (site, values[1], "site 5′→3′"))
    for axes, (letters, heights, name) in zip(rows, shown, strict=True):
        known = np.nan_to_num(heights[: len(letters)])
        colours = np.where(known > 0, "#d55e00", "#0072b2")
        axes.bar(range(len(letters)), known, color=colours.tolist())
        axes.set_xticks(range(len(letters)), list(letters), family="monospace")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_ylim(-top, top)
        axes.set_ylabel(f"{name}\nlogit difference")
    rows[0].set_title(title)
    return figure


def epistasis(values: Float[np.ndarray, "m s"], mirna: str, site: str, *, title: str) -> Figure:
    """What two exchanges do together, miRNA against site; complementary letters are outlined."""
    figure, axes = canvas(max(5.0, 0.19 * len(site) + 1.4), max(3.0, 0.19 * len(mirna) + 1))
    known = np.nan_to_num(values)
    top = top_of(known)
    axes.imshow(known, cmap=SIGNED, vmin=-top, vmax=top, aspect="equal")
    strength = pairing(mirna, site)
    for i, j in np.argwhere(strength > 0):
        style = "-" if strength[i, j] == 1 else ":"
        outline = Rectangle((j - 0.42, i - 0.42), 0.84, 0.84, fill=False, linestyle=style)
        outline.set_linewidth(0.5)
        axes.add_patch(outline)
    axes.set_xticks(range(len(site)), list(site), family="monospace", fontsize=7)
    axes.set_yticks(range(len(mirna)), list(mirna), family="monospace", fontsize=7)
    axes.set_xlabel("site 5′→3′ (solid outline Watson–Crick, dotted G:U)")
    axes.set_ylabel("miRNA, 5′ end on top")
    figure.colorbar(signed_scale(top), ax=axes, label="interaction (logit difference)")
    axes.set_title(title)
    return figure


def logo(heights: Float[np.ndarray, "w 4"], *, title: str) -> Figure:
    """Letters of these heights; negative ones hang below the line."""
    import logomaker

    figure, axes = canvas(max(3.0, 0.45 * len(heights) + 1), 2.4)
    table = pd.DataFrame(heights, columns=list("ACGT"))
    colours = {"A": "#009e73", "C": "#0072b2", "G": "#e08e00", "T": "#d55e00"}
    logomaker.Logo(table, ax=axes, color_scheme=colours)
    axes.set_xticks(range(len(heights)), [str(n + 1) for n in range(len(heights))])
    axes.set_xlabel("position in the motif")
    axes.set_ylabel("evidence\n(logit difference)")
    axes.set_title(title)
    return figure


def _pair(facts: FcgrFacts, row: dict[Any, Any], folder: Path, kind: Kind, dpi: int) -> list[Path]:
    unit, at, key = str(row["unit"]), int(row["row"]), facts.default
    name, written = folder_name(str(row["id"])), []
    found = {
        (what, branch): facts.stored(unit, f"{what}_{key}_{branch}")
        for what in ("map", "track")
        for branch in BRANCHES
    }
    said = f"pair {row['id']}, {method(key)[0]}"
    for branch in BRANCHES:
        stored = found["map", branch]
        if stored is not None:
            size = 1 << facts.k
            image = fcgr(strands([row[branch]]), facts.k)[0, 0]
            drawn = heat_map(
                image.astype(np.float64),
                np.asarray(stored[at], np.float64).reshape(size, size),
                title=f"{said}\n{BRANCH[branch]}",
                kind=kind,
            )
            written.append(saved(drawn, folder / f"{name}_{branch}.png", dpi=dpi))
    above, below = found["track", "mirna"], found["track", "site"]
    if above is not None and below is not None:
        heights = (np.asarray(above[at], np.float64), np.asarray(below[at], np.float64))
        drawn = tracks(row["mirna"], row["site"], heights, title=said)
        written.append(saved(drawn, folder / f"{name}_tracks.png", dpi=dpi))
    doubles, ids = facts.stored(unit, "epistasis"), with_epistasis(facts, unit)
    if doubles is not None and row["id"] in ids:
        values = doubles[ids.index(row["id"]), : len(row["mirna"]), : len(row["site"])]
        drawn = epistasis(
            np.asarray(values, np.float64), row["mirna"], row["site"], title=f"pair {row['id']}"
        )
        written.append(saved(drawn, folder / f"{name}_epistasis.png", dpi=dpi))
    return written
