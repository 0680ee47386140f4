"""How cells move apart while a network learns: a plane per epoch, and an animation of them.

Every epoch has its own plane, made of its own features alone, and is then turned, mirrored and
shifted onto the plane of the epoch after it. So frames do not jump for want of a direction, and
no early epoch looks more ordered than it is because it was started from a later one. As with any
such plane: to look at, not to measure.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_whole
from attributome.core.seeds import rng
from attributome.profiles.proteins.maps import umap_of

How = Literal["umap", "pca"]
Places = Float32[np.ndarray, "e n 2"]

PICTURES, CELLS, LABELS, SIDES = 120, 4000, 20, (160, 800)
"""At most so many pictures, cells and labels are drawn, each picture between so many pixels."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of Okabe and Ito (2008), which the colour-blind tell apart."""
MARKS = ("o", "^", "s", "D", "v", "P")
REST = "#999999"


def read_frames(folder: Path) -> list[Float[np.ndarray, "_ _"]]:
    """The features of the same cells after each epoch, from files `0001.npy` on without a gap."""
    paths = sorted(folder.glob("[0-9]*.npy"))
    wanted = [f"{i:04d}.npy" for i in range(1, len(paths) + 1)]
    if not paths or [path.name for path in paths] != wanted:
        raise DataError(f"{folder} has {len(paths)} frames; they are 0001.npy and on without a gap")
    frames: list[np.ndarray] = []
    for path in paths:
        try:
            frame = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        if frame.ndim != 2 or frame.dtype.kind != "f":
            raise DataError(f"{path} holds {frame.dtype} of {frame.shape}, no features of cells")
        frames.append(frame)
    return frames


def trajectory(
    frames: Sequence[Float[np.ndarray, "_ _"]],
    *,
    how: How = "umap",
    neighbours: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> Places:
    """Places of n cells after each of e epochs, `(e, n, 2)`, from their features after each.

    `how` is UMAP (`maps.umap_of`; needs `attributome[umap]`) or the first two principal components
    of the z-scored features, which take no time. The last plane is as it was made, each before it
    `aligned`. The number of features may differ between epochs, cells are the same throughout.
    """
    if how not in get_args(How):
        raise UsageError(f"how={how!r}; there are {' and '.join(get_args(How))}")
    if not frames:
        raise UsageError("there are no frames; give the features of the cells after each epoch")
    for number, frame in enumerate(frames):
        if frame.ndim != 2 or len(frame) != len(frames[0]):
            raise DataError(
                f"frame {number} has the shape {frame.shape}, and the first {frames[0].shape}: "
                f"all show the same cells"
            )
    planes = []
    for number, frame in enumerate(frames):
        try:
            planes.append(
                _components(frame)
                if how == "pca"
                else umap_of(frame, neighbours=neighbours, min_dist=min_dist, seed=seed)
            )
        except DataError as error:
            raise DataError(f"frame {number}, counted from 0: {error}") from error
        if progress is not None:
            progress((number + 1) / len(frames), f"{number + 1} of {len(frames)} epochs")
    return aligned(np.stack(planes))


def aligned(places: Float[np.ndarray, "e n 2"]) -> Places:
    """Each plane turned, mirrored and shifted, not scaled, onto the one after it (Procrustes).

    The last stays. The sum of squared distances between the places of a cell in two planes is then
    the least that such a movement allows (Schönemann 1966).
    """
    found = places.astype(np.float64)
    for now in range(len(found) - 2, -1, -1):
        mine, other = found[now], found[now + 1]
        centre, onto = mine.mean(0), other.mean(0)
        left, _, right = np.linalg.svd((mine - centre).T @ (other - onto))
        found[now] = (mine - centre) @ (left @ right) + onto
    return found.astype(np.float32)


def write_animation(
    path: Path,
    places: Float[np.ndarray, "e n 2"],
    labels: Sequence[str],
    titles: Sequence[str],
    *,
    between: int = 3,
    seconds: float = 0.8,
    side: int = 480,
) -> int:
    """Write `places` as a GIF of `side` pixels, and return the number of its pictures.

    `labels` has one text for each cell, told by colour and by shape: the 20 most frequent, the
    rest are grey. `titles` has one for each epoch, which lasts `seconds`; `between` two of them so
    many pictures are drawn on straight lines, for the eye. Too many pictures are thinned: first
    those in between, then epochs, evenly, never the first or the last; and so are more than
    4000 cells.
    """
    _check(path, places, labels, titles, between, seconds, side)
    kept = np.unique(np.linspace(0, len(places) - 1, min(len(places), PICTURES)).round())
    shown = kept.astype(np.int64)
    between = min(between, (PICTURES - len(shown)) // max(1, len(shown) - 1))
    some = np.arange(places.shape[1])
    if len(some) > CELLS:
        some = np.sort(rng(0, "drawn cells").permutation(len(some))[:CELLS])
    drawn: list[tuple[str, Float[np.ndarray, "n 2"]]] = []
    for one, other in pairwise(shown):
        for part in range(between + 1):
            share = part / (between + 1)
            moved = (1 - share) * places[one][some] + share * places[other][some]
            drawn.append((titles[one if share < 0.5 else other], moved))
    drawn.append((titles[shown[-1]], places[shown[-1]][some]))
    texts = np.array([str(label) for label in labels])
    pictures = _drawn(drawn, _groups(texts, some), side)
    each = max(20, round(1000 * seconds / (between + 1)))
    lasts = [each] * (len(pictures) - 1) + [round(1000 * max(2.0, seconds))]
    first, *rest = pictures
    save = partial(
        first.save, format="GIF", save_all=True, append_images=rest, duration=lasts, loop=0
    )
    write_whole(path, save)
    return len(pictures)


def _components(frame: Float[np.ndarray, "n f"]) -> Float32[np.ndarray, "n 2"]:
    """The first two principal components of the z-scored features that vary."""
    wrong = ~np.isfinite(frame).all(1)
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(frame)} cells have undefined features (the first is "
            f"number {int(wrong.argmax())})"
        )
    varying = frame.max(0) > frame.min(0)
    if min(int(varying.sum()), len(frame)) < 2:
        raise DataError(
            f"{int(varying.sum())} of {frame.shape[1]} features differ between {len(frame)} cells; "
            f"a plane needs 2"
        )
    kept = frame[:, varying].astype(np.float64)
    left, sizes, _ = np.linalg.svd((kept - kept.mean(0)) / kept.std(0), full_matrices=False)
    plane: np.ndarray = (left[:, :2] * sizes[:2]).astype(np.float32)
    return plane


Group = tuple[str, str, str, Integer[np.ndarray, " _"]]
"""Label, colour, mark, and which of the drawn cells."""


def _groups(texts: np.ndarray, some: Integer[np.ndarray, " _"]) -> list[Group]:
    """Labels by name, the most frequent where there are too many, and the rest behind them."""
    names, counts = np.unique(texts, return_counts=True)
    often = np.sort(np.lexsort((names, -counts))[:LABELS])
    found: list[Group] = []
    rest = np.flatnonzero(~np.isin(texts[some], names[often]))
    if len(names) > len(often):
        found.append((f"{len(names) - len(often)} others", REST, ".", rest))
    for i, name in enumerate(names[often]):
        mark = (COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)])
        found.append((str(name), *mark, np.flatnonzero(texts[some] == name)))
    return found


def _drawn(
    frames: Sequence[tuple[str, Float[np.ndarray, "n 2"]]],
    groups: Sequence[Group],
    side: int,
) -> list[Any]:
    """The pictures, with the colours of the first; only the points and the title change."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(side / 100, side / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.03, 0.2, 0.94, 0.72))
    everywhere = np.concatenate([frame for _, frame in frames])
    low, high = everywhere.min(0), everywhere.max(0)
    middle, reach = (low + high) / 2, max(0.53 * float((high - low).max()), 1e-6)
    axes.set_xlim(middle[0] - reach * 0.94 / 0.72, middle[0] + reach * 0.94 / 0.72)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    size = float(np.clip(4000 / len(frames[0][1]), 4, 36)) * side / 480
    points = [
        axes.scatter([], [], s=size, c=colour, marker=mark, linewidths=0)
        for _, colour, mark, _ in groups
    ]
    scale = side / 480
    title = axes.set_title("", fontsize=11 * scale)
    title.set_parse_math(False)
    legend = figure.legend(
        points, [str(i) for i in range(len(groups))], loc="lower center", ncols=min(len(groups), 4),
        fontsize=7 * scale, frameon=False, handletextpad=0.1, labelspacing=0.3, columnspacing=1.0,
    )  # fmt: skip
    for text, (label, _, _, _) in zip(legend.get_texts(), groups, strict=True):
        text.set_parse_math(False)  # a name may hold a dollar, or begin with what hides it
        text.set_text(label if len(label) <= 16 else f"{label[:7]}…{label[-8:]}")
    pictures: list[Any] = []
    for name, frame in frames:
        title.set_text(name)
        for point, (_, _, _, of) in zip(points, groups, strict=True):
            point.set_offsets(frame[of])
        canvas.draw()
        seen = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
        palette = {"palette": pictures[0]} if pictures else {"colors": 128}
        pictures.append(seen.quantize(dither=Image.Dither.NONE, **palette))
    return pictures


def _check(
    path: Path,
    places: Float[np.ndarray, "e n 2"],
    labels: Sequence[str],
    titles: Sequence[str],
    between: int,
    seconds: float,
    side: int,
) -> None:
    if path.suffix != ".gif":
        raise UsageError(f"{path} is no name of an animation; it ends with .gif")
    if not places.size or not np.isfinite(places).all():
        raise DataError(f"places of shape {places.shape} hold none, or some that are no numbers")
    if len(labels) != places.shape[1] or len(titles) != len(places):
        raise UsageError(
            f"{len(labels)} labels and {len(titles)} titles for {places.shape[1]} cells in "
            f"{len(places)} epochs; give one for each"
        )
    if between < 0 or not 0 < seconds <= 60 or not SIDES[0] <= side <= SIDES[1]:
        raise UsageError(
            f"between={between}, seconds={seconds} and side={side}; from 0, up to 60 and from "
            f"{SIDES[0]} to {SIDES[1]}"
        )
