"""Planted pairs interact exactly where the site holds the partner of the seed."""

from collections import Counter

import pandas as pd
import pytest

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import reverse_complement
from attributome.sequence.pairs.planted import planted_pairs, write_planted_pairs
from attributome.sequence.pairs.reading import read_pairs


@pytest.mark.parametrize(("rule", "last"), [("seed", 8), ("six", 7)])
@pytest.mark.parametrize("decoys", [False, True])
def test_the_label_says_whether_the_word_is_there(rule, last, decoys):
    pairs = planted_pairs(mirnas=12, pairs_each=10, rule=rule, decoys=decoys, seed=4)
    assert len(pairs) == 120
    for row in pairs.itertuples():
        word, six = reverse_complement(row.mirna[1:last]), reverse_complement(row.mirna[1:7])
        assert len(row.site) == 40
        assert (word in row.site) == (six in row.site) == (row.label == 1)
        assert row.site[row.planted_start : row.planted_stop] == (word if row.label else "")
    assert pairs["id"].is_unique
    assert (pairs.groupby("mirna")["label"].mean() == 0.5).all()
    assert (pairs.groupby("mirna").size() == 10).all()
    assert pairs["family"].nunique() == 12
    assert pairs["mirna"].str.len().between(21, 23).all()


def test_a_negative_has_the_letters_of_a_positive():
    pairs = planted_pairs(mirnas=6, pairs_each=8)
    for _, group in pairs.groupby("mirna"):
        letters = [
            Counter("".join(sorted(site)) for site in group.loc[group["label"] == label, "site"])
            for label in (0, 1)
        ]
        assert letters[0] == letters[1]


def test_a_decoy_is_the_word_of_another_mirna():
    pairs = planted_pairs(mirnas=6, pairs_each=8, decoys=True)
    words = {mirna: reverse_complement(mirna[1:8]) for mirna in pairs["mirna"]}
    for row in pairs[pairs["label"] == 0].itertuples():
        others = [word for mirna, word in words.items() if mirna != row.mirna]
        assert any(word in row.site for word in others)


def test_without_a_rule_labels_are_drawn_by_lot():
    ruled, free = (planted_pairs(mirnas=30, rule=rule) for rule in ("seed", "none"))
    pd.testing.assert_frame_equal(free.drop(columns="label"), ruled.drop(columns="label"))
    assert (free.groupby("mirna")["label"].mean() == 0.5).all()
    assert abs((free["label"] == ruled["label"]).mean() - 0.5) < 0.1


def test_the_seed_decides():
    one, same, other = (planted_pairs(mirnas=4, pairs_each=4, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one["site"].equals(other["site"])


def test_a_written_table_is_read_as_it_was(tmp_path):
    path = write_planted_pairs(tmp_path / "planted.csv", mirnas=5, pairs_each=4, seed=3)
    read = read_pairs(path)
    assert len(read.rejected) == 0
    wanted = planted_pairs(mirnas=5, pairs_each=4, seed=3)
    pd.testing.assert_frame_equal(read.pairs[wanted.columns.tolist()], wanted)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mirnas": 1}, "at least 2 miRNAs"),
        ({"pairs_each": 3}, "even number"),
        ({"pairs_each": 0}, "even number"),
        ({"site_length": 10}, "at least 16"),
        ({"mirnas": 2000}, "at most 1000"),
    ],
)
def test_pairs_that_cannot_be_planted_are_refused(values, words):
    with pytest.raises(UsageError, match=words):
        planted_pairs(**values)
