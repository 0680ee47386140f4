"""Seed matches are the reverse complement of nt 2-7 or 2-8, with an A across nt 1 or without."""

import pytest

from attributome.sequence.alphabet import reverse_complement
from attributome.sequence.regions import KINDS, region_of, seed_match, seed_words

LET7 = "TGAGGTAGTAGGTTGTATAGTT"


def test_words_of_let7():
    assert seed_words(LET7) == {
        "8mer": "CTACCTCA",
        "7mer-m8": "CTACCTC",
        "7mer-A1": "TACCTCA",
        "6mer": "TACCTC",
    }
    assert tuple(seed_words(LET7)) == KINDS
    assert reverse_complement(LET7[1:8]) == "CTACCTC"


@pytest.mark.parametrize(
    ("site", "kind", "start", "stop"),
    [
        ("GGCTACCTCAGG", "8mer", 2, 10),
        ("GGCTACCTCGGG", "7mer-m8", 2, 9),
        ("GGGTACCTCAGG", "7mer-A1", 3, 10),
        ("GGGTACCTCGGG", "6mer", 3, 9),
        ("TACCTCGGCTACCTCGTACCTC", "7mer-m8", 8, 15),  # the strongest, wherever it stands
        ("CTACCTCAGGCTACCTCA", "8mer", 10, 18),  # the rightmost of two
        ("TACCT", "", 0, 0),
        ("", "", 0, 0),
    ],
)
def test_the_strongest_match_is_found(site, kind, start, stop):
    found = seed_match(LET7, site)
    assert (found.kind, found.start, found.stop) == (kind, start, stop)


@pytest.mark.parametrize("mirna", ["", "TGA", "TGAGGTA"])
def test_a_mirna_without_a_whole_seed_matches_nothing(mirna):
    assert seed_match(mirna, "CTACCTCA" * 3).kind == ""


@pytest.mark.parametrize(
    ("position", "name"),
    [(0, "nt 1"), (1, "seed"), (7, "seed"), (8, "centre"), (11, "centre"), (12, "3' pairing"),
     (16, "3' pairing"), (17, "tail"), (30, "tail")],
)  # fmt: skip
def test_regions_of_a_mirna(position, name):
    assert region_of(position) == name
