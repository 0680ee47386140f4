"""What the template shows, section by section; no number is made in the template."""

from typing import Any

from markupsafe import Markup

from attributome.report.pictures import colour_bar
from attributome.report.profile import answer, doubts, origin
from attributome.report.profile.alternatives import alternatives
from attributome.report.profile.causes import causes
from attributome.report.profile.cells import cells
from attributome.report.profile.channels import channels
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.features import features
from attributome.report.profile.maps import umap
from attributome.report.profile.plates import plates
from attributome.report.profile.profiles import made, profiles
from attributome.report.profile.remedies import remedies
from attributome.report.profile.where import where
from attributome.report.profile.words import MADE_BY, chain, command
from attributome.report.scripts import allowed, source

SAID = 8


def page(facts: ProfileFacts) -> dict[str, Any]:
    """Everything that the template needs."""
    code = source("scatter.js")
    found = doubts.doubts(facts)
    return {
        "name": str(facts.job.get("name") or facts.root.name),
        "version": str(facts.asked.get("attributome", "")),
        "label": facts.label,
        "question": answer.question(facts),
        "answer": answer.answer(facts),
        "words": answer.words(facts),
        "cards": answer.cards(facts),
        "red": [doubt for doubt in found if doubt.state == "bad"],
        "amber": [doubt for doubt in found if doubt.state != "bad"],
        "looked": bool(facts.camo),
        "tested": bool(facts.causes),
        "evaluated": bool(facts.evaluation),
        "asked_features": bool((facts.job.get("camo") or {}).get("features", True)),
        "where": where(facts),
        "plates": plates(facts),
        "cells": cells(facts),
        "features": features(facts),
        "causes": causes(facts),
        "profiles": profiles(facts),
        "made": made(facts),
        "umap": umap(facts),
        "no_umap": str(facts.evaluation.get("umap") or "").rstrip("."),
        "channels": channels(facts),
        "remedies": remedies(facts),
        "alternatives": alternatives(facts),
        "origin": origin.origin(facts),
        "dims": facts.dims,
        "colour_bar": colour_bar(),
        "make": {part: command(facts.root, part) for part in MADE_BY},
        "towards": chain(facts.root, origin.towards(facts)),
        "code": Markup(code),
        "allowed": allowed(code),
        "style": Markup(source("profile.css")),
    }
