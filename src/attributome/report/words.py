"""Sentences from numbers, worded so that nobody reads more into them than they hold."""

import shlex

import pandas as pd

from attributome.report.facts import MASK, Facts
from attributome.report.looks import in_order, look
from attributome.report.numbers import listing, num, plural, share, share_below

# which command fills a part that is not there yet
MADE_BY = {
    "predictor": "train predictor",
    "masks": "train masks",
    "noise": "train masks",
    "threshold": "train masks",
    "guarantee": "train masks",
    "panel": "score",
    "score": "score",
    "provenance": "score",
    "summary": "score",
}


def command(facts: Facts, part: str) -> str:
    """The command that makes a part of this run."""
    return f"attributome {MADE_BY[part]} --out {shlex.quote(str(facts.root))}"


def measure(facts: Facts) -> str:
    """What efficacy is called on this page."""
    return "PCC" if facts.task == "image" else "efficacy"


FILLS = {"blur": "a blurred copy", "mean": "the mean", "permuted": "shuffled pixels"}


def fill(facts: Facts) -> str:
    """What replaces the pixels that a mask does not keep."""
    noise = (facts.choices.get("noise") or {}).get("kind")
    return FILLS.get(str(noise), "noise")


def fill_with_scale(facts: Facts) -> str:
    """The same, with the strength of a noise."""
    noise = facts.choices.get("noise") or {}
    if fill(facts) != "noise":
        return fill(facts)
    return f"{noise.get('kind', '')} noise of scale {noise.get('scale', '–')}"


def channels(facts: Facts) -> tuple[str, str]:
    """The names of what goes into the predictor and of what comes out."""
    notes = [example.note for example in facts.examples]
    data = facts.job.get("data") or {}
    into = next((n["channels"] for n in notes if n.get("channels")), data.get("inputs"))
    out = next((n["target_channels"] for n in notes if n.get("target_channels")), None)
    out = out or data.get("targets")
    return listing(into or "its input"), listing(out or "its output")


def count(facts: Facts) -> int:
    """Fields with a score of the mask."""
    return len(facts.efficacies("signature"))


def question(facts: Facts) -> str:
    """What was asked, in a sentence."""
    into, out = channels(facts)
    made = (facts.provenance.get("predictor") or {}).get("source")
    fields = facts.summary.get("fields_test") or count(facts)
    group = (facts.provenance.get("data") or {}).get("group")
    asked = f"Which parts of {into} does this network need in order to predict {out}?"
    network = f" Network: {made}." if made else ""
    held_out = f", held out by {group}" if group else ""
    on = f" Asked on {plural(fields, 'test field')}{held_out}." if fields else ""
    return asked + network + on


def answer(facts: Facts) -> list[str]:
    """The answer in a few sentences; empty while there is none."""
    s, name = facts.summary, measure(facts)
    if s.get("efficacy_median") is None or s.get("mask_size_median") is None:
        return []
    kept, efficacy = s["mask_size_median"], s["efficacy_median"]
    if kept == 0:
        first = "The mask keeps nothing: it found no part of these fields that this network needs"
    else:
        first = (
            f"Keeping {share(kept)} of each field and replacing the rest by {fill(facts)}, the "
            f"network gives {_alike(efficacy)} as from the whole field"
        )
    interval = ""
    if s.get("efficacy_low") is not None and s.get("efficacy_high") is not None:
        interval = f"95 % interval {num(s['efficacy_low'])}–{num(s['efficacy_high'])}, "
    n = s.get("fields_test") or count(facts)
    sentences = [f"{first}: median {name} {num(efficacy)} ({interval}n = {plural(n, 'field')})."]
    chance = [
        f"{words} gives {num(s[key])}"
        for key, words in (
            ("random_mask_efficacy_median", "A random mask of the same size"),
            ("translated_mask_efficacy_median", "the same mask moved elsewhere"),
        )
        if s.get(key) is not None
    ]
    plain = [
        f"{words}, gives {num(s[key])}"
        for key, words in (
            ("intensity_mask_efficacy_median", "the plainest control, the brightest contrast"),
        )
        if s.get(key) is not None
    ]
    if chance or plain:
        said = "; ".join(part for part in (", ".join(chance), *plain) if part)
        sentences.append(f"{said[0].upper()}{said[1:]}.")
    if (ratio := s.get("area_ratio_to_intensity")) is not None:
        sentences.append(
            f"To stay at the asked {name}, the learned mask needs {num(ratio)} times the area "
            f"that the brightest contrast needs."
        )
    return sentences


def certified(facts: Facts) -> str:
    """How many test fields keep what was asked, and what that says of fields like these."""
    s = facts.summary
    passed, fields = s.get("certified_passed"), s.get("certified_fields")
    if passed is None or not fields:
        return ""
    floor = s.get("certified_floor", facts.floor)
    kept = f"at least {num(floor)}" if floor is not None else "what was asked"
    said = (
        f"In {passed} of {plural(int(fields), 'test field')} the signature keeps {kept} "
        f"({measure(facts)})"
    )
    if s.get("certified_share") is None:
        return f"{said}."
    return (
        f"{said}; with 95 % confidence at least {share_below(s['certified_share'])} of fields like "
        f"these do."
    )


def right(facts: Facts) -> str:
    """How often a classifier is right, on the same fields."""
    s = facts.summary
    if s.get("predictor_accuracy") is None:
        return ""
    low, high = s.get("predictor_accuracy_low"), s.get("predictor_accuracy_high")
    ends = f"95 % interval {share(low)} to {share(high)}, " if low is not None else ""
    n = s.get("predictor_fields") or s.get("fields_test") or count(facts)
    return (
        f"The network itself names the real class in {share(s['predictor_accuracy'])} of the test "
        f"fields ({ends}n = {plural(int(n), 'field')})."
    )


def guarantee(facts: Facts) -> tuple[str, bool]:
    """The guarantee, or why there is none; and whether it was given."""
    choice = facts.choices.get("guarantee") or {}
    sentence = choice.get("sentence") or facts.summary.get("guarantee")
    if choice.get("given", bool(sentence)) and sentence:
        said = str(sentence).replace(">=", "≥")
        promised, cut = choice.get("threshold"), (facts.choices.get("threshold") or {}).get("value")
        if promised is not None and cut is not None and promised != cut:
            said += f" It is given for threshold {promised:.3g}; the search alone gave {cut:.3g}."
            if (kept := choice.get("mask_size_median")) is not None:
                said += f" At {promised:.3g} a mask keeps {share(float(kept))} of its field."
        return said, True
    if reason := choice.get("reason"):
        return f"No guarantee can be given: {str(reason).rstrip('.')}.", False
    return "No guarantee was worked out for this run yet.", False


def medians(facts: Facts) -> list[dict[str, str]]:
    """One line per method: the charts of this page as a table."""
    scores: pd.DataFrame = facts.tables["scores"]
    found = [] if scores.empty else [str(method) for method in scores["method"].unique()]
    lines = []
    for method in in_order(found):
        mine = scores[scores["method"] == method]
        known = int(mine["efficacy"].count())
        low, half, high = mine["efficacy"].quantile([0.25, 0.5, 0.75])
        lines.append(
            {
                "label": look(method).label,
                "about": _about(method, facts.lead),
                "n": f"{known} of {len(mine)}" if known < len(mine) else str(known),
                "area": share(mine["mask_size"].median()),
                "median": num(half),
                "quartiles": f"{num(low)}–{num(high)}",
            }
        )
    return lines


def _about(method: str, lead: str) -> str:
    """What a method keeps; only the leading one has the signature of this page."""
    about = look(method).about
    if lead == MASK:
        return about
    if method == MASK:
        return "a map that was learned once, for all fields"
    return f"{about}; its top pixels are this page's signature" if method == lead else about


def _alike(efficacy: float) -> str:
    if efficacy >= 0.9:
        return "nearly the same prediction"
    return "a similar prediction" if efficacy >= 0.7 else "a clearly different prediction"
