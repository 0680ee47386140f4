"""The training loop: it stops, keeps the best, and resumes to the same bits."""

import csv

import pytest
import torch
from torch import nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.training import Plan, fit

CPU = Compute()


def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    return CPU.place(model, 2)


def data(epoch, steps=3):
    for step in range(steps):
        generator = torch.Generator().manual_seed(100 * epoch + step)
        yield torch.rand(4, 2, 8, 8, generator=generator)


def go(model, plan, folder=None, stop_after=None, identity=None):
    seen = []

    def step(x, number, done):
        if stop_after is not None and len(seen) == stop_after:
            raise KeyboardInterrupt
        seen.append((number, done))
        return {"loss": (model(x) - x.mean(1, keepdim=True)[..., 1:-1, 1:-1]).square().mean()}

    def validate():
        x = next(iter(data(999)))
        loss = (model(x) - x.mean(1, keepdim=True)[..., 1:-1, 1:-1]).square().mean()
        return {"loss": loss.item()}

    story = fit(
        model,
        plan,
        batches=data,
        steps=3,
        step=step,
        validate=validate,
        compute=CPU,
        folder=folder,
        identity=identity,
    )
    return story, seen


def test_it_learns_and_keeps_the_best_epoch():
    model = net()
    story, _ = go(model, Plan(lr=1e-2, epochs=12))
    losses = [row["val_loss"] for row in story.rows]
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]
    assert story.best == min(losses)
    assert story.best_epoch == losses.index(min(losses))


@pytest.mark.parametrize("stop_after", [1, 5, 9, 14])
def test_killed_and_resumed_is_bit_for_bit_uninterrupted(tmp_path, stop_after):
    plan = Plan(lr=1e-2, weight_decay=0.01, epochs=5)
    straight, broken = net(), net()
    wanted, _ = go(straight, plan, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        go(broken, plan, tmp_path / "broken", stop_after=stop_after)
    resumed = net()
    if stop_after >= 3:  # from the first whole epoch on, nothing comes from the fresh network
        with torch.no_grad():
            resumed[0].weight.zero_()
    got, seen = go(resumed, plan, tmp_path / "broken")
    assert len(seen) == 15 - 3 * (stop_after // 3)
    assert got.rows == wanted.rows
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_finished_training_is_not_repeated(tmp_path):
    plan = Plan(epochs=2)
    first = net()
    go(first, plan, tmp_path)
    second = net()
    story, seen = go(second, plan, tmp_path)
    assert seen == []
    assert story.finished
    assert torch.equal(first[0].weight, second[0].weight)
    with (tmp_path / "log.csv").open() as log:
        rows = list(csv.DictReader(log))
    assert [row["epoch"] for row in rows] == ["1", "2"]


def test_early_stop_waits_for_its_patience():
    model = net()
    scores = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.1])
    story = fit(
        model,
        Plan(epochs=50, patience=3),
        batches=data,
        steps=3,
        compute=CPU,
        step=lambda x, n, d: {"loss": model(x).square().mean()},
        validate=lambda: {"loss": next(scores)},
    )
    assert len(story.rows) == 5
    assert (story.best, story.best_epoch) == (1.0, 1)


def test_validation_neither_trains_nor_moves_batch_norm():
    model = net()
    modes = []

    def validate():
        modes.append((model.training, torch.is_grad_enabled()))
        before = model[1].running_mean.clone()
        loss = model(next(iter(data(7)))).square().mean()
        assert torch.equal(model[1].running_mean, before)
        return {"loss": loss.item()}

    before = model[1].running_mean.clone()
    fit(
        model,
        Plan(epochs=2),
        batches=data,
        steps=3,
        compute=CPU,
        validate=validate,
        step=lambda x, n, d: {"loss": model(x).square().mean()},
    )
    assert modes == [(False, False)] * 2
    assert not torch.equal(model[1].running_mean, before)  # training does move it


def test_schedule_rises_then_falls():
    rates = []
    model = net()
    optimizer_seen = []

    def step(x, number, done):
        rates.append(done)
        optimizer_seen.append(number)
        return {"loss": model(x).square().mean()}

    fit(
        model,
        Plan(epochs=4),
        batches=data,
        steps=3,
        step=step,
        compute=CPU,
        validate=lambda: {"loss": 0.0},
    )
    assert optimizer_seen == list(range(12))
    assert rates == [i / 12 for i in range(12)]


def test_another_training_in_the_folder_is_refused(tmp_path):
    go(net(), Plan(epochs=1), tmp_path, identity={"predictor": "a"})
    with pytest.raises(DataError, match="made with other settings, data or another predictor"):
        go(net(), Plan(epochs=1), tmp_path, identity={"predictor": "b"})


def test_a_corrupt_checkpoint_is_refused(tmp_path):
    go(net(), Plan(epochs=1), tmp_path)
    (tmp_path / "last.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="cannot read the checkpoint"):
        go(net(), Plan(epochs=1), tmp_path)


def test_numbers_that_are_not_finite_are_refused():
    model = net()
    with pytest.raises(DataError, match="not finite in epoch 1"):
        fit(
            model,
            Plan(epochs=3),
            batches=data,
            steps=3,
            compute=CPU,
            step=lambda x, n, d: {"loss": model(x).mean() * float("nan")},
            validate=lambda: {"loss": 0.0},
        )


def test_progress_reaches_the_end_once_though_the_minutes_are_over_before_the_epoch():
    told = []
    model = net()
    fit(
        model,
        Plan(epochs=5, minutes=1e-9),
        batches=data,
        steps=3,
        step=lambda x, number, done: {"loss": model(x).square().mean()},
        validate=lambda: {"loss": 1.0},
        compute=CPU,
        progress=lambda done, words: told.append(done),
    )
    assert len(told) == 4
    assert told.index(1.0) == 3  # the last
