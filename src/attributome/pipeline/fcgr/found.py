"""What the explained pairs of a run hold together: one table, tracks and maps in its order."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from attributome.core.errors import DataError
from attributome.pipeline.fcgr.choosing import blocks, explained_pairs
from attributome.pipeline.fcgr.methods import asked_methods, default_method
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.alphabet import Strands, strands
from attributome.sequence.tracks import Branch
from attributome.store import Run

STAGE = "explain"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """All explained pairs, and the method that is looked at."""

    run: Run
    units: list[str]
    pairs: pd.DataFrame
    method: str

    def strands(self, branch: Branch) -> Strands:
        """The sequences of a branch."""
        return strands(self.pairs[branch].tolist())

    def tracks(self, branch: Branch, method: str = "") -> Float[np.ndarray, "n length"]:
        """Tracks, NaN behind the end of each sequence."""
        return self.padded(f"track_{method or self.method}_{branch}")

    def maps(self, branch: Branch, method: str = "") -> Float[np.ndarray, "n pixels"]:
        """Pixel maps."""
        return self.padded(f"map_{method or self.method}_{branch}")

    def padded(self, name: str) -> np.ndarray:
        """One array of all parts; the second axis is padded with NaN where parts differ."""
        parts = [self.run.array(STAGE, unit, name) for unit in self.units]
        width = max(part.shape[1] for part in parts)
        whole = np.full((len(self.pairs), width, *parts[0].shape[2:]), np.nan, parts[0].dtype)
        row = 0
        for part in parts:
            whole[row : row + len(part), : part.shape[1]] = part
            row += len(part)
        return whole


def found(work: PairWork, method: str = "") -> Found:
    """The explained pairs; refuses a run that has none, or not all of them."""
    units = work.run.units(STAGE)
    if not units:
        raise DataError(
            f"{work.run.root} has no explained pairs yet: run `attributome fcgr explain` first"
        )
    lost = [unit for unit in blocks(explained_pairs(work)) if unit not in units]
    if lost:
        raise DataError(
            f"{len(lost)} of {len(lost) + len(units)} blocks of {work.run.root} are not explained "
            f"yet, the first {lost[0]}: run `attributome fcgr explain` to the end first"
        )
    return Found(
        run=work.run,
        units=units,
        pairs=work.run.table(STAGE, "pairs"),
        method=method or default_method(asked_methods(work.job.explain.methods)),
    )
