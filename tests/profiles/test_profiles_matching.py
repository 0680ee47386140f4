"""Neighbours are those of a slow loop, skipped mechanisms are named, chance is dealt."""

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.wells import matching
from attributome.profiles.wells.matching import match_mechanisms


def treatments(per=4, mechanisms=5, doses=2, effect=3.0, seed=0):
    """Compounds of a mechanism at several doses; even compounds in one batch, odd in the other."""
    draw = np.random.default_rng(seed)
    compound = np.arange(per * mechanisms).repeat(doses)
    moa = compound // per
    x = effect * draw.standard_normal((mechanisms, 10))[moa] + draw.standard_normal((len(moa), 10))
    return (
        x,
        np.array([f"c{i:02d}" for i in compound]),
        np.array([f"m{i}" for i in moa]),
        np.array([f"b{i % 2}" for i in compound]),
    )


def slow(x, compound, moa, batch=None):
    z = x / np.linalg.norm(x, axis=1)[:, None]
    hits = {}
    for i in range(len(z)):
        own = [k for k in range(len(z)) if moa[k] == moa[i]]
        if len({compound[k] for k in own}) < 2 or (
            batch is not None and len({batch[k] for k in own}) < 2
        ):
            continue
        may = [
            k
            for k in range(len(z))
            if compound[k] != compound[i] and (batch is None or batch[k] != batch[i])
        ]
        hits[i] = moa[max(may, key=lambda k: z[i] @ z[k])] == moa[i]
    return hits


@pytest.mark.parametrize("block", [2**22, 90])
@pytest.mark.parametrize("batched", [False, True])
def test_accuracy_is_that_of_a_slow_loop(monkeypatch, batched, block):
    monkeypatch.setattr(matching, "BLOCK", block)
    x, compound, moa, batch = treatments(effect=1.0)
    moa[compound == "c00"] = "m9"  # of one compound
    batch[moa == "m4"] = "b0"  # of one batch
    found = match_mechanisms(x, compound, moa, batches=batch if batched else None)
    hits = slow(x, compound, moa, batch if batched else None)
    assert found.accuracy == pytest.approx(np.mean([*hits.values()]))
    assert found.n == len(hits)
    assert found.skipped == (("m4", "m9") if batched else ("m9",))
    assert found.low < found.accuracy < found.high
    assert found.p == pytest.approx(1 / 1001)
    assert 0.1 < found.chance < 0.3
    assert found.classes["n"].sum() == found.n
    weighed = (found.classes["accuracy"] * found.classes["n"]).sum() / found.n
    assert weighed == pytest.approx(found.accuracy)


def test_a_batch_that_looks_like_a_mechanism_is_seen_by_the_second_rule_only():
    x, compound, moa, batch = treatments(effect=0.0, per=6)
    light = 10 * np.random.default_rng(1).standard_normal((10, 10))
    x = x + light[np.unique(np.char.add(moa, batch), return_inverse=True)[1]]  # moa in batch
    assert match_mechanisms(x, compound, moa).accuracy > 0.95
    assert match_mechanisms(x, compound, moa, batches=batch).accuracy < 0.6


def test_noise_is_no_finding_and_the_interval_draws_compounds():
    x, compound, moa, _ = treatments(effect=0.0)
    found = match_mechanisms(x, compound, moa)
    assert found.p > 0.05
    assert found.compounds == 20
    many = match_mechanisms(np.tile(x, (4, 1)), np.tile(compound, 4), np.tile(moa, 4))
    assert many.high - many.low == pytest.approx(found.high - found.low, abs=0.05)


def test_a_judged_profile_without_a_candidate_of_its_kind_is_wrong_and_counted():
    x = np.eye(5)
    compound, moa = np.array([*"dcbaa"]), np.array(["n", "n", "m", "m", "m"])
    batch = np.array([*"11110"])  # b has only a's last dose, and a's first has nobody
    found = match_mechanisms(x, compound, moa, batches=batch)
    assert found.skipped == ("n",)
    assert (found.n, found.impossible) == (3, 1)
    assert found.nearest.tolist() == [4, 4, 4, -1, 0]
    assert found.accuracy == pytest.approx(1 / 3)
    assert np.isnan(found.low)


def test_what_cannot_be_judged_is_refused():
    x, compound, moa, batch = treatments()
    with pytest.raises(UsageError, match="confidence 2"):
        match_mechanisms(x, compound, moa, confidence=2.0)
    with pytest.raises(DataError, match="39 mechanisms"):
        match_mechanisms(x, compound, moa[1:])
    with pytest.raises(DataError, match="none of 20 mechanisms is in two compounds"):
        match_mechanisms(x, compound, compound)
    with pytest.raises(DataError, match="two batches"):
        match_mechanisms(x, compound, moa, batches=np.full(40, "b"))
    mixed = moa.copy()
    mixed[0] = "m3"
    with pytest.raises(DataError, match="1 compounds have several mechanisms, such as 'c00'"):
        match_mechanisms(x, compound, mixed)
    lost = batch.astype(object)
    lost[3] = None
    with pytest.raises(DataError, match="1 of 40 profiles lack batches"):
        match_mechanisms(x, compound, moa, batches=lost)
    x[0, 0] = np.nan
    with pytest.raises(DataError, match="1 of 40 profiles have undefined"):
        match_mechanisms(x, compound, moa)
