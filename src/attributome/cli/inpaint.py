"""Verbs on cells: prepare, train, features, evaluate, predict, report, run."""

from pathlib import Path
from typing import Annotated

import typer

from attributome.cli.flags import Asked, with_flags
from attributome.cli.inpaint_flags import (
    DATA,
    EVALUATE,
    FEATURES,
    NETWORK,
    PREDICT,
    TRAIN,
    open_cells,
)
from attributome.cli.options import Shard, part_of, run_named
from attributome.cli.speaking import say

app = typer.Typer(
    help="What a protein does in a cell, learnt without labels: paired cell inpainting.",
    no_args_is_help=True,
)


@app.command()
@with_flags(DATA)
def prepare(asked: Asked) -> None:
    """Read or cut cells, scale them, list what is left out, and deal whole fields to parts."""
    from attributome.pipeline.inpaint.prepare import prepare as prepare_cells

    with open_cells(asked) as work:
        cells = prepare_cells(work)
        counts = work.run.asked["data"]
    size = " x ".join(map(str, cells.size))
    say(
        f"{counts['cells']} cells of {counts['groups']} groups and {counts['fields']} fields, "
        f"{size} pixels, channels {', '.join(cells.channels)}"
    )
    say(f"cells: {work.run.root / 'cells' / 'prepared'}")


@app.command()
@with_flags(DATA, NETWORK, TRAIN)
def train(asked: Asked) -> None:
    """Train a network to paint the protein of one cell into another; under torchrun, together."""
    from attributome.pipeline.inpaint.network import train as train_network

    with open_cells(asked) as work:
        folder = train_network(work)
    say(f"network: {folder}")


@app.command()
@with_flags(DATA, NETWORK, FEATURES)
def features(asked: Asked, shard: Shard = "1/1") -> None:
    """Extract the features of every cell, layer by layer."""
    from attributome.pipeline.inpaint.features import features as extract_features

    part = part_of(shard)
    with open_cells(asked) as work:
        missing = extract_features(work, part=part)
    if missing:
        say(f"{missing} blocks of cells are missing yet; other shards have them")
        say(f"features: {work.run.root / 'parts' / 'features'}")
    else:
        say(f"features: {work.run.root / 'features.parquet'}")


@app.command()
@with_flags(DATA, NETWORK, EVALUATE)
def evaluate(asked: Asked) -> None:
    """Say what the features are worth on other fields, beside an untrained network."""
    from attributome.pipeline.inpaint.evaluate import evaluate as evaluate_features
    from attributome.pipeline.inpaint.summing_up import sum_up

    with open_cells(asked) as work:
        evaluate_features(work)
        summary = sum_up(work)
    for line in summary["words"]:
        say(line)
    say(f"evaluation: {work.run.root / 'evaluation.json'}")


@app.command()
@with_flags(DATA, NETWORK, PREDICT)
def predict(asked: Asked) -> None:
    """Predict held-out pairs: errors of all, and images of some."""
    from attributome.pipeline.inpaint.predict import predict as predict_pairs

    with open_cells(asked) as work:
        table = predict_pairs(work)
    say(f"predictions: {table}")


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run on cells.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The same.")] = None,
) -> None:
    """Write the page that a biologist reads."""
    from attributome.report.inpaint import build_inpaint

    say(f"report: {build_inpaint(run_named(folder, out, 'runs/inpaint'))}")


@app.command()
@with_flags(DATA, NETWORK, TRAIN, FEATURES, EVALUATE, PREDICT)
def run(asked: Asked) -> None:
    """Everything: prepare, train, features, evaluate, predict, report."""
    from attributome.pipeline.inpaint.everything import everything
    from attributome.report.inpaint import build_inpaint

    with open_cells(asked) as work:
        summary = everything(work)
        page = build_inpaint(work.run)
    for line in summary["words"]:
        say(line)
    say(f"summary: {work.run.root / 'summary.json'}")
    say(f"report: {page}")
