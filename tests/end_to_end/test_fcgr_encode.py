"""Sequences to images on disk, as a user types it: images are exact, bad rows are listed."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from attributome.sequence.fcgr import kmers, pixel_of
from attributome.sequence.pairs.planted import write_planted_pairs
from end_to_end.jobs import call, halves, sentence

LET7 = "UGAGGUAGUAGGUUGUAUAGUU"
SITE = "ATGCGGTCGTAACCATACAACCTACTACCTCA"
HEAD = "mature_miRNA_Transcript,mRNA_Site_Transcript,validation"


def table(path, *rows, head=HEAD):
    text = "\n".join([head, *rows]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def loop(sequence, k):
    """The obvious way: one window after the other."""
    image, total = np.zeros((2**k, 2**k)), len(sequence) - k + 1
    for start in range(total):
        word = sequence[start : start + k]
        if set(word) <= set("ACGT"):
            image[pixel_of(word)] += 1
    return image / total


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.csv.gz"])
def test_images_are_those_of_the_obvious_loop(tmp_path, capsys, name):
    path = table(tmp_path / name, f"{LET7},{SITE},1", f"{LET7.lower()},ACGNACGTTTGA,0")
    assert call("fcgr", "encode", "--data", path, "--k", 3, "--out", tmp_path / "images") == 0
    out = tmp_path / "images"
    assert capsys.readouterr().out == f"images: {out}\nmanifest: {out / 'manifest.json'}\n"
    mirna, site = np.load(out / "mirna.npy"), np.load(out / "site.npy")
    assert mirna.shape == site.shape == (2, 1, 8, 8)
    assert mirna.dtype == np.float32
    np.testing.assert_allclose(mirna[0, 0], loop(LET7.replace("U", "T"), 3), rtol=1e-7)
    assert np.array_equal(mirna[0], mirna[1])  # u is T, whatever its case
    np.testing.assert_allclose(site[1, 0], loop("ACGNACGTTTGA", 3), rtol=1e-7)
    assert site[1].sum() == pytest.approx(0.7)  # three of ten windows hold the N
    found = json.loads((out / "manifest.json").read_text())
    assert (found["k"], found["rows"], found["rejected"]) == (3, 2, 0)
    assert found["files"].keys() == {"mirna.npy", "site.npy"}
    assert halves(out) == []


def test_counts_say_the_same_as_images(tmp_path):
    path = write_planted_pairs(tmp_path / "pairs.csv", mirnas=3, pairs_each=4)
    for form in ("npy", "parquet"):
        words = ("--k", 4, "--form", form, "--out", tmp_path / form)
        assert call("fcgr", "encode", "--data", path, *words) == 0
    images = np.load(tmp_path / "npy" / "site.npy").reshape(12, -1)
    counts = pd.read_parquet(tmp_path / "parquet" / "counts.parquet").query("branch == 'site'")
    row = counts["id"].map({name: i for i, name in enumerate(counts["id"].unique())})
    again = np.zeros_like(images)
    again[row, counts["pixel"]] = counts["share"]
    assert np.array_equal(again, images)
    assert (np.array(kmers(4))[counts["pixel"]] == counts["kmer"]).all()
    assert (counts.groupby("id")["count"].sum() == 37).all()


def test_one_fasta_file_is_sequences_and_two_are_pairs(tmp_path):
    one, two = tmp_path / "a.fa", tmp_path / "b.fasta"
    one.write_text(f">first\n{LET7[:10]}\n{LET7[10:]}\n>second\n{LET7}\n")
    two.write_text(f">s1\n{SITE}\n>s2\n{SITE}\n")
    assert call("fcgr", "encode", "--data", one, "--k", 3, "--out", tmp_path / "x") == 0
    images = np.load(tmp_path / "x" / "sequence.npy")
    assert np.array_equal(images[0], images[1])
    words = ("--sites", two, "--k", 3, "--out", tmp_path / "y")
    assert call("fcgr", "encode", "--data", one, *words) == 0
    assert np.load(tmp_path / "y" / "mirna.npy").shape == (2, 1, 8, 8)


BAD = {
    "empty": (f",{SITE},1", "mature_miRNA_Transcript", "empty"),
    "letter": (f"{LET7},ACGTXACGT,1", "mRNA_Site_Transcript", "letter 'X' at position 5"),
    "short": (f"AC,{SITE},0", "mature_miRNA_Transcript", "2 letters, fewer than k = 3"),
    "all N": (f"{LET7},NNNNNNNN,0", "mRNA_Site_Transcript", "holds an N"),
    "label": (f"{LET7},{SITE},maybe", "validation", "not 0 or 1"),
    "NaN": (f"{LET7},{SITE},nan", "validation", "not 0 or 1"),
}


def test_bad_rows_are_listed_and_the_others_are_encoded(tmp_path, capsys):
    path = table(tmp_path / "pairs.csv", f"{LET7},{SITE},1", *(row for row, _, _ in BAD.values()))
    out = tmp_path / "images"
    assert call("fcgr", "encode", "--data", path, "--k", 3, "--out", out) == 0
    said = capsys.readouterr().err
    assert f"6 of 7 rows cannot be used and are left out; {out / 'rejected.csv'} lists them" in said
    listed = pd.read_csv(out / "rejected.csv")
    assert listed["row"].tolist() == [2, 3, 4, 5, 6, 7]
    for (_, column, reason), row in zip(BAD.values(), listed.itertuples(), strict=True):
        assert row.column == column
        assert reason in row.reason
    assert len(np.load(out / "site.npy")) == 1


@pytest.mark.parametrize("case", BAD)
def test_where_nothing_is_left_it_ends_with_3(tmp_path, capsys, case):
    row, column, reason = BAD[case]
    path, out = table(tmp_path / "pairs.csv", row), tmp_path / "images"
    assert call("fcgr", "encode", "--data", path, "--k", 3, "--out", out) == 3
    said = sentence(capsys.readouterr().err)
    assert column in said
    assert reason in said
    assert not out.exists()


REFUSED = {
    "no file named": ((), 2, "give --data FILE"),
    "no such file": (("--data", "nowhere.csv"), 3, "there is no file nowhere.csv"),
    "unknown key": (
        ("--data", "x.csv", "--set", "data.mirna_colum=x"),
        2,
        "did you mean 'mirna_column'?",
    ),
    "k too large": (("--data", "x.csv", "--k", "9"), 2, "data.k is 9"),
    "k is no number": (("--data", "x.csv", "--k", "four"), 2, "'--k'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_slips_are_refused_in_one_sentence(tmp_path, capsys, case):
    words, code, message = REFUSED[case]
    assert call("fcgr", "encode", *words, "--out", tmp_path / "out") == code
    assert message in sentence(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_column_that_is_not_there(tmp_path, capsys):
    path = table(tmp_path / "pairs.csv", f"{LET7},{SITE},1")
    words = ("--data", path, "--mirna-column", "mature_mirna_transcript")
    assert call("fcgr", "encode", *words, "--out", tmp_path / "out") == 3
    assert "did you mean 'mature_miRNA_Transcript'?" in sentence(capsys.readouterr().err)


def test_the_folder_of_another_encoding_is_refused(tmp_path, capsys):
    path, out = table(tmp_path / "pairs.csv", f"{LET7},{SITE},1"), tmp_path / "out"
    for k, code in ((3, 0), (3, 0), (4, 3)):
        assert call("fcgr", "encode", "--data", path, "--k", k, "--out", out) == code
    assert "encode.data.k (3 there, 4 here)" in capsys.readouterr().err
