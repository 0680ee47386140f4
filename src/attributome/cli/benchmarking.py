"""The verb that tells which method to believe: benchmark planted."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attributome.cli.options import Out, Seed
from attributome.cli.speaking import say
from attributome.core.errors import UsageError
from attributome.terminal import Terminal


class Size(StrEnum):
    """How large the benchmark is."""

    small = "small"
    full = "full"


Tasks = Annotated[
    list[str] | None, typer.Option("--task", help="image, classification, regression; repeatable.")
]
Dims = Annotated[list[int] | None, typer.Option("--dims", help="2 (the default) or 3; repeatable.")]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="Only these, and the controls."),
]


def planted(
    out: Out = None,
    task: Tasks = None,
    dims: Dims = None,
    method: Methods = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="exact, trained networks; repeatable.")
    ] = None,
    fields: Annotated[int | None, typer.Option("--fields", help="Fields per network.")] = None,
    size: Annotated[Size, typer.Option("--size", help="small: minutes; full: hours.")] = Size.small,
    seed: Seed = None,
) -> None:
    """Score every method on networks whose answer is known, beside controls that know nothing."""
    from attributome.benchmark.planted import run_benchmark
    from attributome.explain import CONTROLS
    from attributome.report.board import build_board

    root = out or Path("runs/planted")
    names = None if not method else [*method, *(c for c in CONTROLS if c not in method)]
    with Terminal() as terminal:
        tables = run_benchmark(
            root,
            tasks=task or ["image", "classification", "regression"],
            dims=dims or [2],
            kinds=kind or ["exact", "trained"],
            methods=names,
            fields=fields,
            size=size.value,
            seed=seed or 0,
            progress=terminal.bars("planted benchmark"),
        )
    board = tables["methods"]
    if board.empty:
        raise UsageError("no method could be scored")
    say(f"report: {build_board(root)}")
