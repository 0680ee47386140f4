"""The planted shift experiment: who is in which part, and what each shift does to a field."""

from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from attributome.core.errors import UsageError
from attributome.core.seeds import rng
from attributome.data.planted import planted
from attributome.data.shifted import (
    SHIFTS,
    SPREAD,
    STRENGTHS,
    in_spreads,
    shift_sample,
    shifted_fields,
)

SMALL = {"wells": {"train": 10, "test": 5}, "per_well": 2, "size": (48, 48)}


def pair(shift, strength, size=(64, 64)):
    sample = planted(fields=1, size=size, seed=3)[0]
    return sample, shift_sample(sample, shift, strength, rng(0, "draw"))


def test_a_field_is_a_function_of_seed_and_number():
    fields = shifted_fields(**SMALL, seed=1)
    assert len(fields) == 30
    one = fields[7]
    again = shifted_fields(**SMALL, seed=1)[5:][2]
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.target, again.target)
    assert one.meta == again.meta
    assert not np.array_equal(one.image, shifted_fields(**SMALL, seed=2)[7].image)
    assert not np.array_equal(one.image, planted(fields=8, size=(48, 48), seed=1)[7].image)


def test_the_table_says_what_the_samples_say_and_no_well_is_shared():
    fields = shifted_fields(**SMALL, seed=1)
    table = fields.table()
    for row, sample in zip(table.to_dict("records"), fields, strict=True):
        assert row == {"id": sample.id} | {
            name: sample.meta[name] for name in ("well", "split", "shift", "strength")
        }
    assert (table.groupby("well")[["split", "shift", "strength"]].nunique() == 1).all(axis=None)
    assert (table["well"].value_counts() == 2).all()
    assert Counter(table["split"]) == {"train": 20, "test": 10}


def test_shifts_and_strengths_are_dealt_out_evenly_in_each_part():
    table = shifted_fields(wells={"a": 40, "b": 23}, per_well=1, seed=4).table()
    for part, least in (("a", 8), ("b", 4)):
        mine = table[table["split"] == part]
        kinds = mine["shift"].value_counts()
        assert set(kinds.index) == set(SHIFTS)
        assert kinds.min() == least
        assert kinds.max() - kinds.min() <= 1
        assert (mine.loc[mine["shift"] == "none", "strength"] == 0).all()
        for shift in SHIFTS[1:]:
            counts = Counter(mine.loc[mine["shift"] == shift, "strength"])
            assert set(counts) <= set(STRENGTHS)
            assert max(counts.values()) - min(counts.get(s, 0) for s in STRENGTHS) <= 1
    orders = {tuple(shifted_fields(wells={"a": 20}, seed=s).table()["shift"]) for s in range(4)}
    assert len(orders) > 1


def test_parts_may_have_shifts_of_their_own():
    kinds = {"fit": ["none"], "test": ["blur", "noise"]}
    table = shifted_fields(wells={"fit": 3, "test": 4}, shifts=kinds).table()
    assert set(table.loc[table["split"] == "fit", "shift"]) == {"none"}
    assert set(table.loc[table["split"] == "test", "shift"]) == {"blur", "noise"}


@pytest.mark.parametrize("size", [(64, 64), (8, 48, 64)], ids=["2d", "3d"])
def test_what_each_shift_does(size):
    before, blurred = pair("blur", 0.5, size)
    sigma = (0, *[0] * (len(size) - 2), 1, 1)
    wanted = ndimage.gaussian_filter(before.image.astype(float), sigma)
    assert blurred.image == pytest.approx(wanted, rel=1e-6)

    before, noisy = pair("noise", 0.25, size)
    added = noisy.image - before.image
    assert added.std() == pytest.approx(0.5 * SPREAD, rel=0.05)
    assert added.mean() == pytest.approx(0, abs=0.05 * SPREAD)

    before, bright = pair("intensity", 0.5, size)
    assert in_spreads(bright) == pytest.approx(in_spreads(before) * 0.6 + 1, abs=1e-4)

    for one in (blurred, noisy, bright):
        assert np.array_equal(one.target, before.target)
        assert np.array_equal(one.regions, before.regions)


@pytest.mark.parametrize("size", [(64, 64), (8, 48, 64)], ids=["2d", "3d"])
def test_nuclei_of_the_new_cell_type_are_larger_in_image_truth_and_regions(size):
    before, after = pair("new cell type", 1.0, size)
    corner = tuple(slice(0, length // 2) for length in size[-2:])
    assert after.image.shape == before.image.shape
    for one, other in ((before.image, after.image), (before.target, after.target)):
        assert other[..., [0, -1], [0, -1]] == pytest.approx(
            one[(..., *corner)][..., [0, -1], [0, -1]]
        )
    shares = (before.regions[(..., *corner)] == 1).mean(), (after.regions == 1).mean()
    assert shares[0] == pytest.approx(shares[1], abs=0.03)
    assert set(np.unique(after.regions)) <= {0, 1, 2}
    inside = after.target[0][after.regions == 1].mean()
    assert inside > 2 * after.target[0][after.regions == 0].mean()


def test_nothing_is_shifted_at_strength_0_and_by_none():
    for shift in SHIFTS:
        before, after = pair(shift, 0.0)
        assert after.image == pytest.approx(before.image, rel=1e-6)
        assert np.array_equal(after.target, before.target)
    assert np.array_equal(pair("none", 1.0)[1].image, pair("none", 1.0)[0].image)


def test_unshifted_fields_have_the_level_and_spread_that_are_said():
    fields = shifted_fields(wells={"all": 24}, shifts=["none"], seed=0)
    values = np.stack([in_spreads(one) for one in fields])
    assert values.mean() == pytest.approx(0, abs=0.2)
    assert values.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wells": {}}, "each part needs one"),
        ({"wells": {"a": 0}}, "each part needs one"),
        ({"per_well": 0}, "each part needs one"),
        ({"strengths": [0.0]}, "above 0 and at most 1"),
        ({"strengths": []}, "above 0 and at most 1"),
        ({"shifts": []}, r"shifts \[\] of the part 'a'"),
        ({"shifts": {"b": ["blur"]}}, r"shifts \[\] of the part 'a'"),
        ({"size": (40, 64)}, "cannot have the size"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        shifted_fields(**({"wells": {"a": 2}} | change))


def test_a_strength_beyond_1_is_refused():
    with pytest.raises(UsageError, match=r"strength 1\.5"):
        pair("blur", 1.5)
