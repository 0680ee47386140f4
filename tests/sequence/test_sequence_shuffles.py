"""A shuffle keeps both ends and every dinucleotide, and all orders that do are as likely."""

from collections import Counter
from itertools import pairwise, permutations

import pytest
from scipy.stats import chisquare

from attributome.core.errors import UsageError
from attributome.sequence.shuffles import dinucleotide_shuffle

LET7 = "TGAGGTAGTAGGTTGTATAGTT"
HARD = "AAAAAAAAAAAAACCCCCCCCCCCCCCGGGGGGGGGTGTGTGTGTGTACACACACAG"


def pairs(text):
    return Counter(pairwise(text))


@pytest.mark.parametrize("text", [LET7, HARD, "ACGTNNACGTANCG", "GATTACA" * 30])
def test_both_ends_and_all_dinucleotides_are_kept(text):
    found = dinucleotide_shuffle(text, count=50, seed=3)
    assert len(found) == 50
    assert len(set(found)) > 10
    for one in found:
        assert (one[0], one[-1], pairs(one)) == (text[0], text[-1], pairs(text))


@pytest.mark.parametrize("text", ["ACACGATCA", "AACATAGA", "TGTATTAGT", "ACCAGGATA"])
def test_every_order_is_as_likely_as_any_other(text):
    inner = {"".join(p) for p in permutations(text[1:-1])}
    all_orders = sorted(
        one for one in (text[0] + i + text[-1] for i in inner) if pairs(one) == pairs(text)
    )
    found = Counter(dinucleotide_shuffle(text, count=4000, seed=0))
    assert set(found) == set(all_orders)
    assert len(all_orders) > 3
    assert chisquare([found[one] for one in all_orders]).pvalue > 1e-3


@pytest.mark.parametrize("text", ["", "A", "AC", "ACG", "AAAAAAA", "ACGT"])
def test_what_has_one_order_comes_back(text):
    assert dinucleotide_shuffle(text, count=3, seed=0) == [text] * 3


def test_draws_depend_on_seed_and_sequence_alone():
    few, many = (dinucleotide_shuffle(LET7, count=n, seed=1) for n in (4, 40))
    assert many[:4] == few
    assert dinucleotide_shuffle(LET7, count=4, seed=2) != few
    assert dinucleotide_shuffle(LET7, count=0, seed=1) == []


def test_what_cannot_be_shuffled_is_refused():
    with pytest.raises(UsageError, match="-1 shuffles"):
        dinucleotide_shuffle(LET7, count=-1, seed=0)
    with pytest.raises(ValueError, match="not clean"):
        dinucleotide_shuffle("ACGU", count=1, seed=0)
