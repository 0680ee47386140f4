"""What the command line says, and the exit codes that it ends with."""

import shlex
import sys
from collections.abc import Mapping

import typer
from rich.console import Console

out = Console()
SHUT, DATA, PARTIAL, STOPPED = 1, 3, 4, 130


def end(failed: Mapping[str, str], *, done: int) -> None:
    """Name the fields that failed, and end with 4, or with 3 where none was done."""
    for name, reason in failed.items():
        complain(f"{name}: {reason}")
    if failed:
        raise typer.Exit(PARTIAL if done else DATA)


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["attributome", *sys.argv[1:]])


def say(text: str) -> None:
    """A line for the user."""
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """What is wrong, in one sentence on standard error."""
    Console(stderr=True).print(
        f"attributome: {text}", highlight=False, markup=False, soft_wrap=True
    )
