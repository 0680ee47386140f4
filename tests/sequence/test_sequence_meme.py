"""What is written is the minimal MEME format to the letter, and comes back as it was."""

import numpy as np
import pytest

from attributome.core.errors import DataError
from attributome.sequence.findings.motifs.meme import Pwm, pwm_of, read_meme, write_meme
from attributome.sequence.findings.motifs.patterns import Motif, probabilities

WRITTEN = """\
MEME version 4

ALPHABET= ACGT

strands: +

Background letter frequencies
A 0.250000 C 0.250000 G 0.250000 T 0.250000

MOTIF motif_1 AN
letter-probability matrix: alength= 4 w= 2 nsites= 3 E= 0
 0.812500  0.062500  0.062500  0.062500
 0.312500  0.312500  0.312500  0.062500
"""

# what other programs write: other heads, no w, blank lines, RNA, a log-odds matrix before it
FOREIGN = """\
MEME version 5.4.1 (Release date: Sat Aug 21 19:23:23 2021 -0700)

ALPHABET= ACGU

MOTIF 1 RNCMPT00001 two words
log-odds matrix: alength= 4 w= 1 E= 0
  12 -40 -40 -40

letter-probability matrix: alength= 4
0.5 .25 0.25 0.0
1e-1 0.2 0.3 0.4
1 0 0 0

URL http://example.org
MOTIF second
letter-probability matrix: alength= 4 w= 1 nsites= 20 E= 4.1e-009
 0.25\t0.25\t0.25\t0.25
"""


@pytest.fixture
def motif():
    counts = np.array([[3.0, 0, 0, 0], [1, 1, 1, 0]])
    return Motif("motif 1", counts, counts, None, np.arange(3), np.zeros(3, int), 2)


def test_the_file_is_the_format_to_the_letter(motif, tmp_path):
    write_meme(tmp_path / "a.meme", [motif])
    assert (tmp_path / "a.meme").read_text() == WRITTEN


def test_it_comes_back_as_it_was(motif, tmp_path, random):
    drawn = random.dirichlet(np.ones(4), 9)
    background = (0.3, 0.2, 0.2, 0.3)
    write_meme(tmp_path / "a.meme", [motif, Pwm("other", "", drawn, 12)], background=background)
    first, second = read_meme(tmp_path / "a.meme")
    assert (first.name, first.alternate, first.sites) == ("motif_1", "AN", 3)
    wanted = probabilities(motif.counts, background=background)
    assert first.probabilities == pytest.approx(wanted, abs=1e-6)
    assert (second.name, second.alternate, second.sites) == ("other", "", 12)
    assert second.probabilities == pytest.approx(drawn, abs=1e-6)
    write_meme(tmp_path / "b.meme", [first, second], background=background)
    assert (tmp_path / "b.meme").read_text() == (tmp_path / "a.meme").read_text()


def test_no_motifs_are_a_file_too(tmp_path):
    write_meme(tmp_path / "a.meme", [])
    assert read_meme(tmp_path / "a.meme") == []


def test_a_name_with_spaces_is_one_word(motif):
    assert pwm_of(motif).name == "motif_1"
    assert pwm_of(motif).probabilities.sum(1) == pytest.approx([1, 1])


def test_files_of_other_programs_are_read(tmp_path):
    path = tmp_path / "a.meme"
    path.write_text(FOREIGN)
    first, second = read_meme(path)
    assert (first.name, first.alternate) == ("1", "RNCMPT00001 two words")
    assert first.probabilities.tolist() == [
        [0.5, 0.25, 0.25, 0],
        [0.1, 0.2, 0.3, 0.4],
        [1, 0, 0, 0],
    ]
    assert (second.name, second.sites, len(second.probabilities)) == ("second", 20, 1)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("MEME version 4", "nothing", "no MEME file"),
        ("ACGT", "ACDEFGHIKLMNPQRSTVWY", "only the letters ACGT"),
        ("w= 2", "w= 3", "3 rows of four numbers; 2 follow"),
        ("0.812500", "0.512500", "line 12 of .* sums to 0.7"),
        ("MOTIF motif_1 AN", "", "without a MOTIF"),
        ("MOTIF motif_1 AN", "MOTIF", "line 10 of .* names no motif"),
    ],
)
def test_a_wrong_file_is_refused(old, new, says, tmp_path):
    path = tmp_path / "a.meme"
    path.write_text(WRITTEN.replace(old, new))
    with pytest.raises(DataError, match=says):
        read_meme(path)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a MEME file"):
        read_meme(tmp_path / "none.meme")
