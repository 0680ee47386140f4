"""Scores of maps: pure functions from maps, and what they need, to one number per sample.

`METRICS`, the table of them, is imported when it is first used: `intervals` and `comparison` need
no torch, and who reads what was scored must not import it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attributome.metrics.table import METRICS as METRICS
    from attributome.metrics.table import Metric as Metric


def __getattr__(name: str) -> object:
    if name not in ("METRICS", "Metric"):
        raise AttributeError(f"attributome.metrics has no {name!r}")
    return getattr(import_module("attributome.metrics.table"), name)
