"""What a job on pairs names, looked up before anything is written: a slip must not cost an hour."""

import difflib
import inspect

from attributome.core.errors import UsageError
from attributome.pipeline.fcgr.job import FcgrJob
from attributome.pipeline.fcgr.methods import asked_methods, check_method
from attributome.sequence.networks.saving import NETWORKS

SUM = 1e-6


def check(job: FcgrJob) -> None:
    """Refuse what cannot be meant, whatever the data and the network are."""
    if not job.data.source:
        raise UsageError("no pairs are named: give data.source in the job, or --data FILE")
    shares = job.data.shares
    if set(shares) != {"train", "validate", "test"} or abs(sum(shares.values()) - 1) > SUM:
        raise UsageError(
            f"data.shares is {dict(shares)}: it gives train, validate and test a share each, and "
            f"they sum to 1"
        )
    if job.data.split == "none" and not job.network.source:
        raise UsageError(
            "data.split is 'none', which leaves no pairs to train on: name a network in "
            "network.source, or choose another split"
        )
    _options(job)
    for name, params in job.explain.methods.items():
        check_method(name, params)
    known = asked_methods(job.explain.methods)
    for key, name in (("motifs", job.motifs.method), ("compare", job.compare.method)):
        if name and name not in known:
            raise UsageError(
                f"{key}.method is {name!r}, which is not among the methods that are explained: "
                f"{', '.join(known)}"
            )
    if job.network.kind == "upstream" and not 3 <= job.data.k <= 6 and not job.network.source:
        raise UsageError(f"the upstream network is for k of 3 to 6, and data.k is {job.data.k}")


def _options(job: FcgrJob) -> None:
    if not job.network.options:
        return
    known = [*inspect.signature(NETWORKS[job.network.kind]).parameters]
    for name in job.network.options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(known)}"
            raise UsageError(f"network.options: {job.network.kind} has no option {name!r}{hint}")
