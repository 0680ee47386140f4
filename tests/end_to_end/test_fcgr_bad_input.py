"""Pairs that cannot be used, as a user types them: a sentence, an exit code, nothing half done."""

import json

import pandas as pd
import pytest

from attributome.sequence.pairs.planted import write_planted_pairs
from end_to_end.jobs import call, halves, sentence

MIRNA, SITE, LABEL = "mature_miRNA_Transcript", "mRNA_Site_Transcript", "validation"
TINY = ("--network", "upstream", "--k", 3, "--epochs", 1)
SMALL = ("--set", "network.options={widths=[2,2,4,2],hidden=[8,8,4,4,4]}")


@pytest.fixture
def pairs(tmp_path):
    return write_planted_pairs(tmp_path / "pairs.csv", mirnas=8, pairs_each=6)


def edited(path, change):
    rows = pd.read_csv(path, dtype=str)
    change(rows)
    rows.to_csv(path, index=False)


def refused(capsys, run, *words, code):
    capsys.readouterr()
    assert call("fcgr", *words, "--out", run) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert halves(run) == []
    if code == 2:
        assert not (run / "run.json").exists()
    return sentence("\n".join(line for line in said.err.splitlines() if "left out" not in line))


@pytest.mark.parametrize("label", ["0", "1"])
def test_one_class_is_audited_and_not_trained_on(pairs, tmp_path, capsys, label):
    edited(pairs, lambda rows: rows.__setitem__(LABEL, label))
    run = tmp_path / "run"
    assert call("fcgr", "audit", "--data", pairs, "--k", 3, "--out", run) == 0
    assert f"red: All 36 pairs of the train part have label {label}" in capsys.readouterr().out
    said = refused(capsys, run, "train", *TINY, *SMALL, code=3)
    assert f"have the label {label}; training needs both labels there" in said
    assert not (run / "network").exists()


def test_labels_of_one_class_in_the_test_are_evaluated_with_what_is_defined(
    pairs, tmp_path, capsys
):
    def change(rows):
        rows["split"] = (["train"] * 4 + ["validate"] * 2) * 6 + ["test"] * 12
        rows.loc[rows["split"] == "test", LABEL] = "1"

    edited(pairs, change)
    words = ("--data", pairs, "--split", "given", "--out", tmp_path / "run")
    assert call("fcgr", "train", *words, *TINY, *SMALL) == 0
    assert call("fcgr", "evaluate", "--out", tmp_path / "run") == 0
    assert "AUC is undefined: all labels are 1" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    values = {(r["predictor"], r["metric"]): r["value"] for r in found["scores"]}
    assert values["network", "auc"] is None
    assert values["network", "accuracy"] is not None


def test_a_mirna_longer_than_its_site_is_as_good_as_any(pairs, tmp_path, capsys):
    edited(pairs, lambda rows: rows.__setitem__(SITE, rows[SITE].str[:12]))
    run = tmp_path / "run"
    assert call("fcgr", "audit", "--data", pairs, "--k", 3, "--out", run) == 0
    assert len(pd.read_parquet(run / "pairs.parquet")) == 48
    assert "left out" not in capsys.readouterr().err


def test_bad_rows_are_listed_and_the_rest_is_trained_on(pairs, tmp_path, capsys):
    def change(rows):
        rows.loc[0, MIRNA] = None
        rows.loc[7, SITE] = "ACGT!ACGT"
        rows.loc[9, LABEL] = "NaN"

    edited(pairs, change)
    run = tmp_path / "run"
    assert call("fcgr", "train", "--data", pairs, "--out", run, *TINY, *SMALL) == 0
    assert "3 of 48 rows cannot be used and are left out" in capsys.readouterr().err
    listed = pd.read_csv(run / "rejected.csv")
    assert listed["row"].tolist() == [1, 8, 10]
    assert listed["column"].tolist() == [MIRNA, SITE, LABEL]
    ids = pd.read_parquet(run / "pairs.parquet")["id"]
    assert not {"1", "8", "10"} & set(ids)
    splits = json.loads((run / "splits.json").read_text())
    assert sorted(one for part in splits.values() for one in part) == sorted(ids)
    assert json.loads((run / "run.json").read_text())["data"]["rejected"] == 3


CASES = {
    "nothing named": ((), 2, "give data.source in the job, or --data FILE"),
    "no file": (("--data", "nowhere.csv"), 3, "there is no file nowhere.csv"),
    "odd shares": (("--set", "data.shares={train=0.9,test=0.1}"), 2, "a share each"),
    "upstream's k": (("--network", "upstream", "--k", 7), 2, "the upstream network is for k of 3"),
    "no split": (("--split", "none"), 2, "leaves no pairs to train on"),
    "unknown section": (("--set", "trainer.lr=1"), 2, "unknown key 'trainer'; did you mean"),
    "a word for a number": (("--set", "train.lr=fast"), 2, "train.lr is 'fast', but"),
    "unknown split": (("--split", "gene"), 2, "'--split'"),
    "no label column": (("--label-column", "label"), 3, "has no column 'label' for the label"),
    "no such column": (("--site-column", "mrna"), 3, "has no column 'mrna' for the site"),
    "no option": (("--set", "network.options={width=[3]}"), 2, "did you mean 'widths'?"),
    "no split column": (("--split", "given"), 3, "no column `split`"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_refused(pairs, tmp_path, capsys, case):
    words, code, message = CASES[case]
    given = () if case in ("nothing named", "no file") else ("--data", pairs)
    said = refused(capsys, tmp_path / "run", "train", *given, *TINY, *words, code=code)
    assert message in said


def test_too_few_mirnas_to_split_by(pairs, tmp_path, capsys):
    edited(pairs, lambda rows: rows.__setitem__(MIRNA, rows[MIRNA][0]))
    said = refused(capsys, tmp_path / "run", "audit", "--data", pairs, "--k", 3, code=3)
    assert "1 groups (mirna) cannot fill 3 parts" in said


@pytest.mark.parametrize("verb", ["evaluate", "explain", "motifs", "compare"])
def test_a_verb_before_its_time_says_what_comes_first(pairs, tmp_path, capsys, verb):
    said = refused(capsys, tmp_path / "run", verb, "--data", pairs, "--k", 3, code=3)
    first = {"motifs": "explain", "compare": "explain"}.get(verb, "train")
    assert f"run `attributome fcgr {first}` first" in said


def test_a_run_of_images_is_not_taken_for_one_of_pairs(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"job": {"masks": {}, "data": {}}}))
    assert call("fcgr", "evaluate", "--out", run) == 2
    assert "holds something else" in sentence(capsys.readouterr().err)


def test_what_was_used_binds_and_what_was_not_does_not(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    assert call("fcgr", "audit", "--data", pairs, "--k", 3, "--out", run) == 0
    # an audit has used the data, but no network yet
    assert call("fcgr", "train", "--out", run, *TINY, *SMALL) == 0
    for words, key in (
        (("--epochs", 2), "job.train.epochs (1 there, 2 here)"),
        (("--split", "random"), "job.data.split ('mirna' there, 'random' here)"),
        (("--seed", 5), "job.seed (0 there, 5 here)"),
    ):
        capsys.readouterr()
        assert call("fcgr", "train", "--out", run, *words) == 3
        assert key in sentence(capsys.readouterr().err)
    edited(pairs, lambda rows: rows.__setitem__(LABEL, rows[LABEL].iloc[::-1].to_numpy()))
    assert call("fcgr", "train", "--out", run) == 3
    assert "data.sha256" in sentence(capsys.readouterr().err)


def test_a_run_goes_on_where_its_table_has_gone(pairs, tmp_path):
    run = tmp_path / "run"
    assert call("fcgr", "audit", "--data", pairs, "--k", 3, "--out", run) == 0
    pairs.unlink()
    assert call("fcgr", "train", "--out", run, *TINY, *SMALL) == 0
