"""What the template shows, section by section; no number is made in the template."""

from typing import Any

from markupsafe import Markup

from attributome.report.inpaint import answer, doubts, findings, origin
from attributome.report.inpaint.accuracy import accuracy, by_class
from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.inpaint.maps import umap
from attributome.report.inpaint.predictions import predictions
from attributome.report.inpaint.pretext import looking, pretext
from attributome.report.inpaint.training import training
from attributome.report.inpaint.words import MADE_BY, chain, command
from attributome.report.pictures import colour_bar
from attributome.report.scripts import allowed, source


def page(facts: InpaintFacts) -> dict[str, Any]:
    """Everything that the template needs."""
    code = source("scatter.js")
    found = doubts.doubts(facts)
    said = answer.answer(facts)
    return {
        "name": str(facts.job.get("name") or facts.root.name),
        "version": str(facts.asked.get("attributome", "")),
        "question": answer.question(facts),
        "answer": said[:1],
        "said": said[1 : 1 + answer.SAID],
        "more": said[1 + answer.SAID :],
        "cards": answer.cards(facts),
        "red": [doubt for doubt in found if doubt.state == "bad"],
        "amber": [doubt for doubt in found if doubt.state != "bad"],
        "accuracy": accuracy(facts),
        "classes": by_class(facts),
        "training": training(facts),
        "pretext": pretext(facts),
        "predictions": predictions(facts),
        "looking": looking(facts),
        "evaluated": bool(facts.evaluation),
        "given": facts.elsewhere,
        "umap": umap(facts),
        "findings": findings.findings(facts),
        "origin": origin.origin(facts),
        "colour_bar": colour_bar(),
        "make": {part: command(facts.root, part) for part in MADE_BY},
        "towards": chain(facts.root, origin.towards(facts)),
        "code": Markup(code),
        "allowed": allowed(code),
        "style": Markup(source("inpaint.css")),
    }
