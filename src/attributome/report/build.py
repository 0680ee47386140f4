"""From a run to one HTML file."""

from pathlib import Path

from attributome.report.facts import read
from attributome.report.page import page
from attributome.report.writing import write_page
from attributome.store import Run


def build(run: Run) -> Path:
    """Write `report/index.html` of a run; the same run gives the same bytes."""
    return write_page(run, "page.html.j2", page(read(run)))
