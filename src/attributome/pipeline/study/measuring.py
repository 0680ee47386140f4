"""Rows about fields, each field asked once: what was measured is kept, and goes on after a stop."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from attributome.pipeline.study.opening import Opened, Studies, each_field, marked

Rows = list[dict[str, Any]]
Ask = Callable[[Opened, str], Rows]


def measured(
    studies: Studies,
    stage: str,
    ask: Ask,
    *,
    options: Mapping[str, Any],
    fields: list[tuple[Opened, str]] | None = None,
) -> pd.DataFrame:
    """One table of the rows of every field that is judged, or of `fields`.

    `ask` gives the rows of one field; `predictor`, `field` and `unit` are put before them. What
    depends on `options` is measured again where they change.
    """
    asked = studies.fields() if fields is None else fields
    name = marked(stage, options)
    todo = [pair for pair in asked if not studies.run.has(name, _unit(*pair))]
    for one, field in each_field(studies, stage, todo):
        rows = pd.DataFrame(ask(one, field))
        for at, (key, value) in enumerate(studies.about(one, field).items()):
            rows.insert(at, key, value)
        studies.run.write(name, _unit(one, field), tables={"rows": rows})
    whole = studies.run.table(name, "rows")
    wanted = pd.DataFrame(
        [(one.name, field) for one, field in asked], columns=["predictor", "field"]
    )
    return wanted.merge(whole, on=["predictor", "field"], how="left", validate="one_to_many")


def _unit(one: Opened, field: str) -> str:
    return f"{one.name}/{field}"
