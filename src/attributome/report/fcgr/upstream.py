"""The file tree that the upstream interpretation script documents, written from given arrays.

Names and keys are the upstream's; contents are honest where its were not: signed maps have a
symmetric scale with zero in white, Grad-CAM is enlarged by its cells, norms are means per sample
and do not grow with their number, and the rank-1 interaction map says what it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from attributome.core.errors import UsageError
from attributome.core.files import make_folder, write_json, write_whole
from attributome.report.fcgr.plots import (
    DPI,
    Kind,
    Map,
    canvas,
    corners,
    draw_map,
    saved,
    signed_scale,
    top_of,
)
from attributome.report.pictures import SCALE, SIGNED

NAMES = ("mirna", "mrna")
FILTERS = 16
"""Filters and activations that are shown, as upstream shows."""

RANK_ONE = "outer product of the two maps' row means (rank 1; rows of a CGR image, no positions)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UpstreamSample:
    """One explained pair. What comes in twos is for the miRNA first, then for the site (mRNA).

    `maps` are the two maps of each method, by upstream's names. `cams` are the coarse grids of
    Grad-CAM in [0, 1]. `clusters` are label maps (0 outside of all) with the centres as (row,
    column). `interaction` is the rank-1 map, on which `RANK_ONE` is written.
    """

    index: int
    images: tuple[Map, Map]
    maps: Mapping[str, tuple[Map, Map]]
    cams: tuple[Float[np.ndarray, "g g"], Float[np.ndarray, "h h"]] | None = None
    clusters: tuple[tuple[Int[np.ndarray, "n n"], np.ndarray], ...] = ()
    interaction: Float[np.ndarray, "r s"] | None = None


def upstream_tree(
    folder: Path,
    samples: Sequence[UpstreamSample],
    *,
    k: int,
    checkpoint: str,
    background: int,
    filters: Mapping[str, Shaped[np.ndarray, "c y x"]] | None = None,
    activations: Mapping[str, Shaped[np.ndarray, "c v w"]] | None = None,
    dpi: int = DPI,
) -> list[Path]:
    """Write the tree and say which files there are now.

    `background` is how many background pairs were used. `filters` and `activations` are those of
    the first convolution of each branch, by "mirna" and "mrna"; the activations of one pair.
    A file that nothing was given for is not written. Refuses no samples, and samples whose methods
    or image sizes differ.
    """
    _check(samples, k)
    methods = list(samples[0].maps)
    written = [path for sample in samples for path in _sample(folder, sample, dpi)]
    for kind, given in (("filters", filters), ("activations", activations)):
        for name, arrays in (given or {}).items():
            drawn = _panels(np.asarray(arrays, np.float64), f"{name} conv1 {kind}", kind)
            written.append(saved(drawn, folder / f"{name}_conv1_{kind}.png", dpi=dpi))
    for name in methods:
        drawn = _average(samples, name)
        written.append(saved(drawn, folder / f"average_attribution_{name}.png", dpi=dpi))
    table, path = statistics(samples), folder / "attribution_statistics.csv"
    write_whole(path, lambda part: table.to_csv(part, index=False))
    summary = folder / "analysis_summary.json"
    write_json(
        summary,
        {
            "n_samples_analyzed": len(samples),
            "n_background_samples": background,
            "model_checkpoint": checkpoint,
            "k_mer": k,
            "methods_used": methods,
            "output_directory": str(folder),
        },
    )
    return [*written, path, summary]


def statistics(samples: Sequence[UpstreamSample]) -> pd.DataFrame:
    """Upstream's columns, one row per branch and method, the miRNA's first.

    `L1_Norm` and `L2_Norm` are means over samples of each sample's norm.
    """
    rows = []
    for at, name in enumerate(("miRNA", "mRNA")):
        for method in samples[0].maps:
            values = np.stack([sample.maps[method][at].ravel() for sample in samples])
            rows.append(
                {
                    "Method": method,
                    "Branch": name,
                    "Mean": values.mean(),
                    "Std": values.std(),
                    "Min": values.min(),
                    "Max": values.max(),
                    "AbsMean": np.abs(values).mean(),
                    "L1_Norm": np.abs(values).sum(1).mean(),
                    "L2_Norm": np.sqrt((values**2).sum(1)).mean(),
                }
            )
    return pd.DataFrame(rows)


def _check(samples: Sequence[UpstreamSample], k: int) -> None:
    if not samples:
        raise UsageError("there is no sample to write a tree of; explain at least one pair")
    size = 1 << k
    for sample in samples:
        if list(sample.maps) != list(samples[0].maps):
            raise UsageError(
                f"sample {sample.index} has the methods {', '.join(sample.maps)}, sample "
                f"{samples[0].index} {', '.join(samples[0].maps)}; all need the same"
            )
        shapes = {each.shape for pair in (sample.images, *sample.maps.values()) for each in pair}
        if shapes != {(size, size)}:
            raise UsageError(
                f"sample {sample.index} has maps of shapes {sorted(shapes)}; k = {k} has "
                f"{size} × {size}"
            )


def _sample(folder: Path, sample: UpstreamSample, dpi: int) -> list[Path]:
    stem, written = f"sample_{sample.index}", list[Path]()
    make_folder(folder / "numpy_exports")
    for at, name in enumerate(NAMES):
        image = sample.images[at]
        for method, maps in sample.maps.items():
            title = f"{stem} {name} {method}"
            drawn = _three(image, maps[at], title)
            written.append(saved(drawn, folder / f"{stem}_{name}_{method}.png", dpi=dpi))
            path = folder / "numpy_exports" / f"{stem}_{method}_{name}.npy"
            write_whole(path, _keeper(maps[at]))
            written.append(path)
        drawn = _comparison(sample, at, f"{stem} {name}")
        written.append(saved(drawn, folder / f"{stem}_{name}_comparison.png", dpi=dpi))
        if sample.clusters:
            drawn = _clusters(*sample.clusters[at], f"{stem} {name}")
            written.append(saved(drawn, folder / f"{stem}_{name}_clusters.png", dpi=dpi))
    if sample.cams is not None:
        drawn = _cams(sample.images, sample.cams, stem)
        written.append(saved(drawn, folder / f"{stem}_gradcam.png", dpi=dpi))
    if sample.interaction is not None:
        drawn = _interaction(sample.interaction, stem)
        written.append(saved(drawn, folder / f"{stem}_interaction_heatmap.png", dpi=dpi))
    return written


def _keeper(values: Map) -> Any:
    def keep(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.asarray(values, np.float32), allow_pickle=False)

    return keep


def _three(image: Map, evidence: Map, title: str) -> Any:
    figure, axes = canvas(13.0, 4.2, columns=3)
    for each, kind in zip(axes, get_args(Kind), strict=True):
        draw_map(each, image, evidence, kind=kind)
        each.set_title(kind)
    figure.suptitle(title)
    return figure


def _comparison(sample: UpstreamSample, at: int, title: str) -> Any:
    """Every method, each on its own scale: their units differ."""
    count = len(sample.maps)
    figure, axes = canvas(3.2 * count, 5.6, rows=2, columns=count)
    grid = np.asarray(axes).reshape(2, -1)
    for column, (method, maps) in enumerate(sample.maps.items()):
        for row, kind in enumerate(get_args(Kind)[1:]):
            drawn = draw_map(grid[row, column], sample.images[at], maps[at], kind=kind, bar=False)
        label = "evidence (logit difference)" if column + 1 == count else ""
        figure.colorbar(drawn, ax=grid[:, column], label=label, shrink=0.85, pad=0.11)
        grid[0, column].set_title(method)
    figure.suptitle(f"{title}: each method on its own scale")
    return figure


def _cams(images: tuple[Map, Map], cams: tuple[np.ndarray, np.ndarray], title: str) -> Any:
    figure, axes = canvas(9.0, 4.2, columns=2)
    for each, image, cam, name in zip(axes, images, cams, NAMES, strict=True):
        times = len(image) // len(cam)
        each.imshow(image, cmap="gray", vmin=0, vmax=float(image.max()) or 1.0)
        drawn = each.imshow(
            np.kron(cam, np.ones((times, times))), cmap=SCALE, alpha=0.5, vmin=0, vmax=1
        )
        figure.colorbar(drawn, ax=each, label="Grad-CAM (share of its maximum)", pad=0.11)
        each.set_title(f"{name}; one cell is {times} × {times} pixels")
        corners(each)
    figure.suptitle(f"{title} Grad-CAM")
    return figure


def _clusters(labels: Int[np.ndarray, "n n"], centres: np.ndarray, title: str) -> Any:
    figure, axes = canvas(4.6, 4.2)
    shown = np.ma.masked_equal(labels, 0)
    if shown.count():
        drawn = axes.imshow(shown, cmap="tab10", vmin=0.5, vmax=10.5)
        figure.colorbar(drawn, ax=axes, label="cluster", ticks=range(1, int(labels.max()) + 1))
        rows, columns = np.asarray(centres, np.float64).reshape(-1, 2).T
        axes.plot(columns, rows, "rx")
    else:
        axes.imshow(np.zeros_like(labels), cmap="gray", vmin=-1, vmax=0)
        axes.text(0.5, 0.5, "too few pixels", transform=axes.transAxes, ha="center")
    corners(axes)
    axes.set_title(f"{title} clusters")
    return figure


def _interaction(values: np.ndarray, title: str) -> Any:
    figure, axes = canvas(6.4, 5.4)
    top = top_of(values)
    axes.imshow(values, cmap=SIGNED, vmin=-top, vmax=top, aspect="auto")
    figure.colorbar(signed_scale(top), ax=axes, label="product of evidence")
    axes.set_xlabel("block of the site's image")
    axes.set_ylabel("block of the miRNA's image")
    axes.set_title(f"{title}\n{RANK_ONE}", fontsize=8)
    return figure


def _panels(arrays: Float[np.ndarray, "c y x"], title: str, kind: str) -> Any:
    """The first filters (signed) or activations (not), all on one scale."""
    figure, axes = canvas(9.0, 9.0, rows=4, columns=4)
    flat, shown = np.asarray(axes).ravel(), arrays[:FILTERS]
    top, low = top_of(shown), 0.0
    colours = SCALE
    if kind == "filters":
        colours, low = SIGNED, -top
    for n, each in enumerate(flat):
        each.set_axis_off()
        if n < len(shown):
            drawn = each.imshow(shown[n], cmap=colours, vmin=low, vmax=top)
            each.set_title(f"{n}, max {shown[n].max():.2g}", fontsize=8)
    figure.colorbar(drawn, ax=axes, shrink=0.6)
    figure.suptitle(f"{title}, the first {len(shown)} of {len(arrays)}, one scale")
    return figure


def _average(samples: Sequence[UpstreamSample], method: str) -> Any:
    figure, axes = canvas(9.0, 4.2, columns=2)
    for at, (each, name) in enumerate(zip(axes, NAMES, strict=True)):
        mean = np.mean([sample.maps[method][at] for sample in samples], axis=0)
        image = np.mean([sample.images[at] for sample in samples], axis=0)
        draw_map(each, image, mean, kind="signed")
        each.set_title(name)
    figure.suptitle(f"{method}: mean of {len(samples)} samples, all for z1 − z0")
    return figure
