"""The verb that looks at the pairs before a network does: what in them is too easy, or leaks."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from attributome.core.files import plain
from attributome.pipeline.fcgr.tables import records, write_csv
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.pairs.audit import audit as audit_pairs


def audit(work: PairWork) -> Path:
    """Write `audit.json`, and the duplicates and conflicts where there are any; once."""
    path = work.run.root / "audit.json"
    if path.is_file():
        return path
    with work.timed("audit") as progress:
        progress(0.0, f"{len(work.pairs)} pairs")
        rejected = pd.read_csv(work.run.root / "rejected.csv", dtype=str, keep_default_na=False)
        found = audit_pairs(
            work.pairs,
            work.splits,
            k=work.job.data.k,
            rejected=rejected,
            draws=work.job.evaluate.draws,
            seed=work.job.seed,
        )
        for name in ("duplicates", "conflicts"):
            table: pd.DataFrame = getattr(found, name)
            if len(table):
                write_csv(work.run.root / f"{name}.csv", table)
        work.run.save(
            "audit",
            {
                "counts": plain(found.counts),
                "trivial": records(found.trivial),
                "leakage": records(found.leakage),
                "flags": [asdict(flag) for flag in found.flags],
            },
        )
        progress(1.0, f"{len(work.pairs)} pairs audited")
    return path
