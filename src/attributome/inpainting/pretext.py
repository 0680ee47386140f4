"""How well an inpainter predicts the cells it is asked about, beside what learns nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text, write_whole
from attributome.core.probe import in_chunks, still
from attributome.core.seeds import seed_of
from attributome.inpainting.cells import Cells
from attributome.inpainting.feeding import Pairs, Rows, images_of
from attributome.inpainting.losses import LOSSES, Loss
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pairs import Lonely, partners

TRIVIAL = ("copy_marker", "mean", "zeros")
CHUNK = 256


def pretext_errors(
    net: Inpainter,
    cells: Cells,
    rows: Rows,
    *,
    seed: int,
    compute: Compute | None = None,
    batch: int = CHUNK,
    lonely: Lonely = "refuse",
) -> pd.DataFrame:
    """Squared error of each of the fixed pairs of `rows`, and of predictors that learn nothing.

    One pair per row: ids of `source` and `target`, the target's `group` and `field`, and means over
    its pixels and target channels of the squared errors of the network (`mse`), of the target's
    marker (`copy_marker`; of several, the best for each target channel over all pairs), of the best
    constant of each channel over all pairs (`mean`) and of `zeros`. `seed` decides the pairs,
    as that of `fit_inpainter` does: the rows of its validation part give its `val_mse`.
    """
    if compute is None:
        compute = Compute(device=str(next(net.parameters()).device))
    else:
        compute.place(net, 2)
    need_fit(net, cells)
    pairs = fixed_pairs(cells, rows, seed, lonely)
    table = cells.table
    found = pd.DataFrame(
        {
            "source": table["id"].to_numpy()[pairs[0]],
            "target": table["id"].to_numpy()[pairs[1]],
            "group": table["group"].to_numpy()[pairs[1]],
            "field": table["field"].to_numpy()[pairs[1]],
        }
    )
    errors = errors_of(net, cells, pairs, compute=compute, loss=LOSSES["mse"], batch=batch)
    found["mse"] = errors[:, 0]
    found[list(TRIVIAL)] = trivial_errors(cells, pairs)
    return found


def pretext_mse(
    net: Inpainter,
    cells: Cells,
    rows: Rows,
    *,
    seed: int,
    compute: Compute | None = None,
    batch: int = CHUNK,
    lonely: Lonely = "refuse",
) -> dict[str, float]:
    """Means of `pretext_errors` over the pairs, with how many `pairs` of how many `fields`."""
    table = pretext_errors(net, cells, rows, seed=seed, compute=compute, batch=batch, lonely=lonely)
    counts = {"pairs": float(len(table)), "fields": float(table["field"].nunique())}
    return counts | {name: float(table[name].mean()) for name in ("mse", *TRIVIAL)}


def fixed_pairs(cells: Cells, rows: Rows, seed: int, lonely: Lonely) -> Pairs:
    """One partner for each row, within the rows, whoever asks and when."""
    groups = cells.table["group"].to_numpy()[rows]
    at = partners(groups, seed=seed_of(seed, "validate"), epoch=0, lonely=lonely)
    return rows[at[0]], rows[at[1]]


def errors_of(
    net: Inpainter,
    cells: Cells,
    pairs: Pairs,
    *,
    compute: Compute,
    loss: Loss,
    batch: int = CHUNK,
) -> Float64[np.ndarray, "_ 2"]:
    """Squared error of each pair, and its loss."""

    def work(some: slice) -> Tensor:
        source, marker, truth = (
            compute.move(each) for each in images_of(cells, (pairs[0][some], pairs[1][some]))
        )
        out = net(source, marker).float()
        squared: Tensor = (out - truth).double().square().mean((1, 2, 3))
        if loss is LOSSES["mse"]:
            return squared[:, None].expand(-1, 2)
        each = [loss(out[i : i + 1], truth[i : i + 1]).double() for i in range(len(out))]
        return torch.stack([squared, torch.stack(each)], 1)

    with still(net), torch.no_grad(), compute.autocast():
        found = in_chunks(work, len(pairs[0]), batch)
    return torch.cat(found).cpu().numpy() if found else np.empty((0, 2))


def predicted(
    net: Inpainter, cells: Cells, pairs: Pairs, compute: Compute
) -> Float32[np.ndarray, "_ t h w"]:
    """What the network shows for each pair."""
    source, marker, _ = (compute.move(each) for each in images_of(cells, pairs))
    with still(net), torch.no_grad(), compute.autocast():
        out: np.ndarray = net(source, marker).float().contiguous().cpu().numpy()
    return out


def trivial_errors(cells: Cells, pairs: Pairs) -> Float64[np.ndarray, "_ 3"]:
    """Squared errors of each pair for the three predictors that learn nothing."""
    copies, means, squares = [], [], []
    for start in range(0, len(pairs[1]), CHUNK):
        rows = pairs[1][start : start + CHUNK]
        truth, marker = cells.target(rows).astype(float), cells.marker(rows).astype(float)
        each = [((truth - marker[:, [m]]) ** 2).mean((2, 3)) for m in range(marker.shape[1])]
        copies.append(np.stack(each, 2))
        means.append(truth.mean((2, 3)))
        squares.append((truth**2).mean((2, 3)))
    copy, mean, square = (np.concatenate(parts) for parts in (copies, means, squares))
    best = copy.mean(0).argmin(1)
    copied = np.take_along_axis(copy, best[None, :, None], 2)[..., 0].mean(1)
    level = mean.mean(0)
    constant = (square - 2 * level * mean + level**2).mean(1)
    return np.stack([copied, constant, square.mean(1)], 1)


def examples_of(cells: Cells, pairs: Pairs, count: int) -> Pairs:
    """The first pairs, one of each group before a second of any."""
    group = pd.Series(cells.table["group"].to_numpy()[pairs[0]])
    first = np.argsort(group.groupby(group).cumcount().to_numpy(), kind="stable")[:count]
    return pairs[0][first], pairs[1][first]


def write_examples(folder: Path, cells: Cells, pairs: Pairs, name: str, drawn: np.ndarray) -> None:
    """Write pairs and their prediction; only now is it sure that the folder is this training's."""
    truth = [each.numpy() for each in images_of(cells, pairs)]
    for title, array in zip(("source", "marker", "truth", name), (*truth, drawn), strict=True):
        _write(folder / f"{title}.npy", array)
    ids = cells.table["id"].to_numpy()
    table = pd.DataFrame({"source": ids[pairs[0]], "target": ids[pairs[1]]})
    write_text(folder / "pairs.csv", table.to_csv(index=False))


def _write(path: Path, array: np.ndarray) -> None:
    write_whole(path, lambda part: np.save(part, array))


def need_fit(net: Inpainter, cells: Cells) -> None:
    """Refuse cells that are not what the network takes."""
    if (net.targets, net.markers) != (len(cells.targets), len(cells.markers)):
        raise UsageError(
            f"the network predicts {net.targets} channels beside {net.markers} markers; the cells "
            f"have {len(cells.targets)} targets ({', '.join(cells.targets)}) and "
            f"{len(cells.markers)} markers ({', '.join(cells.markers)})"
        )
    if cells.size[0] % 4 or cells.size[1] % 4:
        raise DataError(f"crops of {cells.size} pixels; both sizes must be divisible by 4")
