"""A gate shuts on a fall that the fields agree on, and on nothing else."""

import json

import numpy as np
import pandas as pd
import pytest

from attributome.cli import run_cli
from attributome.core.errors import DataError, UsageError
from attributome.gate import compare, measures, read_baseline, save_baseline, shut
from attributome.store import Run


def scored(root, efficacy, *, size=0.2):
    """A scored run with these efficacies, one field each."""
    run = Run.begin(root, {"job": {"name": root.name}})
    for number, value in enumerate(efficacy):
        name = f"field {number}"
        row = {"sample": name, "method": "learned_mask", "kind": "signature"}
        other = {"sample": name, "method": "random", "kind": "control"}
        scores = [{**row, "mask_size": size, "efficacy": value},
                  {**other, "mask_size": size, "efficacy": 0.1}]  # fmt: skip
        areas = [
            {"sample": name, "method": method, "curve_area": value / 2}
            for method in ("learned_mask", "random")
        ]
        tables = {"scores": pd.DataFrame(scores), "areas": pd.DataFrame(areas)}
        run.write("score", name, tables=tables)
    return run


def values(n=12, shift=0.0, seed=0):
    return np.clip(0.9 + shift + 0.02 * np.random.default_rng(seed).standard_normal(n), 0, 1)


@pytest.mark.parametrize(
    ("shift", "noise", "state"),
    [(0.0, 0.0, "held"), (-0.1, 0.0, "fell"), (0.1, 0.0, "held"), (-0.02, 0.05, "unsure")],
)
def test_a_fall_beyond_the_margin_shuts_the_gate(tmp_path, shift, noise, state):
    wobble = noise * np.tile([1, -1], 6)
    old, new = values(), np.clip(values() + shift + wobble, 0, 1.2)
    before, after = scored(tmp_path / "old", old), scored(tmp_path / "new", new)
    found = {v.measure: v for v in compare(measures(after), measures(before))}
    verdict = found["efficacy"]
    assert verdict.state == state
    assert verdict.change == pytest.approx(np.median(new - old))
    assert verdict.low <= verdict.change <= verdict.high
    assert verdict.fields == 12
    assert (verdict in shut(list(found.values()))) == (state == "fell")
    assert (verdict in shut(list(found.values()), strict=True)) == (state != "held")


def test_controls_are_not_held_and_sizes_count_downwards(tmp_path):
    before, after = scored(tmp_path / "old", values()), scored(tmp_path / "new", values(), size=0.5)
    found = {v.measure: v for v in compare(measures(after), measures(before))}
    assert found["mask size (lower is better)"].state == "fell"
    assert not any("random" in name for name in found)
    assert "area under the efficacy curve of learned_mask" in found


def test_fields_are_paired_whatever_their_order_and_undefined_ones_are_counted(tmp_path):
    old = values(8)
    before = measures(scored(tmp_path / "old", old))
    after = {name: dict(reversed(each.items())) for name, each in before.items()}
    after["efficacy"]["field 3"] = float("nan")
    verdict = compare(after, before)[0]
    assert (verdict.change, verdict.fields, verdict.undefined) == (0.0, 7, 1)


def test_a_baseline_in_a_file_is_the_same_as_the_run(tmp_path):
    run = scored(tmp_path / "run", [*values(7), float("nan")])
    save_baseline(run, tmp_path / "baseline.json")
    assert "NaN" not in (tmp_path / "baseline.json").read_text()
    again = read_baseline(tmp_path / "baseline.json")
    here = compare(again, measures(run))
    assert [v.change for v in here] == [0.0] * len(here)
    assert read_baseline(tmp_path / "run").keys() == again.keys()


def test_what_cannot_be_compared_is_refused(tmp_path):
    run = scored(tmp_path / "run", values())
    with pytest.raises(DataError, match="share 0 fields"):
        compare({"efficacy": {"x": 1.0}}, {"efficacy": {"y": 1.0}})
    with pytest.raises(DataError, match="no measure of this run"):
        compare(measures(run), {"other": {"field 0": 1.0}})
    with pytest.raises(UsageError, match="margin of -1"):
        compare(measures(run), measures(run), margin=-1)
    with pytest.raises(DataError, match="no scores yet"):
        measures(Run.begin(tmp_path / "empty", {}))
    (tmp_path / "list.json").write_text("{}")
    with pytest.raises(DataError, match="is no baseline"):
        read_baseline(tmp_path / "list.json")


def test_the_exit_code_is_what_ci_sees(tmp_path, capsys):
    scored(tmp_path / "old", values())
    scored(tmp_path / "new", values(shift=-0.2))
    run, baseline = str(tmp_path / "old"), str(tmp_path / "baseline.json")
    assert run_cli(["gate", run, "--save", baseline]) == 0
    assert run_cli(["gate", run, "--against", baseline]) == 0
    assert capsys.readouterr().out.endswith("gate: open\n")
    assert run_cli(["gate", str(tmp_path / "new"), "--against", baseline]) == 1
    assert "gate: shut, because of efficacy" in capsys.readouterr().out
    assert run_cli(["gate", str(tmp_path / "new"), "--against", baseline, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["state"] == "fell"
    assert run_cli(["gate", run]) == 2
    assert run_cli(["gate", run, "--against", str(tmp_path / "nothing.json")]) == 3
    assert "cannot read" in capsys.readouterr().err
