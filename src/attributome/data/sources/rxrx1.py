"""RxRx1 (Sypetkowski et al. 2023): six stains of four cell types under 1,139 siRNAs, in 51 batches.

As Recursion packs it: `metadata.csv`, a row for each site of a well, and an image for each stain,
`images/HUVEC-01/Plate1/B02_s1_w1.png`. An experiment is a batch, and a split goes by experiment.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text, write_whole
from attributome.data.tables import read_table

CHANNELS = ("nuclei", "endoplasmic_reticulum", "actin", "nucleoli", "mitochondria", "golgi")
"""What the stains w1 to w6 show."""

ARCHIVES = (
    "https://storage.googleapis.com/rxrx/rxrx1/rxrx1-metadata.zip",
    "https://storage.googleapis.com/rxrx/rxrx1/rxrx1-images.zip",
)
"""Where Recursion has the table, and the images (47 GB)."""

LARGEST = 2**36
"""Bytes of the largest archive that is fetched."""

TERMS = "Recursion, CC BY-NC-SA 4.0 (not for commercial use), https://www.rxrx.ai/rxrx1"
LICENCE = """\
RxRx1 is of Recursion, https://www.rxrx.ai/rxrx1, as CC BY-NC-SA 4.0: for other than commercial use,
and what is made of it carries the same licence. Cite Sypetkowski et al., RxRx1: A Dataset for
Evaluating Experimental Batch Correction Methods (2023). This note was written by a program and is
not the licence.
"""
COLUMNS = ("experiment", "plate", "well", "site")
IMAGE_BYTES, TABLE_BYTES = 2**24, 2**28

_MEMBER = re.compile(
    r"(?:rxrx1/)?(?P<path>metadata\.csv|"
    r"images/(?P<experiment>[\w-]+)/Plate\d+/[A-Z]{1,2}\d{2}_s\d+_w\d\.png)"
).fullmatch


def unpack_rxrx1(
    archives: Sequence[Path],
    folder: Path,
    *,
    experiments: Collection[str] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write the table and the images of the archives (zip) to `folder`; the files that are new.

    With `experiments`, only theirs. Members with other names than the set has are left; files
    that are there are kept.
    """
    new = 0
    write_text(folder / "LICENCE.txt", LICENCE)
    for archive in archives:
        try:
            with zipfile.ZipFile(archive) as packed:
                members = packed.infolist()
                for number, member in enumerate(members, start=1):
                    if progress is not None:
                        progress(number, len(members))
                    found = _MEMBER(member.filename)
                    if found is None or member.is_dir():
                        continue
                    experiment, path = found["experiment"], folder / found["path"]
                    left = experiment and experiments is not None and experiment not in experiments
                    if left or path.exists():
                        continue
                    most = IMAGE_BYTES if experiment else TABLE_BYTES
                    if member.file_size > most:
                        raise DataError(
                            f"{archive} has {member.filename} with {member.file_size} bytes, which "
                            f"is more than {most}"
                        )
                    write_whole(path, partial(Path.write_bytes, data=packed.read(member)))
                    new += 1
        except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"cannot read the archive {archive}: {error}") from error
    return new


def index_rxrx1(
    folder: Path,
    *,
    experiments: Collection[str] | None = None,
    channels: Sequence[str] = CHANNELS,
) -> tuple[pd.DataFrame, int]:
    """Write `images.csv` in `folder` for `open_images`; that table, and how many sites it lacks.

    A row is a site of which all `channels` are there: `id`, `image_<channel>`, and the columns of
    `metadata.csv`, of which `experiment` is the batch, `well_id` the well, and `sirna` what was
    done. Raises `DataError` where there is none.
    """
    path = folder / "metadata.csv"
    table = read_table(path)
    if missing := [name for name in COLUMNS if name not in table]:
        raise DataError(f"{path} has no column {', '.join(missing)}: it is not the table of RxRx1")
    unknown = [name for name in channels if name not in CHANNELS]
    if isinstance(channels, str) or unknown or not channels:
        raise UsageError(f"channels are {channels!r}; name some of {', '.join(CHANNELS)}")
    if experiments is not None:
        if unknown := sorted({*experiments} - {*table["experiment"]}):
            raise UsageError(f"{path} has no experiment {', '.join(unknown)}")
        table = table[table["experiment"].isin([*experiments])]
    odd = table[list(COLUMNS)].astype(str).agg("/".join, axis=1)
    if not odd.str.fullmatch(r"[\w-]+/\d+/[A-Z]{1,2}\d{2}/\d+").all():
        raise DataError(f"{path} has sites that are not named as HUVEC-01, 1, B02, 1")
    made = table.drop(columns=[name for name in table if str(name).startswith("image")])
    made.insert(
        0, "id", made["experiment"] + "_" + made["plate"] + "_" + made["well"] + "_" + made["site"]
    )
    if (twice := made["id"].duplicated()).any():
        raise DataError(f"{path} has the site {made['id'][twice].iloc[0]} more than once")
    start = "images/" + made["experiment"] + "/Plate" + made["plate"] + "/" + made["well"]
    for name in channels:
        made[f"image_{name}"] = start + "_s" + made["site"] + f"_w{CHANNELS.index(name) + 1}.png"
    places = made[[f"image_{name}" for name in channels]].to_numpy()
    whole = made[[all((folder / place).exists() for place in row) for row in places]]
    if whole.empty:
        raise DataError(f"{folder} has the images of none of {len(made)} sites, as {places[0][0]}")
    write_text(folder / "images.csv", whole.to_csv(index=False))
    return whole, len(made) - len(whole)
