"""Back to the letters: the adjoint of the encoding, and what it conserves."""

import numpy as np
import pytest
import torch
from pair_networks import letters, pairs, row

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import strands, text_of
from attributome.sequence.fcgr import pixel_of
from attributome.sequence.images import Encoding, images
from attributome.sequence.tracks import (
    cells_of_pairs,
    off_support_share,
    pixel_map,
    to_maps,
    to_positions,
    to_windows,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def slow(maps, text, k, edges):
    """Window by window and letter by letter."""
    bins = len(maps)
    starts = [s for s in range(len(text) - k + 1) if "N" not in text[s : s + k]]
    cells = {s: (min(s, bins - 1), *pixel_of(text[s : s + k])) for s in starts}
    track, cover = np.zeros(len(text)), np.zeros(len(text))
    for start in starts:
        share = float(maps[cells[start]]) / list(cells.values()).count(cells[start])
        track[start : start + k] += share / k
        cover[start : start + k] += 1
    if edges == "coverage":
        with np.errstate(invalid="ignore"):
            track = track * k / cover
    off = float(maps.sum()) - sum(float(maps[cell]) for cell in set(cells.values()))
    return track, off


@pytest.mark.parametrize("edges", ["conserve", "coverage"])
@pytest.mark.parametrize("bins", [1, 4, 30])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_tracks_equal_the_slow_loop(k, bins, edges):
    _, site = pairs(3)
    maps = noise(3, bins, 2**k, 2**k)
    tracks, off = to_positions(maps, site, k, edges=edges)
    for i, text in enumerate(text_of(site)):
        track, outside = slow(maps[i], text, k, edges)
        assert np.allclose(tracks[i, : len(text)], track, equal_nan=True)
        assert np.isnan(tracks[i, len(text) :]).all()
        assert off[i] == pytest.approx(outside)


@pytest.mark.parametrize("bins", [1, 5])
def test_the_total_is_conserved(bins):
    _, site = pairs(3)
    maps = noise(3, bins, 8, 8)
    tracks, off = to_positions(maps, site, 3)
    assert np.allclose(np.nansum(tracks, 1) + off, maps.flatten(1).sum(1), atol=1e-12)
    assert np.allclose(np.nansum(tracks, 1), to_windows(maps, site, 3).sum(1), atol=1e-12)


def test_it_is_the_adjoint_of_the_encoding():
    """<A / count, windows> reads what the encoder wrote: an image's own map gives 1 per window."""
    text = "ACGTTGACCATGA"
    batch = strands([text])
    own = images(batch, 3) * (len(text) - 2)  # how often each word stands there
    assert torch.equal(to_windows(own, batch, 3), torch.ones(1, len(text) - 2))
    tracks, off = to_positions(own, batch, 3)
    assert np.allclose(tracks[0] * 3, [1, 2, *[3] * (len(text) - 4), 2, 1])
    assert off[0] == 0
    assert np.allclose(to_positions(own, batch, 3, edges="coverage")[0], 1)


def test_a_repeated_word_is_shared_and_a_position_channel_is_not():
    batch = strands(["AAAAC"])
    maps = torch.zeros(1, 1, 4, 4, dtype=torch.double)
    maps[0, 0][pixel_of("AA")] = 6.0
    assert to_windows(maps, batch, 2).tolist() == [[2.0, 2.0, 2.0, 0.0]]
    apart = torch.zeros(1, 3, 4, 4, dtype=torch.double)
    apart[0, 1][pixel_of("AA")] = 6.0
    assert to_windows(apart, batch, 2).tolist() == [[0.0, 6.0, 0.0, 0.0]]
    assert torch.equal(pixel_map(apart), maps.flatten(1))


def test_what_lies_off_the_support_is_told_apart():
    batch = strands(["AAAA"])
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0][pixel_of("AA")], maps[0, 0][pixel_of("GC")] = 1.0, -3.0
    tracks, off = to_positions(maps, batch, 2)
    assert tracks.sum() == pytest.approx(1.0)
    assert off[0] == -3.0
    assert off_support_share(maps, batch, 2)[0] == pytest.approx(0.75)
    assert np.isnan(off_support_share(torch.zeros_like(maps), batch, 2)[0])
    assert tracks.dtype == np.float32


def test_a_sequence_does_not_depend_on_its_batch():
    _, site = pairs(3)
    maps = noise(3, 1, 8, 8)
    together, _ = to_positions(maps, site, 3)
    for i in range(3):
        alone, _ = to_positions(maps[i : i + 1], row(site, i), 3)
        assert np.array_equal(alone[0], together[i, : alone.shape[1]])


@pytest.mark.parametrize("bins", [1, 6])
def test_a_picture_of_a_track_keeps_its_total(bins):
    batch = strands(letters(4, 15))
    tracks = np.random.default_rng(0).normal(size=(4, 15))
    maps = to_maps(tracks, batch, 3, bins)
    assert maps.shape == (4, bins, 8, 8)
    assert np.allclose(maps.flatten(1).sum(1), tracks.sum(1))
    back, off = to_positions(maps, batch, 3)
    assert np.allclose(back.sum(1), tracks.sum(1))
    assert (off == 0).all()


def test_cells_are_named_by_branch():
    mirna, site = pairs(2)
    found = cells_of_pairs(mirna, site, Encoding(k=3, site_bins=4))
    assert found["site"].shape == (2, 17)
    assert found["mirna"].shape == (2, 10)
    assert int(found["site"].max()) >= 3 * 64


def test_a_map_of_another_word_length_is_refused():
    with pytest.raises(UsageError, match="k = 3, which have 8 x 8"):
        to_windows(torch.zeros(1, 1, 4, 4), strands(["ACGTA"]), 3)
