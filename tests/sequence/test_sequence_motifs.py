"""Planted seed matches are found, stable and matched; what has no motif gives none."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.targets import Difference
from attributome.sequence.alphabet import reverse_complement, strands
from attributome.sequence.evidence.mutagenesis import mutagenesis, positions_of
from attributome.sequence.fcgr import fcgr, kmers, reverse_complement_pixels
from attributome.sequence.findings.contrasts import contrast
from attributome.sequence.findings.motifs.clustering import cluster, cut, likenesses, one_hot
from attributome.sequence.findings.motifs.find import Settings, find_motifs, record
from attributome.sequence.findings.motifs.frame import anchors, foreign, in_frame, seed_frame
from attributome.sequence.findings.motifs.matching import match_to_seeds
from attributome.sequence.findings.motifs.patterns import (
    Motif,
    consensus,
    information,
    patterns,
    probabilities,
    similarity,
)
from attributome.sequence.findings.motifs.seqlets import peaks, rolled, seqlets, shuffled
from attributome.sequence.findings.motifs.table import kmer_table
from attributome.sequence.images import Encoding
from attributome.sequence.pairs.planted import planted_pairs

QUICK = Settings(nulls=19, cuts=2, draws=100)


def planted_tracks(pairs, *, noise=0.3, misplaced=False, seed=1):
    """A track that is 1 at the planted word, or at random places of as many sites."""
    generator = np.random.default_rng(seed)
    tracks = noise * generator.standard_normal((len(pairs), 40))
    for row, (start, stop) in enumerate(zip(pairs.planted_start, pairs.planted_stop, strict=True)):
        if misplaced and stop:
            start = int(generator.integers(40 - 7))
            stop = start + 7
        tracks[row, start:stop] += 1
    return tracks.astype(np.float32)


def found_in(pairs, **options):
    tracks = planted_tracks(pairs, **options)
    sites, mirnas = strands(pairs.site.tolist()), strands(pairs.mirna.tolist())
    groups = pairs.mirna.to_numpy()
    return find_motifs(tracks, None, sites, mirnas, groups, settings=QUICK, seed=3)


def test_two_mirnas_have_their_seed_matches_as_motifs():
    pairs = planted_pairs(mirnas=2, pairs_each=60)
    found = found_in(pairs)
    words = {reverse_complement(mirna[1:8]) for mirna in pairs.mirna}
    assert {consensus(motif.counts) for motif in found.motifs} == words
    for motif in found.motifs:
        best = found.matches[found.matches["motif"] == motif.name].iloc[0]
        assert best["word"] == consensus(motif.counts)
        assert best["kind"] == "7mer-m8"
        assert best["p"] == 4.0**-7
        assert (motif.mirnas, len(motif.members)) == (1, 30)
        assert motif.contributions.sum(1) == pytest.approx(np.ones(7), abs=0.25)
    assert found.own["share"].min() == 1.0
    assert found.own["chance"].max() < 0.4
    assert found.letters_stability.stable
    assert found.letters_stability.halves == "pairs"
    assert found.frame_stability.stable
    start = found.seqlets["start"].to_numpy()
    assert (start == pairs.planted_start.to_numpy()[found.seqlets["pair"]]).mean() > 0.9


def test_with_a_seed_for_each_mirna_only_the_seed_frame_is_stable():
    found = found_in(planted_pairs(mirnas=24, pairs_each=10))
    assert (found.frame.first, found.frame.last) == (2, 8)
    profile = found.frame.profile.set_index("nucleotide")
    seed, rest = profile.loc[2:8], profile.drop(index=range(2, 9))
    assert (seed["low"] > 0.4).all()
    assert (seed["excess_low"] > 0.2).all()
    assert (rest["mean"].abs() < 0.15).all()
    assert found.frame_stability.stable
    assert found.frame_stability.observed > 0.9
    assert not found.letters_stability.stable
    assert "not stable; between halves of the miRNAs" in found.letters_stability.words()


class Product(nn.Module):
    """Sum of F_mirna * F_site[reverse complement]: it knows pairing and nothing else."""

    def __init__(self, k):
        super().__init__()
        self.encoding = Encoding(k=k)
        self.register_buffer("other", torch.from_numpy(reverse_complement_pixels(k).copy()))

    def forward(self, site, mirna):
        both = (site.flatten(1)[:, self.other] * mirna.flatten(1)).sum(1)
        return torch.stack([-both, both], 1)


def test_what_a_network_that_knows_pairing_uses_is_the_seed():
    """From mutagenesis of the network to the frame; half of the sites hold no seed match."""
    pairs = planted_pairs(mirnas=12, pairs_each=8)
    sites, mirnas = strands(pairs.site.tolist()), strands(pairs.mirna.tolist())
    told = mutagenesis(Product(4), mirnas, sites, target=Difference(1, 0))
    groups = pairs.mirna.to_numpy()
    found = find_motifs(positions_of(told.site), None, sites, mirnas, groups, settings=QUICK)
    assert (found.frame.first, found.frame.last) == (2, 8)
    assert found.frame_stability.stable
    assert (found.frame.profile["excess_low"][2:7] > 0).all()


@pytest.mark.parametrize(("mirnas", "each"), [(24, 10), (2, 60)])
def test_the_same_peaks_at_random_places_give_no_stable_motif(mirnas, each):
    found = found_in(planted_pairs(mirnas=mirnas, pairs_each=each), misplaced=True)
    assert len(found.seqlets) > 50  # peaks there are
    assert not found.letters_stability.stable
    assert not found.frame_stability.stable
    if mirnas > 2:  # two groups have no interval to speak of
        assert (found.frame.profile["excess_low"] > 0).mean() < 0.2


def test_noise_has_no_seqlets_to_speak_of(random):
    tracks = random.standard_normal((300, 40)).astype(np.float32)
    assert len(seqlets(tracks)) <= 5
    found = find_motifs(
        tracks,
        None,
        strands(["ACGT" * 10] * 300),
        strands(["TGAGGTAGTAGGTTGTATAGTT"] * 300),
        np.arange(300),
        settings=QUICK,
    )
    assert found.motifs == []
    assert found.matches.empty
    assert found.own.empty


def test_a_record_is_plain_json():
    found = found_in(planted_pairs(mirnas=2, pairs_each=40))
    plain = json.loads(json.dumps(record(found), allow_nan=False))
    assert plain["motifs"][0]["consensus"] == consensus(found.motifs[0].counts)
    assert np.array(plain["motifs"][0]["contributions"]) == pytest.approx(
        found.motifs[0].contributions
    )
    assert plain["frame"]["first"] == 2
    assert [one["stable"] for one in plain["stability"]] == [True, True]


def test_hypothetical_effects_are_laid_like_the_motif():
    pairs = planted_pairs(mirnas=2, pairs_each=60)
    tracks = planted_tracks(pairs, noise=0.05)
    sites, mirnas = strands(pairs.site.tolist()), strands(pairs.mirna.tolist())
    effects = one_hot(sites.codes) * tracks[..., None]
    groups = pairs.mirna.to_numpy()
    found = find_motifs(tracks, effects, sites, mirnas, groups, settings=QUICK)
    for motif in found.motifs:
        assert motif.hypothetical == pytest.approx(motif.contributions, abs=1e-6)


def test_peaks_are_the_best_windows_that_do_not_overlap():
    track = np.array([[0, 5, 5, 0, 3, 0, 4, -9.0, np.nan, np.nan]])
    pair, start, score = peaks(track, 2, 3)
    assert start.tolist() == [1, 5, 3]
    assert score.tolist() == [10, 4, 3]
    assert pair.tolist() == [0, 0, 0]
    assert len(peaks(track, 11, 1)[0]) == 0


def test_false_discoveries_are_as_rare_as_asked(random):
    """Half of the tracks hold a bump; what is reported elsewhere is false."""
    tracks = random.standard_normal((600, 40))
    tracks[:300, 10:17] += 1.5
    told = seqlets(tracks, fdr=0.2, most=1)
    false = (told["pair"] >= 300) | ((told["start"] - 10).abs() > 6)
    assert false.mean() < 0.3
    assert (~false).sum() > 150
    assert (told["q"] <= 0.2).all()
    null = seqlets(tracks, fdr=0.2, most=1, null=tracks[300:])
    assert set(null["pair"][:100]) <= set(range(300))


def test_negative_seqlets_are_those_of_the_other_sign(random):
    tracks = random.standard_normal((100, 30))
    tracks[:50, 5:12] -= 2
    down, up = seqlets(tracks, sign="negative"), seqlets(-tracks)
    assert down["score"].tolist() == (-up["score"]).tolist()
    assert down[["pair", "start"]].equals(up[["pair", "start"]])


@pytest.mark.parametrize("k", [1, 3, 6])
def test_shuffles_keep_the_scores_of_the_windows_that_made_a_track(k, random):
    """Window scores laid out as `to_positions` does, with ends of different lengths."""
    tracks = np.full((3, 20), np.nan)
    windows = []
    for row, length in enumerate((20, 17, 12)):
        scores = random.standard_normal(length - k + 1)
        windows.append(scores)
        tracks[row, :length] = np.convolve(scores, np.ones(k) / k)
    again = shuffled(tracks, k, random)
    assert np.array_equal(np.isnan(again), np.isnan(tracks))
    assert np.nansum(again, 1) == pytest.approx(np.nansum(tracks, 1))
    for row, scores in enumerate(windows):
        laid = again[row][~np.isnan(again[row])]
        back = np.linalg.lstsq(
            np.stack([np.convolve(e, np.ones(k) / k) for e in np.eye(len(scores))], 1), laid
        )[0]
        assert np.sort(back) == pytest.approx(np.sort(scores))
        assert back != pytest.approx(scores)


def test_smooth_noise_is_told_from_motifs_only_by_a_null_as_smooth(random):
    scores = random.standard_normal((400, 35))
    tracks = np.stack([np.convolve(row, np.ones(6) / 6) for row in scores])
    assert len(seqlets(tracks, smooth=6)) < 10
    assert len(seqlets(tracks)) > 100


def test_an_n_within_a_track_is_in_no_seqlet_and_stays_where_it_is(random):
    tracks = random.standard_normal((200, 30))
    tracks[:100, 5:12] += 2
    tracks[::2, 8] = np.nan
    told = seqlets(tracks)
    assert len(told) > 20
    for pair, start, stop in told[["pair", "start", "stop"]].itertuples(index=False):
        assert not np.isnan(tracks[pair, start:stop]).any()
    again = shuffled(tracks, 1, random)
    assert np.array_equal(np.isnan(again), np.isnan(tracks))
    assert np.sort(again, 1) == pytest.approx(np.sort(tracks, 1), nan_ok=True)
    assert not np.array_equal(again[1], tracks[1])


def test_turned_tracks_keep_their_circle(random):
    tracks = np.where(np.arange(12) < [[12], [7]], random.standard_normal((2, 12)), np.nan)
    again = rolled(tracks, random)
    for before, after in zip(tracks, again, strict=True):
        before, after = before[~np.isnan(before)], after[~np.isnan(after)]
        assert sum(np.array_equal(np.roll(before, i), after) for i in range(1, len(before))) == 1


def test_likeness_is_the_best_cosine_over_shifts(random):
    parts = random.standard_normal((5, 6, 4))
    found, at = likenesses(parts, 2)
    for i, j in product(range(5), range(5)):
        best = []
        for step in range(-2, 3):
            wide = np.zeros((2, 10, 4))
            wide[0, 2:8], wide[1, 2 + step : 8 + step] = parts[i], parts[j]
            a, b = wide[0].ravel(), wide[1].ravel()
            best.append((a @ b / np.linalg.norm(a) / np.linalg.norm(b), step))
        assert (found[i, j], at[i, j]) == pytest.approx(max(best))


def test_shifted_copies_are_one_cluster_and_are_laid_on_each_other():
    words = ["AAGCGTATCC", "AGCGTATCCA", "CAAGCGTATC", "TTTTGGGGTT", "TTTGGGGTTT"]
    codes = strands(words).codes
    parts = one_hot(codes)
    found = cluster(parts)
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    starts = np.zeros(5, int)
    first, second = patterns(
        found, codes, parts, starts, np.array([0, 0, 1, 2, 2]), least=2, longest=8
    )
    assert "AGCGTAT" in consensus(first.counts)
    assert first.mirnas, second.mirnas == (2, 1)
    for word, start in zip(words, first.starts, strict=False):
        assert word[max(start, 0) :].startswith(consensus(first.counts)[max(-start, 0) :][:6])
    assert second.members.tolist() == [3, 4]
    assert patterns(found, codes, parts, starts, np.zeros(5, int), least=4) == []


@pytest.mark.parametrize("n", [0, 1])
def test_one_seqlet_or_none_is_a_cluster(n):
    assert cluster(np.ones((n, 5, 4))).labels.tolist() == [0] * n


def test_cuts_beside_the_sequence_are_n_and_nothing():
    table = pd.DataFrame({"pair": [0, 0], "start": [0, 3], "stop": [3, 6]})
    tracks = np.array([[1, 2, 3, 4, 5, np.nan]])
    letters, parts = cut(table, tracks, strands(["ACGTAN"]).codes, flank=2)
    assert letters.tolist() == [[4, 4, 0, 1, 2, 3, 0], [1, 2, 3, 0, 4, 4, 4]]
    assert parts.sum(2).tolist() == [[0, 0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 0, 0, 0]]


def test_pwm_and_its_information():
    counts = np.array([[10, 0, 0, 0], [5, 5, 0, 0], [3, 3, 3, 3.0]])
    pwm = probabilities(counts, pseudo=2)
    assert pwm[0] == pytest.approx([10.5 / 12, 0.5 / 12, 0.5 / 12, 0.5 / 12])
    assert information(np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])) == pytest.approx(
        [2, 1, 0]
    )
    assert consensus(counts) == "AAN"
    with pytest.raises(UsageError, match="pseudo-counts"):
        probabilities(counts, pseudo=0)


def test_similarity_is_one_for_a_shifted_copy_and_low_for_another(random):
    a = random.standard_normal((8, 4))
    assert similarity(a, np.concatenate([np.zeros((3, 4)), a])) == pytest.approx(1, abs=0.01)
    assert similarity(a, random.standard_normal((8, 4))) < 0.8
    assert similarity(a, np.zeros((5, 4))) == 0.0


def of_word(word, n=20):
    counts = n * one_hot(strands([word]).codes)[0]
    return Motif("m", counts, counts, None, np.arange(n), np.zeros(n, int), 1)


def test_matches_count_all_words_that_are_as_good(random):
    mirna = "TGAGGTAGTAGGTTGTATAGTT"
    motif = of_word("TACCTC")  # partner of nt 2-7
    table = match_to_seeds([motif], [mirna, mirna, "ACGTTTTTTTTTTTTTTT"])
    assert len(table) == 8
    best = table.iloc[0]
    assert (best["mirna"], best["kind"], best["offset"]) == (mirna, "6mer", 0)
    assert best["p"] == 4.0**-6
    row = table[(table["mirna"] == mirna) & (table["kind"] == "7mer-m8")].iloc[0]
    assert row["word"] == "CTACCTC"
    assert row["offset"] == -1  # hangs over the motif's first position
    assert row["p"] == pytest.approx((4 * 2 - 1) / 4**7, rel=0.5)
    noisy = Motif("n", random.integers(0, 9, (7, 4)).astype(float), **rest())
    drawn = ["".join(random.choice(list("ACGT"), 22)) for _ in range(1500)]
    p = match_to_seeds([noisy], drawn).query("kind == '6mer'")["p"]
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.03)


def rest():
    return {
        "contributions": np.zeros((7, 4)),
        "hypothetical": None,
        "members": np.arange(3),
        "starts": np.arange(3),
        "mirnas": 1,
    }


def slow_anchor(mirna, site):
    best = (0, 0, 0, -1)
    for i, j in product(range(len(mirna)), range(len(site))):
        steps = range(min(len(mirna) - i, j + 1))
        pays = [1 if reverse_complement(mirna[i + s]) == site[j - s] else -1 for s in steps]
        for score in np.cumsum(pays):
            if score <= 0:
                break  # a start further on is as good
            best = max(best, (int(score), -i, i + j, i + j))
    return best[3]


def test_anchors_are_the_best_matches_of_all_stretches(random):
    mirnas = ["".join(random.choice(list("ACGT"), random.integers(8, 12))) for _ in range(60)]
    sites = ["".join(random.choice(list("ACGT"), random.integers(10, 16))) for _ in range(60)]
    found = anchors(strands(sites), strands(mirnas))
    assert found.tolist() == [slow_anchor(*pair) for pair in zip(mirnas, sites, strict=True)]


def test_the_frame_reads_the_track_backwards_along_the_mirna():
    mirna, site = "TGAGGTAG", "AACTACCTCAGG"  # the site's 2 to 9 pair with all of the miRNA
    rows = in_frame(np.arange(12.0)[None], strands([site]), strands([mirna]))
    assert rows[0].tolist() == [9, 8, 7, 6, 5, 4, 3, 2]


def test_foreign_mirnas_are_of_another_group(random):
    names = np.array(["a", "b", "b", "c", "a"])
    batch = strands(["AAAA", "CCCC", "CCCC", "GGGG", "AAAA"])
    for turn in range(10):
        other = foreign(batch, names, seed=0, turn=turn)
        assert (other.codes[:, 0] != batch.codes[:, 0]).all()
        assert np.array_equal(other.codes[0], other.codes[4])


def test_with_one_mirna_there_is_no_control():
    pairs = planted_pairs(mirnas=2, pairs_each=40).query("mirna == mirna.iloc[0]")
    frame = seed_frame(
        planted_tracks(pairs),
        strands(pairs.site.tolist()),
        strands(pairs.mirna.tolist()),
        pairs.mirna.to_numpy(),
    )
    assert (frame.first, frame.last) == (2, 8)
    assert frame.profile[["control", "excess", "low"]].isna().all(axis=None)


def test_kmers_that_carry_the_label_lead_the_table(random):
    batch = ["".join(random.choice(list("ACGT"), 30)) for _ in range(300)]
    labels = np.array([int("GCA" in site) for site in batch])
    counts = fcgr(strands(batch), 3).reshape(300, 64)
    maps = counts * 0.01 * random.standard_normal(counts.shape)
    at = kmers(3).index("GCA")
    maps[:, at] = counts[:, at]
    groups = np.arange(300) % 15
    told = kmer_table(maps, counts, labels, groups, k=3, draws=100)
    assert told["kmer"][0] == "GCA"
    held = counts[:, at] > 0
    assert told.loc[0, ["n", "groups", "mean", "median"]].tolist() == pytest.approx(
        [held.sum(), len(set(groups[held])), maps[held, at].mean(), np.median(maps[held, at])]
    )
    assert told["low"][0] <= told["mean"][0] <= told["high"][0]
    assert np.isnan(told["effect"][0])  # no negative holds it
    other = told["kmer"][5]
    at = kmers(3).index(other)
    values = np.where(counts[:, at] > 0, maps[:, at], np.nan)[:, None]
    alone = contrast(values, [other], labels, groups, draws=100, least=0)
    assert told["effect"][5] == pytest.approx(alone["cliffs_delta"][0])
    bare = kmer_table(maps, counts, None, groups, k=3, draws=100, least=290)
    assert bare[["effect", "p", "q"]].isna().all(axis=None)
    assert set(bare["n"] >= 290) <= {True}


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: seqlets(np.ones((2, 9)), window=0), UsageError, "window 0"),
        (lambda: seqlets(np.ones((2, 9)), fdr=0), UsageError, "rate of 0"),
        (lambda: seqlets(np.ones((2, 9)), smooth=10), UsageError, "windows of 10"),
        (lambda: seqlets(np.array([[1, np.nan, 1.0]]), smooth=2), DataError, "before its end"),
        (lambda: seqlets(np.array([[1, np.inf, 1.0]]), window=1), DataError, "track 0 holds"),
        (lambda: seqlets(np.ones((2, 9)), null=np.ones((0, 9))), DataError, "null has no tracks"),
        (lambda: cluster(np.ones((3, 5, 4)), alike=1.5), UsageError, "likeness 1.5"),
        (
            lambda: kmer_table(np.ones((2, 16)), np.ones((2, 16)), None, np.arange(2), k=3),
            UsageError,
            "16 pixels",
        ),
        (
            lambda: find_motifs(
                np.ones((2, 9)), None, strands(["ACGT"]), strands(["ACGT"]), np.arange(1)
            ),
            DataError,
            "are no pairs",
        ),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
