"""All verbs in their order."""

from typing import Any

from attributome.core.errors import DataError
from attributome.pipeline.inpaint.evaluate import evaluate
from attributome.pipeline.inpaint.features import features
from attributome.pipeline.inpaint.network import train
from attributome.pipeline.inpaint.predict import predict
from attributome.pipeline.inpaint.prepare import prepare
from attributome.pipeline.inpaint.pretext import has_pairs
from attributome.pipeline.inpaint.summing_up import sum_up
from attributome.pipeline.inpaint.work import CellWork


def everything(work: CellWork) -> dict[str, Any]:
    """From a source to a summary; what is there already is not done again.

    A part without two cells of one group has no pairs to predict, and all the rest is made.
    """
    cells = prepare(work)
    if not work.job.network.source:
        train(work)
    if missing := features(work):
        raise DataError(f"{missing} blocks of cells have no features yet: another process has them")
    evaluate(work)
    if has_pairs(work, cells, work.job.predict.part):
        predict(work)
    return sum_up(work)
