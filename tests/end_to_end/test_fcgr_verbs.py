"""Every verb on pairs as a user types it, on pairs whose rule is known."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from attributome.sequence.evidence.explainers import DEFAULT
from attributome.sequence.pairs.planted import write_planted_pairs
from attributome.store import Run
from end_to_end.jobs import call, differing, halves, sentence, start, summary

TINY = (
    *("--k", 3, "--set", "network.options={width=12,hidden=24}"),
    *("--set", "train.batch=16", "--set", "train.lr=3e-3"),
)
SMALL = (
    *(*TINY, "--epochs", 4, "--pairs", 66, "--interactions", 3),
    *("--set", "evaluate.draws=100", "--set", "compare.draws=100"),
    *("--method", "input_x_gradient", "--method", DEFAULT, "--method", "random"),
)
MADE = {
    "audit.json",
    "contrasts.parquet",
    "evaluation.json",
    "kmers.parquet",
    "motifs.json",
    "motifs.meme",
    "network/log.csv",
    "network/network.json",
    "network/weights.safetensors",
    "pairs.parquet",
    "rejected.csv",
    "report/index.html",
    "run.json",
    "splits.json",
    "summary.json",
    "trust.json",
}
"""What the layout of a run promises."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Planted pairs, and the run that `fcgr run` makes of them."""
    home = tmp_path_factory.mktemp("fcgr")
    table = write_planted_pairs(
        home / "pairs.csv", mirnas=34, pairs_each=16, site_length=24, seed=1
    )
    run = home / "run"
    assert call("fcgr", "run", "--data", table, "--out", run, *SMALL) == 0
    return SimpleNamespace(table=table, run=run)


@pytest.fixture
def again(planted, tmp_path):
    """A copy of the run without the given parts."""

    def copy(*without: str) -> Path:
        run = tmp_path / "again"
        shutil.copytree(planted.run, run)
        for name in without:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return run

    return copy


def test_a_run_has_what_its_layout_says(planted):
    run = Run.open(planted.run)
    files = {p.relative_to(run.root).as_posix() for p in run.root.rglob("*") if p.is_file()}
    assert MADE - files == set()
    assert halves(run.root) == []
    assert run.units("explain") == ["pairs-000000", "pairs-000064"]
    pairs, scores = run.table("explain", "pairs"), run.table("explain", "scores")
    assert (pairs["label"].value_counts() == 33).all()
    test = json.loads((run.root / "splits.json").read_text())["test"]
    assert set(pairs["id"]) <= set(test)
    methods = ["mutagenesis", "input_x_gradient", DEFAULT, "random"]
    assert run.note("explain", "pairs-000000")["methods"] == {name: {} for name in methods}
    assert len(scores) == 66 * len(methods) * 2
    for unit in run.units("explain"):
        table = pd.read_parquet(run.root / "parts" / "explain" / unit / "pairs.parquet")
        for branch in ("site", "mirna"):
            lengths = table[branch].str.len().to_numpy()
            for method in methods:
                track = run.array("explain", unit, f"track_{method}_{branch}")
                assert (np.isfinite(track).sum(1) == lengths).all()
                assert run.array("explain", unit, f"map_{method}_{branch}").shape == (
                    len(table),
                    64,
                )
            for name in ("mutants", "hypothetical"):
                array = run.array("explain", unit, f"{name}_{branch}")
                assert array.shape == (len(table), lengths.max(), 4)
    doubled = [run.note("explain", unit)["epistasis_ids"] for unit in run.units("explain")]
    assert sum(map(len, doubled)) == 3
    for unit, ids in zip(run.units("explain"), doubled, strict=True):
        if ids:
            assert run.array("explain", unit, "epistasis").shape[0] == len(ids)


def test_the_rule_is_found(planted):
    """The network beats chance on unseen miRNAs, and its seeds hold most of the evidence."""
    found, run = summary(planted.run), Run.open(planted.run)
    assert found["auc"] > 0.9
    assert found["trivial"]["seed_rule"]["auc"] == 1.0
    assert found["trivial"]["mirna_identity"]["auc"] == 0.5
    assert found["rank_mutagenesis"][found["default_method"]]["site"]["mean"] >= 0.8
    assert abs(found["rank_mutagenesis"]["random"]["site"]["mean"]) < 0.2
    pairs = run.table("explain", "pairs")
    name = f"track_{found['default_method']}_site"
    tracks = np.concatenate([run.array("explain", u, name) for u in run.units("explain")])
    place = np.arange(tracks.shape[1])
    inside = (place >= pairs["planted_start"].to_numpy()[:, None]) & (
        place < pairs["planted_stop"].to_numpy()[:, None]
    )
    size = np.abs(tracks)
    share = (size * inside).sum(1) / size.sum(1)
    assert np.median(share[pairs["label"] == 1]) >= 0.8
    assert (found["frame"]["first"], found["frame"]["last"]) == (2, 8)
    assert found["stability"]["the seed frame"]


def test_labels_by_lot_give_no_stable_motif(tmp_path):
    """The same sites with the seed match, but labels that have nothing to do with it."""
    words = {"mirnas": 24, "pairs_each": 12, "site_length": 24, "seed": 1, "rule": "none"}
    table, run = write_planted_pairs(tmp_path / "pairs.csv", **words), tmp_path / "run"
    more = ("--epochs", 2, "--pairs", 36, "--interactions", 0, "--method", DEFAULT)
    assert call("fcgr", "train", "--data", table, "--out", run, *TINY, *more[:2]) == 0
    assert call("fcgr", "explain", "--out", run, *more[2:]) == 0
    assert call("fcgr", "motifs", "--out", run) == 0
    found = summary(run)
    assert found["stability"] == {"motifs in letters": False, "the seed frame": False}
    assert found["seed_share"]["mean"] < 2 * found["seed_length_share"]


def test_the_same_command_does_nothing_again(planted, again):
    run = again()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    assert call("fcgr", "run", "--data", planted.table, "--out", run, *SMALL) == 0
    changed = {
        p.relative_to(run).as_posix() for p, at in before.items() if p.stat().st_mtime_ns != at
    }
    assert changed <= {"summary.json", "trust.json", "report/index.html"}
    assert differing(planted.run, run) == []


def test_verbs_one_by_one_give_what_run_gives(planted, again, capsys):
    run = again("audit.json", "evaluation.json", "motifs.json", "contrasts.parquet", "report")
    where = {
        "audit": f"audit: {run / 'audit.json'}",
        "train": f"network: {run / 'network'}",
        "evaluate": f"evaluation: {run / 'evaluation.json'}",
        "explain": f"maps: {run / 'parts' / 'explain'}",
        "motifs": f"motifs: {run / 'motifs.json'}, {run / 'motifs.meme'}, {run / 'kmers.parquet'}",
        "compare": f"contrasts: {run / 'contrasts.parquet'}",
        "report": f"report: {run / 'report' / 'index.html'}",
    }
    for verb, line in where.items():
        capsys.readouterr()
        assert call("fcgr", verb, "--out", run) == 0
        assert capsys.readouterr().out.splitlines()[-1] == line
    assert differing(planted.run, run) == []


def test_shards_give_what_one_process_gives(planted, again, capsys):
    run = again("parts", "motifs.json", "contrasts.parquet", "trust.json", "summary.json")
    assert call("fcgr", "explain", "--out", run, "--shard", "2/2") == 0
    assert Run.open(run).units("explain") == ["pairs-000064"]
    capsys.readouterr()
    assert call("fcgr", "motifs", "--out", run) == 3
    assert "1 of 2 blocks" in sentence(capsys.readouterr().err)
    assert not (run / "trust.json").exists()
    for words in (("explain", "--shard", "1/2"), ("motifs",), ("compare",)):
        assert call("fcgr", *words, "--out", run) == 0
    assert differing(planted.run, run) == []
    assert (run / "trust.json").read_bytes() == (planted.run / "trust.json").read_bytes()


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_with_the_same_bits(planted, again, tmp_path):
    run = again("parts", "network", "evaluation.json", "motifs.json", "contrasts.parquet")
    process = start("fcgr", "train", "--out", run)
    while not (run / "network" / "last.safetensors").exists():
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert call("fcgr", "train", "--out", run) == 0
    ours, theirs = (
        (home / "network" / "weights.safetensors").read_bytes() for home in (run, planted.run)
    )
    assert ours == theirs
