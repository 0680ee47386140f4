"""Whether a network uses what it is said to use: change one thing in a field, and ask again."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from attributome.benchmark.networks import effect
from attributome.benchmark.scenes import Edit, Task, field
from attributome.core.errors import DataError
from attributome.core.probe import predict
from attributome.core.types import Predictor
from attributome.metrics.intervals import median_interval

LEAST, MOST = 0.5, 0.2
"""What taking the evidence away must do, in spreads of the output; what any other change may do, as
a share of that."""


def edits_of(task: Task) -> tuple[Edit, ...]:
    """The changes that must not matter; a classifier weighs one marker against the other."""
    return ("decoy", "suppressor") if task == "classification" else ("other", "decoy", "suppressor")


def verify(
    model: Predictor, task: Task, size: Sequence[int], *, fields: int, seed: int
) -> pd.DataFrame:
    """One row per change: `edit`, the `median` effect with `low` and `high`, `bound`, `passed`.

    The effect is the root mean squared change of the output. That of taking the evidence away is
    in standard deviations of the output over pixels and fields, and its interval must lie above
    the bound; any other is a share of that of the evidence in the same field, and must lie below.
    """
    edits = ("evidence", *edits_of(task))
    effects: dict[str, list[float]] = {edit: [] for edit in edits}
    outs = []
    for index in range(fields):
        x = torch.from_numpy(field(task, size, seed=seed, index=index).image)[None]
        outs.append(predict(model, x))
        for edit in edits:
            other = field(task, size, seed=seed, index=index, changed=edit).image
            effects[edit].append(effect(model, x, torch.from_numpy(other)[None]).item())
    spread = torch.cat(outs).double().std().item()
    lost = np.array(effects["evidence"])
    if spread == 0 or not lost.all():
        raise DataError(
            f"the network answers the same whether or not the evidence of a {task} field is there: "
            f"it does not read it, so nothing can be benchmarked on it"
        )
    rows = []
    for edit in edits:
        values = lost / spread if edit == "evidence" else np.array(effects[edit]) / lost
        median, low, high = median_interval(values)
        bound = LEAST if edit == "evidence" else MOST
        passed = low >= bound if edit == "evidence" else high <= bound
        rows.append(
            {
                "edit": edit,
                "median": median,
                "low": low,
                "high": high,
                "bound": bound,
                "passed": bool(passed),
                "fields": fields,
            }
        )
    return pd.DataFrame(rows)


def refuse_unverified(name: str, verified: pd.DataFrame) -> None:
    """A network that is swayed by a decoy has another answer than the planted one."""
    failed = verified[~verified.passed]
    if len(failed):
        first = failed.iloc[0]
        if first.edit == "evidence":
            told = f"taking the evidence away moves it by {first['low']:.2f} spreads at least"
            wanted = f"{first.bound:g} or more is needed"
        else:
            told = f"changing the {first.edit} moves it by up to {first['high']:.2f} of that"
            wanted = f"{first.bound:g} at most is allowed"
        raise DataError(
            f"the network {name} cannot be a judge of methods: {told}, and {wanted}; train it "
            f"longer or on more fields"
        )
