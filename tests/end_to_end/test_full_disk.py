"""A disk that takes no more ends a run in one sentence; the run goes on when there is room."""

import resource

import pytest

from end_to_end.jobs import call, differing, halves


@pytest.mark.parametrize(
    ("limit", "without"),
    [
        (100, ["run.json"]),
        pytest.param(
            12_000, ["predictor", "masks", "parts", "choices.json"], marks=pytest.mark.slow
        ),
        pytest.param(12_000, ["masks", "parts", "choices.json"], marks=pytest.mark.slow),
        (12_000, ["parts"]),
        (3_000, ["parts/score", "parts/panel", "summary.json"]),
        (12_000, ["report"]),
    ],
    ids=["run", "predictor", "masks", "maps", "scores", "report"],
)
def test_a_disk_that_takes_no_more(finished, again, tmp_path, capsys, limit, without):
    run, most = again(*without), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most[1]))
    try:
        code = call("run", finished.job, "--out", run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    said = [line for line in capsys.readouterr().err.splitlines() if " % after " not in line]
    assert code == 3, said
    assert said
    assert [s for s in said if not s.startswith("attributome: ") or "cannot write" not in s] == []
    assert halves(run) == []
    assert call("run", finished.job, "--out", run) == 0
    assert differing(finished.run, run) == []
