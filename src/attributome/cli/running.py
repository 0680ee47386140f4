"""Verbs that do the work of a job: demo, run, train, explain, score."""

from pathlib import Path
from typing import TYPE_CHECKING

from attributome.cli.options import (
    Compile,
    Device,
    Factory,
    Images,
    Inputs,
    JobFile,
    Minutes,
    Out,
    Prec,
    Precision,
    Predictor,
    Seed,
    Set,
    Shard,
    Targets,
    Trust,
    asked_before,
    changed,
    given_values,
    job_of,
    open_work,
    part_of,
)
from attributome.cli.speaking import command_line, end, say

if TYPE_CHECKING:
    from attributome.pipeline import Work


def demo(
    out: Out = None,
    seed: Seed = None,
    set: Set = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
) -> None:
    """Simulate cells with a known answer, train, explain, score and report: all in minutes."""
    from attributome.data.planted import write_planted
    from attributome.pipeline import DEMO, DEMO_FIELDS

    root = out or Path("runs/demo")
    table = root / "data" / "fields.csv"
    changes = {"data.source": str(table), **given_values(set, seed)}
    job = changed(DEMO, changes)
    if not table.exists():
        write_planted(table.parent, fields=DEMO_FIELDS, seed=job.seed)
    with open_work(job, root, device, precision, compile, trust=False) as work:
        do_all(work)


def run(
    job: JobFile = None,
    out: Out = None,
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
    predictor: Predictor = "",
    factory: Factory = "",
    set: Set = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Everything a job asks for: train what is missing, explain, score, report."""
    asked = job_of(job, out, images, input, target, predictor, factory, set, seed)
    with open_work(asked, out, device, precision, compile, trust) as work:
        do_all(work)


def train_predictor(
    job: JobFile = None,
    out: Out = None,
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
    set: Set = None,
    seed: Seed = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
) -> None:
    """Train an in silico labelling network, a regressor or a classifier on images and targets."""
    from attributome import pipeline

    more = {"predictor.minutes": minutes}
    asked = job_of(job, out, images, input, target, "", "", set, seed, more)
    with open_work(asked, out, device, precision, compile, trust=False) as work:
        say(f"predictor: {pipeline.train_predictor(work)}")


def train_masks(
    job: JobFile = None,
    out: Out = None,
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
    predictor: Predictor = "",
    factory: Factory = "",
    set: Set = None,
    seed: Seed = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Search the noise, train the mask generator, choose the threshold, calibrate the guarantee."""
    from attributome import pipeline

    more = {"masks.minutes": minutes}
    asked = job_of(job, out, images, input, target, predictor, factory, set, seed, more)
    with open_work(asked, out, device, precision, compile, trust) as work:
        say(f"masks: {pipeline.train_masks(work)}")


def explain(
    job: JobFile = None,
    out: Out = None,
    set: Set = None,
    shard: Shard = "1/1",
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Make the maps of every field that has none yet."""
    from attributome import pipeline

    part = part_of(shard)
    with open_work(asked_before(job, out, set), out, device, precision, compile, trust) as work:
        failed = pipeline.explain(work, part=part)
        say(f"maps: {work.run.root / 'parts' / 'explain'}")
    end(failed, done=len(work.run.units("explain")))


def score(
    job: JobFile = None,
    out: Out = None,
    set: Set = None,
    shard: Shard = "1/1",
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Measure the maps against controls of the same size, and sum up."""
    from attributome import pipeline

    part = part_of(shard)
    with open_work(asked_before(job, out, set), out, device, precision, compile, trust) as work:
        failed = pipeline.score(work, part=part)
        if work.run.units("score"):
            pipeline.sum_up(work, command=command_line())
            say(f"summary: {work.run.root / 'summary.json'}")
    end(failed, done=len(work.run.units("score")))


def do_all(work: "Work") -> None:
    """Everything, then the page, then one line each for what a user wants to know."""
    from attributome.pipeline import everything
    from attributome.report import build

    summary, failed = everything(work, command=command_line())
    if not summary:
        end(failed, done=0)
    page = build(work.run)
    say(
        f"median efficacy {summary['efficacy_median']:.3f} at mask size "
        f"{summary['mask_size_median']:.3f} over {summary['fields_test']} fields"
    )
    say(f"summary: {work.run.root / 'summary.json'}")
    say(f"report: {page}")
    end(failed, done=summary["fields_test"])
