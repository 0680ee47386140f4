"""All verbs on pairs in their order."""

from typing import Any

from attributome.pipeline.fcgr.audit import audit
from attributome.pipeline.fcgr.compare import compare
from attributome.pipeline.fcgr.evaluate import evaluate
from attributome.pipeline.fcgr.explain import explain
from attributome.pipeline.fcgr.motifs import motifs
from attributome.pipeline.fcgr.network import train
from attributome.pipeline.fcgr.summing_up import sum_up
from attributome.pipeline.fcgr.work import PairWork


def everything(work: PairWork) -> tuple[dict[str, Any], dict[str, str]]:
    """From pairs to a summary, and the blocks of pairs that failed.

    What is there already is not done again. Without labels there is nothing to evaluate or to
    compare, and what explains is made all the same.
    """
    audit(work)
    if not work.job.network.source:
        train(work)
    labelled = "label" in work.pairs
    if labelled:
        evaluate(work)
    failed = explain(work)
    if not failed:
        motifs(work)
        if labelled:
            compare(work)
    return sum_up(work), failed
