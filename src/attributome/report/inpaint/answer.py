"""Whether these features are worth using: the answer in a sentence, and the numbers it rests on."""

from math import isfinite
from typing import Any

from attributome.report.inpaint.facts import InpaintFacts, Score
from attributome.report.inpaint.words import KINDS, kind_of, layer_of, sentence, within
from attributome.report.numbers import listing, num, number, plural, share, short, span

RIVALS = ("untrained", "raw_intensity")
SAID = 6  # sentences of the evaluation that stand in the open


def question(facts: InpaintFacts) -> str:
    """What was asked."""
    cells, fields = facts.data.get("cells"), facts.data.get("fields")
    told = ""
    if isinstance(cells, int) and isinstance(fields, int):
        told = f" {cells:,} cells of {plural(fields, 'field')}."
    return f"A network learnt to paint proteins into cells. Are its features worth using?{told}"


def answer(facts: InpaintFacts) -> list[str]:
    """The verdict and the sentences of the evaluation; empty while nobody evaluated."""
    if not facts.evaluation:
        return []
    said = [str(word) for word in facts.summary.get("words") or facts.evaluation.get("words") or []]
    return [verdict(facts), *(sentence(words) for words in said)]


def verdict(facts: InpaintFacts) -> str:
    """One sentence: by the layer that was fixed beforehand, across fields, beside its rivals."""
    found = facts.score("ours", facts.across)
    if found is None:
        return (
            "These data cannot say it: no protocol could judge a cell by cells of other fields, "
            "and a number within fields may be the field's and not the cell's."
        )
    what = f"{word_of(facts)} across fields" if "field" in facts.across else word_of(facts)
    told = f"{what}: balanced accuracy {scored(found)}"
    lows = {name: number(facts.difference(name, facts.across).get("low")) for name in RIVALS}
    beaten = [name for name, low in lows.items() if low > 0]
    if isfinite(found.low) and found.low <= found.chance:
        return f"Not shown: they are not surely better than guessing in {told}."
    if not any(facts.difference(name, facts.across) for name in RIVALS):
        return f"Nobody knows yet, for nothing was compared with them. They reach, in {told}."
    if len(beaten) == len(RIVALS):
        names = listing([kind_of(name).the for name in RIVALS])
        return f"Yes, by these data. In {told}, surely more than {names}."
    lost = [name for name in RIVALS if name not in beaten]
    names = " or ".join(kind_of(name).the for name in lost)
    return f"Not shown. In {told}, but that is not surely more than {names}."


def word_of(facts: InpaintFacts) -> str:
    """What the labels are told apart by, as a sentence says it."""
    count = len(facts.labels)
    name = str(facts.evaluation.get("label") or "label")
    kind = "groups" if name == "group" else f"classes of “{name}”"
    return f"telling {count} {kind} apart" if count else f"telling {kind} apart"


def scored(found: Score) -> str:
    """A number with its interval, chance and n."""
    ends = span(found.low, found.high)
    interval = f"95 % interval {ends}" if ends else "no interval, for there are too few fields"
    return (
        f"{num(found.balanced)} ({interval}; guessing {num(found.chance)}; n = {found.n:,} cells "
        f"of {plural(found.units, 'field')})"
    )


def best(facts: InpaintFacts) -> Score | None:
    """The highest of ours across fields, chosen after the fact."""
    found = [s for s in facts.scores if (s.features, s.protocol) == ("ours", facts.across)]
    return max((s for s in found if s.known), key=lambda s: s.balanced, default=None)


def cards(facts: InpaintFacts) -> list[dict[str, Any]]:
    """Key numbers: the number, what it is, a remark, and the hue of its kind."""
    found = []
    for name in ("ours", *RIVALS):
        if (score := facts.score(name, facts.across)) and score.known:
            ends = span(score.low, score.high) or "no interval"
            at = f"{score.name}, " if name in ("ours", "untrained") else ""
            where = f"{KINDS[name].name}: balanced accuracy {within(facts.across)}"
            remark = f"{at}{ends}, n = {score.n:,} cells of {plural(score.units, 'field')}"
            found.append(_card(num(score.balanced), where, remark, KINDS[name].hue))
    found += _best(facts)
    found += _pretext(facts)
    lead = [row for row in facts.looking if str(row["layer"]) == facts.lead[0]]
    for row in lead[:1]:
        if isfinite(number(row["inside"])):
            ends = span(number(row["low"]), number(row["high"]))
            more = f", excess {ends}" if ends else ""
            remark = f"{row['layer']}; chance {share(number(row['chance']))}{more}"
            told = "of maxima lie inside the own cell"
            found.append(_card(share(number(row["inside"])), told, remark, "blue"))
    return found


def _best(facts: InpaintFacts) -> list[dict[str, Any]]:
    top = best(facts)
    if top is None or (top.layer, top.pool) == facts.lead:
        return []
    count = sum((s.features, s.protocol) == ("ours", facts.across) for s in facts.scores)
    remark = f"{layer_of(top.layer, top.pool)}: chosen after the fact, so it flatters"
    return [_card(num(top.balanced), f"the highest of {count} layers and pools", remark, "blue")]


def _pretext(facts: InpaintFacts) -> list[dict[str, Any]]:
    mse = number(facts.pretext.get("mse"))
    if not isfinite(mse):
        return []
    ends = _ends(facts.pretext.get("mse_low"), facts.pretext.get("mse_high"))
    count = plural(int(facts.pretext.get("pairs") or 0), "pair")
    told = f"{ends}, n = {count}" if ends else f"no interval, n = {count}"
    copied = number(facts.pretext.get("copy_marker"))
    return [
        _card(short(mse), "mean squared error of the painted protein", told, "blue"),
        _card(short(copied), "error of showing the marker instead", "lower is better", "ink"),
    ]


def _ends(low: Any, high: Any) -> str:
    a, b = number(low), number(high)
    return f"{short(a)}–{short(b)}" if isfinite(a) and isfinite(b) else ""


def _card(value: str, label: str, remark: str, hue: str) -> dict[str, Any]:
    return {"value": value, "label": label, "remark": remark, "hue": hue}
