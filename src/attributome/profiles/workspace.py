"""Features in the folders of the Cell Painting Gallery, `workspace_dl`, as JUMP publishes them.

    <root>/workspace_dl/embeddings/<network>/<batch>/<plate>/<well>-<site>/embedding.parquet
    <root>/workspace_dl/profiles/<network>/<batch>/<plate>/<plate>.parquet

`<root>` is `<project>/<source>`, such as `cpg0016-jump/source_4`; `<network>` names the network and
ends with a hash of its weights. So says the gallery's documentation (data_structure.md of
broadinstitute/cellpainting-gallery, "workspace_dl", which calls itself work in progress), and so
JUMP's embeddings lie. There, sites are often written with two digits (`A01-01`); here a site is
written as it is given. DeepProfiler's files lie in `<well>/<site>/`, and some of JUMP's in
`<well>/`; both are found when reading. What columns such a file has is not documented: here they
are `Metadata_*` and features, as everywhere.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, Refusal, UsageError
from attributome.core.files import make_folder
from attributome.profiles.formats import feature_names, read_blocks, write_parquet

PLACE = ("Metadata_plate", "Metadata_well", "Metadata_site")
EMBEDDING = "embedding.parquet"


def write_workspace(
    root: Path,
    batch: str,
    blocks: Iterable[pd.DataFrame],
    *,
    network: str,
    about: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write single-cell features as one file for each site; the paths, in order of first cells.

    Blocks have `Metadata_plate`, `Metadata_well`, `Metadata_site` and features. Cells of a site may
    be spread over blocks: one site is held at a time, those that come back are read again. All is
    written in a hidden folder first, and each file then moved to its place, where it replaces an
    earlier one. `about` is what `formats.read_about` gives back.

    Names that would lead out of their folder, begin with a dot, or (well and site) hold the dash
    between them are refused: `UsageError` for batch and network, `DataError` for what a table says.
    """
    home = _home(root, "embeddings", network)
    name = _name(batch, "batch", UsageError)
    make_folder(home)
    stage = Path(tempfile.mkdtemp(dir=home, prefix=".workspace-"))
    try:
        made: dict[Path, None] = {}
        held: tuple[Path, list[pd.DataFrame]] | None = None
        for block in blocks:
            for place, rows in _sites(block):
                if held is None or held[0] != place:
                    _put(stage, held, about)
                    earlier = [*read_blocks(stage / place)] if place in made else []
                    held = (place, earlier)
                    made[place] = None
                held[1].append(rows)
        _put(stage, held, about)
        if not made:
            raise DataError("there are no features to write")
        for place in made:
            _move(stage / place, home / name / place)
    finally:
        shutil.rmtree(stage)
    return [home / name / place for place in made]


def write_workspace_profiles(
    root: Path,
    batch: str,
    wells: pd.DataFrame,
    *,
    network: str,
    about: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write profiles of wells as one file for each `Metadata_plate`, each whole or not at all."""
    home = _home(root, "profiles", network) / _name(batch, "batch", UsageError)
    if PLACE[0] not in wells:
        raise UsageError(f"no column {PLACE[0]!r} to tell plates by")
    plates = {_name(p, "plate", DataError): p for p in pd.unique(wells[PLACE[0]])}
    if not plates or len(plates) < wells[PLACE[0]].nunique():
        raise DataError(f"{len(plates)} names for the plates of {len(wells)} wells")
    paths = []
    for name, plate in plates.items():
        paths.append(home / name / f"{name}.parquet")
        write_parquet(paths[-1], [wells[wells[PLACE[0]] == plate]], about)
    return paths


def read_workspace(
    root: Path, batch: str, *, network: str, plates: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:
    """The table of each site of a batch, by plate and name, or those of some `plates`.

    Of files from elsewhere that do not say so, plate, well and site are added from the path; the
    site is a text then, or missing where a file is of a whole well.
    """
    home = _home(root, "embeddings", network) / _name(batch, "batch", UsageError)
    names = sorted(path.name for path in home.glob("[!.]*") if path.is_dir())
    if not names:
        raise DataError(f"{home} has no plates")
    for plate in plates or ():
        if plate not in names:
            raise UsageError(f"no plate {plate!r} in {home}; there are {', '.join(names)}")
    found = [
        path
        for name in names
        if plates is None or name in plates
        for pattern in (f"*/{EMBEDDING}", f"*/*/{EMBEDDING}")
        for path in sorted((home / name).glob(pattern))
    ]
    if not found:
        raise DataError(f"the plates of {home} have no {EMBEDDING}")
    return (_read(home, path) for path in found)


def _sites(block: pd.DataFrame) -> Iterator[tuple[Path, pd.DataFrame]]:
    """The rows of each site of a block, in the order of their first cells."""
    if lost := [name for name in PLACE if name not in block]:
        raise UsageError(f"no column {lost[0]!r}; features go to the folder of plate, well, site")
    feature_names(block)
    codes = block.groupby([*PLACE], sort=False, dropna=False).ngroup().to_numpy()
    for code in pd.unique(codes):
        rows = block[codes == code].reset_index(drop=True)
        said = [_name(rows[name].iloc[0], name[9:], DataError) for name in PLACE]
        for text, what in zip(said[1:], ("well", "site"), strict=True):
            if "-" in text:
                raise DataError(
                    f"the {what} {text!r} holds a dash, which stands between well and site in the "
                    f"name of a folder; write it otherwise"
                )
        yield Path(said[0]) / f"{said[1]}-{said[2]}" / EMBEDDING, rows


def _put(
    stage: Path, held: tuple[Path, list[pd.DataFrame]] | None, about: Mapping[str, Any] | None
) -> None:
    if held is not None:
        place, parts = held
        write_parquet(stage / place, [pd.concat(parts, ignore_index=True)], about)


def _move(source: Path, place: Path) -> None:
    make_folder(place.parent)
    try:
        source.replace(place)
    except OSError as error:
        raise DataError(f"cannot write {place}: {error.strerror or error}") from error


def _read(home: Path, path: Path) -> pd.DataFrame:
    table = pd.concat([*read_blocks(path)], ignore_index=True)
    plate, *rest = path.relative_to(home).parent.parts
    well, *site = rest if len(rest) == 2 else rest[0].rsplit("-", 1)
    said = dict(zip(PLACE, (plate, well, site[0] if site else None), strict=True))
    added = {name: value for name, value in said.items() if name not in table}
    front = pd.DataFrame({name: [value] * len(table) for name, value in added.items()})
    return pd.concat([front, table], axis=1)


def _home(root: Path, kind: str, network: str) -> Path:
    return root / "workspace_dl" / kind / _name(network, "network", UsageError)


def _name(value: object, what: str, refusal: type[Refusal]) -> str:
    """A text or whole number as the name of one folder, which stays in the folder it is made in."""
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
        raise refusal(f"the {what} {value!r} is no name; it is a text or a whole number")
    text = str(value)
    outside = any(mark in text for mark in '/\\:*?"<>|') or not text.isprintable()
    if not text or text != text.strip() or text.startswith(".") or outside or len(text) > 200:
        raise refusal(
            f"the {what} {text!r} cannot name a folder: it has 1 to 200 characters, none of "
            f'/\\:*?"<>|, no dot in front and no space at an end'
        )
    return text
