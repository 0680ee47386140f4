"""A motif: the letters of aligned seqlets (PWM) and what they contribute (CWM)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import LETTERS
from attributome.sequence.findings.motifs.clustering import Clusters, Parts, one_hot

Matrix = Float[np.ndarray, "w 4"]
UNIFORM = (0.25, 0.25, 0.25, 0.25)


@dataclass(frozen=True, slots=True, eq=False)
class Motif:
    """Aligned seqlets of one kind; rows are positions, columns A, C, G, T.

    `counts` are letters, `contributions` the mean over the seqlets that cover a position, in units
    of the track (CWM), `hypothetical` likewise of substitutions, where they were given. `members`
    are rows of the seqlet table, `starts` where the motif starts in each one's sequence.
    """

    name: str
    counts: Matrix
    contributions: Matrix
    hypothetical: Matrix | None
    members: Int[np.ndarray, " m"]
    starts: Int[np.ndarray, " m"]
    mirnas: int


def probabilities(
    counts: Matrix, *, pseudo: float = 1.0, background: tuple[float, ...] = UNIFORM
) -> Matrix:
    """PWM: counts with `pseudo` letters more at each position, spread as the background is."""
    if pseudo <= 0 or len(background) != 4 or not np.isclose(sum(background), 1):
        raise UsageError(
            f"{pseudo} pseudo-counts over {background} cannot be: give more than 0, over four "
            f"shares that sum to 1"
        )
    total = counts.sum(1, keepdims=True) + pseudo
    found: np.ndarray = (counts + pseudo * np.array(background)) / total
    return found


def information(pwm: Matrix, *, background: tuple[float, ...] = UNIFORM) -> Float[np.ndarray, " w"]:
    """Bits at each position relative to the background."""
    logs = np.log2(np.where(pwm > 0, pwm, 1.0) / np.where(pwm > 0, background, 1.0))
    found: np.ndarray = (pwm * logs).sum(1)
    return found


def consensus(counts: Matrix) -> str:
    """The commonest letter at each position, N where it holds less than half."""
    total = np.maximum(counts.sum(1), 1)
    return "".join(
        LETTERS[best] if share >= 0.5 else "N"
        for best, share in zip(counts.argmax(1), counts.max(1) / total, strict=True)
    )


def patterns(
    clusters: Clusters,
    letters: UInt8[np.ndarray, "m w"],
    parts: Parts,
    starts: Int[np.ndarray, " m"],
    groups: Int[np.ndarray, " m"],
    *,
    hypothetical: Parts | None = None,
    least: int = 10,
    shares: tuple[float, float] = (0.3, 0.5),
    longest: int = 10,
    most: int | None = None,
) -> list[Motif]:
    """A motif for each cluster of at least `least` seqlets (the `most` largest), named by rank.

    `starts` is where each cut (with its flanks) starts in its sequence. A motif is trimmed to the
    range of positions that have at least `shares[0]` of the largest contribution and that
    `shares[1]` of the seqlets cover, and then to the `longest` positions that contribute most.
    """
    found = list[Motif]()
    for label in range(int(clusters.labels.max(initial=-1)) + 1)[:most]:
        members = np.flatnonzero(clusters.labels == label)
        if len(members) < least:
            continue
        shift = clusters.shifts[members] - clusters.shifts[members].min()
        there = one_hot(letters[members])
        counts = _laid(there, shift)
        covered = np.maximum(counts.sum(1, keepdims=True), 1)
        mean = _laid(parts[members], shift) / covered
        first, last = _core(mean, counts.sum(1) / len(members), shares, longest)
        other = None
        if hypothetical is not None:
            other = (_laid(hypothetical[members], shift) / covered)[first:last]
        found.append(
            Motif(
                f"motif {len(found) + 1}",
                counts[first:last],
                mean[first:last],
                other,
                members,
                starts[members] + first - shift,
                len(np.unique(groups[members])),
            )
        )
    return found


def similarity(a: Matrix, b: Float[np.ndarray, "v 4"], *, overlap: int = 4) -> float:
    """Best correlation of two contribution matrices over shifts; 0 stands beyond their ends.

    At least `overlap` positions lie on each other (fewer where a matrix is shorter). 0 where one
    of them is flat.
    """
    overlap = min(overlap, len(a), len(b))
    best = 0.0
    for step in range(overlap - len(b), len(a) - overlap + 1):
        low, high = min(0, step), max(len(a), step + len(b))
        both = np.zeros((2, high - low, 4))
        both[0, -low : len(a) - low] = a
        both[1, step - low : step - low + len(b)] = b
        first, second = (one.ravel() - one.mean() for one in both)
        size = float(np.sqrt((first @ first) * (second @ second)))
        best = max(best, float(first @ second) / size if size > 0 else 0.0)
    return best


def _laid(parts: Parts, shift: Int[np.ndarray, " m"]) -> Float[np.ndarray, "v 4"]:
    """Sum of windows, each at its shift."""
    total = np.zeros((parts.shape[1] + int(shift.max()), 4))
    for step in np.unique(shift):
        total[step : step + parts.shape[1]] += parts[shift == step].sum(0)
    return total


def _core(
    mean: Matrix, cover: Float[np.ndarray, " w"], shares: tuple[float, float], longest: int
) -> tuple[int, int]:
    size = np.where(cover >= shares[1], np.abs(mean).sum(1), 0.0)
    there = np.flatnonzero(size >= shares[0] * size.max()) if size.max() > 0 else np.arange(1)
    first, last = int(there[0]), int(there[-1]) + 1
    if last - first > longest:
        sums = np.convolve(size[first:last], np.ones(longest), "valid")
        first += int(sums.argmax())
        last = first + longest
    return first, last
