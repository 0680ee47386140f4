"""Where along the two sequences the evidence lies, with the miRNA as the unit.

Bands are percentiles of a bootstrap of miRNAs. A site is laid over others by its seed match:
place 2 is the partner of nt 2.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from attributome.core.bootstrap import cluster_bootstrap
from attributome.report.charts import Rule, Series, curves
from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.words import method
from attributome.report.figures import Figure
from attributome.report.numbers import num, plural
from attributome.report.svg import Axis, around

DRAWS, LONGEST = 500, 24
UNIT = "mean evidence per letter (logit difference{})"


@dataclass(frozen=True, slots=True)
class Band:
    """A mean at each place with its interval, NaN where too few miRNAs have it."""

    mean: Float[np.ndarray, " places"]
    low: Float[np.ndarray, " places"]
    high: Float[np.ndarray, " places"]
    groups: int


def banded(values: Float[np.ndarray, "n places"], groups: Shaped[np.ndarray, " n"]) -> Band:
    """The mean at each place, and the 95 % interval of a bootstrap of groups.

    A place that fewer than half the groups have is NaN: its mean would be of other groups.
    """
    found = cluster_bootstrap(np.asarray(values, np.float64), groups, draws=DRAWS)
    count = len(np.unique(groups))
    found.loc[2 * found["groups"] < count, ["mean", "low", "high"]] = np.nan
    mean, low, high = (found[name].to_numpy() for name in ("mean", "low", "high"))
    return Band(
        mean, np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high), count
    )


def in_units(*values: list[float]) -> tuple[list[list[float]], str]:
    """Numbers that are very small in thousandths, and the label of their axis, which says so."""
    largest = max((abs(v) for each in values for v in each if isfinite(v)), default=0.0)
    if not 0 < largest < 0.02:
        return list(values), UNIT.format("")
    return [[1000 * v for v in each] for each in values], UNIT.format(", thousandths")


def profiles(facts: FcgrFacts) -> list[Figure]:
    """Along the miRNA, along the site over its seed match, and both against foreign miRNAs."""
    made = (_along_mirna(facts), _along_site(facts), _against_foreign(facts))
    return [found for found in made if found]


def _against_foreign(facts: FcgrFacts) -> Figure | None:
    """The site's evidence opposite each nucleotide, beside the same with miRNAs of others."""
    rows = (facts.motifs.get("frame") or {}).get("profile") or []
    rows = [row for row in rows if row.get("mean") is not None]
    if not rows:
        return None
    x = [float(row["nucleotide"]) for row in rows]

    def column(name: str) -> list[float]:
        return [float("nan") if row.get(name) is None else float(row[name]) for row in rows]

    names = ("mean", "low", "high", "control")
    (mean, low, high, control), unit = in_units(*map(column, names))
    own = Series(key="learned_mask", x=x, y=mean, low=low, high=high, main=True)
    other = Series(key="random", x=x, y=control)
    values = [v for each in (mean, low, high, control) for v in each if isfinite(v)]
    first, last = facts.motifs["frame"].get("first"), facts.motifs["frame"].get("last")
    if any(not isfinite(v) for v in (*own.low, *own.high)):
        own = Series(key="learned_mask", x=x, y=own.y, main=True)
    return Figure(
        title="The site beside its own miRNA, and beside others",
        drawing=curves(
            [other, own],
            Axis(label="opposite which nt of the miRNA (nt)", low=x[0] - 0.5, high=x[-1] + 0.5),
            around([0.0, *values], unit),
            [Rule(value=0.0, label="")],
            f"Own miRNA against foreign ones: strongest opposite nt {first} to {last}.",
        ),
        shows="Every site is laid against its miRNA at the best ungapped match. Bold line with "
        f"band: its own; crosses: those of other pairs. Strongest opposite nt {first}–{last}.",
        n=f"up to {plural(int(max(row.get('n') or 0 for row in rows)), 'pair')}.",
        bad="the two lines lie on each other: then the network reads letters, not pairing.",
    )


def _along_mirna(facts: FcgrFacts) -> Figure | None:
    tracks = facts.tracks(facts.default, "mirna")[:, :LONGEST]
    groups = facts.explained["mirna"].to_numpy() if len(tracks) else np.array([])
    if not tracks.size:
        return None
    band = banded(tracks, groups)
    return _figure(
        facts,
        band,
        first=1,
        title="Along the miRNA",
        label="nucleotide of the miRNA, from its 5′ end (nt)",
        rules=[
            Rule(value=1.5, label="seed, nt 2–8", along="x"),
            Rule(value=8.5, label="", along="x"),
        ],
        n=f"{plural(len(tracks), 'pair')} of {plural(band.groups, 'miRNA')}.",
        bad="a flat line, or a peak outside the seed that no known pairing explains.",
    )


def _along_site(facts: FcgrFacts) -> Figure | None:
    tracks = facts.tracks(facts.default, "site")
    if not tracks.size or "seed_kind" not in facts.explained:
        return None
    chosen = (facts.explained["seed_kind"].fillna("") != "").to_numpy()
    if not chosen.any():
        return None
    pairs = facts.explained[chosen]
    framed = in_seed_frame(tracks[chosen], partner_of_2(pairs))
    band = banded(framed, pairs["mirna"].to_numpy())
    return _figure(
        facts,
        band,
        first=-5,
        title="Along the site, laid over its seed match",
        label="place opposite which nt of the miRNA (nt)",
        rules=[
            Rule(value=1.5, label="opposite the seed", along="x"),
            Rule(value=8.5, label="", along="x"),
        ],
        n=f"{plural(len(pairs), 'pair')} with a seed match, of {plural(band.groups, 'miRNA')}.",
        bad="no peak opposite the seed: then the network does not go by the match.",
    )


def partner_of_2(pairs: pd.DataFrame) -> np.ndarray:
    """Position in the site (from 0) of what pairs with nt 2: the last of a match, but for the A."""
    with_a = pairs["seed_kind"].isin(["8mer", "7mer-A1"]).to_numpy()
    return np.asarray(pairs["seed_stop"].to_numpy(np.int64) - 1 - with_a)


def in_seed_frame(
    tracks: Float[np.ndarray, "n length"], partner: np.ndarray
) -> Float[np.ndarray, "n places"]:
    """Tracks of sites by the nucleotide that each place lies opposite of: -5 to `LONGEST`."""
    opposite = np.arange(-5, LONGEST + 1)
    at = partner[:, None] + 2 - opposite
    inside = (at >= 0) & (at < tracks.shape[1])
    found = np.take_along_axis(tracks, at.clip(0, tracks.shape[1] - 1), axis=1)
    framed: np.ndarray = np.where(inside, found, np.nan)
    return framed


def _figure(
    facts: FcgrFacts,
    band: Band,
    *,
    first: int,
    title: str,
    label: str,
    rules: list[Rule],
    n: str,
    bad: str,
) -> Figure | None:
    known = np.isfinite(band.mean)
    if not known.any():
        return None
    places = (np.arange(len(band.mean)) + first)[known].astype(float).tolist()
    (mean, low, high), unit = in_units(
        *(v[known].tolist() for v in (band.mean, band.low, band.high))
    )
    y = around([0.0, *low, *high], unit)
    x = Axis(label=label, low=places[0] - 0.5, high=places[-1] + 0.5)
    top = int(np.argmax(mean))
    line = Series(key="learned_mask", x=places, y=mean, low=low, high=high, main=True)
    alt = f"{title}: highest {num(mean[top])} at {places[top]:.0f}."
    return Figure(
        title=title,
        drawing=curves([line], x, y, [*rules, Rule(value=0.0, label="")], alt),
        shows=f"Mean evidence for an interaction by {method(facts.default)[0]}; band: 95 % "
        f"interval over miRNAs. Above 0 a letter speaks for an interaction.",
        n=n,
        bad=bad,
    )
