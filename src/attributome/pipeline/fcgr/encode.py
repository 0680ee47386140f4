"""The verb that turns sequences into images on disk, for use elsewhere."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from attributome import __version__
from attributome.core.errors import UsageError
from attributome.core.files import digest, write_whole
from attributome.core.types import Progress, silent
from attributome.pipeline.fcgr.job import FcgrJob, PairData
from attributome.pipeline.fcgr.tables import write_table
from attributome.pipeline.fcgr.work import read_job_pairs, source_mark, write_rejected
from attributome.pipeline.work import unheard
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import fcgr, kmers, windows
from attributome.sequence.pairs.reading import Read, read_sequences
from attributome.sequence.pairs.sources import FASTA, format_of
from attributome.store import Run

Form = Literal["npy", "parquet"]
BLOCK = 4096


def encode(
    job: FcgrJob,
    out: Path,
    *,
    form: Form = "npy",
    progress: Progress = silent,
    tell: Callable[[str], None] = unheard,
) -> Path:
    """Write the images of every usable sequence, what they are, and what was left out.

    `npy`: float32 images `(n, 1, 2^k, 2^k)`, one file per branch. `parquet`: one row per sequence
    and k-mer that it holds (id, branch, kmer, count, share), which is far smaller. One FASTA
    file alone has one branch, `sequence`. Returns the manifest.
    """
    if not job.data.source:
        raise UsageError("no sequences are named: give --data FILE")
    data, k = job.data, job.data.k
    asked = {
        "attributome": __version__,
        "encode": {"data": data.model_dump(mode="json"), "form": form},
        "data": {"sha256": source_mark(data)},
    }
    read, branches = _sequences(data)
    table = read.pairs
    run = Run.begin(out, asked)
    rejected = write_rejected(out, read, tell)
    write_table(out / "sequences.parquet", table)
    done = list(_written(out, table, branches, k, form, progress))
    run.save(
        "manifest",
        {
            **asked,
            "k": k,
            "rows": len(table),
            "rejected": rejected,
            "pixel": "row * 2^k + column; A top left, C top right, G bottom right, T bottom left",
            "value": "count / (L - k + 1)",
            "files": {path.name: {"sha256": digest(path), **facts} for path, facts in done},
        },
    )
    progress(1.0, f"{len(table)} rows encoded")
    return out / "manifest.json"


def _sequences(data: PairData) -> tuple[Read, tuple[str, ...]]:
    """What can be encoded and what cannot; one FASTA file without another is no pairs."""
    source = Path(data.source)
    if data.sites or format_of(source) not in FASTA:
        return read_job_pairs(data), ("mirna", "site")
    return read_sequences(source, k=data.k, unknown=data.unknown), ("sequence",)


def _written(
    out: Path,
    table: pd.DataFrame,
    branches: tuple[str, ...],
    k: int,
    form: Form,
    progress: Progress,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    if form == "parquet":
        counts = pd.concat([_counts(table, branch, k) for branch in branches], ignore_index=True)
        write_table(out / "counts.parquet", counts)
        yield out / "counts.parquet", {"rows": len(counts)}
        return
    size = 1 << k
    for number, branch in enumerate(branches):
        path, shape = out / f"{branch}.npy", (len(table), 1, size, size)
        texts = table[branch].tolist()

        def fill(part: Path, texts: list[str] = texts, number: int = number) -> None:
            images = np.lib.format.open_memmap(part, "w+", np.float32, (len(texts), 1, size, size))
            for start in range(0, len(texts), BLOCK):
                block = texts[start : start + BLOCK]
                images[start : start + len(block)] = fcgr(strands(block), k)
                share = (number + (start + len(block)) / len(texts)) / len(branches)
                progress(min(share, 0.999), f"{start + len(block)} of {len(texts)}")
            images.flush()

        write_whole(path, fill)
        yield path, {"shape": list(shape), "dtype": "float32"}


def _counts(table: pd.DataFrame, branch: str, k: int) -> pd.DataFrame:
    """Each k-mer of each sequence and how often it stands there, in the order of the table."""
    batch = strands(table[branch].tolist())
    at = windows(batch, k)
    row, start = np.nonzero(at >= 0)
    cells, counts = np.unique(row * 4**k + at[row, start], return_counts=True)
    rows, pixels = np.divmod(cells, 4**k)
    names = np.array(kmers(k))
    total = np.maximum(batch.lengths - k + 1, 1)[rows]
    return pd.DataFrame(
        {
            "id": table["id"].to_numpy()[rows],
            "branch": branch,
            "kmer": names[pixels],
            "pixel": pixels.astype(np.int32),
            "count": counts.astype(np.int32),
            "share": (counts / total).astype(np.float32),
        }
    )
