"""What of an earlier command still binds: a key of the job does once something was made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attributome.config import put
from attributome.core.files import read_json, write_json

Made = Mapping[str, tuple[str, ...]]
"""Keys of a job (`train`, `features.forms`), and the files that show that each has been used."""


def asked_before(out: Path) -> dict[str, Any]:
    """What the run in a folder was asked for; nothing where there is none."""
    path = out / "run.json"
    return read_json(path) if path.is_file() else {}


def settle(out: Path, asked: Mapping[str, Any], made: Made) -> bool:
    """Let go of what was asked before where nothing has been made of it.

    `data` also frees the program's version and what is said about the data, `network` what is said
    about the network. Returns whether the data or the seed are other than before.
    """
    before = asked_before(out)
    if not before:
        return False
    free = [key for key, files in made.items() if not any((out / name).exists() for name in files)]
    job = plain_copy(before["job"])
    put(job, {key: found for key in free if (found := _at(asked["job"], key)) is not None})
    settled = {**before, "job": job}
    if "data" in free:
        settled |= {key: asked[key] for key in ("attributome", "data")}
    if "network" in free:
        settled["network"] = asked["network"]
    if settled == before:
        return False
    write_json(out / "run.json", settled)
    other = any(settled["job"][key] != before["job"].get(key) for key in ("seed", "data"))
    return other or settled["data"] != before["data"]


def plain_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections of a job, so that changing one changes nobody else's."""
    return {key: plain_copy(v) if isinstance(v, Mapping) else v for key, v in values.items()}


def _at(values: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
