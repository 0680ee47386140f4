"""The image of k-mers equals the corner game, walked slowly, to the bit."""

from fractions import Fraction

import numpy as np
import pytest

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import reverse_complement, strands
from attributome.sequence.fcgr import (
    fcgr,
    kmers,
    pixel_of,
    reverse_complement_pixels,
    window_counts,
    windows,
)

CORNERS = {"A": (0, 0), "C": (1, 0), "G": (1, 1), "T": (0, 1)}
LET7 = "TGAGGTAGTAGGTTGTATAGTT"


def walk(word):
    """(row, column) by the game: from the middle, half way to each letter's corner in turn."""
    x = y = Fraction(1, 2)
    for letter in word:
        x, y = (x + CORNERS[letter][0]) / 2, (y + CORNERS[letter][1]) / 2
    size = 2 ** len(word)
    return int(y * size), int(x * size)


def slow(text, k):
    """One image by the game and a loop, in double precision, then rounded once."""
    image = np.zeros((2**k, 2**k))
    words = [text[i : i + k] for i in range(len(text) - k + 1)]
    for word in words:
        if "N" not in word:
            image[walk(word)] += 1
    return (image / max(len(words), 1)).astype(np.float32)


def draw(random, count, low, high, letters="ACGT"):
    lengths = random.integers(low, high, count)
    return ["".join(random.choice(list(letters), n)) for n in lengths]


@pytest.mark.parametrize("k", range(1, 9))
def test_the_closed_form_is_the_corner_game(k, random):
    words = kmers(k)
    assert len(set(words)) == 4**k
    some = range(4**k) if k < 6 else random.integers(4**k, size=400).tolist()
    for flat in some:
        assert pixel_of(words[flat]) == walk(words[flat]) == divmod(flat, 2**k)


@pytest.mark.parametrize(
    ("word", "column", "row"),
    [
        ("ACG", 6, 4),
        ("TTT", 0, 7),
        ("GGG", 7, 7),
        ("CAT", 1, 4),
        ("GAGGTA", 13, 29),
        ("TACCTC", 44, 17),
    ],
)
def test_pixels_that_upstream_draws(word, column, row):
    assert pixel_of(word) == (row, column)


def test_pixels_of_one_quadrant_share_the_last_letter():
    words = np.array(kmers(4)).reshape(16, 16)
    quadrants = {"A": words[:8, :8], "C": words[:8, 8:], "G": words[8:, 8:], "T": words[8:, :8]}
    for letter, quadrant in quadrants.items():
        assert {word[-1] for word in quadrant.flat} == {letter}


@pytest.mark.parametrize("k", range(1, 9))
def test_the_reverse_complement_flips_and_reverses_bits(k):
    table, words, size = reverse_complement_pixels(k), kmers(k), 2**k

    def reverse(i):
        return int(format(i, f"0{k}b")[::-1], 2)

    assert np.array_equal(table[table], np.arange(4**k))
    for flat in range(0, 4**k, max(1, 4**k // 500)):
        row, column = divmod(flat, size)
        assert words[table[flat]] == reverse_complement(words[flat])
        assert divmod(int(table[flat]), size) == (reverse(size - 1 - row), reverse(column))


@pytest.mark.parametrize("k", [1, 3, 4, 6])
def test_an_image_of_the_other_strand_is_the_image_permuted(k, random):
    texts = draw(random, 5, 20, 50, "ACGTN")
    other = fcgr(strands([reverse_complement(text) for text in texts]), k).reshape(5, -1)
    own = fcgr(strands(texts), k).reshape(5, -1)
    assert np.array_equal(other, own[:, reverse_complement_pixels(k)])


def test_complementing_flips_rows_and_reversing_reverses_the_bits_of_both_axes(random):
    text = draw(random, 1, 60, 61)[0]
    swapped = text.translate(str.maketrans("ACGT", "TGCA"))
    image = fcgr(strands([text]), 3)[0, 0]
    assert np.array_equal(fcgr(strands([swapped]), 3)[0, 0], image[::-1])
    bits = [0, 4, 2, 6, 1, 5, 3, 7]
    assert np.array_equal(fcgr(strands([text[::-1]]), 3)[0, 0], image[bits][:, bits])


def test_an_image_that_upstream_draws():
    image = fcgr(strands(["ATGCGGTCGT"]), 3)[0, 0]
    wanted = {(3, 5), (3, 6), (5, 6), (5, 7), (6, 3), (6, 4), (6, 7), (7, 3)}
    assert {(int(r), int(c)) for r, c in zip(*np.nonzero(image), strict=True)} == wanted
    assert set(image[image > 0].tolist()) == {0.125}


def test_let7_as_upstream_draws_it():
    small = fcgr(strands([LET7]), 3)[0, 0]
    assert (small > 0).sum() == 12
    assert (small.max(), small[3, 1]) == (np.float32(0.15), np.float32(0.15))
    image = fcgr(strands([LET7]), 6)[0, 0]
    wanted = (
        "(23,2)(27,9)(29,13)(31,9)(43,33)(45,36)(46,38)(47,4)(53,16)(54,50)(55,19)(58,8)(59,25)"
        "(59,26)(61,12)(62,38)(63,19)"
    )
    places = zip(*np.nonzero(image), strict=True)
    assert "".join(f"({r},{c})" for r, c in places) == wanted
    assert set(image[image > 0].tolist()) == {float(np.float32(1 / 17))}


def test_windows_with_an_n_are_left_out_and_still_counted():
    whole, holed = strands([LET7]), strands([f"{LET7[:11]}N{LET7[12:]}"])
    assert np.isclose(fcgr(whole, 6).sum(), 1)
    image = fcgr(holed, 6)
    assert (image > 0).sum() == 11
    assert np.isclose(image.sum(), 11 / 17, rtol=1e-6)
    assert window_counts(holed, 6).tolist() == [17]


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_a_batch_is_the_slow_walk_of_each_to_the_bit(k, random):
    texts = [*draw(random, 12, 8, 60, "ACGTN"), *draw(random, 4, 8, 300), "A" * 9, "N" * 20]
    images = fcgr(strands(texts), k)
    assert (images.dtype, images.shape) == (np.float32, (18, 1, 2**k, 2**k))
    for image, text in zip(images, texts, strict=True):
        assert np.array_equal(image[0], slow(text, k))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_windows_name_the_pixel_of_each_start(k, random):
    texts = [*draw(random, 6, 1, 30, "ACGTN"), ""]
    found = windows(strands(texts), k)
    assert found.dtype == np.int32
    for row, text in zip(found, texts, strict=True):
        for start, flat in enumerate(row.tolist()):
            word = text[start : start + k]
            whole = len(word) == k and "N" not in word
            assert flat == ((pixel_of(word)[0] << k) + pixel_of(word)[1] if whole else -1)


@pytest.mark.parametrize("texts", [[], [""], ["AC", ""], ["AC", "ACGT"]])
def test_a_sequence_shorter_than_a_word_has_an_empty_image(texts):
    images = fcgr(strands(texts), 4)
    assert images.shape == (len(texts), 1, 16, 16)
    assert images.sum() == texts.count("ACGT")


def test_an_image_does_not_depend_on_its_batch(random):
    texts = draw(random, 9, 10, 80, "ACGTN")
    together = fcgr(strands(texts), 4)
    for text, image in zip(texts, together, strict=True):
        assert np.array_equal(fcgr(strands([text]), 4)[0], image)


def rival(text, k):
    """Counts of complexcgr's FCGR: its corners are (1,1) (-1,1) (-1,-1) (1,-1), y upwards."""
    corners = {"A": (1, 1), "C": (-1, 1), "G": (-1, -1), "T": (1, -1)}
    size = 2**k
    image = np.zeros((size, size))
    for i in range(len(text) - k + 1):
        x = y = 0.0
        for letter in text[i : i + k]:
            x, y = (x + corners[letter][0]) / 2, (y + corners[letter][1]) / 2
        image[size - int(np.ceil((y + 1) * size / 2)), int(np.ceil((x + 1) * size / 2)) - 1] += 1
    return image


@pytest.mark.parametrize("k", [3, 5])
def test_complexcgr_draws_the_mirror_image_of_counts(k, random):
    text = draw(random, 1, 3000, 3001)[0]
    counts = fcgr(strands([text]), k)[0, 0].astype(np.float64) * (3000 - k + 1)
    assert np.array_equal(np.rint(counts), rival(text, k)[:, ::-1])
    assert np.allclose(counts, np.rint(counts), atol=1e-3)


@pytest.mark.parametrize("k", [0, 9, -1])
def test_a_word_length_without_an_image_is_refused(k):
    for call in (kmers, reverse_complement_pixels, lambda k: fcgr(strands(["ACGT"]), k)):
        with pytest.raises(UsageError, match="words of 1 to 8 letters"):
            call(k)


@pytest.mark.parametrize("word", ["ACN", "acg", "AU"])
def test_a_word_of_other_letters_has_no_pixel(word):
    with pytest.raises(UsageError, match="must be of ACGT"):
        pixel_of(word)
