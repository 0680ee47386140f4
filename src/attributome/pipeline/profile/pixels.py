"""How much the channels of fields show the same, field by field: nothing but one is in memory."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int32

from attributome.core.errors import DataError, Refusal
from attributome.core.seeds import rng
from attributome.pipeline.profile.crop import SEGMENTED, STAGE
from attributome.pipeline.profile.reading import read_one
from attributome.pipeline.profile.work import ProfileWork
from attributome.profiles.wells.channels import correlate_channels, mean_correlation

WHERE = ("all pixels", "in cells")


def channel_rows(work: ProfileWork) -> tuple[list[dict[str, Any]], str]:
    """A row for each pair of channels and place, over some fields that are drawn; or why none."""
    most, fields = work.job.evaluate.fields, work.fields
    if not most:
        return [], "not asked for"
    have = set(work.run.units(STAGE))
    fields = fields[fields["field"].isin(have)]
    draw = rng(work.job.seed, "fields of channels").permutation(len(fields))[:most]
    found: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    try:
        for row in fields.iloc[np.sort(draw)].to_dict("records"):
            one = read_one({str(k): v for k, v in row.items()}, work.job.data, _labels(work, row))
            names = one.channels
            if len(names) < 2:
                return [], "there is one channel"
            inside = correlate_channels(one.image, one.labels > 0)
            found.append(np.stack([correlate_channels(one.image), inside]))
        each = np.stack(found)
        rows = []
        for place, where in enumerate(WHERE):
            table = mean_correlation(
                each[:, place],
                names,
                draws=work.job.evaluate.draws,
                seed=work.job.seed,
            ).table()
            for pair in table.to_dict("records"):
                told = {"a": pair["first"], "b": pair["second"], "r": pair["mean"], "where": where}
                kept = ("low", "high", "n", "undefined", "fields")
                rows.append(told | {name: pair[name] for name in kept})
    except DataError as error:
        return [], f"the fields cannot be read again: {error}"
    except Refusal as refusal:
        return [], str(refusal)
    return rows, ""


def _labels(work: ProfileWork, row: Mapping[Hashable, Any]) -> Int32[np.ndarray, "*s"] | None:
    """The labels of a field that was segmented when it was cut."""
    name = str(row["field"])
    if SEGMENTED not in work.run.arrays(STAGE, name):
        return None
    return np.asarray(work.run.array(STAGE, name, SEGMENTED))
