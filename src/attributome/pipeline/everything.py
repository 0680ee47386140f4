"""All verbs of a job in their order, and the job of the demonstration."""

from typing import Any

from attributome.config import job_from
from attributome.pipeline.explaining import STAGE as EXPLAINED
from attributome.pipeline.explaining import explain
from attributome.pipeline.scoring import STAGE as SCORED
from attributome.pipeline.scoring import score
from attributome.pipeline.summing_up import sum_up
from attributome.pipeline.training import train_masks, train_predictor
from attributome.pipeline.work import Work

DEMO_FIELDS = 76
DEMO = job_from(
    {
        "name": "demo",
        "data": {"inputs": ["bright field"], "group": "well"},
        "predictor": {
            "lr": 5e-3, "epochs": 7, "steps": 40, "batch": 8, "patch": [80, 80],
        },
        "masks": {
            "lr": 2e-3, "epochs": 9, "steps": 25, "batch": 6, "patch": [80, 80],
            # nuclei cover about 17 % of a field, and the network wants to see their rim
            "areas": [0.12, 0.4], "target": 0.96,
            # noise beside a nucleus is more than its absence: predictors saw structure in it, and
            # then needed twice the area to be told what they had been told by the nucleus alone
            "noise": "mean", "noise_scale": 1.0,
        },
        "score": {"known": {"evidence": 1, "decoy": 2}},
    },
    "the demonstration",
)  # fmt: skip


def everything(work: Work, *, command: str) -> tuple[dict[str, Any], dict[str, str]]:
    """From images to a summary (empty where no field could be scored) and the fields that failed.

    What is there already is not done again.
    """
    if not work.job.predictor.source:
        train_predictor(work)
    if "learned_mask" in work.job.explain.methods:
        train_masks(work)
    failed = explain(work)
    if work.run.units(EXPLAINED):  # else every field has failed, each with its reason
        failed |= score(work)
    scored = work.run.units(SCORED)
    return (sum_up(work, command=command) if scored else {}), failed
