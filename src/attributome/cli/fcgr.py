"""Verbs on pairs of a miRNA and a site: encode, audit, train, evaluate, explain, and on."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attributome.cli.fcgr_flags import (
    DATA,
    EXPLAIN,
    NETWORK,
    TRAIN,
    UPSTREAM,
    open_pairs,
)
from attributome.cli.flags import Asked, with_flags
from attributome.cli.options import Shard, part_of, run_named
from attributome.cli.speaking import end, say
from attributome.terminal import Terminal

app = typer.Typer(
    help="What drives a network on miRNA-site pairs, from a table to a report.",
    no_args_is_help=True,
)


class Form(StrEnum):
    """What encoded sequences are written as."""

    npy = "npy"
    parquet = "parquet"


@app.command()
@with_flags(DATA)
def encode(
    asked: Asked,
    form: Annotated[Form, typer.Option("--form", help="Images, or counts.")] = Form.npy,
) -> None:
    """Write the images of sequences, with a manifest and every row that was left out."""
    from attributome.pipeline.fcgr.encode import encode as encode_all
    from attributome.pipeline.fcgr.job import read_job

    job = read_job(asked.path, asked.changes)
    with Terminal() as terminal:
        out = asked.out or Path("runs") / "encoded"
        manifest = encode_all(
            job, out, form=form.value, progress=terminal.bars("encode"), tell=terminal.tell
        )
    say(f"images: {manifest.parent}")
    say(f"manifest: {manifest}")


@app.command()
@with_flags(DATA)
def audit(asked: Asked) -> None:
    """Say what in the pairs is double, leaks, or can be told without looking at both."""
    from attributome.pipeline.fcgr.audit import audit as audit_pairs

    with open_pairs(asked) as work:
        path = audit_pairs(work)
        found = work.run.load("audit") or {}
    for flag in found["flags"]:
        say(f"{flag['level']}: {flag['title']}. {flag['words']}".strip())
    say(f"audit: {path}")


@app.command()
@with_flags(DATA, NETWORK, TRAIN)
def train(asked: Asked) -> None:
    """Train a network on the pairs; a finished one is left as it is."""
    from attributome.pipeline.fcgr.network import train as train_network

    with open_pairs(asked) as work:
        folder = train_network(work)
    say(f"network: {folder}")


@app.command()
@with_flags(DATA, NETWORK)
def evaluate(asked: Asked) -> None:
    """Say how good the network is on pairs it has not seen, beside trivial predictors."""
    from attributome.pipeline.fcgr.evaluate import evaluate as evaluate_network

    with open_pairs(asked) as work:
        found = evaluate_network(work)
    for line in found["words"]:
        say(line)
    say(f"evaluation: {work.run.root / 'evaluation.json'}")


@app.command()
@with_flags(DATA, NETWORK, EXPLAIN)
def explain(
    asked: Asked,
    shard: Shard = "1/1",
    n_samples: Annotated[int | None, UPSTREAM("--n_samples", "--n-samples")] = None,
    n_background: Annotated[int | None, UPSTREAM("--n_background", "--n-background")] = None,
    output: Annotated[Path | None, UPSTREAM("--output")] = None,
    dpi: Annotated[int, typer.Option("--dpi", help="Of the figures in --output.")] = 150,
) -> None:
    """Make maps and tracks of pairs, and measure them against exact mutagenesis."""
    from attributome.pipeline.fcgr.explain import explain as explain_pairs
    from attributome.pipeline.fcgr.summing_up import sum_up
    from attributome.pipeline.fcgr.upstream import as_upstream, upstream_tree_of

    part = part_of(shard)
    old_style = output is not None or n_samples is not None or n_background is not None
    more = as_upstream(n_samples, n_background) if old_style else {}
    if output is not None:
        asked = replace(asked, out=output)
    with open_pairs(asked, more) as work:
        failed = explain_pairs(work, part=part)
        done = len(work.run.units("explain"))
        if done:
            sum_up(work)
        tree = upstream_tree_of(work) if output is not None and not failed else None
    say(f"maps: {work.run.root / 'parts' / 'explain'}")
    if output is not None and tree is not None:
        from attributome.report.fcgr.upstream import UpstreamSample, upstream_tree

        samples = [UpstreamSample(**sample) for sample in tree.pop("samples")]
        say(f"figures: {len(upstream_tree(output, samples, **tree, dpi=dpi))} files in {output}")
    end(failed, done=done)


@app.command()
@with_flags(DATA, NETWORK)
def motifs(asked: Asked) -> None:
    """Look for motifs in the evidence, in letters and in the frame of the miRNA."""
    from attributome.pipeline.fcgr.motifs import motifs as find_motifs
    from attributome.pipeline.fcgr.summing_up import sum_up

    with open_pairs(asked) as work:
        path = find_motifs(work)
        sum_up(work)
        found = work.run.load("motifs") or {}
    for line in found["stability"]:
        say(line["words"])
    say(f"motifs: {path}, {path.with_suffix('.meme')}, {path.with_name('kmers.parquet')}")


@app.command()
@with_flags(DATA, NETWORK)
def compare(asked: Asked) -> None:
    """Compare pairs that interact with those that do not, within each miRNA."""
    from attributome.pipeline.fcgr.compare import compare as compare_pairs
    from attributome.pipeline.fcgr.summing_up import sum_up

    with open_pairs(asked) as work:
        path = compare_pairs(work)
        sum_up(work)
    say(f"contrasts: {path}")


@app.command()
def report(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Folder of a run on pairs.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The same.")] = None,
    figures: Annotated[
        Path | None, typer.Option("--figures", help="Also write figures into this folder.")
    ] = None,
) -> None:
    """Write the page that a biologist reads."""
    from attributome.report.fcgr import build_fcgr
    from attributome.report.fcgr.figures import write_figures

    run = run_named(folder, out, "runs/fcgr")
    if figures is not None:
        say(f"figures: {len(write_figures(run, figures))} in {figures}")
    say(f"report: {build_fcgr(run)}")


@app.command()
@with_flags(DATA, NETWORK, TRAIN, EXPLAIN)
def run(asked: Asked) -> None:
    """Everything: audit, train, evaluate, explain, motifs, compare, report."""
    from attributome.pipeline.fcgr.everything import everything
    from attributome.report.fcgr import build_fcgr

    with open_pairs(asked) as work:
        summary, failed = everything(work)
        page = build_fcgr(work.run)
    for line in summary["words"]:
        say(line)
    say(f"summary: {work.run.root / 'summary.json'}")
    say(f"report: {page}")
    end(failed, done=summary["pairs_explained"])
