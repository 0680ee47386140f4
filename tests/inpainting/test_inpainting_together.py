"""Two processes that train together end where one ends by itself."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from test_inpainting_fit import SMALL, cells, train

from attributome.inpainting.network import Inpainter


class Double(Inpainter):
    """Computes in float64, where another order of sums is no other training."""

    def forward(self, source, marker):
        return super().forward(source.double(), marker.double())


TOGETHER = """
import sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_inpainting_fit as t
from test_inpainting_together import Double
folder, net = Path(sys.argv[2]), Double(**t.SMALL, norm="group").double()
t.train(net, t.cells(36), folder, batch=5, ema=0.8)
torch.save(net.state_dict(), folder / f"net{sys.argv[3]}.pt")
net = t.network()
t.train(net, plan=t.Plan(lr=1e-2, epochs=1), ema=0.8)
torch.save(net.state_dict(), folder / f"normed{sys.argv[3]}.pt")
"""


def test_two_processes_train_as_one_does(tmp_path):
    """24 pairs in steps of 5 or 4 for two processes: shares of 3 and 2 count as they should."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    running = []
    for rank in (0, 1):
        team = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        team = {k: str(v) for k, v in team.items()} | {"MASTER_ADDR": "127.0.0.1"}
        if sys.platform == "linux":  # a machine whose own name leads nowhere has this one still
            team["GLOO_SOCKET_IFNAME"] = "lo"
        here = str(Path(__file__).parent)
        command = [sys.executable, "-W", "error", "-c", TOGETHER, here, str(tmp_path), str(rank)]
        running.append(
            subprocess.Popen(command, env={**os.environ, **team}, stderr=subprocess.PIPE, text=True)
        )
    try:
        said = [each.communicate(timeout=240)[1] for each in running]
    finally:  # one that waits for a dead one would wait for ever
        for each in running:
            each.kill()
    assert [each.returncode for each in running] == [0, 0], said
    alone = Double(**SMALL, norm="group").double()
    story = train(alone, cells(36), batch=5, ema=0.8)
    one, two = (torch.load(tmp_path / f"net{rank}.pt", weights_only=True) for rank in (0, 1))
    log = pd.read_csv(tmp_path / "log.csv")
    for name, wanted in alone.state_dict().items():
        assert torch.equal(one[name], two[name])
        torch.testing.assert_close(one[name], wanted, atol=1e-7, rtol=1e-7)
    normed = [torch.load(tmp_path / f"normed{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in normed[0].items():  # statistics of batches, too, though each saw its own
        assert torch.equal(value, normed[1][name])
    for column in ("loss", "val_mse"):
        wanted = [row[column] for row in story.rows]
        np.testing.assert_allclose(log[column], wanted, rtol=1e-6)
