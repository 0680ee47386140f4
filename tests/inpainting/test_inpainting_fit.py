"""Training on pairs learns, is fair to every cell, and resumes to the same bits."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.inpainting.cells import Cells, read_cells, write_cells
from attributome.inpainting.feeding import ahead, images_of
from attributome.inpainting.fit import Averaged, fit_inpainter, pretext_errors, pretext_mse
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pairs import partners

CPU = Compute()
SMALL = {"widths": (6, 6, 6, 6, 6), "marker_width": 4}


def cells(n=48, size=8, markers=1, seed=0):
    """Two groups, each of fields of six cells; a group decides how bright protein is on marker.

    Markers are flat over 4 x 4 pixels, so that the narrow middle of a network can hold them.
    """
    draw = np.random.default_rng(seed)
    group = np.arange(n) % 2
    coarse = draw.random((n, markers, -(-size // 4), -(-size // 4))).astype(np.float32)
    marker = coarse.repeat(4, 2).repeat(4, 3)[:, :, :size, :size]
    protein = np.where(group == 0, 0.2, 0.8)[:, None, None] * marker[:, 0]
    table = pd.DataFrame(
        {
            "id": [f"c{i}" for i in range(n)],
            "group": [f"g{g}" for g in group],
            "field": [f"g{g}_{i // 12}" for i, g in enumerate(group)],
        }
    )
    names = tuple(f"m{i}" for i in range(markers))
    return Cells(
        table=table,
        crops=np.concatenate([marker, protein[:, None].astype(np.float32)], 1),
        channels=(*names, "protein"),
        targets=("protein",),
        markers=names,
    )


def split(given, held=12):
    ids = given.table["id"].tolist()
    return {"train": ids[:-held], "validate": ids[-held:]}


def network(given=None, **options):
    return Inpainter(1, 1 if given is None else len(given.markers), **SMALL | options)


def train(net, given=None, folder=None, **more):
    given = cells() if given is None else given
    more = {"plan": Plan(lr=3e-3, epochs=3), "batch": 8, "compute": CPU} | more
    return fit_inpainter(net, given, more.pop("parts", split(given)), folder=folder, **more)


def equal(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_it_learns_from_the_source_what_the_marker_does_not_say():
    given = cells(96)
    net = network(widths=(12,) * 5, norm="group")  # no running statistics that lag behind
    plan = Plan(lr=4e-3, epochs=12)
    story = train(net, given, plan=plan, batch=6, parts=split(given, 24))
    best = story.rows[story.best_epoch]
    assert list(best) == ["epoch", "loss", "val_loss", "val_mse", "val_copy_marker"]
    found = pretext_mse(net, given, np.arange(72, 96), seed=0)
    assert found["mse"] == pytest.approx(best["val_mse"], rel=1e-6)
    assert found["copy_marker"] == pytest.approx(best["val_copy_marker"], rel=1e-12)
    # the best that ignores the source is bright by 0.5 where it should be 0.2 or 0.8
    blind = 0.3**2 * (given.crops[72:, 0] ** 2).mean()
    assert found["mse"] < 0.75 * blind
    assert found["mse"] < 0.5 * min(found[name] for name in ("copy_marker", "mean", "zeros"))


class Recorder(Inpainter):
    """Keeps what it is given in training."""

    def __init__(self, **options):
        super().__init__(**SMALL | options)
        self.came = []

    def forward(self, source, marker):
        if self.training:
            self.came.append((source.detach().clone(), marker.detach().clone()))
        return super().forward(source, marker)


def numbered(n=30):
    """Cells whose pixels say who they are: marker i, protein i + 1000."""
    given = cells(n)
    given.crops[:, 0] = np.arange(n)[:, None, None]
    given.crops[:, 1] = 1000 + np.arange(n)[:, None, None]
    return given


def test_every_cell_is_a_source_once_and_meets_another_of_its_group():
    given, net = numbered(), Recorder()
    train(net, given, batch=8, plan=Plan(epochs=2), parts=split(given, 6))
    assert [len(source) for source, _ in net.came] == 2 * [8, 8, 8]
    seen = []
    for epoch in (net.came[:3], net.came[3:]):
        source = torch.cat([s for s, _ in epoch])
        sources, targets = source[:, 1, 0, 0], torch.cat([m for _, m in epoch])[:, 0, 0, 0]
        assert torch.equal(source[:, 0, 0, 0], sources + 1000)  # the protein comes first
        assert sorted(sources.tolist()) == [*range(24)]
        assert not (sources == targets).any()
        assert torch.equal(sources % 2, targets % 2)
        assert targets.max() < 24  # nobody held out
        seen.append(list(zip(sources.tolist(), targets.tolist(), strict=True)))
    assert sorted(seen[0]) != sorted(seen[1])
    wanted = partners(given.table["group"][:24], seed=0, epoch=1)
    assert seen[1] == list(zip(*(rows.tolist() for rows in wanted), strict=True))


def test_images_are_those_of_the_pair_and_flips_turn_whole_cells():
    given = cells()
    sources, targets = np.array([3, 0, 5, 7]), np.array([1, 2, 9, 11])
    flips = np.zeros((4, 2, 2), bool)
    flips[1, 0] = True, False
    flips[2, 1] = False, True
    flips[3] = True
    before = given.crops.copy()
    source, marker, truth = (x.numpy() for x in images_of(given, (sources, targets), flips))
    wanted = given.crops[:, [1, 0]]
    assert np.array_equal(source[0], wanted[3])
    assert np.array_equal(source[1], wanted[0][:, ::-1])
    assert np.array_equal(source[2], wanted[5])
    assert np.array_equal(source[3], wanted[7][:, ::-1, ::-1])
    for i, turn in (
        (0, np.s_[:, :]),
        (1, np.s_[:, :]),
        (2, np.s_[:, ::-1]),
        (3, np.s_[::-1, ::-1]),
    ):
        assert np.array_equal(truth[i, 0], given.crops[targets[i], 1][turn])
        assert np.array_equal(marker[i, 0], given.crops[targets[i], 0][turn])
    assert np.array_equal(given.crops, before)


def test_flips_are_drawn_by_halves_and_independently():
    given, net = cells(108), Recorder()
    corners = np.zeros((8, 8), np.float32)
    corners[0, 0], corners[0, -1], corners[-1, 0], corners[-1, -1] = 1, 2, 3, 4
    given.crops[:] = corners
    train(net, given, plan=Plan(epochs=10), batch=96)
    first = [torch.cat(x)[:, :, 0, 0] for x in zip(*net.came, strict=True)]
    assert all((x == x[:, :1]).all() for x in first)  # all channels of a cell alike
    counts = np.histogram2d(*(x[:, 0].numpy() for x in first), bins=np.arange(1, 6))[0]
    assert counts.sum() == 960
    # 16 ways, 60 of each expected: a chi-squared of 15 degrees, exceeded by chance once in 10^4
    assert ((counts - 60) ** 2 / 60).sum() < 44
    train(net := Recorder(), given, plan=Plan(epochs=1), augment=False)
    assert all((x[:, :, 0, 0] == 1).all() for pair in net.came for x in pair)


@pytest.mark.parametrize("options", [{}, {"ema": 0.8}, {"loss": "l1", "balanced": True}], ids=str)
@pytest.mark.parametrize("stop_after", [2, 10])
def test_killed_and_resumed_is_bit_for_bit_uninterrupted(tmp_path, stop_after, options):
    straight, broken = network(), network()
    wanted = train(straight, folder=tmp_path / "straight", **options)
    told = []

    def stop(done, words):
        told.append(words)
        if len(told) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, folder=tmp_path / "broken", progress=stop, **options)
    torch.manual_seed(1234)  # what others drew must not matter
    resumed = network()
    got = train(resumed, folder=tmp_path / "broken", **options)
    assert got.rows == wanted.rows
    assert equal(resumed, straight)


def test_a_seed_decides_the_training_and_nobody_elses_draws():
    before = torch.get_rng_state()
    nets = [network() for _ in range(3)]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        train(net, seed=seed, plan=Plan(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(nets[0], nets[1])
    assert not equal(nets[0], nets[2])


def test_reading_ahead_from_a_memory_map_changes_nothing(tmp_path):
    write_cells(tmp_path, cells())
    nets = [network(), network(), network()]
    train(nets[0])
    train(nets[1], workers=2)
    train(nets[2], read_cells(tmp_path), workers=3)
    assert equal(nets[0], nets[1])
    assert equal(nets[0], nets[2])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_keeps_the_order_stays_bounded_and_tells_of_errors(workers):
    begun = []

    def read(i):
        begun.append(i)
        if i == 40:
            raise DataError("row 40 is torn")
        return i * i

    some = ahead(read, range(50), workers)
    assert [next(some) for _ in range(10)] == [i * i for i in range(10)]
    assert len(begun) <= 10 + 2 * workers + 1
    with pytest.raises(DataError, match="row 40"):
        list(some)


def test_the_average_is_that_of_a_loop():
    net = network()
    average = Averaged(net, 0.7)
    wanted = {n: t.double().clone() for n, t in net.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    for number in range(6):
        for tensor in (*net.parameters(), *net.buffers()):
            if tensor.is_floating_point():
                tensor.data += torch.randn(tensor.shape, generator=draw)
        net.conv1_1_norm.num_batches_tracked += 1
        average.update(number)
        keep = min(0.7, (1 + number) / (10 + number))
        for name, new in net.state_dict().items():
            wanted[name] = keep * wanted[name] + (1 - keep) * new.double()
    for name, mean in average.mean.state_dict().items():
        if mean.is_floating_point():
            torch.testing.assert_close(mean.double(), wanted[name], atol=1e-5, rtol=1e-5)
    assert average.mean.conv1_1_norm.num_batches_tracked == 6
    assert not any(p.requires_grad for p in average.mean.parameters())


def test_the_mean_of_the_weights_is_what_is_judged_and_kept(tmp_path):
    """Trainings of one step per epoch, so that every step's weights are on disk."""
    given = cells()
    plan = Plan(lr=1e-2, epochs=4, schedule="constant", warmup=0)
    train(net := network(), given, tmp_path, plan=plan, batch=36, ema=0.9)
    kept = load_file(tmp_path / "best.safetensors")
    assert equal(net, Stored(kept, "mean."))
    raw = Inpainter(**SMALL)
    raw.load_state_dict(Stored(kept, "net.").state_dict())
    assert not equal(net, raw)
    story = train(network(), given, tmp_path, plan=plan, batch=36, ema=0.9)
    found = pretext_mse(net, given, np.arange(36, 48), seed=0)["mse"]
    assert found == pytest.approx(story.best, rel=1e-6)
    # after the first step a tenth is left of the weights it began with, after the second 2 / 11
    steady = {"schedule": "constant", "warmup": 0}
    mean = network().state_dict()["conv3_1.conv.weight"].clone()
    for epochs, keep in ((1, 1 / 10), (2, 2 / 11)):
        plan, home = Plan(lr=1e-2, epochs=epochs, **steady), tmp_path / str(epochs)
        train(network(), given, home, plan=plan, batch=36, ema=0.9)
        last = load_file(home / "last.safetensors")
        mean = keep * mean + (1 - keep) * last["net.net.conv3_1.conv.weight"]
        torch.testing.assert_close(last["net.mean.conv3_1.conv.weight"], mean)


class Stored:
    """The part of a checkpoint under a prefix, seen as a network."""

    def __init__(self, tensors, prefix):
        self.tensors = {
            n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)
        }

    def state_dict(self):
        return self.tensors


def test_errors_are_those_of_a_loop_over_pairs():
    given = cells(24, markers=2)
    net = network(given).eval()
    rows = np.arange(6, 24)
    table = pretext_errors(net, given, rows, seed=5, batch=4)
    assert sorted(table["source"]) == sorted(given.table["id"][6:])
    at = given.table.set_index("id")
    place = {name: i for i, name in enumerate(at.index)}
    level = np.mean([given.crops[place[name], 2] for name in table["target"]])
    copies = np.zeros((len(table), 2))
    for i, row in table.iterrows():
        s, t = place[row["source"]], place[row["target"]]
        assert s != t
        assert row["group"] == at["group"].iloc[s] == at["group"].iloc[t]
        assert row["field"] == at["field"].iloc[t]
        truth = given.crops[t, 2].astype(float)
        with torch.no_grad():
            source = torch.from_numpy(given.crops[s][[2, 0, 1]])[None]
            out = net(source, torch.from_numpy(given.crops[t][:2])[None])[0, 0].numpy()
        assert row["mse"] == pytest.approx(((out - truth) ** 2).mean(), rel=1e-4)
        assert row["zeros"] == pytest.approx((truth**2).mean())
        assert row["mean"] == pytest.approx(((truth - level) ** 2).mean())
        copies[i] = [((truth - given.crops[t, m]) ** 2).mean() for m in range(2)]
    best = copies.mean(0).argmin()
    np.testing.assert_allclose(table["copy_marker"], copies[:, best])
    found = pretext_mse(net, given, rows, seed=5)
    assert (found["pairs"], found["fields"]) == (18, table["field"].nunique())
    for name in ("mse", "copy_marker", "mean", "zeros"):
        assert found[name] == pytest.approx(table[name].mean(), rel=1e-6)
    assert not table.equals(pretext_errors(net, given, rows, seed=6))


@pytest.mark.parametrize("loss", ["l1", "ms_ssim"])
def test_other_losses_are_trained_and_watched_beside_the_mse(loss):
    given = cells(24, size=12)
    story = train(network(), given, loss=loss, plan=Plan(lr=3e-3, epochs=2), parts=split(given, 12))
    for row in story.rows:
        assert row["val_loss"] != pytest.approx(row["val_mse"], rel=0.01)
    assert story.best == min(row["val_loss"] for row in story.rows)
    plan = Plan(lr=3e-3, epochs=2, watch="mse")
    story = train(network(), given, loss=loss, plan=plan, parts=split(given, 12))
    assert story.best == min(row["val_mse"] for row in story.rows)


def test_examples_are_predicted_after_every_epoch(tmp_path):
    given = cells()
    story = train(net := network(), given, tmp_path, examples=3, plan=Plan(lr=1e-2, epochs=2))
    home = tmp_path / "examples"
    names = ["pairs.csv", "prediction-0001.npy", "prediction-0002.npy", "marker.npy", "source.npy"]
    assert sorted(p.name for p in home.iterdir()) == sorted([*names, "truth.npy"])
    pairs = pd.read_csv(home / "pairs.csv")
    place = {name: i for i, name in enumerate(given.table["id"])}
    rows = [[place[name] for name in pairs[column]] for column in ("source", "target")]
    assert {given.table["group"][row] for row in rows[0][:2]} == {"g0", "g1"}
    source, marker, truth = (np.load(home / f"{n}.npy") for n in ("source", "marker", "truth"))
    assert np.array_equal(source, given.crops[rows[0]][:, [1, 0]])
    assert np.array_equal(marker, given.crops[rows[1]][:, [0]])
    assert np.array_equal(truth, given.crops[rows[1]][:, [1]])
    with torch.no_grad():
        out = net.eval()(torch.from_numpy(source), torch.from_numpy(marker)).numpy()
    kept = np.load(home / f"prediction-{story.best_epoch + 1:04d}.npy")
    np.testing.assert_allclose(kept, out, atol=1e-6)
    train(network(), given, tmp_path / "none", examples=0, plan=Plan(epochs=1))
    assert not (tmp_path / "none" / "examples").exists()


def test_half_precision_trains_and_is_judged_in_full():
    half = Compute(precision="bf16")
    story = train(network(norm="group"), compute=half, plan=Plan(lr=1e-2, epochs=2))
    plain = train(network(norm="group"), plan=Plan(lr=1e-2, epochs=2))
    assert story.best != plain.best
    assert story.best == pytest.approx(plain.best, rel=0.2)


def test_a_group_of_one_is_named_or_dropped():
    given = cells(24)
    given.table.loc[3, "group"] = "rare"
    with pytest.raises(DataError, match="'rare'"):
        train(network(), given)
    train(net := Recorder(), given, lonely="drop", plan=Plan(epochs=1), augment=False)
    came = torch.cat([source for source, _ in net.came])
    alone = torch.from_numpy(given.crops[3][[1, 0]])
    assert len(came) == 11
    assert not (came == alone).all((1, 2, 3)).any()


def other_parts(**change):
    return lambda: {"parts": split(cells()) | change}


REFUSED = {
    "loss": (lambda: {"plan": Plan(watch="auc")}, "'auc' cannot be watched; loss and mse can"),
    "batch": (lambda: {"batch": 1}, "a batch of 1 pairs for 1 processes; each needs at least 2"),
    "ema": (lambda: {"ema": 1.0}, "ema 1.0: .* lies between 0 and 1"),
    "workers": (lambda: {"workers": -1}, "workers -1 and examples 4: neither can be below 0"),
    "channels": (
        lambda: {"given": cells(markers=2)},
        r"beside 1 markers; the cells have 1 targets \(protein\) and 2 markers \(m0, m1\)",
    ),
    "size": (lambda: {"given": cells(size=10)}, r"crops of \(10, 10\) pixels; both sizes must be"),
    "none": (other_parts(validate=[]), "no cells in its part 'validate'"),
    "unknown": (
        other_parts(validate=["c47", "x"]),
        "names the cell 'x', which is not in the table",
    ),
    "twice": (other_parts(validate=["c47", "c47"]), "the part 'validate' names a cell twice"),
    "field": (
        other_parts(validate=["c0", "c46", "c44"]),
        "1 fields are to be trained and validated on, the first 'g0_0'; hold out whole fields",
    ),
    "few": (other_parts(train=["c0"]), "have one cell, and a pair needs two"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused(name):
    more, says = REFUSED[name]
    with pytest.raises((UsageError, DataError), match=says):
        train(network(), **more())


def test_a_folder_of_another_training_is_refused_and_stays_as_it_was(tmp_path):
    plan = Plan(epochs=1)
    train(network(), folder=tmp_path, plan=plan)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    brighter = cells()
    brighter.crops[:] *= 1.5
    for change in ({"loss": "l1"}, {"seed": 1}, {"augment": False}, {"given": brighter}):
        with pytest.raises(DataError, match="made with other settings, data"):
            train(network(), **{"folder": tmp_path, "plan": plan} | change)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
