"""Every row of a file is used as it is meant or listed with its reason; a bad file is one line."""

import gzip

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.sequence.pairs.reading import (
    Columns,
    family_of,
    labels_of,
    read_pairs,
    read_sequences,
)
from attributome.sequence.pairs.sources import read_fasta

MIRNA, SITE, LABEL = "mature_miRNA_Transcript", "mRNA_Site_Transcript", "validation"
LET7 = "UGAGGUAGUAGGUUGUAUAGUU"
GOOD = [(LET7, "ACTACCTCA", "1"), ("ugagguag", " acgtacgt ", "0"), ("ACGTNNACG", "TTTT", "1.0")]


def rows(*cells, header=(MIRNA, SITE, LABEL), delimiter=","):
    return "".join(delimiter.join(line) + "\n" for line in (header, *cells))


@pytest.fixture
def write(tmp_path):
    def write(content, name="pairs.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def packed(text):
    return gzip.compress(text.encode())


def listed(read):
    return [tuple(row) for row in read.rejected.itertuples(index=False)]


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.csv.gz", "PAIRS.CSV"])
def test_a_table_becomes_clean_pairs(write, name):
    text = rows(*GOOD, delimiter="\t" if "tsv" in name else ",")
    read = read_pairs(write(packed(text) if name.endswith("gz") else text, name))
    assert read.pairs.columns.tolist() == ["id", "mirna", "site", "label", "family"]
    assert read.pairs["mirna"].tolist() == [LET7.replace("U", "T"), "TGAGGTAG", "ACGTNNACG"]
    assert read.pairs["site"].tolist() == ["ACTACCTCA", "ACGTACGT", "TTTT"]
    assert read.pairs["label"].tolist() == [1, 0, 1]
    assert read.pairs["label"].dtype == np.int64
    assert read.pairs["id"].tolist() == ["1", "2", "3"]
    assert read.pairs["family"].tolist() == ["GAGGTAG", "GAGGTAG", "CGTNNAC"]
    assert listed(read) == []
    assert read.rejected.columns.tolist() == ["row", "column", "value", "reason"]


def test_a_parquet_table_with_types_and_an_index_of_its_own(tmp_path):
    frame = pd.DataFrame(
        {
            MIRNA: ["ACGT", None, "ACGT"],
            SITE: pd.Categorical(["TTTT", "TTTT", "GGGG"]),
            LABEL: [True, False, True],
            "dose": [0.5, 1.0, 2.0],
        },
        index=pd.Index(["x", "y", "z"], name="probe"),
    )
    frame.to_parquet(tmp_path / "p.parquet")
    read = read_pairs(tmp_path / "p.parquet")
    assert read.pairs["id"].tolist() == ["1", "3"]
    assert read.pairs["site"].tolist() == ["TTTT", "GGGG"]
    assert read.pairs["label"].tolist() == [1, 1]
    assert read.pairs["dose"].tolist() == [0.5, 2.0]
    assert read.pairs["probe"].tolist() == ["x", "z"]
    assert listed(read) == [(2, MIRNA, "", "it is empty")]


@pytest.mark.parametrize(
    ("bad", "column", "words"),
    [
        (("", "ACGT", "1"), MIRNA, "it is empty"),
        ((LET7, "  ", "1"), SITE, "it is empty"),
        ((LET7, "NaN", "1"), SITE, "fewer|every window"),  # NaN is spelled in letters of none
        ((LET7, "AC", "1"), SITE, "2 letters, fewer than k = 3"),
        ((LET7, "ACGTXACGT", "1"), SITE, "'X' at position 5"),
        (("AC-GT", "ACGT", "1"), MIRNA, "'-' at position 3"),
        ((LET7, "NNNNN", "1"), SITE, "every window"),
        ((LET7, "ACGT", "2"), LABEL, "not 0 or 1"),
        ((LET7, "ACGT", ""), LABEL, "not 0 or 1"),
        ((LET7, "ACGT", "-1"), LABEL, "not 0 or 1"),
        ((LET7, "ACGT", "nan"), LABEL, "not 0 or 1"),
        ((LET7, "ACGT", "yes"), LABEL, "not 0 or 1"),
        ((LET7, "ACGT"), "", "2 cells where the header has 3"),
        ((LET7, "ACGT", "1", "7"), "", "4 cells where the header has 3"),
    ],
)
def test_a_bad_row_is_listed_and_its_neighbours_are_kept(write, bad, column, words):
    read = read_pairs(write(rows(GOOD[0], bad, GOOD[1])))
    assert read.pairs["id"].tolist() == ["1", "3"]
    assert len(read.rejected) == 1
    row, where, value, reason = listed(read)[0]
    assert (row, where) == (2, column)
    assert any(word in reason for word in words.split("|"))
    assert value in ",".join(bad)


def test_a_row_with_several_faults_is_listed_once_and_long_values_are_cut(write):
    read = read_pairs(write(rows(("X" * 90, "", "5"), GOOD[0])))
    assert [(row, column, len(value)) for row, column, value, _ in listed(read)] == [(1, MIRNA, 60)]


def test_an_n_is_refused_where_that_is_asked(write):
    path = write(rows(*GOOD))
    read = read_pairs(path, unknown="refuse")
    assert listed(read) == [(3, MIRNA, "ACGTNNACG", "position 5 is N")]
    assert [row[0] for row in listed(read_pairs(path, k=5))] == [3]


def test_columns_are_mapped_and_others_keep_their_names(write):
    header = ("seq", "target", "y", "name", "id", "label", "clan", "set", "start")
    cells = [
        ("ACGTACGT", "TTTTT", "1", "p1", "a", "x", "f1", " Train ", "10"),
        ("ACGTACGT", "TTTTT", "0", "p2", "b", "y", "", "test", "11"),
        ("CCCCCCCCC", "TTTTT", "0", "p3", "b", "y", "", "test", "007"),
    ]
    columns = Columns(
        mirna="seq", site="target", label="y", id="name", family="clan", split="set"
    )  # fmt: skip
    pairs = read_pairs(write(rows(*cells, header=header)), columns).pairs
    assert pairs.columns.tolist() == [
        "id", "mirna", "site", "label", "family", "split", "id_in_file", "label_in_file", "start",
    ]  # fmt: skip
    assert pairs["id"].tolist() == ["p1", "p2", "p3"]
    assert pairs["family"].tolist() == ["f1", "f1", "CCCCCCC"]  # the same miRNA, the same family
    assert pairs["split"].tolist() == ["Train", "test", "test"]
    assert pairs["id_in_file"].tolist() == ["a", "b", "b"]
    assert pairs["start"].tolist() == ["10", "11", "007"]
    numbers = read_pairs(write(rows(*cells[:2], header=header)), columns).pairs
    assert numbers["start"].tolist() == [10, 11]


def test_ids_that_are_empty_or_repeated_are_rejected(write):
    header = (MIRNA, SITE, "name")
    cells = [("ACGT", "ACGT", name) for name in ("a", "b", "a", "", "c")]
    read = read_pairs(write(rows(*cells, header=header)), Columns(id="name"))
    assert read.pairs["id"].tolist() == ["a", "b", "c"]
    assert listed(read) == [(3, "name", "a", "row 1 has it"), (4, "name", "", "it is empty")]
    assert "label" not in read.pairs
    with pytest.raises(DataError, match="no labels"):
        labels_of(read.pairs)


@pytest.mark.parametrize(
    ("content", "name", "error", "words"),
    [
        ("", "p.csv", DataError, "no column 'mature_miRNA_Transcript' .*it has none"),
        (rows(), "p.csv", DataError, "has no rows"),
        (rows(("AC", "", "7")), "p.csv", DataError, "no row that can be used: 1 .* fewer than k"),
        (rows(("a",)), "p.csv", DataError, "no row that can be used.*1 cells where"),
        (rows(header=("mature_mirna_transcript", SITE)), "p.csv", DataError,
         "did you mean 'mature_mirna_transcript'"),
        (rows(GOOD[0], header=(MIRNA, MIRNA, LABEL)), "p.csv", DataError, "several columns"),
        (rows(*GOOD).encode() + b"A\xff,C,1\n", "p.csv", DataError, "line 5 is not UTF-8"),
        (rows(*GOOD).encode("utf-16"), "p.csv", DataError, "line 1 is not UTF-8"),
        (packed(rows(*GOOD * 50))[:-30], "p.csv.gz", DataError, "cannot read"),
        (b"\x1f\x8b\x08" + b"\x00" * 40, "p.csv.gz", DataError, "cannot read"),
        (rows() + '"ACGT,ACGT,1\n', "p.csv", DataError, "line 2: unexpected end of data"),
        (b"PAR1 no more", "p.parquet", DataError, "cannot read"),
        (rows(*GOOD), "p.xlsx", UsageError, "known format"),
        (">a\nACGT\n", "p.fasta", UsageError, "FASTA file of sites"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(write, content, name, error, words):
    with pytest.raises(error, match=words) as caught:
        read_pairs(write(content, name))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises((DataError, UsageError)):
            read_pairs(path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        read_pairs(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    "columns", [Columns(label="y"), Columns(id="y"), Columns(family="y"), Columns(split="y")]
)
def test_a_column_that_is_named_must_be_there(write, columns):
    with pytest.raises(DataError, match="no column 'y'"):
        read_pairs(write(rows(*GOOD)), columns)


def test_one_column_cannot_be_two_things(write):
    with pytest.raises(UsageError, match="cannot be both mirna and site"):
        read_pairs(write(rows(*GOOD)), Columns(site=MIRNA))


def test_a_byte_order_mark_crlf_and_blank_lines_are_no_matter(write):
    text = "\ufeff" + rows(*GOOD).replace("\n", "\r\n\r\n")
    assert read_pairs(write(text)).pairs["id"].tolist() == ["1", "2", "3"]


def test_two_fasta_files_are_pairs_in_order(write):
    mirnas = write(">let-7a first\nUGAGGUAG\nUAGGUUG\n\n>bad\nAC*T\n>c\nacgtacgt\n", "m.fa")
    sites = write(packed(">s1\nACTACCTCA\n>s2\nACGT\n>s3\nTTTT\n"), "s.fasta.gz")
    read = read_pairs(mirnas, site_fasta=sites)
    assert read.pairs["id"].tolist() == ["1", "3"]
    assert read.pairs["mirna"].tolist() == ["TGAGGTAGTAGGTTG", "ACGTACGT"]
    assert read.pairs["mirna_name"].tolist() == ["let-7a", "c"]
    assert read.pairs["site_name"].tolist() == ["s1", "s3"]
    assert [one[:3] for one in listed(read)] == [(2, MIRNA, "AC*T")]
    with pytest.raises(DataError, match="3 sequences and .* 1"):
        read_pairs(mirnas, site_fasta=write(">a\nACGT\n", "one.fa"))
    with pytest.raises(UsageError, match="is a table"):
        read_pairs(write(rows(*GOOD)), site_fasta=sites)


def test_one_fasta_file_is_a_list_of_sequences(write):
    path = write(">a x\nac\ngu\n>b\n\n>a\nACGT\n>d\nAC\n", "s.fna")
    assert read_fasta(path).to_dict("list") == {
        "id": ["a", "b", "a", "d"], "sequence": ["acgu", "", "ACGT", "AC"]
    }  # fmt: skip
    read = read_sequences(path, k=3)
    assert read.pairs.to_dict("list") == {"id": ["a"], "sequence": ["ACGT"]}
    assert [(row, column) for row, column, _, _ in listed(read)] == [
        (2, "sequence"), (3, "id"), (4, "sequence")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "no sequences"), ("ACGT\n", "does not begin with '>'"), (">a\nA\n> \nC\n", "line 3")],
)
def test_what_is_no_fasta_is_refused(write, content, words):
    with pytest.raises(DataError, match=words):
        read_fasta(write(content, "s.fa"))


@pytest.mark.parametrize(
    ("text", "family"),
    [(LET7, "GAGGTAG"), ("hsa-let-7a-5p", "let-7"), ("hsa-miR-92a-3p", "mir-92"),
     ("mmu-mir-17", "mir-17"), ("acgtacgtac", "CGTACGT")],
)  # fmt: skip
def test_families(text, family):
    assert family_of(text) == family


def test_what_is_no_mirna_has_no_family():
    with pytest.raises(DataError, match="neither"):
        family_of("chromosome 7")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "count"), [("hejret2023_corrected", 9158), ("miraw_sites", 59990)]
)
def test_every_row_of_the_real_tables_is_used(real_data, name, count):
    read = read_pairs(real_data / "mirna" / f"{name}.csv.gz")
    assert (len(read.pairs), len(read.rejected)) == (count, 0)
    assert read.pairs["id"].is_unique
