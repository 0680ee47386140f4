"""Verbs on single-cell profiles, from crops to a report, and what other trainings would give."""

from pathlib import Path
from typing import Annotated

import typer

from attributome.cli.flags import Asked, with_flags
from attributome.cli.options import Shard, Trust, part_of, run_named
from attributome.cli.profile_flags import (
    CAMO,
    DATA,
    FEATURES,
    NETWORK,
    REMEDIES,
    TRAIN,
    open_profiles,
)
from attributome.cli.speaking import say

app = typer.Typer(
    help="Profiles of treatments from single cells, and whether they are of the cell: Grad-CAMO.",
    no_args_is_help=True,
)


@app.command()
@with_flags(DATA)
def crop(asked: Asked, shard: Shard = "1/1") -> None:
    """Cut a box around every cell of every field, in 2-D or 3-D, and deal wells to parts."""
    import pandas as pd

    from attributome.pipeline.profile.crop import crop as crop_fields
    from attributome.pipeline.profile.work import CELLS

    part = part_of(shard)
    with open_profiles(asked) as work:
        missing = crop_fields(work, part=part)
        counts, root = work.run.asked["data"], work.run.root
        cells = None if missing else len(pd.read_parquet(root / CELLS, columns=["id"]))
    if missing:
        say(f"{missing} fields are missing yet; other shards have them")
        say(f"crops: {root / 'parts' / 'crops'}")
    else:
        say(
            f"{cells} cells of {counts['fields']} fields, {counts['wells']} wells and "
            f"{counts['plates']} plates"
        )
        say(f"cells: {root / CELLS}")


@app.command()
@with_flags(DATA, NETWORK, TRAIN)
def train(asked: Asked) -> None:
    """Train a network to tell the treatment of a cell; under torchrun, together.

    `--remedy` makes it look at the cell.
    """
    from attributome.pipeline.profile.network import train as train_network

    with open_profiles(asked) as work:
        folder = train_network(work)
    say(f"network: {folder}")


@app.command()
@with_flags(DATA, NETWORK, FEATURES)
def features(asked: Asked, shard: Shard = "1/1", trust: Trust = False) -> None:
    """Extract the features of every cell."""
    from attributome.pipeline.profile.features import features as extract_features

    part = part_of(shard)
    with open_profiles(asked, trust=trust) as work:
        missing = extract_features(work, part=part)
    if missing:
        say(f"{missing} blocks of cells are missing yet; other shards have them")
        say(f"features: {work.run.root / 'parts' / 'features'}")
    else:
        say(f"features: {work.run.root / 'features.parquet'}")


@app.command()
@with_flags(DATA, NETWORK, CAMO)
def camo(asked: Asked, shard: Shard = "1/1", trust: Trust = False) -> None:
    """Ask where the network looks in every cell and feature, and what it goes by."""
    from attributome.pipeline.profile.camo import camo as look
    from attributome.pipeline.profile.causes import causes
    from attributome.pipeline.profile.summing_up import sum_up

    part = part_of(shard)
    with open_profiles(asked, trust=trust) as work:
        missing = look(work, part=part)
        summary = None
        if not missing:
            causes(work)
            summary = sum_up(work)
    if summary is None:
        say(f"{missing} blocks of cells are missing yet; other shards have them")
        say(f"Grad-CAMO: {work.run.root / 'parts' / 'camo'}")
        return
    for line in summary["words"]:
        say(line)
    say(f"Grad-CAMO: {work.run.root / 'camo.parquet'}")


@app.command()
@with_flags(DATA)
def normalise(asked: Asked) -> None:
    """Make profiles of wells: raw, normalised, sphered, selected, and by Grad-CAMO."""
    from attributome.pipeline.profile.wells import normalise as make_profiles

    with open_profiles(asked) as work:
        told = make_profiles(work)
    for stage, row in told["stages"].items():
        if row["reason"]:
            say(f"{stage}: {row['reason']}")
        else:
            say(f"{stage}: {row['wells']} wells, {row['features']} features")
    say(f"profiles: {work.run.root / 'profiles'}")


@app.command()
@with_flags(DATA, NETWORK)
def evaluate(asked: Asked, trust: Trust = False) -> None:
    """Say what the network and the profiles are worth, and what of them is batch."""
    from attributome.pipeline.profile.evaluate import evaluate as evaluate_profiles
    from attributome.pipeline.profile.summing_up import sum_up

    with open_profiles(asked, trust=trust) as work:
        evaluate_profiles(work)
        summary = sum_up(work)
    for line in summary["words"]:
        say(line)
    say(f"evaluation: {work.run.root / 'evaluation.json'}")


@app.command()
@with_flags(DATA, REMEDIES)
def remedies(asked: Asked) -> None:
    """Train against looking beside the cell in three ways, and compare them with the run's own."""
    from attributome.pipeline.profile.remedies import remedies as compare

    with open_profiles(asked) as work:
        told = compare(work)
    for line in told["words"]:
        say(line)
    say(f"remedies: {work.run.root / 'remedies.json'}")


@app.command()
@with_flags(DATA, NETWORK)
def alternatives(asked: Asked, trust: Trust = False) -> None:
    """Learn features of the same crops without labels, and compare them with the classifier's."""
    from attributome.pipeline.profile.alternatives import alternatives as compare

    with open_profiles(asked, trust=trust) as work:
        told = compare(work)
    for line in told["words"]:
        say(line)
    say(f"alternatives: {work.run.root / 'alternatives.json'}")


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run on profiles.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The same.")] = None,
) -> None:
    """Write the page that a biologist reads."""
    from attributome.report.profile import build_profile

    say(f"report: {build_profile(run_named(folder, out, 'runs/profile'))}")


@app.command()
@with_flags(DATA, NETWORK, TRAIN, FEATURES, CAMO)
def run(asked: Asked, trust: Trust = False) -> None:
    """Everything: crop, train, features, camo, normalise, evaluate, report."""
    from attributome.pipeline.profile.everything import everything
    from attributome.report.profile import build_profile

    with open_profiles(asked, trust=trust) as work:
        summary = everything(work)
        page = build_profile(work.run)
    for line in summary["words"]:
        say(line)
    say(f"summary: {work.run.root / 'summary.json'}")
    say(f"report: {page}")
