"""Verbs that only look or write a page: init, inspect, methods, report, gate."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from attributome.cli.options import Factory, Images, Inputs, Targets, Trust, job_of
from attributome.cli.speaking import SHUT, out, say
from attributome.config import write_example
from attributome.core.errors import UsageError


def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("job.toml"),
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
) -> None:
    """Write a commented job to edit."""
    job = job_of(None, None, images, input, target, "", "", ["name=" + path.stem], None)
    write_example(path, job)
    say(f"wrote {path}; edit it, then: attributome run {path}")


def inspect(
    source: Annotated[Path, typer.Argument(help="Predictor folder, safetensors, .pt or .pt2.")],
    factory: Factory = "",
    trust: Trust = False,
    channels: Annotated[int | None, typer.Option(help="Channels, where it cannot be seen.")] = None,
    dims: Annotated[int | None, typer.Option(help="2 or 3, where it cannot be seen.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a predictor takes, what its layers are, and which methods can explain it."""
    from attributome.predictors.inspect import inspect_predictor
    from attributome.predictors.load import load_predictor

    net, card = load_predictor(source, factory=factory or None, trust=trust)
    found = inspect_predictor(net, card, channels=channels, dims=dims)
    if json:
        out.print_json(data=asdict(found))
        return
    _print_inspection(asdict(found))


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Write the page that a biologist reads."""
    from attributome.report import build
    from attributome.store import Run

    say(f"report: {build(Run.open(folder))}")


def gate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a scored run.")],
    against: Annotated[
        Path | None, typer.Option("--against", help="A run, or a baseline that --save wrote.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Write the measures of RUN as a baseline.")
    ] = None,
    margin: Annotated[float, typer.Option("--margin", help="How much a measure may fall.")] = 0.02,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also shut where a fall cannot be ruled out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """End with 1 where the explanations of a run fell against a baseline, field by field."""
    from attributome import gate as gates
    from attributome.store import Run

    if against is None and save is None:
        raise UsageError("say --against BASELINE to compare, or --save FILE to make a baseline")
    run = Run.open(folder)
    if save is not None:
        gates.save_baseline(run, save)
        say(f"baseline: {save}")
    if against is None:
        return
    verdicts = gates.compare(gates.measures(run), gates.read_baseline(against), margin=margin)
    if json:
        out.print_json(data=gates.as_records(verdicts))
    else:
        _print_verdicts(gates.as_records(verdicts))
    closing = gates.shut(verdicts, strict=strict)
    if not json:
        names = "; ".join(v.measure for v in closing)
        say(f"gate: shut, because of {names}" if closing else "gate: open")
    if closing:
        raise typer.Exit(SHUT)


def methods() -> None:
    """List the attribution methods and their parameters."""
    from attributome.explain import METHODS, parameters

    for name, function in sorted(METHODS.items()):
        says = (function.__doc__ or "").strip().splitlines()[0]
        takes = ", ".join(
            f"{k}={v!r}" if v is not v.__class__ else k for k, v in _takes(name, parameters)
        )
        out.print(f"[bold]{name}[/bold]({takes})\n    {says}", highlight=False)
    out.print(
        "[bold]learned_mask[/bold]()\n    The mask generator trained in the run.", highlight=False
    )


def _needs() -> dict[str, str]:
    """Every method, and what it needs of a predictor."""
    from attributome.explain import CONTROLS, METHODS, need

    methods = [name for name in METHODS if name not in CONTROLS]
    return {"learned_mask": "gradient"} | {name: need(name) for name in methods}


def _print_verdicts(verdicts: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("measure", "before", "after", "better by (95 % interval)", "fields", "state")
    for v in verdicts:
        change = f"{v['change']:+.3f} ({v['low']:+.3f} to {v['high']:+.3f})"
        fields = f"{v['fields']}" + (f" ({v['undefined']} undefined)" if v["undefined"] else "")
        table.add_row(
            v["measure"], f"{v['before']:.3f}", f"{v['after']:.3f}", change, fields, v["state"]
        )
    out.print(table)


def _takes(name: str, parameters: Callable[[str], dict[str, object]]) -> Iterator[tuple[str, Any]]:
    import inspect as python

    for key, default in parameters(name).items():
        yield key, (type(default) if default is python.Parameter.empty else default)


def _print_inspection(found: dict[str, Any]) -> None:
    from rich.table import Table

    sizes = found["sizes"]
    out.print(
        f"{found['dims']}-D, {found['channels']} channels in, {found['output']} out "
        f"({found['outputs']})"
    )
    rule = f"from {sizes['minimum']} in steps of {sizes['multiple']}"
    out.print(f"sizes: {'only ' + str(sizes['fixed']) if sizes['fixed'] else rule}")
    table = Table(
        "layer", "type", "channels", "grid", "runs", title=f"layers at {found['example']}"
    )
    for layer in found["layers"]:
        table.add_row(*(str(layer[k]) for k in ("name", "type", "channels", "grid", "runs")))
    out.print(table)
    for reason in dict.fromkeys(filter(None, found["possible"].values())):
        lost = [name for name, need in _needs().items() if found["possible"][need] == reason]
        out.print(f"not possible: {', '.join(lost)}: {reason}", highlight=False)
    able = [name for name, need in _needs().items() if found["possible"][need] is None]
    out.print(f"possible: {', '.join(able)}", highlight=False)
    if found["usable_layers"]:
        out.print(f"for Grad-CAM: layer {found['usable_layers'][-1]}", highlight=False)
    for note in found["norms"]:
        out.print(f"note: {note}", highlight=False)
