"""Which images of the Allen archive a folder has, and what the archive says of them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.errors import UsageError
from attributome.core.files import write_text

GENES: Mapping[str, str] = {
    "Plasma-membrane": "AAVS1", "Actin-filaments": "ACTN1", "Adherens-junctions": "CTNNB1",
    "Desmosomes": "DSP", "Nucleolus-DFC": "FBL", "Gap-junctions": "GJA1", "Lysosome": "LAMP1",
    "Nuclear-envelope": "LMNB1", "Actomyosin-bundles": "MYH10", "Nucleolus-GC": "NPM1",
    "Matrix-adhesions": "PXN", "Endosomes": "RAB5A", "ER": "SEC61B", "Peroxisomes": "SLC25A17",
    "Golgi": "ST6GAL1", "Tight-junctions": "TJP1", "Mitochondria": "TOMM20",
    "Microtubules": "TUBA1B",
}  # fmt: skip
"""Organelles and the gene of the structure that is tagged; the place of one is its label."""

ALL, FAILED = "images.csv", "failed.csv"
_TAKEN = ("image", "file", "path_tiff", "id", "target", "regions", "organelle", "label")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """One image to be made: its organelle, its number there, and its row of the archive's table."""

    organelle: str
    number: int
    row: Mapping[str, Any]
    suffix: str

    @property
    def path(self) -> str:
        """Where the image is, or will be, in its folder."""
        return f"{self.organelle}/{self.organelle}_{self.number}{self.suffix}"


def organelle_named(name: str) -> str:
    """The organelle that a name of the gene map says: of it, or of its gene."""
    both = {key: key for key in GENES} | {gene: key for key, gene in GENES.items()}
    if name in both:
        return both[name]
    plain = {key.casefold(): key for key in both}
    near = [plain[k] for k in difflib.get_close_matches(name.casefold(), plain, n=3, cutoff=0.4)]
    hint = f"did you mean {' or '.join(near)}" if near else f"there are {', '.join(GENES)}"
    raise UsageError(f"no organelle and no gene of the archive is named {name!r}; {hint}")


def write_tables(
    folder: Path,
    organelles: Sequence[str],
    images: list[Chosen],
    status: Mapping[str, tuple[str, str]],
    also: Mapping[str, object],
) -> None:
    """The tables: only images that are there stand in those that are opened as data."""
    for name in organelles:
        rows = [
            _shown(image) | {k: str(v) for k, v in also.items()}
            for image in images
            if image.organelle == name and status.get(image.path, ("failed",))[0] != "failed"
        ]
        _keep(folder / name / f"{name}.csv", pd.DataFrame(rows))
    tables = []
    for path in sorted(folder.glob("*/*.csv")):
        if path.stem == path.parent.name in GENES:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            table["image"] = table["combined_image_storage_path"]
            tables.append(table[[(folder / image).exists() for image in table["image"]]])
    _keep(folder / ALL, pd.concat(tables) if tables else pd.DataFrame())
    report = report_of(images, status)
    _keep(folder / FAILED, report[report["status"] == "failed"])


def _shown(image: Chosen) -> dict[str, Any]:
    """The row of an image in the table of its organelle."""
    name = Path(image.path).name
    row = {"id": name.removesuffix(image.suffix), "image": name, "organelle": image.organelle}
    row |= {"label": str([*GENES].index(image.organelle))}
    row |= {f"archive_{k}" if _taken(k) else k: v for k, v in image.row.items()}
    return row | {"combined_image_storage_path": image.path}


def _keep(path: Path, table: pd.DataFrame) -> None:
    """A table as a file; one without rows is none."""
    if len(table):
        write_text(path, table.to_csv(index=False))
    else:
        path.unlink(missing_ok=True)


def _taken(column: str) -> bool:
    """Whether a column of the archive would mean something else in our tables."""
    return column in _TAKEN or column.startswith("image_")


def report_of(images: list[Chosen], status: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """What became of each image that was come to."""
    rows = [
        (image.organelle, image.path, *status[image.path])
        for image in images
        if image.path in status
    ]
    return pd.DataFrame(rows, columns=["organelle", "image", "status", "reason"])
