import shutil
from types import SimpleNamespace

import pytest

from end_to_end.jobs import TINY, call, edit, plant
from end_to_end.profile_data import NAMES, SMALL, VERBS, fields, plates
from end_to_end.study_runs import make_runs


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A planted table, the job that `init` wrote and somebody edited, and the run it gave."""
    home = tmp_path_factory.mktemp("finished")
    table, job, run = plant(home / "data"), home / "cells.toml", home / "run"
    assert call("init", job, "--images", table, "--input", "bright field") == 0
    edit(job, TINY)
    assert call("run", job, "--out", run) == 0
    return SimpleNamespace(table=table, job=job, run=run)


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished run without the given parts, to be made again by the same job."""

    def copy(*without):
        run = tmp_path / "again"
        shutil.copytree(finished.run, run)
        for name in without:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return run

    return copy


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory):
    """Finished runs by name: nuclei-1 and nuclei-2 (one predictor, cross-fitted), and other."""
    return make_runs(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def profiled(tmp_path_factory):
    """Two treatments on three plates, and the run that the verbs make of them, one by one."""
    home = tmp_path_factory.mktemp("profile")
    some = plates()
    data, run = fields(home / "data", some), home / "run"
    for verb in VERBS:
        words = ("--data", data, *NAMES, *SMALL) if verb == "crop" else ()
        assert call("profile", verb, "--out", run, *words) == 0
    return SimpleNamespace(data=data, run=run, plates=some)


@pytest.fixture
def profiled_again(profiled, tmp_path):
    """A copy of the run without the given parts."""

    def copy(*without):
        run = tmp_path / "again"
        shutil.copytree(profiled.run, run)
        for name in without:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return run

    return copy
