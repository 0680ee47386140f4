"""How noise, threshold and guarantee were chosen: what was tried, and what was taken."""

from collections.abc import Mapping
from typing import Any

from attributome.report.charts import Rule, Series, curves
from attributome.report.facts import MASK, Facts
from attributome.report.figures import Figure
from attributome.report.numbers import num, plural, share
from attributome.report.svg import Axis, around
from attributome.report.words import measure


def noise(facts: Facts) -> list[Figure]:
    """What survives under noise alone, at every scale that was tried."""
    chosen = facts.choices.get("noise")
    if not chosen:
        return []
    floor, kind = chosen.get("floor"), str(chosen.get("kind", ""))
    fields = plural(chosen.get("fields") or 0, "field")
    found = _choice(
        chosen.get("curve") or [],
        title="How strong must the noise be?",
        x=f"scale of the {kind} noise",
        y=f"{measure(facts)} under added noise",
        at=chosen.get("scale"),
        rules=[] if floor is None else [Rule(value=floor, label=f"must fall below {num(floor)}")],
        shows=f"How much of the prediction survives when noise of this scale is added everywhere. "
        f"{kind.capitalize()} noise of scale {chosen.get('scale')} was taken.",
        n=f"{fields}.",
        bad="A curve that never falls below the line: then a soft mask hides nothing, because what "
        "is half covered can still be read.",
    )
    return [found] if found else []


def threshold(facts: Facts) -> list[Figure]:
    """Efficacy and mask size at every threshold that was tried."""
    chosen = facts.choices.get("threshold")
    if not chosen:
        return []
    target, value = chosen.get("target"), chosen.get("value")
    fields = chosen.get("fields") or 0
    used = f"{plural(fields, 'field')} for validation and training, none of them for the test."
    common: dict[str, Any] = {
        "x": "threshold on the importance map",
        "at": value,
        "n": used if fields else "no field: it was set in the job.",
    }
    kept = _choice(
        chosen.get("curve") or [],
        title="Where is the map cut?",
        y=f"efficacy ({measure(facts)})",
        rules=[] if target is None else [Rule(value=target, label=f"asked for {num(target)}")],
        shows="Efficacy of the binary signature at each threshold. The largest threshold that "
        f"keeps the asked efficacy was taken: {num(value)}.",
        bad="A cliff at the chosen threshold: a small shift of the map then changes the answer.",
        **common,
    )
    size = _choice(
        chosen.get("curve") or [],
        title="What does that cost?",
        y="share of the field that is kept",
        rules=[],
        shows="Mask size at each threshold.",
        bad="A flat curve near 1: the map does not separate what matters.",
        column="mask_size",
        **common,
    )
    return [figure for figure in (kept, size) if figure]


def proof(facts: Facts) -> list[Figure]:
    """At which thresholds the guarantee could be given."""
    promise = facts.choices.get("guarantee")
    if not promise:
        return []
    failing = share(1 - float(promise.get("share") or 0.9))
    risk = 1 - float(promise.get("confidence") or 0.9)
    found = _choice(
        [{**point, "median": point.get("p")} for point in promise.get("curve") or []],
        title="How sure is the guarantee?",
        x="threshold on the importance map",
        y="p, if the promise were false",
        at=promise.get("threshold") if promise.get("given") else None,
        rules=[Rule(value=risk, label=f"p = {risk:.2g}")],
        shows=f"For each threshold, how likely so few failures (efficacy below "
        f"{num(promise.get('floor'))}) would be if more than {failing} "
        f"of new fields failed. A threshold below the line can be promised.",
        n=f"{plural(promise.get('fields') or 0, 'calibration field')}; "
        f"at least {promise.get('needed', '–')} are needed.",
        bad="No point below the line: then nothing can be promised with these fields.",
    )
    return [found] if found else []


def _choice(
    points: list[Mapping[str, Any]],
    *,
    title: str,
    x: str,
    y: str,
    at: float | None,
    rules: list[Rule],
    shows: str,
    n: str,
    bad: str,
    column: str = "median",
) -> Figure | None:
    """How a knob was chosen: what was tried, and the value that was taken."""
    points = [point for point in points if point.get(column) is not None]
    if not points:
        return None
    band = all(point.get("low") is not None for point in points) and column == "median"
    values = [float(point["value"]) for point in points]
    heights = [float(point[column]) for point in points]
    spread = [float(point[end]) for point in points for end in ("low", "high") if band]
    series = Series(
        key=MASK,
        x=values,
        y=heights,
        low=[float(point["low"]) for point in points] if band else (),
        high=[float(point["high"]) for point in points] if band else (),
        main=True,
    )
    taken = [Rule(value=at, label=f"chosen: {at:.3g}", along="x")] if at is not None else []
    levels = [rule.value for rule in rules]
    alt = f"{title}: {y} from {num(heights[0])} at {values[0]:.3g} to {num(heights[-1])} at "
    return Figure(
        title=title,
        drawing=curves(
            [series],
            around([*values, *([at] if at is not None else [])], x),
            Axis(label=y, low=min(0.0, *heights, *spread), high=max(1.0, *heights, *levels)),
            [*rules, *taken],
            f"{alt}{values[-1]:.3g}.",
        ),
        shows=shows,
        n=n,
        bad=bad,
    )
