"""What the template shows, section by section, as plain values."""

import json
from collections.abc import Mapping
from typing import Any

from attributome.report import agreement, evidence, figures, knobs, methods, words
from attributome.report.doubts import doubts, duels
from attributome.report.facts import MASK, Facts
from attributome.report.gallery import SOFT, disputes
from attributome.report.known import meaning
from attributome.report.looks import in_order, look
from attributome.report.numbers import listing, minutes, num, plural, share, span
from attributome.report.panels import panels, shown_slice
from attributome.report.pictures import SIGNED, colour_bar


def page(facts: Facts) -> dict[str, Any]:
    """Everything that the template needs; no number is made in the template."""
    sentence, given = words.guarantee(facts)
    shown = panels(facts)
    return {
        "name": facts.job.get("name") or facts.root.name,
        "question": words.question(facts),
        "answer": words.answer(facts),
        "certified": words.certified(facts),
        "right": words.right(facts),
        "doubts": doubts(facts),
        "clear": _clear(facts),
        "guarantee": {"sentence": sentence, "given": given},
        "cards": _cards(facts),
        "panels": shown,
        "bars": {panel.id: panel.bar for panel in shown},
        "colour_bar": colour_bar(),
        "targets": listing(sorted({e.target for e in facts.examples if e.target})),
        "signed_bar": colour_bar(SIGNED),
        "several": _several(facts),
        "evidence": _evidence(facts),
        "curve": figures.curve(facts),
        "distribution": figures.distribution(facts),
        "smallest": figures.smallest(facts),
        "planted": figures.planted(facts),
        "soft": figures.soft(facts),
        "leak": _leak(facts),
        "training": {name: figures.training(log) for name, log in facts.logs.items()},
        "noise": knobs.noise(facts),
        "threshold": knobs.threshold(facts),
        "proof": knobs.proof(facts),
        "chosen": _chosen(facts),
        "provenance": _provenance(facts),
        "notes": facts.provenance.get("notes") or [],
        "again": facts.provenance.get("command"),
        "job": json.dumps(facts.job, indent=2, sort_keys=True) if facts.job else "",
        "methods": words.medians(facts),
        "summary": [(key, meaning(key), _plain(v)) for key, v in facts.summary.items()],
        "fields": _fields(facts),
        "make": {part: words.command(facts, part) for part in words.MADE_BY},
        "measure": words.measure(facts),
        "floor": num(facts.floor),
        "choosing": MASK in facts.methods or bool(facts.choices),
        "lead": look(facts.lead).label,
        "learned": MASK in facts.methods,
        "masks": any(key in SOFT for key in facts.methods),
        "version": facts.version,
    }


def _several(facts: Facts) -> dict[str, Any] | None:
    """The sections that compare methods; None where there is only one."""
    if len(facts.methods) < 2:
        return None
    slices = {example.id: shown_slice(example) for example in facts.examples}
    return {
        "count": len(facts.methods),
        "board": methods.leaderboard(facts),
        "curve": methods.methods_curve(facts),
        "spread": methods.methods_spread(facts),
        "matrix": agreement.matrix(facts),
        "disputes": disputes(facts, slices),
    }


def _evidence(facts: Facts) -> dict[str, Any] | None:
    """Where the evidence lies; None where no region was asked about."""
    if facts.tables["regions"].empty:
        return None
    return {
        "sentence": evidence.sentence(facts),
        "figures": evidence.figures(facts),
        "table": evidence.table(facts),
        "names": evidence.names(facts),
    }


def _clear(facts: Facts) -> str:
    """A sentence for the good case: which control came nearest."""
    found = duels(facts)
    if not found or any(duel.level for duel in found):
        return ""
    best = max(found, key=lambda duel: duel.difference)
    name = look(best.control).label
    return (
        f"No control of the same area does as well: the nearest, {name}, "
        f"is {num(-best.difference)} lower (median over fields) and as good in {best.as_good} of "
        f"{plural(best.fields, 'field')}."
    )


def _cards(facts: Facts) -> list[tuple[str, str, str]]:
    """Key numbers: the number, what it is, and a remark."""
    s, found = facts.summary, duels(facts)
    cards = []
    if s.get("efficacy_median") is not None:
        interval = f"95 % interval {num(s.get('efficacy_low'))}–{num(s.get('efficacy_high'))}"
        told = interval if s.get("efficacy_low") is not None else ""
        cards.append((num(s["efficacy_median"]), f"median efficacy ({words.measure(facts)})", told))
    if s.get("mask_size_median") is not None:
        cards.append((share(s["mask_size_median"]), "of each field is kept", "median mask size"))
    if found:
        best = max(found, key=lambda duel: duel.other)
        cards.append((num(best.other), "best control of the same area", look(best.control).label))
    for key, label, remark in (
        ("random_mask_efficacy_median", "random pixels", "same area"),
        ("predictor_pcc", "PCC of the network itself", "prediction against the real target"),
    ):
        if s.get(key) is not None:
            cards.append((num(s[key]), label, remark))
    if s.get("predictor_accuracy") is not None:
        ends = span(s.get("predictor_accuracy_low"), s.get("predictor_accuracy_high"))
        told = f"95 % interval {ends}" if ends else "named the real class"
        cards.append((num(s["predictor_accuracy"]), "accuracy of the network itself", told))
    if n := s.get("fields_test") or words.count(facts):
        splits = (facts.provenance.get("data") or {}).get("splits") or {}
        told = "not used for training or choosing" if "test" in splits else ""
        cards.append((str(n), "test fields", told))
    return cards


def _leak(facts: Facts) -> str:
    """What a mask that selects nothing reaches."""
    table = facts.efficacies("soft")
    value = facts.summary.get("uniform_soft_efficacy_median")
    if "uniform_as_soft" in table:
        value = float(table["uniform_as_soft"].median())
    elif value is None and "uniform_soft" in table:
        value = float(table["uniform_soft"].median())
    return "" if value is None else num(value)


def _chosen(facts: Facts) -> list[str]:
    """The knobs of this run in sentences, also where no curve was kept."""
    noise, cut = facts.choices.get("noise") or {}, facts.choices.get("threshold") or {}
    found = []
    if noise:
        found.append(f"What the mask does not keep is replaced by {words.fill_with_scale(facts)}.")
    if cut:
        value = cut.get("value")
        found.append(
            f"Each field keeps the {share(1 - float(value or 0))} of its pixels that rank highest."
            if cut.get("per") == "field"
            else f"A pixel is kept where its importance is above {num(value)}."
        )
        if not cut.get("fields"):
            found.append("This threshold was set, not searched.")
    return found


def _provenance(facts: Facts) -> list[tuple[str, str]]:
    """What made this run, one line each."""
    p = facts.provenance
    if not p:
        return []
    data, seconds = p.get("data") or {}, p.get("seconds") or {}
    versions = {"attributome": facts.version, **(p.get("versions") or {})}
    lines = [("versions", ", ".join(f"{key} {value}" for key, value in versions.items()))]
    lines += [
        (key, str(p[key])) for key in ("device", "precision", "threads") if p.get(key) is not None
    ]
    if splits := data.get("splits"):
        lines.append(("fields", ", ".join(f"{n} {split}" for split, n in splits.items())))
    if data.get("group"):
        lines.append(("split by", f"{data['group']} (no {data['group']} is in two splits)"))
    for name, part in (
        ("data", data),
        ("predictor", p.get("predictor")),
        ("masks", p.get("masks")),
    ):
        if part and part.get("source"):
            lines.append((name, str(part["source"])))
        if part and part.get("sha256"):
            lines.append((f"{name} SHA-256", str(part["sha256"])))
    if seconds:
        lines.append(("time", listing([f"{key} {minutes(v)}" for key, v in seconds.items()])))
    return lines


def _fields(facts: Facts) -> dict[str, Any]:
    """Efficacy of every field and method, for whoever wants to check a dot."""
    table = facts.efficacies("signature", "method", "control", "soft")
    keys = in_order([str(name) for name in table.columns])
    lines = [
        (str(sample), [num(float(value)) for value in row])
        for sample, row in zip(table.index, table[keys].to_numpy(float), strict=True)
    ]
    return {"names": [look(key).label for key in keys], "lines": lines[:500]}


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "–"
    return json.dumps(value) if isinstance(value, Mapping | list) else str(value)
