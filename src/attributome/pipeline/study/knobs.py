"""The two knobs on fields that chose neither: how noise hides a field, how a threshold shrinks it.

The knobs of a run were chosen on its validation fields. What would have been chosen here stands
beside them and is not used.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from attributome.core.arrays import mask_size
from attributome.core.errors import UsageError
from attributome.masks.signature import signature
from attributome.pipeline.looking import fill_of
from attributome.pipeline.study.looked import Hand
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found
from attributome.studies.tuning import Tuning, noise_study, threshold_study


def noise(studies: Studies) -> Found:
    """Agreement with the prediction when noise of each scale is added to a whole field.

    Raises `UsageError` where a predictor does not answer with images: it has no such search.
    """
    asked = studies.job.noise
    for one in studies.opened:
        if one.study.inspection.output != "image":
            raise UsageError(
                f"the noise scale is studied for predictors of images, and {one.root} answers with "
                f"{one.study.inspection.output}"
            )

    def ask(one: Opened, field: str) -> Rows:
        hand = Hand(one=one, name=field)
        rows = []
        for scale in asked.scales:
            drawn = fill_of(hand.given, one.goal, scale=scale) if scale else 0
            rows.append({"scale": scale, "efficacy": hand.efficacy(hand.f(hand.x + drawn))})
        return rows

    table = measured(studies, "noise", ask, options={"scales": list(asked.scales)})
    return _told(
        studies,
        table,
        lambda part: noise_study(part, floor=asked.floor, unit="unit", seed=studies.job.seed),
        lambda one: one.goal.noise_scale,
        ("noise of scale {here:g} hides a field", "no noise here hides a field"),
        f"median efficacy below {asked.floor:g}",
    )


def threshold(studies: Studies) -> Found:
    """Efficacy and size of the signature at each threshold."""
    asked = studies.job.threshold

    def ask(one: Opened, field: str) -> Rows:
        hand = Hand(one=one, name=field)
        rows = []
        for value in asked.values:
            mask = signature(hand.maps, value, per=one.per)
            score = hand.efficacy(hand.noised(mask))
            rows.append({"threshold": value, "efficacy": score, "size": mask_size(mask).item()})
        return rows

    table = measured(studies, "threshold", ask, options={"values": list(asked.values)})
    return _told(
        studies,
        table,
        lambda part: threshold_study(part, floor=asked.floor, unit="unit", seed=studies.job.seed),
        lambda one: one.threshold,
        ("the largest threshold that is enough is {here:g}", "no threshold here is enough"),
        f"median efficacy of {asked.floor:g} or more",
    )


def _told(
    studies: Studies,
    table: pd.DataFrame,
    judge: Callable[[pd.DataFrame], Tuning],
    own: Callable[[Opened], float],
    words: tuple[str, str],
    rule: str,
) -> Found:
    """The curve of each predictor, and what would be chosen here beside what its runs chose."""
    numbers: dict[str, Any] = {}
    curves, said = [], []
    for name in studies.names:
        found = judge(table[table["predictor"] == name].reset_index(drop=True))
        theirs = sorted({own(one) for one in studies.opened if one.name == name})
        choice = found.choice
        numbers[name] = {
            "here": choice.value,
            "met": choice.met,
            "of_the_runs": theirs,
            "left_out": list(found.left_out),
        }
        curves.append(found.points.assign(predictor=name))
        met = words[0 if choice.met else 1].format(here=choice.value)
        listed = ", ".join(f"{value:g}" for value in theirs)
        said.append(f"{name}: {met} ({rule}); its runs had {listed}.")
    return Found(
        numbers=numbers,
        n=shared(table),
        test="medians with intervals from drawing units again; nothing is tested",
        words=tuple(said),
        tables={"fields": table, "curves": pd.concat(curves, ignore_index=True)},
    )
