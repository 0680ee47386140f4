"""Raw intensities as features are what NumPy says of the crops."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import UsageError
from attributome.inpainting.planted import planted
from attributome.profiles.formats import values
from attributome.profiles.intensities import baselines


def test_raw_intensities_are_those_of_numpy():
    simulated = planted(groups=2, fields=3, cells=6, size=32)
    rows = np.array([7, 2, 30])
    blocks = list(baselines(simulated, rows=rows, batch=2))
    assert [len(block) for block in blocks] == [2, 1]
    found = pd.concat(blocks, ignore_index=True)
    assert found["Metadata_id"].tolist() == simulated.table["id"].iloc[rows].tolist()
    assert values(found).shape == (3, 3 * 9)
    assert values(found).dtype == np.float32
    for i, row in enumerate(rows):
        for c, channel in enumerate(("protein", "nucleus", "body")):
            crop = simulated.crops[row, c].astype(float)
            assert found[f"raw_{channel}_mean"][i] == pytest.approx(crop.mean(), rel=1e-6)
            assert found[f"raw_{channel}_std"][i] == pytest.approx(crop.std(), rel=1e-6)
            for p in (1, 25, 99):
                wanted = np.percentile(crop, p)
                assert found[f"raw_{channel}_p{p:02d}"][i] == pytest.approx(wanted, rel=1e-6)


def test_rows_that_are_not_there_are_refused():
    with pytest.raises(UsageError, match="rows in batches"):
        baselines(planted(groups=1, fields=1, cells=1, size=24), rows=np.array([9]))
