"""A job of single-cell profiles: what is read, what is refused, and how wells are dealt."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.pipeline.profile.checking import check
from attributome.pipeline.profile.job import ProfileJob, changed, job_from, read_job
from attributome.pipeline.profile.splitting import split_wells
from attributome.pipeline.profile.work import MADE

GOOD = {"data.source": "fields.csv", "crops.size": [64, 64]}


def test_a_job_is_its_file_and_the_flags_which_go_first(tmp_path):
    path = tmp_path / "plates.toml"
    path.write_text(
        'seed = 3\n[data]\nsource = "a.csv"\ncontrol = ["DMSO"]\nheld_out_plates = 2\n'
        "[data.labels]\ndiameter = 12.5\n[crops]\nsize_um = [10.0]\n"
        "[profiles]\nregularisation = 0\n"
    )
    job = read_job(path, {"data.held_out_plates": ["P7"], "train.remedy": "penalty"})
    assert (job.seed, job.data.control, job.data.labels.diameter) == (3, ("DMSO",), 12.5)
    assert (job.data.held_out_plates, job.crops.size_um) == (("P7",), (10.0,))
    assert (job.train.remedy, job.profiles.regularisation) == ("penalty", 0)
    check(job)
    assert job_from(job.model_dump(mode="json"), "again") == job
    assert changed(job, {"seed": 4}) == job.model_copy(update={"seed": 4})


WRONG = {
    "a key": ({"data.contol": ["x"]}, "unknown key 'data.contol'; did you mean 'control'?"),
    "a section": ({"croops.size": [3]}, "unknown key 'croops'; did you mean 'crops'?"),
    "a word for a number": ({"train.lr": "fast"}, "train.lr is 'fast', but"),
    "a remedy": ({"train.remedy": "hope"}, "train.remedy is 'hope', but"),
    "a pool": ({"features.pools": ["median"]}, "features.pools"),
    "no layer": ({"features.layers": []}, "features.layers is [], but"),
    "a box of nothing": ({"crops.size": [0, 4]}, "crops.size"),
    "a coarse grid": ({"network.cam_cells": 2}, "network.cam_cells is 2, but"),
    "a sphering": ({"profiles.regularisation": "some"}, "profiles.regularisation"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_job_can_say_is_refused(case):
    changes, message = WRONG[case]
    with pytest.raises(UsageError) as refusal:
        read_job(None, changes)
    assert message in str(refusal.value)


ODD = {
    "no source": ({"data.source": ""}, "no fields are named: give data.source"),
    "no size": ({"crops.size": []}, "neither is given"),
    "two sizes": ({"crops.size_um": [5.0]}, "both are given"),
    "four axes": ({"crops.size": [8, 8, 8, 8]}, "give one for all axes"),
    "shares": ({"data.shares": {"train": 0.5, "test": 0.2}}, "sum to 1"),
    "nothing to train on": ({"data.shares": {"test": 1.0}}, "leaves no wells to train"),
    "plates": ({"data.held_out_plates": -1}, "data.held_out_plates is -1"),
    "a channel twice": ({"data.channels": {"a": "x", "b": "x"}}, "gives one name twice"),
    "about": ({"data.about": "nowhere.csv"}, "there is no such file"),
    "labels of nothing": ({"data.labels.kind": "segment"}, "name the channel"),
    "labels of another": (
        {"data.labels.kind": "segment", "data.labels.channel": "y", "data.channels": {"a": "x"}},
        "data.labels.channel has 'y'; there are x",
    ),
    "no diameter": (
        {"data.labels.kind": "segment", "data.labels.channel": "x"},
        "give the diameter of a nucleus",
    ),
    "a layer twice": ({"features.layers": ["body", "body"]}, "names one twice"),
    "features of another layer": (
        {"features.layers": ["head"]},
        "which is that of means of the layer 'body'",
    ),
    "no controls": ({"profiles.reference": "controls"}, "give data.control, or --control"),
    "sphering below 0": ({"profiles.regularisation": -1.0}, "a number is 0 or more"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(case):
    changes, message = ODD[case]
    with pytest.raises(UsageError) as refusal:
        check(read_job(None, GOOD | changes))
    assert message in str(refusal.value)


def test_every_section_says_what_shows_that_it_was_used():
    bound = {key.partition(".")[0] for key in MADE}
    assert bound == set(ProfileJob.model_fields)


def wells(plates=3, each=6, labels="abc"):
    rows = [
        {"plate": f"P{p}", "well": f"{label}{i}", "label": label}
        for p in range(plates)
        for label in labels
        for i in range(each)
    ]
    return pd.DataFrame(rows)


SHARES = {"train": 0.6, "validate": 0.2, "test": 0.2}


@pytest.mark.parametrize("seed", range(5))
def test_wells_are_dealt_once_near_their_shares_and_every_label_trains(seed):
    table = wells()
    parts = split_wells(table, SHARES, 1, seed=seed)
    held = parts.pop("held_out_plates")
    assert len(held) == 1
    dealt = [well for some in parts.values() for well in some]
    names = {f"{p}/{w}" for p, w in zip(table["plate"], table["well"], strict=True)}
    assert sorted(dealt) == sorted(name for name in names if not name.startswith(held[0]))
    for part, share in SHARES.items():
        assert abs(len(parts[part]) - share * len(dealt)) <= 1
        by_label = pd.Series([well.split("/")[1][0] for well in parts[part]]).value_counts()
        assert np.abs(by_label - share * 12).max() <= 1.5
    assert split_wells(table, SHARES, 1, seed=seed) == parts | {"held_out_plates": held}


def test_the_only_well_of_a_label_trains_and_one_without_a_label_is_in_no_part():
    table = wells(plates=1)
    table.loc[len(table)] = ["P0", "d0", "d"]
    table.loc[len(table)] = ["P0", "e0", None]
    parts = split_wells(table, SHARES, 0, seed=0)
    assert "P0/d0" in parts["train"]
    assert "P0/e0" not in [well for some in parts.values() for well in some]


UNDEALT = {
    "too few wells": (("ab", 1, 1), 0, DataError, "cannot fill 3"),
    "all held out": (("abc", 3, 6), 3, UsageError, "one at least is needed to train on"),
    "no such plate": (("abc", 3, 6), ["P9"], UsageError, "names P9; there are P0, P1, P2"),
    "every name": (("abc", 3, 6), ["P0", "P1", "P2"], UsageError, "one at least is needed"),
    "one label for each well": (
        ("abcdef", 1, 1),
        0,
        DataError,
        "too few for data.shares",
    ),
}


@pytest.mark.parametrize("case", UNDEALT)
def test_wells_that_cannot_be_dealt_are_refused(case):
    (labels, plates, each), held, kind, message = UNDEALT[case]
    with pytest.raises(kind) as refusal:
        split_wells(wells(plates, each, labels), SHARES, held, seed=0)
    assert message in str(refusal.value)
