"""A run on disk: a folder of immutable parts, and the only code that reads or writes them.

    run.json                 what was asked for, and with what (resolved job, versions, hashes)
    parts/<stage>/<unit>/    one finished unit of work: note.json, *.npy, *.parquet
    <name>.json              what was chosen or concluded (choices, summary)

A part is written under another name, read back, and renamed; only then does it count. So a run
can be read while it grows, killed at any moment, gone on from, or filled by many processes.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.core.files import make_folder, read_json, write_json
from attributome.core.records import Explanation


@dataclass(frozen=True, slots=True)
class Run:
    """The folder of one job. A class because it owns files."""

    root: Path

    @classmethod
    def begin(cls, root: Path, asked: Mapping[str, Any]) -> "Run":
        """Start a run, or go on with the one that is there if it was asked for the same things."""
        path = root / "run.json"
        make_folder(root)
        if not path.exists():
            write_json(path, asked)
        before = read_json(path)
        if changed := _changes(before, dict(asked)):
            raise DataError(
                f"{root} holds a run that differs in {'; '.join(changed[:3])}: choose another "
                f"--out, or delete that folder to begin again"
            )
        return cls(root)

    @classmethod
    def open(cls, root: Path) -> "Run":
        """A run that exists."""
        if not (root / "run.json").is_file():
            raise DataError(f"{root} is not a run: it has no run.json; name a folder under runs/")
        return cls(root)

    @property
    def asked(self) -> dict[str, Any]:
        """What the run was asked for."""
        return read_json(self.root / "run.json")

    def write(
        self,
        stage: str,
        unit: str,
        *,
        arrays: Mapping[str, np.ndarray] | None = None,
        tables: Mapping[str, pd.DataFrame] | None = None,
        note: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one unit of work; if another process was first, its part stays."""
        final = self._part(stage, unit)
        make_folder(final.parent)
        part: Path | None = None
        try:
            part = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}."))
            part.chmod(0o755)  # mkdtemp makes it private; a lab shares its runs
            for name, array in (arrays or {}).items():
                _write_array(part / f"{name}.npy", array)
            for name, table in (tables or {}).items():
                table.to_parquet(part / f"{name}.parquet", index=False)
            write_json(part / "note.json", {"unit": unit, **(note or {})})
            _read_back(part, arrays or {}, tables or {})
            part.rename(final)
        except OSError as error:
            if not final.is_dir():
                reason = error.strerror or str(error)
                raise DataError(f"cannot write {final}: {reason}") from error
        finally:
            if part is not None:
                shutil.rmtree(part, ignore_errors=True)

    def units(self, stage: str) -> list[str]:
        """Units whose part is complete, sorted by name."""
        return sorted(read_json(path)["unit"] for path in self._notes(stage))

    def has(self, stage: str, unit: str) -> bool:
        """Whether this unit's part is complete."""
        return (self._part(stage, unit) / "note.json").is_file()

    def note(self, stage: str, unit: str) -> dict[str, Any]:
        """What was noted beside the arrays of a part."""
        return read_json(self._part(stage, unit) / "note.json")

    def array(self, stage: str, unit: str, name: str) -> np.ndarray:
        """One array of a part, mapped from disk and read-only."""
        path = self._part(stage, unit) / f"{name}.npy"
        try:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        return array

    def arrays(self, stage: str, unit: str) -> list[str]:
        """Names of the arrays of a part."""
        return sorted(path.stem for path in self._part(stage, unit).glob("*.npy"))

    def table(self, stage: str, name: str) -> pd.DataFrame:
        """A table of all parts of a stage, in a stable order."""
        paths = [note.with_name(f"{name}.parquet") for note in self._notes(stage)]
        tables = [pd.read_parquet(path) for path in paths if path.is_file()]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def unit_table(self, stage: str, unit: str, name: str) -> pd.DataFrame:
        """One table of one part."""
        path = self._part(stage, unit) / f"{name}.parquet"
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}") from error

    def explanations(self, stage: str = "explain") -> Iterator[Explanation]:
        """Every map of a stage, in a stable order."""
        for unit in self.units(stage):
            note = self.note(stage, unit)
            for method, params in note["methods"].items():
                yield Explanation(
                    sample_id=unit,
                    method=method,
                    params=params,
                    target=note["target"],
                    map=self.array(stage, unit, f"map_{method}"),
                )

    def save(self, name: str, value: Mapping[str, Any]) -> None:
        """Write `<name>.json` at the root of the run."""
        write_json(self.root / f"{name}.json", value)

    def load(self, name: str) -> dict[str, Any] | None:
        """Read `<name>.json`, or None where the run has not come so far."""
        path = self.root / f"{name}.json"
        return read_json(path) if path.is_file() else None

    def _notes(self, stage: str) -> list[Path]:
        return sorted((self.root / "parts" / stage).glob("[!.]*/note.json"))

    def _part(self, stage: str, unit: str) -> Path:
        return self.root / "parts" / stage / folder_name(unit)


def folder_name(unit: str) -> str:
    """A sample id as a folder name that every file system takes; different ids stay different."""
    name = quote(unit, safe=" ()+,=@").replace("~", "%7E")
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    mark = hashlib.sha256(unit.encode()).hexdigest()[:12]
    return name if 0 < len(name) <= 120 else f"{name[:100]}~{mark}"


def shard(units: list[str], part: int, parts: int) -> list[str]:
    """The units of shard `part` (1-based) of `parts`."""
    return units[part - 1 :: parts]


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def _read_back(
    part: Path, arrays: Mapping[str, np.ndarray], tables: Mapping[str, pd.DataFrame]
) -> None:
    for name, array in arrays.items():
        again = np.load(part / f"{name}.npy", allow_pickle=False)
        if not np.array_equal(again, array, equal_nan=array.dtype.kind == "f"):
            raise OSError(f"{name}.npy does not read back as it was written")
    for name, table in tables.items():
        if len(pd.read_parquet(part / f"{name}.parquet")) != len(table):
            raise OSError(f"{name}.parquet does not read back as it was written")


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> list[str]:
    """Each key that differs, as `key: 1 there, 2 here`."""
    found = []
    for key in sorted({*before, *now}):
        a, b = before.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _changes(a, b, f"{at}{key}.")
        elif a != b:
            found.append(f"{at}{key} ({a!r} there, {b!r} here)")
    return found
