"""From a run to one HTML file that needs nothing else."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from attributome.core.files import write_text
from attributome.report.charts import swatch
from attributome.report.facts import read
from attributome.report.looks import look
from attributome.report.page import page
from attributome.store import Run


def build(run: Run) -> Path:
    """Write `report/index.html` of a run; the same run gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("attributome.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(swatch=swatch, look=look)
    text = environment.get_template("page.html.j2").render(page(read(run)))
    path = run.root / "report" / "index.html"
    write_text(path, text)
    return path
