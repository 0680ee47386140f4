"""Label images of fields: found beside them, stitched from slices, or made here without downloads.

0 is background and every other number a cell, in 2-D and in 3-D. Cellpose writes such images
(`<name>_cp_masks.tif` or `.png`), OME-Zarr keeps them in its group `labels`; `read_labels` of
`data.images` reads both.
"""

import importlib
import importlib.metadata
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int32, Integer, Real
from scipy import ndimage

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json, sha256
from attributome.data.images import FORMATS
from attributome.data.omezarr import is_zarr

ENDINGS = ("_cp_masks", "_masks", "_labels")
"""What follows the name of an image in the name of its label image."""

CELLPOSE_NOTICE = (
    "Cellpose, copyright 2020 Howard Hughes Medical Institute: the code is under the BSD-3-Clause "
    "licence. Its authors state that the Cellpose-SAM model is trained on data under CC-BY-NC, "
    "and that the annotated data set of Cellpose is CC-BY-NC too: ask before commercial use."
)


def segment(
    image: Real[np.ndarray, "*s"],
    *,
    diameter: float,
    spacing: Sequence[float] | None = None,
    method: Literal["otsu", "log"] = "otsu",
    scale: Literal["linear", "log"] = "linear",
    sigma: float | None = None,
    threshold: float | None = None,
    neck: float | None = None,
    smallest: float | None = None,
    largest: float | None = None,
    border: Literal["keep", "drop"] = "keep",
) -> Int32[np.ndarray, "*s"]:
    """Labels 1, 2, … of bright nuclei in a plane `(y, x)` or a stack `(z, y, x)`, in reading order.

    Lengths are in the unit of `spacing` (micrometres between voxels along each axis; without it a
    voxel is 1 along all axes). The image is blurred by `sigma` (a twelfth of `diameter`); what is
    brighter than `threshold` (Otsu 1979, of the blurred image) is nucleus, and so are holes.
    Pieces are cut by a watershed from seeds. `method="otsu"` seeds where a piece is deepest, if
    tops stand more than `neck` (8 % of `diameter`) above the saddle between them, for round nuclei
    with clear edges; `method="log"` seeds where a Laplacian of a Gaussian answers most (a blob of
    0.7 `diameter`), if tops stand apart by a tenth of the strongest answers, for crowded ones.
    `scale="log"` takes the logarithm of the blurred image first, for fields in which some nuclei
    are several times brighter than others. Last, nuclei below `smallest` (that of half the
    diameter) or above `largest` (area or volume), or at the edge of the field, are dropped.
    """
    steps = _steps(image, spacing)
    sizes = (diameter, sigma, neck, smallest, largest)
    if diameter <= 0 or not all(size is None or 0 <= size < math.inf for size in sizes):
        raise UsageError(
            f"diameter={diameter}, sigma={sigma}, neck={neck}, smallest={smallest}, "
            f"largest={largest} cannot be meant: they are above 0"
        )
    values = _values(image, (diameter / 12 if sigma is None else sigma) / steps, scale)
    mask = values > (_otsu(values) if threshold is None else threshold)
    mask = ndimage.binary_fill_holes(mask)
    if method == "otsu":
        hills = ndimage.distance_transform_edt(mask, sampling=steps)
        height = 0.08 * diameter if neck is None else neck
    elif method == "log":
        blob = 0.7 * diameter / (2 * math.sqrt(image.ndim))
        hills = -ndimage.gaussian_laplace(values, blob / steps, mode="nearest")
        height = 0.1 * max(float(np.percentile(hills[mask], 99)) if mask.any() else 0.0, 0.0)
    else:
        raise UsageError(f"no method {method!r}; there are 'otsu' and 'log'")
    labels = _cut_at_waists(mask, hills, height)
    ball = (math.pi / 4 if image.ndim == 2 else math.pi / 6) * (diameter / 2) ** image.ndim
    volumes = np.bincount(labels.ravel()) * steps.prod()
    kept = volumes >= (ball if smallest is None else smallest)
    kept &= volumes <= (math.inf if largest is None else largest)
    if border == "drop":
        for axis in range(labels.ndim):
            for end in (0, -1):
                kept[labels.take(end, axis)] = False
    kept[0] = False
    return in_reading_order(np.where(kept[labels], labels, 0))


def stitch(
    slices: Integer[np.ndarray, "z y x"], *, threshold: float = 0.25, gap: int = 0
) -> Int32[np.ndarray, "z y x"]:
    """Masks that were made slice by slice become cells of a stack, numbered in reading order.

    A mask goes on with the cell of the slice before of which the intersection over union is
    greatest and at least `threshold`; each cell goes on once, the greatest overlaps first (ties:
    the lower number). Cellpose looks at adjacent slices only, so that a cell that is missed in one
    becomes two; `gap=1` lets a mask that nothing continues join a cell that ended two slices
    before, and leaves the missed slice empty.
    """
    if not 0 < threshold <= 1 or gap < 0:
        raise UsageError(f"threshold={threshold} is in (0, 1], and gap={gap} at least 0")
    if not slices.size:
        raise DataError(f"slices of shape {slices.shape} have no pixels")
    if slices.min() < 0:
        raise DataError("slices of labels hold negative numbers; 0 is where no cell is")
    out = np.zeros(slices.shape, np.int32)
    last = [-1]  # the slice in which each cell was last seen; there is no cell 0
    for z, plane in enumerate(slices):
        found, masks = np.unique(plane, return_inverse=True)
        masks = masks.reshape(plane.shape) + (found[0] > 0)
        cells = np.zeros(int(masks.max()) + 1, np.int32)
        for back in range(1, min(gap + 1, z) + 1):
            open_ended = np.array(last) == z - back
            before = np.where(open_ended[out[z - back]], out[z - back], 0)
            for cell, mask in _best_pairs(before, np.where(cells[masks] > 0, 0, masks), threshold):
                cells[mask], last[cell] = cell, z
        fresh = 1 + np.flatnonzero(cells[1:] == 0)
        cells[fresh] = np.arange(len(last), len(last) + len(fresh))
        last += [z] * len(fresh)
        out[z] = cells[masks]
    return in_reading_order(out)


def in_reading_order(labels: Integer[np.ndarray, "*s"]) -> Int32[np.ndarray, "*s"]:
    """Renumbered from 1 by the first voxel of each."""
    ids, first, place = np.unique(labels, return_index=True, return_inverse=True)
    cells = np.flatnonzero(ids > 0)
    new = np.zeros(len(ids), np.int32)
    new[cells[np.argsort(first[cells])]] = np.arange(1, len(cells) + 1)
    return new[place.reshape(labels.shape)]


def labels_beside(image: Path, *, name: str | None = None) -> Path | None:
    """The label image of an image, or None where there is none.

    Of `a.tif` that is `a_cp_masks.tif` (or `.png`, `.npy`, `.zarr`; also `a_masks`, `a_labels`);
    of `a.ome.tif` both `a.ome_cp_masks` and `a_cp_masks` are looked for. Of an OME-Zarr it is
    the group that its `labels` list. Where there are several, `name` says which: the ending such
    as `cp_masks`, or the group. Cellpose's `_seg.npy` is a pickle, which runs code when it is
    opened: it is refused, not read.
    """
    if is_zarr(image):
        found = {one: image / "labels" / one for one in _listed(image / "labels")}
    else:
        stems = dict.fromkeys((image.stem, image.name.removesuffix(".ome" + image.suffix)))
        found = {
            ending[1:]: path
            for stem in reversed(stems)
            for ending in reversed(ENDINGS)
            for kind in reversed([*FORMATS])
            if (path := image.with_name(stem + ending + kind)).exists() and path != image
        }
        pickles = [path for s in stems if (path := image.with_name(f"{s}_seg.npy")).exists()]
        if pickles and not found:
            raise DataError(
                f"{pickles[0]} is a pickle, which is not opened: save the masks of {image.name} "
                f"as TIFF or PNG in Cellpose"
            )
    if name is not None and name not in found:
        there = f"there are {', '.join(sorted(found))}" if found else "there are none"
        raise DataError(f"{image} has no labels {name!r}; {there}")
    if name is None and len(found) > 1:
        raise UsageError(f"{image} has the labels {', '.join(sorted(found))}: say which by name")
    return found[name] if name is not None else next(iter(found.values()), None)


def cellpose_labels(
    image: Float[np.ndarray, "c *s"],
    *,
    model: str = "cpsam",
    diameter: float | None = None,
    spacing: Sequence[float] | None = None,
    volume: Literal["stitch", "3d"] = "stitch",
    threshold: float = 0.25,
    gap: int = 1,
    gpu: bool = False,
) -> tuple[Int32[np.ndarray, "*s"], dict[str, Any]]:
    """Labels of Cellpose 4 (Pachitariu, Rariden & Stringer 2025), and a record of what made them.

    At most three channels, the first as Cellpose takes them; `diameter` in pixels. A stack is
    segmented slice by slice and joined by `stitch`, or with `volume="3d"` by flows in three
    planes, stretched by the ratio of `spacing`. `model` is a name that Cellpose knows or the
    path of its weights, which Cellpose downloads where it has none. The record holds the version,
    the SHA-256 of the weights and the notice of their licences.
    """
    try:
        models = importlib.import_module("cellpose.models")
    except ImportError as error:
        raise UsageError(
            "Cellpose is not installed: install attributome[cellpose], use the built-in `segment`, "
            "or give label images that Cellpose wrote elsewhere"
        ) from error
    if len(image) > 3 or image.ndim not in (3, 4):
        raise DataError(f"an image of shape {image.shape} is none of 1 to 3 channels in 2-D or 3-D")
    network = models.CellposeModel(gpu=gpu, pretrained_model=model)
    weights = Path(network.pretrained_model)
    if weights.name != Path(model).name:  # what it does not know it replaces, with a warning
        raise UsageError(f"Cellpose has no model {model!r}; it took {weights.name!r} instead")
    options: dict[str, Any] = {"diameter": diameter, "channel_axis": 0}
    if image.ndim == 3:
        labels = network.eval(image, **options)[0]
    elif volume == "3d":
        steps = _steps(image[0], spacing)
        stretch = float(steps[0] / steps[-1])
        options |= {"channel_axis": 1, "z_axis": 0, "do_3D": True, "anisotropy": stretch}
        labels = network.eval(image.swapaxes(0, 1), **options)[0]
    else:
        planes = [network.eval(plane, **options)[0] for plane in image.swapaxes(0, 1)]
        labels = stitch(np.stack(planes).astype(np.int32), threshold=threshold, gap=gap)
    return in_reading_order(np.asarray(labels, np.int32)), {
        "tool": "cellpose",
        "version": importlib.metadata.version("cellpose"),
        "model": weights.name,
        "weights_sha256": sha256(weights),
        "volume": volume if image.ndim == 4 else None,
        "notice": CELLPOSE_NOTICE,
    }


def _steps(image: np.ndarray, spacing: Sequence[float] | None) -> np.ndarray:
    """The spacing of an image of 2 or 3 axes, or ones."""
    if image.ndim not in (2, 3) or not image.size:
        raise DataError(f"an image of shape {image.shape} is no plane (y, x) or stack (z, y, x)")
    steps = np.ones(image.ndim) if spacing is None else np.array(spacing, np.float64)
    if steps.shape != (image.ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise UsageError(f"a spacing of {spacing} does not fit an image of shape {image.shape}")
    return steps


def _values(image: np.ndarray, blur: np.ndarray, scale: str) -> Float[np.ndarray, "*s"]:
    """What is held against the threshold: the blurred image or its logarithm."""
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{int((~np.isfinite(values)).sum())} voxels are NaN or infinite")
    if values.min() == values.max():
        raise DataError(f"an image of the one value {float(values.min()):g} has no nuclei to find")
    smooth = ndimage.gaussian_filter(values, blur, mode="nearest")
    if scale == "linear":
        return np.asarray(smooth)
    if scale != "log":
        raise UsageError(f"no scale {scale!r}; there are 'linear' and 'log'")
    if smooth.min() <= 0:
        raise DataError(f"a logarithm needs values above 0, and the least is {smooth.min():g}")
    return np.asarray(np.log(smooth))


def _otsu(values: np.ndarray) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values))


def _cut_at_waists(mask: np.ndarray, hills: np.ndarray, height: float) -> np.ndarray:
    """Pieces of a mask, cut between tops that are more than `height` above their saddle."""
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    every = np.ones((3,) * mask.ndim, int)
    hills = np.where(mask, hills, np.minimum(hills.min(), 0))
    # of hills that are cut down by `height`, those that still stand apart
    flat = reconstruction(hills - height, hills) if height > 0 else hills
    seeds, count = ndimage.label(local_maxima(flat, connectivity=mask.ndim) & mask, every)
    pieces, _ = ndimage.label(mask, every)
    without = mask & ~np.isin(pieces, pieces[seeds > 0])  # pieces that were cut down to nothing
    seeds[without] = count + pieces[without]
    return np.asarray(watershed(-hills, seeds, connectivity=mask.ndim, mask=mask))


def _best_pairs(
    before: np.ndarray, masks: np.ndarray, threshold: float
) -> Iterator[tuple[int, int]]:
    """Cells of one slice and masks of another, each at most once, the greatest overlap first."""
    both = (before > 0) & (masks > 0)
    pairs, shared = np.unique(np.stack([before[both], masks[both]]), axis=1, return_counts=True)
    sizes, theirs = np.bincount(before.ravel()), np.bincount(masks.ravel())
    overlap = shared / (sizes[pairs[0]] + theirs[pairs[1]] - shared)
    taken: set[tuple[str, int]] = set()
    for i in np.lexsort((pairs[1], pairs[0], -overlap)):
        cell, mask = map(int, pairs[:, i])
        if overlap[i] >= threshold and not taken & {("cell", cell), ("mask", mask)}:
            taken |= {("cell", cell), ("mask", mask)}
            yield cell, mask


def attributes(group: Path) -> dict[str, Any]:
    """What a Zarr group of OME says about itself: NGFF 0.5 under `ome`, 0.4 without it.

    Empty where the folder is no Zarr group.
    """
    for file in ("zarr.json", ".zattrs"):
        path = group / file
        if path.is_file():
            said = read_json(path)
            said = said.get("attributes", said) if file == "zarr.json" else said
            told = said.get("ome", said) if isinstance(said, dict) else said
            if not isinstance(told, dict):
                raise DataError(f"{path} has attributes that are no object")
            return told
    return {}


def _listed(group: Path) -> list[str]:
    """The names in an OME-Zarr group `labels`; each stays inside it."""
    names = attributes(group).get("labels", [])
    if not isinstance(names, list):
        raise DataError(f"{group} lists the labels {names!r}, which are no list")
    for name in names:
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{group} lists the labels {name!r}, which are not inside it")
        if not is_zarr(group / name):
            raise DataError(f"{group} lists the labels {name!r}, and has none of that name")
    return list(names)
