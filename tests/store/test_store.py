"""Parts appear whole, are read back as written, and are never mixed."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attributome.core.errors import DataError
from attributome.store import Run, folder_name, shard

ASKED = {"job": {"name": "a", "masks": {"tau": 0.9}}, "seed": 1}


def test_a_part_is_read_back_as_it_was_written(tmp_path):
    run = Run.begin(tmp_path / "run", ASKED)
    array = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    table = pd.DataFrame({"sample": ["b/1"], "pcc": [0.5]})
    run.write("explain", "b/1", arrays={"map_x": array}, tables={"scores": table}, note={"n": 3})
    run.write("explain", "a", tables={"scores": table.assign(sample="a")})
    read = Run.open(tmp_path / "run")
    assert read.units("explain") == ["a", "b/1"]
    assert np.array_equal(read.array("explain", "b/1", "map_x"), array)
    assert read.arrays("explain", "b/1") == ["map_x"]
    assert read.note("explain", "b/1") == {"unit": "b/1", "n": 3}
    assert read.table("explain", "scores")["sample"].tolist() == ["a", "b/1"]
    assert read.table("score", "scores").empty
    assert read.has("explain", "a")
    assert not read.has("score", "a")


def test_explanations_carry_their_provenance(tmp_path):
    run = Run.begin(tmp_path, ASKED)
    note = {"methods": {"saliency": {}, "occlusion": {"window": 4}}, "target": "OutputSum()"}
    maps = {f"map_{m}": np.full((1, 2, 2), i, np.float32) for i, m in enumerate(note["methods"])}
    run.write("explain", "f1", arrays=maps, note=note)
    found = list(run.explanations())
    assert [(e.sample_id, e.method, e.params) for e in found] == [
        ("f1", "saliency", {}),
        ("f1", "occlusion", {"window": 4}),
    ]
    assert found[1].map.max() == 1


def test_the_same_request_goes_on_and_another_is_refused(tmp_path):
    Run.begin(tmp_path, ASKED)
    Run.begin(tmp_path, json.loads(json.dumps(ASKED)))
    other = {"job": {"name": "a", "masks": {"tau": 0.8}}, "seed": 1}
    with pytest.raises(DataError, match=r"differs in job.masks.tau \(0.9 there, 0.8 here\)"):
        Run.begin(tmp_path, other)


def test_a_second_writer_of_a_unit_changes_nothing(tmp_path):
    run = Run.begin(tmp_path, ASKED)
    run.write("explain", "a", arrays={"m": np.zeros(2)})
    run.write("explain", "a", arrays={"m": np.ones(2)})
    assert run.array("explain", "a", "m").tolist() == [0, 0]
    assert not list(tmp_path.glob("parts/explain/.*"))


def write_for_ever(root):
    run, i = Run.open(root), 0
    while True:
        run.write("s", f"u{i}", arrays={"m": np.full((64, 64), i, np.float32)}, note={"i": i})
        i += 1


def test_a_writer_killed_at_any_moment_leaves_only_whole_parts(tmp_path):
    run = Run.begin(tmp_path, ASKED)
    for delay in (0.02, 0.05, 0.08):
        writer = multiprocessing.get_context("fork").Process(
            target=write_for_ever, args=(tmp_path,)
        )
        writer.start()
        while not run.units("s"):
            time.sleep(0.005)
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    for unit in run.units("s"):
        assert (run.array("s", unit, "m") == run.note("s", unit)["i"]).all()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a run: it has no run.json"):
        Run.open(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot make the folder"):
        Run.begin(tmp_path / "file" / "run", ASKED)


def test_a_truncated_array_is_refused(tmp_path):
    run = Run.begin(tmp_path, ASKED)
    run.write("s", "a", arrays={"m": np.zeros(100)})
    path = tmp_path / "parts/s/a/m.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot read .*m.npy"):
        run.array("s", "a", "m")


@given(st.lists(st.text(min_size=1), unique=True, min_size=2, max_size=8))
def test_folder_names_are_safe_and_distinct(units):
    names = [folder_name(unit) for unit in units]
    assert len(set(names)) == len(units)
    for name in names:
        assert "/" not in name
        assert not name.startswith(".")
        assert 0 < len(name.encode()) <= 120


def test_shards_are_a_partition():
    units = [f"u{i}" for i in range(11)]
    parts = [shard(units, i, 3) for i in (1, 2, 3)]
    assert sorted(unit for part in parts for unit in part) == sorted(units)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
