"""What the demonstration must reach; minutes, so `make slow`."""

import pytest
from jobs import call, summary


@pytest.mark.slow
def test_the_demo_finds_what_was_planted(tmp_path):
    assert call("demo", "--out", tmp_path / "demo") == 0
    found = summary(tmp_path / "demo")
    assert found["efficacy_median"] >= 0.9
    assert found["mask_size_median"] <= 0.4
    for control in ("random", "translated"):
        assert found[f"{control}_mask_efficacy_median"] <= found["efficacy_median"] - 0.25
    assert found["planted_recall"] >= 0.8
    assert found["planted_precision"] >= 0.6
    assert found["decoy_ratio"] <= 1 / 3
    assert found["guarantee"].startswith("With 90 % confidence")
