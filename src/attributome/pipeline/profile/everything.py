"""All verbs in their order."""

from typing import Any

from attributome.core.errors import DataError
from attributome.pipeline.profile.camo import camo
from attributome.pipeline.profile.causes import causes
from attributome.pipeline.profile.crop import crop
from attributome.pipeline.profile.evaluate import evaluate
from attributome.pipeline.profile.features import features
from attributome.pipeline.profile.network import train
from attributome.pipeline.profile.summing_up import sum_up
from attributome.pipeline.profile.wells import normalise
from attributome.pipeline.profile.work import ProfileWork


def everything(work: ProfileWork) -> dict[str, Any]:
    """From fields to a summary; what is there already is not done again."""
    if missing := crop(work):
        raise DataError(f"{missing} fields are not cut yet: another process has them")
    if not work.job.network.source:
        train(work)
    for what, verb in (("features", features), ("Grad-CAMO", camo)):
        if missing := verb(work):
            raise DataError(f"{missing} blocks of cells have no {what} yet: another process does")
    causes(work)
    normalise(work)
    evaluate(work)
    return sum_up(work)
