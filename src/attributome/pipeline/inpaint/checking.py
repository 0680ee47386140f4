"""What a job names, looked up before anything is written: a slip must not cost an hour."""

import difflib
from pathlib import Path

from attributome.core.errors import UsageError
from attributome.inpainting.cells import Cells
from attributome.inpainting.preprocess import RECIPES
from attributome.pipeline.inpaint.job import InpaintJob

SUM = 1e-6
LAYERS = tuple(f"conv{i}_1" for i in range(1, 6))
"""The source layers of every inpainter, whatever their widths."""


def check(job: InpaintJob) -> None:
    """Refuse what cannot be meant, whatever the cells and the network are."""
    if not job.data.source:
        raise UsageError("no cells are named: give data.source in the job, or --data FOLDER")
    _data(job)
    _features(job)
    if job.network.source and job.train.preset:
        raise UsageError(
            f"network.source names {job.network.source}, which is not trained here, and "
            f"train.preset says how; leave one of them empty"
        )
    if job.evaluate.umap and not has_umap():
        raise UsageError("evaluate.umap needs the package umap-learn: install attributome[umap]")
    for key, name in (("sets", job.evaluate.sets), ("imagenet", job.evaluate.imagenet)):
        if name and not Path(name).is_file():
            raise UsageError(f"evaluate.{key} is {name!r}, and there is no such file")


def check_columns(job: InpaintJob, cells: Cells) -> None:
    """Refuse columns and pools that these cells do not have, before hours go into them."""
    averaged = (job.features.average, *job.features.through) if job.features.average else ()
    wanted = [("features.average", name) for name in averaged]
    for key, name in (("evaluate.label", job.evaluate.label), *wanted):
        if name not in cells.table:
            _unknown(key, name, [str(column) for column in cells.table.columns])
    masked = [pool for pool in job.features.pools if pool.startswith("masked")]
    if masked and cells.masks is None:
        raise UsageError(
            f"features.pools has {masked[0]!r}, which needs masks of the own cells, and there are "
            f"none"
        )


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    from importlib.util import find_spec

    return find_spec("umap") is not None


def has_anndata() -> bool:
    """Whether anndata is installed."""
    from importlib.util import find_spec

    return find_spec("anndata") is not None


def _data(job: InpaintJob) -> None:
    data = job.data
    if data.recipe not in ("auto", *RECIPES):
        _unknown("data.recipe", data.recipe, ("auto", *RECIPES))
    if abs(sum(data.shares.values()) - 1) > SUM:
        raise UsageError(
            f"data.shares is {dict(data.shares)}: shares of train, validate and test sum to 1"
        )
    if not {"train", "validate"} <= set(data.shares) and not job.network.source:
        raise UsageError(
            f"data.shares is {dict(data.shares)}, which leaves no fields to train and validate "
            f"on: give them shares, or name a network in network.source"
        )
    shrink = RECIPES[data.recipe].shrink if data.recipe != "auto" else 1
    if data.size is not None and data.size % (4 * shrink):
        raise UsageError(
            f"data.size is {data.size}; the network takes crops whose sizes are divisible by 4"
            + (f", and the recipe {data.recipe!r} shrinks them by {shrink}" if shrink > 1 else "")
        )
    names = [*data.channels.values()]
    if len(set(names)) < len(names):
        raise UsageError(f"data.channels gives one name twice: {', '.join(names)}")
    for name in data.targets:
        if names and name not in names:
            _unknown("data.targets", name, names)


def _features(job: InpaintJob) -> None:
    asked = job.features
    named = [("features.layers", layer) for layer in asked.layers]
    for key, layer in (*named, ("evaluate.layer", job.evaluate.layer)):
        if layer not in LAYERS:
            _unknown(key, layer, LAYERS)
    for key, some in (("layers", asked.layers), ("pools", asked.pools)):
        if len(set(some)) < len(some):
            raise UsageError(f"features.{key} names one twice: {', '.join(some)}")
    if "anndata" in asked.forms and not has_anndata():
        raise UsageError(
            "features.forms asks for anndata, and the package is not installed: install "
            "attributome[anndata]"
        )


def _unknown(key: str, value: str, known: tuple[str, ...] | list[str]) -> None:
    near = difflib.get_close_matches(value, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"{key} has {value!r}; there are {', '.join(known)}{hint}")
