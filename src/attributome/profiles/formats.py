"""Files of features: Parquet, the published text format, AnnData.

Blocks of features are tables whose columns are `Metadata_<name>` (what is known of each cell) and
float32 features; they are written as they come, so that a file may be larger than memory.
"""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_whole

METADATA = "Metadata_"
MASK_SHARE = "Metadata_mask_share"
ABOUT = b"attributome"
"""The key in the schema of a Parquet file under which it is said where the features come from."""


def metadata(table: pd.DataFrame) -> pd.DataFrame:
    """A cell table with the prefix by which profiling tools know what is no feature."""
    names = [str(n) if str(n).startswith(METADATA) else f"{METADATA}{n}" for n in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two columns of the cell table would be called {twice}; rename one")
    return table.set_axis(names, axis=1).reset_index(drop=True)


def feature_names(block: pd.DataFrame, start: str = "") -> list[str]:
    """The columns that are features, or those of them that begin with `start`."""
    names = [n for n in block.columns if not n.startswith(METADATA) and n.startswith(start)]
    if not names:
        what = f"that begin with {start!r} " if start else ""
        raise UsageError(f"there are no features {what}among {len(block.columns)} columns")
    return names


def values(block: pd.DataFrame, start: str = "") -> Float[np.ndarray, "n f"]:
    """The features of a block as an array, or those that begin with `start`."""
    array: np.ndarray = block[feature_names(block, start)].to_numpy()
    return array


def write_parquet(
    path: Path, blocks: Iterable[pd.DataFrame], about: Mapping[str, Any] | None = None
) -> int:
    """Write blocks as one Parquet file, whole or not at all; the number of cells.

    `about` holds plain values, such as the SHA-256 of the weights; `read_about` gives them back. A
    column has the type that it has in the first block (text where that block says nothing).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    said = _json(about or {})
    rest = iter(blocks)
    first = _first(rest, path)

    def write(part: Path) -> int:
        schema = pa.Schema.from_pandas(first, preserve_index=False)
        for i, column in enumerate(schema):
            if pa.types.is_null(column.type):
                schema = schema.set(i, column.with_type(pa.string()))
        schema = schema.with_metadata({**(schema.metadata or {}), ABOUT: said.encode()})
        count = 0
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for block in _alike(first, rest):
                writer.write_table(pa.Table.from_pandas(block, schema, preserve_index=False))
                count += len(block)
        return count

    return _whole(path, write)


def read_blocks(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """The blocks of a Parquet file as they were written, or some columns of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            lost = [name for name in columns or () if name not in file.schema_arrow.names]
            if lost:
                raise UsageError(f"{path} has no column {lost[0]!r}")
            for i in range(file.num_row_groups):
                yield file.read_row_group(i, columns).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_about(path: Path) -> dict[str, Any]:
    """What a Parquet file of features says about where they come from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        said = (pq.read_schema(path).metadata or {}).get(ABOUT)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if said is None:
        raise DataError(f"{path} does not say where its features come from; it was made elsewhere")
    told: dict[str, Any] = json.loads(said)
    return told


def write_original(
    path: Path, blocks: Iterable[pd.DataFrame], *, start: str, name: str = "Metadata_id"
) -> int:
    """Write the features that begin with `start` as published; the number of cells.

    A line is the cell's name, its values and a TAB behind each of them; there is no header. One
    file holds one layer and pool, such as `start="conv3_1_max_"`. Values are the shortest texts
    that give the same float32 back.
    """
    rest = iter(blocks)
    first = _first(rest, path)
    if name not in first:
        raise UsageError(f"no column {name!r} to name cells by; there is {_listed(first)}")

    def write(part: Path) -> int:
        count = 0
        with part.open("w", encoding="utf-8", newline="\n") as file:
            for block in _alike(first, rest):
                texts = values(block, start).astype(np.float32).astype(str)
                for cell, row in zip(block[name].astype(str), texts, strict=True):
                    if len(cell.split("\t")) > 1 or len(cell.splitlines()) != 1:
                        raise DataError(f"the name {cell!r} would not fit on a TAB-separated line")
                    file.write("\t".join([cell, *row, "\n"]))
                count += len(block)
        return count

    feature_names(first, start)
    return _whole(path, write)


def read_original(path: Path, start: str) -> pd.DataFrame:
    """Features in the published text format, with names `<start>000` on and `Metadata_id`."""
    ids: list[str] = []
    rows: list[np.ndarray] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                cell, *texts = line.removesuffix("\n").split("\t")
                if texts and not texts[-1]:  # the TAB that every line ends with
                    texts.pop()
                if not cell or not texts or (rows and len(texts) != len(rows[0])):
                    raise DataError(
                        f"line {number} of {path} has the name {cell!r} and {len(texts)} values; "
                        f"each line needs a name and as many values as the first"
                    )
                try:
                    rows.append(np.array(texts, np.float32))
                except ValueError as error:
                    raise DataError(f"line {number} of {path}: {error}") from error
                ids.append(cell)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not rows:
        raise DataError(f"{path} has no cells")
    digits = max(3, len(str(len(rows[0]) - 1)))
    names = [f"{start}{i:0{digits}d}" for i in range(len(rows[0]))]
    return pd.concat(
        [pd.DataFrame({"Metadata_id": ids}), pd.DataFrame(np.stack(rows), columns=names)], axis=1
    )


def write_anndata(
    path: Path, blocks: Iterable[pd.DataFrame], about: Mapping[str, Any] | None = None
) -> int:
    """Write blocks as one `.h5ad` file, which needs all of them in memory; the number of cells.

    Cells are called by `Metadata_id`; the rest of the metadata is in `obs` without its prefix, and
    `about` in `uns["attributome"]`, as JSON.
    """
    try:
        anndata = importlib.import_module("anndata")
    except ImportError as error:
        raise UsageError(
            "AnnData files need the package anndata: install attributome[anndata], or ask for "
            "Parquet"
        ) from error
    said = _json(about or {})
    rest = iter(blocks)
    first = _first(rest, path)
    whole = pd.concat(list(_alike(first, rest)), ignore_index=True)
    known = whole[[name for name in whole.columns if name.startswith(METADATA)]]
    if "Metadata_id" not in known:
        raise UsageError(f"no column 'Metadata_id' to name cells by; there is {_listed(whole)}")
    obs = known.rename(columns=lambda n: n.removeprefix(METADATA)).set_index("id")
    data = anndata.AnnData(
        X=values(whole),
        obs=obs,
        var=pd.DataFrame(index=feature_names(whole)),
        uns={"attributome": said},
    )
    return _whole(path, lambda part: (data.write_h5ad(part), len(whole))[1])


def _first(blocks: Iterator[pd.DataFrame], path: Path) -> pd.DataFrame:
    first = next(blocks, None)
    if first is None:
        raise DataError(f"there are no features to write to {path}")
    return first


def _alike(first: pd.DataFrame, rest: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    yield first
    for block in rest:
        if list(block.columns) != list(first.columns):
            raise DataError(
                f"a block of features has other columns than the first: {_listed(block)}, and not "
                f"{_listed(first)}"
            )
        yield block


def _listed(block: pd.DataFrame) -> str:
    names = [str(name) for name in block.columns]
    return ", ".join(names if len(names) < 6 else [*names[:4], "…", names[-1]])


def _json(about: Mapping[str, Any]) -> str:
    try:
        return json.dumps({**about}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"what is said about features must be plain values: {error}") from error


def _whole(path: Path, write: Any) -> int:
    counts: list[int] = []
    try:
        write_whole(path, lambda part: counts.append(write(part)))
    except (DataError, UsageError):
        raise
    except (TypeError, ValueError) as error:  # pyarrow and h5py derive theirs from these
        raise DataError(f"cannot write {path}: {error}") from error
    return counts[0]
