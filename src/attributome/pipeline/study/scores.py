"""How good is each predictor, and what it keeps saying when only its signature is left."""

import pandas as pd

from attributome.core.errors import UsageError
from attributome.pipeline.study.looked import look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found
from attributome.studies.paired import unit_mean

NO_TEST = "intervals of the mean over units (Student); nothing is tested"


def scores(studies: Studies) -> Found:
    """Correlation of prediction and truth, field by field.

    Raises `UsageError` where no field has a target image.
    """
    table = _looked(studies).dropna(subset="pcc").reset_index(drop=True)
    if table.empty:
        raise UsageError("no field has a target image, so that no prediction can be scored")
    return _told(table[["predictor", "field", "unit", "pcc"]], "pcc", "correlation with the truth")


def efficacy(studies: Studies) -> Found:
    """Efficacy and size of every predictor's signature, field by field."""
    columns = ["predictor", "field", "unit", "efficacy", "size"]
    return _told(_looked(studies)[columns], "efficacy", "efficacy of the signature")


def _looked(studies: Studies) -> pd.DataFrame:
    """What is known of each field once it was looked at."""

    def ask(one: Opened, field: str) -> Rows:
        note = look(studies, one, field).note
        return [{key: note[key] for key in ("efficacy", "size", "pcc")}]

    return measured(studies, "looked", ask, options={})


def _told(table: pd.DataFrame, of: str, words: str) -> Found:
    """Means with intervals by predictor, best first."""
    rows = []
    for name, part in table.groupby("predictor", sort=False):
        told = unit_mean(part[of].to_numpy(float), part["unit"].to_numpy())
        more = {"size": float(part["size"].median())} if "size" in part else {}
        rows.append({"predictor": name, "median": part[of].median(), **told, **more})
    means = pd.DataFrame(rows).sort_values("median", ascending=False, ignore_index=True)
    said = tuple(
        f"{row['predictor']}: {words} {row['mean']:.3f} on average"
        + (f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] == row["low"] else "")
        + (f", at a median size of {row['size']:.0%} of the field" if "size" in row else "")
        + "."
        for row in means.to_dict("records")
    )
    return Found(
        numbers={str(row["predictor"]): row for row in means.to_dict("records")},
        n=shared(table),
        test=NO_TEST,
        words=said,
        tables={"fields": table, "means": means},
    )
