"""What speaks against believing the features, the worst first."""

from dataclasses import dataclass
from math import isfinite

from attributome.report.inpaint.answer import RIVALS
from attributome.report.inpaint.facts import ANYWHERE, InpaintFacts
from attributome.report.inpaint.words import kind_of
from attributome.report.numbers import listing, num, number, plural, share, short, span

LEAST, FEW = 3, 10
"""Fields without which there is no interval, or only a rough one."""
GAP, LARGE = 0.1, 0.5
"""A gap between protocols that is told, and the part of what is above chance that is much."""
OTHERS = ("prepared_intensity", "imagenet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A title, a sentence with the numbers, and how bad it is: bad (red) or watch (amber)."""

    state: str
    title: str
    words: str


def doubts(facts: InpaintFacts) -> list[Doubt]:
    """All doubts of a run that was evaluated."""
    if not facts.evaluation:
        return _rows(facts)
    found = [
        *_elsewhere(facts),
        *_pretext(facts),
        *_rivals(facts),
        *_field(facts),
        *_few(facts),
        *_neighbours(facts),
        *_left(facts),
        *_rows(facts),
    ]
    return sorted(found, key=lambda doubt: doubt.state != "bad")


def _elsewhere(facts: InpaintFacts) -> list[Doubt]:
    """A network that was not trained here may have seen the very fields that judge it."""
    if not facts.elsewhere:
        return []
    words = (
        f"It is {facts.elsewhere}. If its training saw these fields, the error of painting and the "
        f"accuracies are too kind; this run cannot know."
    )
    title = "The network was trained elsewhere, perhaps on these fields"
    return [Doubt(state="watch", title=title, words=words)]


def _pretext(facts: InpaintFacts) -> list[Doubt]:
    mse, copied = (number(facts.pretext.get(name)) for name in ("mse", "copy_marker"))
    high = number(facts.pretext.get("mse_high"))
    if not (isfinite(mse) and isfinite(copied)):
        return []
    told = f"Mean squared error {short(mse)} against {short(copied)} for showing the marker instead"
    if mse >= copied:
        words = f"{told}: what it learnt is not how the protein lies in a cell."
        return [
            Doubt(state="bad", title="The network paints no better than the marker", words=words)
        ]
    nothing = min(number(facts.pretext.get(name)) for name in ("constant", "zeros"))
    if mse >= nothing:
        words = (
            f"Mean squared error {short(mse)} against {short(nothing)} for one grey level "
            f"everywhere: it has hardly learnt anything yet."
        )
        title = "The network paints no better than an empty or evenly grey picture"
        return [Doubt(state="bad", title=title, words=words)]
    if isfinite(high) and high >= copied:
        words = f"{told}, and the interval reaches up to {short(high)}."
        return [Doubt(state="watch", title="It may paint no better than the marker", words=words)]
    return []


def _rivals(facts: InpaintFacts) -> list[Doubt]:
    found = []
    for name in RIVALS:
        row = facts.difference(name, facts.across)
        gain, low, high = (number(row.get(key)) for key in ("difference", "low", "high"))
        rival = kind_of(name).the
        if not isfinite(gain) or low > 0:
            continue
        ends = span(low, high)
        told = f"Balanced accuracy {_signed(gain)} against {rival} ({ends or 'no interval'})."
        if gain <= 0:
            found.append(Doubt(state="bad", title=f"Not better than {rival}", words=told))
        elif ends:
            words = f"{told} The interval of the difference includes 0."
            found.append(Doubt(state="bad", title=f"Not surely better than {rival}", words=words))
        else:
            title = f"Nobody can say whether they are surely better than {rival}"
            found.append(Doubt(state="watch", title=title, words=told))
    own = facts.score("ours", facts.across)
    found += _untrained(facts)
    for name in OTHERS:
        other = facts.score(name, facts.across)
        if own and other and other.known and other.balanced >= own.balanced:
            words = f"Balanced accuracy {num(other.balanced)} against {num(own.balanced)}."
            title = f"Not better than {kind_of(name).the}"
            found.append(Doubt(state="watch", title=title, words=words))
    return found


def _untrained(facts: InpaintFacts) -> list[Doubt]:
    """Another layer or pool of the network before it learnt anything may be as good as the lead."""
    own = facts.score("ours", facts.across)
    plain = [s for s in facts.scores if s.features == "untrained" and s.protocol == facts.across]
    best = max((s for s in plain if s.known), key=lambda s: s.balanced, default=None)
    if not own or not own.known or best is None or (best.layer, best.pool) == facts.lead:
        return []
    if best.balanced < own.balanced and (not isfinite(own.low) or best.balanced < own.low):
        return []
    words = (
        f"{best.name} of the untrained network reaches {num(best.balanced)} against "
        f"{num(own.balanced)}{_ends(own.low, own.high)}: much of this accuracy needs no training."
    )
    title = f"An untrained network comes near with {best.name}"
    return [Doubt(state="watch", title=title, words=words)]


def _ends(low: float, high: float) -> str:
    ends = span(low, high)
    return f" ({ends})" if ends else ""


def _field(facts: InpaintFacts) -> list[Doubt]:
    """How much of the accuracy within fields goes when neighbours come from other fields."""
    within, across = facts.score("ours", ANYWHERE), facts.score("ours", facts.across)
    if not within or not across or not within.known:
        return []
    gap, above = within.balanced - across.balanced, within.balanced - within.chance
    if gap < GAP or above <= 0:
        return []
    part = min(gap / above, 1.0)
    words = (
        f"With neighbours from anywhere it reaches {num(within.balanced)}, across fields "
        f"{num(across.balanced)}: {share(part)} of what is above guessing is the field (its light, "
        f"its staining, its day) and not the cell. Believe only numbers across fields."
    )
    state = "bad" if part >= LARGE else "watch"
    return [Doubt(state=state, title="The features know the field", words=words)]


def _few(facts: InpaintFacts) -> list[Doubt]:
    units = facts.units
    if units < LEAST:
        words = f"{plural(units, 'field')}: below {LEAST} there are no intervals and no proof."
        return [Doubt(state="bad", title="Too few fields", words=words)]
    if units < FEW:
        words = f"{plural(units, 'field')}: an interval that draws so few again is rough."
        return [Doubt(state="watch", title="Few fields", words=words)]
    return []


def _neighbours(facts: InpaintFacts) -> list[Doubt]:
    """Whether the maxima of the lead's layer are anywhere alike, or mostly outside the cell."""
    for row in facts.looking:
        if str(row["layer"]) != facts.lead[0]:
            continue
        inside, chance, excess, low = (
            number(row[key]) for key in ("inside", "chance", "excess", "low")
        )
        told = (
            f"{share(inside)} of the maxima of {row['layer']} lie inside the own cell, chance is "
            f"{share(chance)}"
        )
        if excess <= 0 or low <= 0:
            words = f"{told}: they lie no more on the own cell than anywhere else."
            return [Doubt(state="bad", title="The features do not look at their cell", words=words)]
        if inside < 0.5:
            words = f"{told}: the others lie on neighbours or on the background."
            return [Doubt(state="watch", title="Most features look beside their cell", words=words)]
    return []


def _left(facts: InpaintFacts) -> list[Doubt]:
    found = []
    lost = [str(row["label"]) for row in facts.recalls if row["recall"] is None]
    if lost:
        named = listing(lost[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
        words = f"{named}: all cells of each are in one field, so that no other field can judge."
        title = f"{len(lost)} {'class' if len(lost) == 1 else 'classes'} cannot be judged"
        found.append(Doubt(state="watch", title=title, words=words))
    own = facts.score("ours", facts.across)
    if own and own.undefined:
        words = f"{own.undefined:,} of {own.undefined + own.n:,}; they are counted, not averaged."
        found.append(Doubt(state="watch", title="Cells without a candidate", words=words))
    groups = facts.data.get("groups")
    if isinstance(groups, int) and facts.by_group and len(facts.by_group) < groups:
        part = str(facts.pretext.get("part") or "test")
        words = f"The {part} fields hold {len(facts.by_group)} of {plural(groups, 'group')}."
        title = "Groups left out of the pretext's number"
        found.append(Doubt(state="watch", title=title, words=words))
    return found


def _rows(facts: InpaintFacts) -> list[Doubt]:
    count = int(facts.data.get("rejected") or 0) or len(facts.rejected)
    if not count:
        return []
    cells = facts.data.get("cells")
    of = f" beside {cells:,} cells that were kept" if isinstance(cells, int) else ""
    why = ""
    if len(facts.rejected):
        reasons = facts.rejected["reason"].value_counts()
        ranked = sorted(reasons.index, key=lambda name: (-reasons[name], name))[:3]
        why = f": {listing([f'{reasons[name]:,} because {name}' for name in ranked])}"
    words = f"{count:,}{of}{why}. All of them are below, under “How it was made”."
    title = "Cells, fields or groups were left out"
    return [Doubt(state="watch", title=title, words=words)]


def _signed(value: float) -> str:
    return f"+{num(value)}" if value > 0 else num(value)
