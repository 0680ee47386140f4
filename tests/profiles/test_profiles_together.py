"""Two processes that train a classifier together end where one ends by itself."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.parallel import Team
from attributome.core.training import Plan
from attributome.data.planted_plates import planted_plates
from attributome.pipeline.profile.saving import load_network
from attributome.predictors.cells import CellNetwork, cell_network
from attributome.profiles.learning.classifier import fit_classifier
from attributome.profiles.single_cells import from_arrays
from end_to_end.jobs import PYTHON, call, halves, sentence, sets
from end_to_end.profile_data import NAMES, TINY, fields, plates

CASES = {
    "penalty": {"ema": 0.8, "penalty": 0.5},
    "class": {"penalty": 0.5, "penalised": "class", "balance": False},
    "background": {"ema": 0.8, "erase": "background"},
    "mask": {"erase": "mask", "augment": False},
}
TOGETHER = """
import sys
import torch
torch.set_num_threads(1)
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
import test_profiles_together as t
t.as_one_of_two(Path(sys.argv[3]), sys.argv[4])
"""


class Double(CellNetwork):
    """Computes in float64, where another order of sums is no other training."""

    def maps(self, x):
        return super().maps(x.double())


def network():
    """No norm over the batch and no dropout, which are of each process's share."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.GroupNorm(2, 4), nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        given = {"size": (24, 24), "stages": ((2, 2),), "dropout": 0.0}
        return Double(body, 2, 6, 3, **given).double()


def trained(net, folder=None, **given):
    """33 cells in steps of 5 or 4, shares of 3 and 2 or 2 and 2; 17 are held out."""
    some = planted_plates(plates=2, wells=3, fields=1, cells=6, size=(24, 24))
    cells = from_arrays(some.table, some.images, some.labels, some.own, some.channels, some.spacing)
    parts = {"train": some.ids("train")[:-3], "validate": some.ids("validate")[:-1]}
    plan = Plan(lr=1e-2, epochs=2)
    return fit_classifier(
        net, cells, parts, plan=plan, batch=5, compute=Compute(), folder=folder, **given
    )


def stopped(net, after):
    """A network that ends the training in a step, in every process the same."""
    left = [after]

    def count(module, _given):
        left[0] -= module.training
        if left[0] < 0:
            raise KeyboardInterrupt

    net.body.register_forward_pre_hook(count)
    return net


def as_one_of_two(folder, rank):
    """What each of the processes does."""
    for case, given in CASES.items():
        net = network()
        trained(net, folder / case, **given)
        torch.save(net.state_dict(), folder / f"{case}{rank}.pt")
    try:
        trained(stopped(network(), 9), folder / "again", **CASES["penalty"])
    except KeyboardInterrupt:
        (folder / f"stopped{rank}").write_text(str(len(pd.read_csv(folder / "again/log.csv"))))
    net = network()
    trained(net, folder / "again", **CASES["penalty"])
    torch.save(net.state_dict(), folder / f"again{rank}.pt")
    net = cell_network(2, 3, size=(24, 24), kind="small", width=2, cam_cells=12, dropout=0.2)
    seeds = []
    net.dropout.register_forward_hook(
        lambda module, *_: seeds.append(torch.initial_seed()) if module.training else None
    )
    trained(net, ema=0.8)
    (folder / f"seeds{rank}").write_text("\n".join(map(str, seeds)))
    torch.save(net.state_dict(), folder / f"normed{rank}.pt")


def two(*words, **also):
    """Two processes as `torchrun` starts them."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    running = []
    for rank in (0, 1):
        team = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        team = {k: str(v) for k, v in team.items()} | {"MASTER_ADDR": "127.0.0.1"} | also
        if sys.platform == "linux":  # a machine whose own name leads nowhere has this one still
            team["GLOO_SOCKET_IFNAME"] = "lo"
        command = [sys.executable, *(word.format(rank=rank) for word in words)]
        running.append(
            subprocess.Popen(command, env={**os.environ, **team}, stderr=subprocess.PIPE, text=True)
        )
    try:
        said = [each.communicate(timeout=240)[1] for each in running]
    finally:  # one that waits for a dead one would wait for ever
        for each in running:
            each.kill()
    assert [each.returncode for each in running] == [0, 0], said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes have made."""
    made, here = tmp_path_factory.mktemp("together"), Path(__file__).parent
    two("-W", "error", "-c", TOGETHER, str(here), str(here.parent), str(made), "{rank}")
    return made


def weights(folder, name):
    """Those of the first process, once both have the same bits."""
    one, other = (torch.load(folder / f"{name}{rank}.pt", weights_only=True) for rank in (0, 1))
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
    return one


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(folder, case):
    net = network()
    story = trained(net, **CASES[case])
    together = weights(folder, case)
    for name, wanted in net.state_dict().items():
        torch.testing.assert_close(together[name], wanted, atol=1e-7, rtol=1e-7)
    log = pd.read_csv(folder / case / "log.csv")
    assert len(log) == len(story.rows) == 2
    for column in story.rows[0]:
        wanted = [row[column] for row in story.rows]
        np.testing.assert_allclose(log[column], wanted, rtol=1e-6, err_msg=column)


def test_a_training_that_was_stopped_goes_on_with_the_same_bits(folder):
    assert [(folder / f"stopped{rank}").read_text() for rank in (0, 1)] == ["1", "1"]
    whole, again = weights(folder, "penalty"), weights(folder, "again")
    for name, value in whole.items():
        assert torch.equal(again[name], value), name


def test_statistics_of_batches_are_the_same_in_both(folder):
    """Though each process saw its own share."""
    found = weights(folder, "normed")
    assert any(name.endswith("running_mean") for name in found)


def test_each_process_drops_other_features(folder):
    one, other = ((folder / f"seeds{rank}").read_text().split() for rank in (0, 1))
    assert len({*one}) == len({*other}) == 14
    assert not {*one} & {*other}


def test_what_was_trained_by_two_is_not_gone_on_with_by_one(folder):
    with pytest.raises(DataError, match="other settings"):
        trained(network(), folder / "mask", **CASES["mask"])


def test_what_processes_cannot_share_is_refused():
    team = Team(compute=Compute(), rank=1, world=3)
    with pytest.raises(UsageError, match="a batch of 5 cells for 3 processes"):
        team.need(Plan(), 5, "cells")
    with pytest.raises(UsageError, match="give epochs"):
        team.need(Plan(minutes=1.0), 6, "cells")
    with pytest.raises(DataError, match="5 training cells for 3 processes"):
        team.steps(5, 64, "cells")
    team.need(Plan(), 6, "cells")


@pytest.mark.parametrize(("count", "batch"), [(6, 6), (7, 6), (20, 8), (40, 64), (47, 9)])
def test_shares_make_up_the_batch_and_none_is_too_small(count, batch):
    teams = [Team(compute=Compute(), rank=rank, world=3) for rank in range(3)]
    steps = teams[0].steps(count, batch, "cells")
    for rows in np.array_split(np.arange(count) * 2, steps):
        shares = [team.share(rows) for team in teams]
        assert np.concatenate([mine for mine, _ in shares]).tolist() == rows.tolist()
        assert min(len(mine) for mine, _ in shares) >= 2
        mean = sum(mine.mean() * weight for mine, weight in shares) / 3
        assert mean == pytest.approx(rows.mean(), rel=1e-12)


def test_the_verb_trains_with_two_where_cells_are_cut(tmp_path, capsys, monkeypatch):
    """Both end well, and one of them has saved the network."""
    run = tmp_path / "run"
    words = ("--data", fields(tmp_path / "data", plates()), *NAMES, *sets(TINY))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert call("profile", "train", "--out", run, *words) == 3
    assert "run `attributome profile crop` first" in sentence(capsys.readouterr().err)
    monkeypatch.delenv("WORLD_SIZE")
    assert call("profile", "crop", "--out", run, *words) == 0
    paths = os.pathsep.join(path for path in sys.path if path)
    typed = ("profile", "train", "--out", str(run), "--device", "cpu", "--remedy", "penalty")
    two("-c", PYTHON, *typed, PYTHONPATH=paths, OMP_NUM_THREADS="1")
    net, card = load_network(run / "network")
    assert card["trained"]["epochs_done"] == 2
    best = load_file(run / "network" / "best.safetensors")
    for name, value in net.state_dict().items():
        assert torch.equal(best.get(name, best.get(f"mean.module.{name}")), value), name
    assert halves(run) == []
