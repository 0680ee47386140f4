"""What profiles and classifiers are worth, on numbers whose answer is known; and why not."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.compute import Compute
from attributome.pipeline.profile.job import read_job
from attributome.pipeline.profile.judging import balanced
from attributome.pipeline.profile.replicates import (
    batch_rows,
    comparison,
    matching_rows,
    neighbour_rows,
    retrieval,
)
from attributome.pipeline.profile.work import ProfileWork
from attributome.store import Run


def test_balanced_accuracy_by_hand():
    truth = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    said = np.array([0, 0, 1, 1, 0, 2, 2, 2])
    wells = np.array(list("aabbccdd"))
    found = balanced(truth, said, wells, draws=200, seed=0)
    assert found["balanced"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["low"] < found["balanced"] < found["high"]
    alone = balanced(truth, said, np.repeat("a", 8), draws=200, seed=0)
    assert np.isnan([alone["low"], alone["high"]]).all()


def worked(tmp_path, **changes):
    job = read_job(None, {"evaluate.draws": 50, "evaluate.null": 200, **changes})
    return ProfileWork(job=job, run=Run(tmp_path), compute=Compute())


def wells(plates=2, each=2, apart=5.0):
    """Six compounds of three mechanisms and a control; a mechanism is a direction."""
    draw = np.random.default_rng(0)
    rows, values = [], []
    for plate in range(plates):
        for number, name in enumerate(["DMSO", *"abcdef"]):
            for turn in range(each):
                rows.append(
                    {
                        "Metadata_id": f"P{plate}/{name}{turn}",
                        "Metadata_plate": f"P{plate}",
                        "Metadata_well": f"{name}{turn}",
                        "Metadata_control": name == "DMSO",
                        "Metadata_treatment": name,
                        "Metadata_moa": None if number == 0 else f"m{(number - 1) // 2}",
                    }
                )
                centre = np.zeros(8)
                if number:
                    centre[(number - 1) // 2] = apart
                    centre[3 + (number - 1) % 2] = apart / 3
                values.append(centre + 0.1 * draw.standard_normal(8))
    names = [f"Cells_{i}" for i in range(8)]
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(values, columns=names)], axis=1)


def test_replicates_and_mechanisms_that_are_there_are_found(tmp_path):
    work = worked(tmp_path, **{"data.mechanism": "moa"})
    profiles = {"raw": wells()}
    rows, groups = retrieval(work, profiles)
    assert (rows[0]["map"], rows[0]["n"], rows[0]["wells"]) == (pytest.approx(1), 6, 24)
    assert rows[0]["chance"] < 0.5
    assert [group["label"] for group in groups] == [*"abcdef"]
    found = {row["kind"]: row for row in matching_rows(work, profiles)}
    assert (found["NSC"]["accuracy"], found["NSC"]["n"]) == (1.0, 6)
    assert (found["NSCB"]["accuracy"], found["NSCB"]["n"]) == (1.0, 12)
    assert found["NSC"]["chance"] < 0.6
    row = comparison(work, profiles, {"retrieval": rows, "batches": batch_rows(work, profiles)})[0]
    assert row["silhouette_treatment"] > 0.5 > row["silhouette_plate"]
    assert (row["map"], row["wells"], row["features"]) == (rows[0]["map"], 28, 8)


def test_noise_has_no_replicates(tmp_path):
    work = worked(tmp_path, **{"data.mechanism": "moa"})
    rows, _ = retrieval(work, {"raw": wells(apart=0.0)})
    assert rows[0]["p_share"] < 0.5
    assert abs(rows[0]["map"] - rows[0]["chance"]) < 0.2


def test_rules_say_which_wells_are_pairs(tmp_path):
    table = wells(plates=1, each=2)
    alone, _ = retrieval(worked(tmp_path, **{"evaluate.pos_diffby": ["plate"]}), {"raw": table})
    assert "has a mean average precision" in alone[0]["reason"]
    both, _ = retrieval(
        worked(tmp_path, **{"evaluate.pos_diffby": ["plate"]}), {"raw": wells(plates=2, each=1)}
    )
    assert (both[0]["map"], both[0]["reason"]) == (pytest.approx(1), "")


def test_what_wells_do_not_allow_has_a_reason_and_no_numbers(tmp_path):
    work = worked(tmp_path, **{"data.mechanism": "moa"})
    table = wells(plates=1)
    one = table[table["Metadata_treatment"].isin(["DMSO", "a"])].reset_index(drop=True)
    assert all(row["reason"] for row in matching_rows(work, {"raw": one}))
    assert all(row["reason"] for row in batch_rows(work, {"raw": table}))
    hole = table.assign(Cells_0=np.nan)
    for rows in (retrieval(work, {"raw": hole})[0], neighbour_rows(work, {"raw": hole})):
        assert rows
        assert all(row.get("reason") or row.get("undefined") for row in rows)
    assert matching_rows(worked(tmp_path), {"raw": table}) == []
