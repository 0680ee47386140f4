"""From a folder of studies to one HTML file, and to each figure as SVG and PNG."""

from pathlib import Path

from attributome.report.study.facts import read
from attributome.report.study.figures import draw
from attributome.report.study.page import page
from attributome.report.writing import write_page
from attributome.store import Run


def build_study(run: Run, *, anew: bool = True) -> Path:
    """Draw every figure, and write `report/index.html`; the same studies give the same bytes.

    Unless `anew`, figures whose tables have not changed are taken as they lie.

    Raises `DataError` where the folder holds no studies, or a table of another form.
    """
    facts = read(run)
    return write_page(run, "study.html.j2", page(facts, draw(facts, anew=anew)))
