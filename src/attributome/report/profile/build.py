"""From a run of single-cell profiles to one HTML file."""

from pathlib import Path

from attributome.report.profile.facts import read
from attributome.report.profile.page import page
from attributome.report.writing import write_page
from attributome.store import Run


def build_profile(run: Run) -> Path:
    """Write `report/index.html` of a run of profiles; the same run gives the same bytes.

    A part that the run has not come to leaves its section with the command that makes it; a part
    of another form than its layout is a `DataError`.
    """
    return write_page(run, "profile.html.j2", page(read(run)))
