"""A template filled in and written as one HTML file that needs nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from attributome.core.files import write_text
from attributome.report.charts import swatch
from attributome.report.looks import look
from attributome.store import Run


def write_page(run: Run, template: str, values: Mapping[str, Any]) -> Path:
    """Write `report/index.html` of a run; the same values give the same bytes."""
    environment = Environment(
        loader=PackageLoader("attributome.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(swatch=swatch, look=look)
    path = run.root / "report" / "index.html"
    write_text(path, environment.get_template(template).render(values))
    return path
