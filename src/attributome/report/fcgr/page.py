"""What the template shows, section by section, and the data that its script reads."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps

from attributome.report.fcgr import (
    agreement,
    answer,
    data,
    evaluation,
    explorer,
    origin,
    trust,
    uses,
)
from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.profile import profiles
from attributome.report.fcgr.words import MADE_BY, OUTCOMES, command, method
from attributome.report.pictures import SIGNED, colour_bar
from attributome.report.scripts import allowed, embedded, source

COLOURS = 129  # odd, so that 0 has a colour of its own
KMERS = ("kmer", "n", "mean", "low", "high", "effect", "p", "q")
CONTRASTS = ("name", "n1", "n0", "difference", "cliffs_delta", "cohens_d", "p", "q")
ROWS = 2000  # of a table for the downloads


def page(facts: FcgrFacts) -> dict[str, Any]:
    """Everything that the template needs; the script's data lie beside it as JSON."""
    code = script()
    pairs = explorer.chosen(facts)
    held = explorer.payload(facts, pairs) | {"colours": colours(), "tables": _tables(facts)}
    return {
        "name": str(facts.job.get("name") or facts.root.name),
        "version": str(facts.asked.get("attributome", "")),
        "question": answer.question(facts),
        "answer": answer.answer(facts),
        "cards": answer.cards(facts),
        "red": [*data.flags(facts, "red"), *answer.doubts(facts)],
        "evaluation": evaluation.evaluation(facts),
        "audit": data.audit(facts),
        "parts": data.parts(facts),
        "rejected": data.rejected(facts),
        "profiles": profiles(facts),
        "enrichment": uses.enrichment(facts),
        "motifs": uses.motifs(facts),
        "kmers": uses.kmers(facts),
        "volcano": uses.volcano(facts),
        "agreement": agreement.agreement(facts),
        "trust": trust.trust(facts),
        "origin": origin.origin(facts),
        "explained": len(facts.explained),
        "shown": len(pairs),
        "methods": [(key, *method(key)) for key in facts.methods],
        "outcomes": [
            (key, OUTCOMES.get(key, key))
            for key in (sorted(pairs["outcome"].unique()) if len(pairs) else [])
        ],
        "cut": [method(m["key"])[0] for m in held["methods"] if not m["dense"]],
        "signed_bar": colour_bar(SIGNED),
        "make": {part: command(facts.root, part) for part in MADE_BY},
        "data": embedded(held),
        "code": Markup(code),
        "allowed": allowed(code),
        "style": Markup(source("fcgr.css")),
    }


def script() -> str:
    """The page's own script."""
    return source("fcgr.js")


def colours() -> list[str]:
    """The signed scale from its low end to its high end, as hex."""
    table = colormaps[SIGNED](np.linspace(0, 1, COLOURS), bytes=True)[:, :3]
    return ["".join(f"{int(part):02x}" for part in row) for row in table]


def _tables(facts: FcgrFacts) -> dict[str, Any]:
    """Tables for the downloads that are made in the browser."""
    kmers, contrasts = facts.kmers, facts.contrasts
    return {
        "kmers": uses.shown_table(kmers.sort_values("q").head(ROWS), KMERS) if len(kmers) else [],
        "contrasts": uses.shown_table(contrasts.sort_values("q").head(ROWS), CONTRASTS)
        if len(contrasts)
        else [],
        "evaluation": [dict(row) for row in facts.evaluation.get("scores") or []],
        "summary": dict(facts.summary),
    }
