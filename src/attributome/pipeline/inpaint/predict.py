"""The verb that predicts pairs: errors of all of them, and images of some for a person."""

from pathlib import Path

import numpy as np

from attributome.core.files import write_whole
from attributome.inpainting.feeding import images_of
from attributome.inpainting.pretext import fixed_pairs, predicted
from attributome.pipeline.inpaint.network import network
from attributome.pipeline.inpaint.prepare import prepare
from attributome.pipeline.inpaint.pretext import errors
from attributome.pipeline.inpaint.work import PAIRS, CellWork


def predict(work: CellWork) -> Path:
    """Write the pairs of the job's part with their errors, and images of the first of them.

    Pairs stand one of each group before a second of any, so that the first rows of the table are
    those with images.
    """
    table = work.run.root / PAIRS
    if table.is_file():
        return table
    cells, asked = prepare(work), work.job.predict
    net, _ = network(work, cells)
    with work.timed("predict") as progress:
        progress(0.0, "errors of all pairs")
        found = errors(work, net, cells, asked.part)
        rows = work.rows(cells, asked.part)
        pairs = fixed_pairs(cells, rows, work.job.seed, work.job.data.lonely)
        turn = found.groupby("group").cumcount().to_numpy()
        order = np.argsort(turn, kind="stable")
        first = order[: asked.pairs]
        shown = (pairs[0][first], pairs[1][first])
        progress(0.5, f"images of {len(first)} pairs")
        source, marker, truth = (each.numpy() for each in images_of(cells, shown))
        arrays = {
            "source": source,
            "marker": marker,
            "truth": truth,
            "prediction": predicted(net, cells, shown, work.compute),
        }
        for name, array in arrays.items():
            _save(table.with_name(f"{name}.npy"), array)
        ordered = found.iloc[order].reset_index(drop=True)
        write_whole(table, lambda part: ordered.to_parquet(part, index=False))
        progress(1.0, f"{len(found)} pairs are predicted")
    return table


def _save(path: Path, array: np.ndarray) -> None:
    plain = np.ascontiguousarray(array, np.float32)
    write_whole(path, lambda part: np.save(part, plain))
