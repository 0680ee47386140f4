"""One function per verb: a job and a folder in, a run out. The only place that knows config."""

from attributome.pipeline.everything import DEMO, DEMO_FIELDS, everything
from attributome.pipeline.explaining import explain
from attributome.pipeline.scoring import score
from attributome.pipeline.summing_up import sum_up
from attributome.pipeline.training import train_masks, train_predictor
from attributome.pipeline.work import Work, begin

__all__ = [
    "DEMO",
    "DEMO_FIELDS",
    "Work",
    "begin",
    "everything",
    "explain",
    "score",
    "sum_up",
    "train_masks",
    "train_predictor",
]
