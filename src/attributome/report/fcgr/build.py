"""From a run on pairs to one HTML file."""

from pathlib import Path

from attributome.report.fcgr.facts import read
from attributome.report.fcgr.page import page
from attributome.report.writing import write_page
from attributome.store import Run


def build_fcgr(run: Run) -> Path:
    """Write `report/index.html` of a run on pairs; the same run gives the same bytes.

    A part that the run has not come to leaves its section with the command that makes it; a part
    of another form than its layout is a `DataError`.
    """
    return write_page(run, "fcgr.html.j2", page(read(run)))
