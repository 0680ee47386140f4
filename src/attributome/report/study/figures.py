"""The figures of every study by its name, drawn into its folder, and those that lie there."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attributome import __version__
from attributome.core.errors import DataError
from attributome.core.files import digest, write_json
from attributome.report.reading import json_of
from attributome.report.study import simple
from attributome.report.study.ablation import ablation
from attributome.report.study.confidence import confidence
from attributome.report.study.correctness import correctness
from attributome.report.study.drawing import KINDS, Drawn, save, styled
from attributome.report.study.dremi import dremi
from attributome.report.study.facts import StudyFacts, Told
from attributome.report.study.gallery import gallery
from attributome.report.study.groups import groups
from attributome.report.study.methods import methods
from attributome.report.study.panel import panel
from attributome.report.study.perturbations import perturbations
from attributome.report.study.regions import regions
from attributome.report.study.spatial import spatial

FIGURES: dict[str, Callable[[Told], list[Drawn]]] = {
    "scores": simple.scores,
    "noise": simple.noise,
    "threshold": simple.threshold,
    "efficacy": simple.efficacy,
    "groups": groups,
    "methods": methods,
    "regions": regions,
    "spatial": spatial,
    "perturbations": perturbations,
    "dremi": dremi,
    "ablation": ablation,
    "gallery": gallery,
    "panel": panel,
    "confidence": confidence,
    "correctness": correctness,
}
KEPT = "figures.json"
"""In the folder of a study: which figures lie there, and the mark of what they were drawn from."""
LARGEST = 1_500_000
"""Bytes of an SVG that a page takes in; of a larger one it shows the PNG."""
SIZE = re.compile(r'<svg [^>]*?viewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A figure as the page has it: its picture within the page, its files, and its caption.

    `size` is in points; `shows` and `bad` are empty where nobody said them.
    """

    key: str
    title: str
    source: str
    files: tuple[Path, ...]
    size: tuple[float, float]
    shows: str = ""
    bad: str = ""


def draw(facts: StudyFacts, *, anew: bool = True) -> dict[str, list[Shown]]:
    """Draw the figures of every study into its folder; by its name, in their order.

    Unless `anew`, those that this version drew from the same tables are taken as they lie.
    """
    shown = {}
    for told in facts.told:
        mark = _mark(told.folder)
        said = {} if anew else _kept(told.folder, mark)
        if not said:
            said = {"mark": mark, "figures": _drawn(told)}
            write_json(told.folder / KEPT, said)
        shown[told.name] = [_shown(told.folder, **one) for one in said["figures"]]
    return shown


def _drawn(told: Told) -> list[dict[str, str]]:
    """Draw the figures of a study, and say what each is."""
    with styled():
        drawn = FIGURES[told.name](told) if told.name in FIGURES else []
        for one in drawn:
            save(one, told.folder)
    return [
        {name: getattr(one, name) for name in ("key", "title", "shows", "bad")} for one in drawn
    ]


def _mark(folder: Path) -> str:
    """Of everything that figures are drawn from, and of who draws them."""
    parts: list[str | Path] = [__version__]
    for path in sorted(folder.iterdir()):
        if path.name != KEPT and path.suffix in (".json", ".parquet", ".npy"):
            parts += [path.name, path]
    return digest(*parts)


def _kept(folder: Path, mark: str) -> dict[str, Any]:
    """What was said of the figures that lie there, if they are still those of the tables."""
    try:
        said = json_of(folder / KEPT)
    except DataError:
        return {}
    figures = said.get("figures", []) if said.get("mark") == mark else []
    whole = all((folder / f"{one['key']}.{kind}").is_file() for one in figures for kind in KINDS)
    return said if figures and whole else {}


def lying(told: Told) -> list[Shown]:
    """The figures that somebody drew into the folder of a study of their own.

    `figures` in its found.json may say title, shows and bad of each, by the name of its file.
    """
    said: Mapping[str, Mapping[str, str]] = told.found.get("figures") or {}
    keys = [*said, *sorted({path.stem for path in told.folder.glob("*.svg")} - {*said})]
    return [
        _shown(
            told.folder,
            key,
            said.get(key, {}).get("title", key.replace("_", " ")),
            shows=said.get(key, {}).get("shows", ""),
            bad=said.get(key, {}).get("bad", ""),
        )
        for key in keys
    ]


def _shown(folder: Path, key: str, title: str, shows: str, bad: str) -> Shown:
    svg, png = folder / f"{key}.svg", folder / f"{key}.png"
    try:
        code = svg.read_text(encoding="utf-8")
        small = len(code) <= LARGEST or not png.is_file()
        picture = code.encode() if small else png.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the figure {svg}: {error}") from error
    size = SIZE.search(code)
    if size is None:
        raise DataError(f"{svg} is no SVG with a viewBox: draw it again")
    kind = "svg+xml" if small else "png"
    return Shown(
        key=key,
        title=title,
        source=f"data:image/{kind};base64,{base64.b64encode(picture).decode()}",
        files=tuple(path for path in (svg, png) if path.is_file()),
        size=(float(size[1]), float(size[2])),
        shows=shows,
        bad=bad,
    )
