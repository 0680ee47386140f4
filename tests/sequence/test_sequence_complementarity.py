"""Pairing by the letters, duplexes that can be checked by eye, and AUC as scikit-learn has it."""

from itertools import pairwise, product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from attributome.core.errors import DataError, UsageError
from attributome.sequence.alphabet import reverse_complement, strands
from attributome.sequence.findings.complementarity import (
    agreement,
    duplex,
    in_runs,
    pairing,
    pairings,
)

SCORES = {"AT": 1, "TA": 1, "CG": 1, "GC": 1, "GT": 0.5, "TG": 0.5}


def test_pairing_is_watson_crick_and_wobble():
    found = pairing("ACGT", "TTGCA")
    wanted = [[SCORES.get(a + b, 0) for b in "TTGCA"] for a in "ACGT"]
    assert found.tolist() == wanted
    both = pairings(strands(["ACGT", "AN"]), strands(["TTGCA", "GTT"]))
    assert both[0].tolist() == wanted
    assert both[1, 0].tolist() == pytest.approx([0, 1, 1, np.nan, np.nan], nan_ok=True)
    assert np.isnan(both[1, 1:]).all()


@pytest.mark.parametrize(
    ("mirna", "site", "pairs"),
    [
        ("TGAGGTAG", "GGGCTACCTCAGGG", [(i, 10 - i) for i in range(8)]),
        # a mismatch stands within: its letters are no pair
        ("CCCCAGGGG", "CCCCAGGGG", [(i, 8 - i) for i in (0, 1, 2, 3, 5, 6, 7, 8)]),
        # the miRNA bulges at 5, then the site
        (
            "CCAGATGGACC",
            "GGTCCTCTGG",
            [*((i, 9 - i) for i in range(5)), *((i, 10 - i) for i in range(6, 11))],
        ),
        (
            "CCAGAGGACC",
            "GGTCCATCTGG",
            [*((i, 10 - i) for i in range(5)), *((i, 9 - i) for i in range(5, 10))],
        ),
        ("AAAA", "AAAA", []),
        ("NNN", "ACG", []),
        ("A", "T", [(0, 0)]),
        ("GGGGGG", "TTTTTT", [(i, 5 - i) for i in range(6)]),  # wobble all along
    ],
)
def test_duplexes(mirna, site, pairs):
    assert duplex(mirna, site) == pairs


def slow_score(mirna, site):
    """The best score of all duplexes, by trying every continuation."""
    from functools import cache

    def able(i, j):
        return SCORES.get(mirna[i] + site[j], 0)

    def paid(i, j):
        return {1: 2.0, 0.5: 1.0, 0: -2.0}[able(i, j)]

    @cache
    def onward(i, j):
        best = 0.0
        for di, dj, cost in ((1, 1, 0), (2, 1, -3), (1, 2, -3)):
            a, b = i + di, j - dj
            if a < len(mirna) and b >= 0 and (not cost or (able(i, j) and able(a, b))):
                best = max(best, cost + onward(a, b))
        return paid(i, j) + best

    return max([0.0, *(onward(i, j) for i, j in product(range(len(mirna)), range(len(site))))])


def test_no_duplex_scores_better(random):
    for turn in range(90):
        mirna = "".join(random.choice(list("ACGT"), random.integers(4, 16)))
        site = "".join(random.choice(list("ACGT"), random.integers(4, 16)))
        if turn % 3:  # a partner with a letter too many beside a mismatch
            partner = reverse_complement(mirna)
            site = partner[: turn % 9] + "ACGT"[turn % 4] * 2 + partner[turn % 9 + 1 :]
        if turn % 3 == 2:
            mirna, site = site, mirna
        pairs, score = duplex(mirna, site), 0.0
        for i, j in pairs:
            score += {1: 2.0, 0.5: 1.0}[SCORES[mirna[i] + site[j]]]
        for (i, j), (a, b) in pairwise(pairs):
            assert a > i
            assert b < j
            score += -2.0 * (min(a - i, j - b) - 1) - 3.0 * abs((a - i) - (j - b))
        assert score == slow_score(mirna, site)


def test_a_planted_seed_match_is_in_the_duplex(random):
    mirna = "TGAGGTAGTAGGTTGTATAGTT"
    around = "".join(random.choice(list("AG"), 30))
    site = around[:12] + reverse_complement(mirna[1:8]) + around[12:]
    assert {(i, 12 + 7 - i) for i in range(1, 8)} <= set(duplex(mirna, site))


def test_auc_is_that_of_scikit_learn_pair_by_pair(random):
    mirna, site = strands(["ACGTACGT", "ANGTTT"]), strands(["TTGCATTGCA", "GCAAAC"])
    pairs = pairings(mirna, site)
    strength = np.where(np.isnan(pairs), np.nan, random.standard_normal(pairs.shape).round(1))
    for least in (1.0, 0.5):
        told = agreement(strength, pairs, least=least, draws=100)
        for row in range(2):
            known = ~np.isnan(pairs[row])
            wanted = roc_auc_score(pairs[row][known] >= least, np.abs(strength[row][known]))
            assert told.per_pair[row] == pytest.approx(wanted)
        assert told.auc == pytest.approx(told.per_pair.mean())


def test_the_null_is_pairing_with_the_letters_of_the_site_shuffled(random):
    mirna, site = "ACGGTAC", "TTGCATAGCA"
    pairs = pairing(mirna, site)
    strength = pairs + random.standard_normal(pairs.shape)
    told = agreement(strength[None], pairs[None], draws=2000)
    drawn = []
    for _ in range(300):
        letters = "".join(random.permutation(list(site)))
        drawn.append(
            roc_auc_score((pairing(mirna, letters) >= 1).ravel(), np.abs(strength).ravel())
        )
    assert told.null == pytest.approx(np.mean(drawn), abs=0.01)
    share = np.mean(np.array(drawn) >= told.auc)
    assert told.p == pytest.approx(share, abs=0.07)


@pytest.mark.parametrize("run", [1, 2, 3, 4])
def test_runs_are_pairs_in_a_row_along_antiparallel_strands(run, random):
    can = random.random((3, 6, 8)) < 0.6
    wanted = np.zeros_like(can)
    for draw, i, j in product(range(3), range(6), range(8)):
        cells = [(i + s, j - s) for s in range(run) if i + s < 6 and j - s >= 0]
        if len(cells) == run and all(can[draw][cell] for cell in cells):
            for cell in cells:
                wanted[draw][cell] = True
    assert np.array_equal(in_runs(can, run), wanted)
    assert not in_runs(can, 7).any()


def test_runs_have_a_null_of_their_own(random):
    """A site that pairs all along with noise for interactions: long runs are no evidence."""
    mirna = "TGAGGTAGTAGG"
    pairs = pairing(mirna, reverse_complement(mirna))[None]
    told = agreement(random.standard_normal(pairs.shape), pairs, run=4, draws=200)
    assert told.null == pytest.approx(0.5, abs=0.03)
    assert told.p > 0.05
    real = agreement(in_runs(pairs >= 1, 4).astype(float), pairs, run=4, draws=200)
    assert real.auc == 1.0
    assert real.p == 1 / 201


def test_p_is_no_smaller_than_chance_would_have_it(random):
    mirna, site = strands(["ACGTTGCA"] * 4), strands(["TTGCATAGCACC"] * 4)
    pairs = pairings(mirna, site)
    p = [agreement(random.standard_normal(pairs.shape), pairs, draws=49).p for _ in range(100)]
    assert np.mean(np.array(p) <= 0.1) < 0.22


def test_a_pair_without_cells_that_pair_is_counted_and_not_averaged():
    mirna, site = strands(["AAAA", "ACGT"]), strands(["AAAA", "ACGT"])
    told = agreement(np.ones((2, 4, 4)), pairings(mirna, site), draws=20)
    assert np.isnan(told.per_pair[0])
    assert (told.n, told.auc) == (1, 0.5)
    none = agreement(np.ones((1, 4, 4)), pairings(mirna, site)[:1], draws=20)
    assert np.isnan(none.auc)
    assert none.n == 0


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: duplex("", "ACGT"), UsageError, "at least one letter"),
        (lambda: agreement(np.ones((1, 2, 3)), np.ones((1, 3, 3))), DataError, "of shape"),
        (
            lambda: agreement(np.ones((2, 2, 2)), np.ones((2, 2, 2)), np.arange(3)),
            DataError,
            "groups",
        ),
        (lambda: agreement(np.ones((1, 2, 2)), np.ones((1, 2, 2)), draws=0), UsageError, "draws"),
        (
            lambda: agreement(np.array([[[1.0, np.nan], [1, 1]]]), np.eye(2)[None]),
            DataError,
            "single cells",
        ),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
