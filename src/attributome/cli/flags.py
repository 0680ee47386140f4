"""How a verb gets the flags that verbs of its kind share, and what a command line asks for."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from attributome.cli.options import (
    Compile,
    Device,
    Out,
    Prec,
    Precision,
    Seed,
    Set,
    given_values,
)

JobFile = Annotated[Path | None, typer.Argument(metavar="[JOB]", help="A job as TOML.")]
Verb = Callable[..., None]
"""A function whose first parameter is what is asked; the others are flags of its own."""


def plain(value: object) -> object:
    """A flag's value as a job has it."""
    return value.value if isinstance(value, StrEnum) else value


class Flag(NamedTuple):
    """A flag: its type, its key of the job (without one it is that in `data`), how it is read."""

    kind: Any
    key: str = ""
    read: Callable[[Any], object] = plain


Flags = Mapping[str, tuple[Any, ...]]
"""Flags by their name, each as `Flag` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command line asks for, before anything is read."""

    path: Path | None
    out: Path | None
    changes: Mapping[str, Any]
    device: str
    precision: Precision
    compile: bool

    def before(self) -> dict[str, Any] | None:
        """What the run in `--out` was asked for, where no job is named; None: there is none."""
        from attributome.store import Run

        if self.path is None and self.out is not None and (self.out / "run.json").is_file():
            return Run.open(self.out).asked
        return None


def with_flags(*groups: Flags) -> Callable[[Verb], Verb]:
    """Give a verb the flags that verbs share; it is called with what they ask for."""
    flags = {name: Flag(*one) for group in groups for name, one in group.items()}

    def widened(does: Verb) -> Verb:
        own = list(inspect.signature(does).parameters.values())[1:]

        @wraps(does)
        def typed(**given: Any) -> None:
            words = {parameter.name: given[parameter.name] for parameter in own}
            does(_asked(given, flags), **words)

        parameters = [
            _parameter("job", JobFile, None),
            _parameter("out", Out, None),
            *(_parameter(name, flag.kind, None) for name, flag in flags.items()),
            *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
            _parameter("set", Set, None),
            _parameter("seed", Seed, None),
            _parameter("device", Device, "auto"),
            _parameter("precision", Prec, Precision.auto),
            _parameter("compile", Compile, False),
        ]
        # typer reads a verb's flags from its signature
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed.__annotations__ = {one.name: one.annotation for one in parameters}
        return typed

    return widened


def _asked(given: Mapping[str, Any], flags: Mapping[str, Flag]) -> Asked:
    values = {
        flag.key or f"data.{name}": flag.read(given[name])
        for name, flag in flags.items()
        if given[name] is not None
    }
    return Asked(
        path=given["job"],
        out=given["out"],
        changes={**values, **given_values(given["set"], given["seed"])},
        device=given["device"],
        precision=given["precision"],
        compile=given["compile"],
    )


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
