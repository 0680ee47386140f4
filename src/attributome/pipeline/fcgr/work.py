"""What every verb on pairs works with: the job, the pairs, the run's folder, the device.

A section of the job binds once something has been made of it: another network may be asked for
after an audit, but not after a training. What binds and is asked differently is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from attributome import __version__
from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.files import digest, read_json
from attributome.core.types import Progress
from attributome.pipeline.fcgr.checking import check
from attributome.pipeline.fcgr.job import FcgrJob, PairData
from attributome.pipeline.fcgr.tables import write_csv, write_table
from attributome.pipeline.settling import asked_before, settle
from attributome.pipeline.work import Bars, quiet, timed, unheard
from attributome.sequence.pairs.reading import Columns, Read, read_pairs
from attributome.sequence.pairs.splits import split_pairs
from attributome.store import Run

NETWORK = "network"
_EXPLAINED = "parts/explain"
_READ = ("audit.json", "evaluation.json", NETWORK, _EXPLAINED)
MADE: dict[str, tuple[str, ...]] = {
    "name": (),
    "seed": _READ,
    "data": _READ,
    "network": ("evaluation.json", NETWORK, _EXPLAINED),
    "train": (NETWORK,),
    "evaluate": ("evaluation.json",),
    "explain": (_EXPLAINED,),
    "motifs": ("motifs.json",),
    "compare": ("contrasts.parquet",),
}
"""What shows that a key of the job has been used, so that it binds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairWork:
    """A job on pairs under way. Verbs take it and add to its run."""

    job: FcgrJob
    run: Run
    pairs: pd.DataFrame
    splits: dict[str, list[str]]
    compute: Compute
    bars: Bars = quiet
    tell: Callable[[str], None] = unheard

    def part(self, name: str) -> pd.DataFrame:
        """The pairs of a part in the order of the table; `all` is every pair."""
        if name == "all":
            return self.pairs
        return self.pairs[self.pairs["id"].isin(self.splits[name])].reset_index(drop=True)

    @contextmanager
    def timed(self, stage: str) -> Iterator[Progress]:
        """The progress of a stage, whose seconds the run keeps."""
        with timed(self.run, self.bars, stage) as progress:
            yield progress


def begin(
    job: FcgrJob,
    out: Path,
    *,
    compute: Compute,
    bars: Bars = quiet,
    tell: Callable[[str], None] = unheard,
) -> PairWork:
    """Read the pairs and open the run; a run that was asked for other things is refused.

    A run that holds the pairs of this very job is gone on from without reading them again, even
    where their file has gone.
    """
    check(job)
    before = asked_before(out)
    held = _holds(out, before, job)
    sha256 = before["data"]["sha256"] if held else source_mark(job.data)
    read = None if held else read_job_pairs(job.data)
    splits = read_json(out / "splits.json") if read is None else _split(job, read.pairs)
    counts = before["data"] if read is None else {**counted(read), "sha256": sha256}
    asked = {
        "attributome": __version__,
        "job": job.model_dump(mode="json"),
        "data": counts,
        "network": {"sha256": digest_of(Path(job.network.source)) if job.network.source else None},
    }
    if settle(out, asked, MADE):
        (out / "splits.json").unlink(missing_ok=True)
    run = Run.begin(out, asked)
    if read is not None:
        write_table(out / "pairs.parquet", read.pairs)
        write_rejected(out, read, tell)
        run.save("splits", splits)  # comes last: a run with its splits has its pairs
    pairs = pd.read_parquet(out / "pairs.parquet")
    return PairWork(
        job=job, run=run, pairs=pairs, splits=splits, compute=compute, bars=bars, tell=tell
    )


def read_job_pairs(data: PairData) -> Read:
    """The pairs that a job names, and the rows that cannot be used."""
    columns = Columns(
        mirna=data.mirna_column,
        site=data.site_column,
        label=data.label_column,
        id=data.id_column,
        family=data.family_column,
        split=data.split_column,
    )
    sites = Path(data.sites) if data.sites else None
    return read_pairs(Path(data.source), columns, k=data.k, unknown=data.unknown, site_fasta=sites)


def counted(read: Read) -> dict[str, int]:
    """How many rows there are, and how many of them are left out."""
    return {"rows": len(read.pairs) + len(read.rejected), "rejected": len(read.rejected)}


def source_mark(data: PairData) -> str:
    """SHA-256 of the files that the pairs come from."""
    paths = [Path(name) for name in (data.source, data.sites) if name]
    if absent := [str(path) for path in paths if not path.is_file()]:
        raise DataError(f"there is no file {absent[0]}: give a CSV, TSV, Parquet or FASTA file")
    return digest(*paths)


def digest_of(source: Path) -> str:
    """SHA-256 of a checkpoint, or of the weights in a folder of a network."""
    path = source / "weights.safetensors" if source.is_dir() else source
    if not path.is_file():
        raise DataError(f"there is no network {source}: give a folder of one, or a checkpoint")
    return digest(path)


def write_rejected(out: Path, read: Read, tell: Callable[[str], None]) -> int:
    """List the rows that are left out, each with its reason, and say how many there are."""
    path, count = out / "rejected.csv", len(read.rejected)
    write_csv(path, read.rejected)
    if count:
        rows = counted(read)["rows"]
        tell(f"{count} of {rows} rows cannot be used and are left out; {path} lists them")
    return count


def _split(job: FcgrJob, pairs: pd.DataFrame) -> dict[str, list[str]]:
    if job.data.split == "none":
        return {"train": [], "validate": [], "test": pairs["id"].tolist()}
    shares = {str(part): share for part, share in job.data.shares.items()}
    return split_pairs(pairs, job.data.split, shares=shares, seed=job.seed)


def _holds(out: Path, before: Mapping[str, Any], job: FcgrJob) -> bool:
    """Whether the run has the pairs and splits of this job; its file may have gone since."""
    if not before or not (out / "splits.json").is_file():
        return False
    now = job.model_dump(mode="json")
    if any(before["job"].get(key) != now[key] for key in ("seed", "data")):
        return False
    gone = not Path(job.data.source).is_file()
    return gone or bool(before["data"]["sha256"] == source_mark(job.data))
