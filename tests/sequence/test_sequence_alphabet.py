"""Letters become codes and come back; what is none is refused with its place."""

import numpy as np
import pytest

from attributome.sequence.alphabet import clean, fault, reverse_complement, strands, text_of

TEXTS = ["ACGTN", "T", "", "GATTACAGATTACA", "NNNN"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("acgu", "ACGT"), (" \tUuTt\r\n", "TTTT"), ("TGAGGTAGTAGG", "TGAGGTAGTAGG"), ("nN", "NN")],
)
def test_rna_lower_case_and_white_space_are_one_spelling(text, wanted):
    assert clean(text) == wanted
    assert clean(clean(text)) == wanted


@pytest.mark.parametrize(
    ("text", "k", "unknown", "words"),
    [
        ("ACG", 3, "skip", ""),
        ("acgu", 3, "skip", ""),
        ("ACGN", 3, "skip", ""),
        ("", 3, "skip", "empty"),
        ("  ", 3, "skip", "empty"),
        (None, 3, "skip", "empty"),
        (float("nan"), 3, "skip", "empty"),
        (b"ACGT", 3, "skip", "empty"),
        ("AC", 3, "skip", "2 letters, fewer than k = 3"),
        ("ACXGT", 3, "skip", "'X' at position 3"),
        ("AC-GT", 3, "skip", "'-' at position 3"),
        ("AC GT", 3, "skip", "' ' at position 3"),
        ("ACGé", 3, "skip", "'É' at position 4"),
        ("ACNGT", 3, "skip", "every window of 3 letters holds an N"),
        ("NNNNN", 3, "skip", "every window"),
        ("ACGNA", 3, "refuse", "position 4 is N"),
    ],
)
def test_a_text_that_cannot_be_a_sequence_has_a_reason(text, k, unknown, words):
    found = fault(text, k=k, unknown=unknown)
    assert words in found
    assert bool(words) == bool(found)


def test_codes_are_padded_behind_and_come_back():
    batch = strands(TEXTS)
    assert len(batch) == 5
    assert batch.codes.dtype == np.uint8
    assert batch.codes[0].tolist() == [0, 1, 2, 3, 4] + [4] * 9
    assert batch.lengths.tolist() == [5, 1, 0, 14, 4]
    assert text_of(batch) == TEXTS


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_is_a_batch_too(texts):
    batch = strands(texts)
    assert batch.codes.shape == (len(texts), 0)
    assert text_of(batch) == texts


@pytest.mark.parametrize("bad", ["ACGU", "acgt", "AC T", "AC\x04", "AC\x00GT"])
def test_a_sequence_that_is_not_clean_is_never_encoded(bad):
    with pytest.raises(ValueError, match="sequence 1 .* is not clean"):
        strands(["ACGT", bad, "AAAAAAAAAA"])


def test_letters_beyond_ascii_are_never_encoded():
    with pytest.raises(ValueError, match="ascii"):
        strands(["ACGT", "ACGÉ"])


def test_the_reverse_complement_is_its_own_inverse(random):
    text = "".join(random.choice(list("ACGTN"), 200))
    pair = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}
    assert reverse_complement(text) == "".join(pair[letter] for letter in reversed(text))
    assert reverse_complement(reverse_complement(text)) == text
