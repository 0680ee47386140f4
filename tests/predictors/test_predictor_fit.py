"""The trainer learns, resumes, scores, and refuses what would train towards nonsense."""

import pytest
import torch
from torch import nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.seeds import seed_of
from attributome.core.training import Plan
from attributome.predictors.fit import agreement, fit_predictor, losses, score_predictor
from attributome.predictors.load import build

CPU = Compute()
PLAN = Plan(lr=0.1, epochs=30)
SLOWER = Plan(lr=0.02, epochs=30)
ONE = {"channels_in": 2, "dims": 2, "width": 4}


def draw(*words, shape=(8, 2, 6, 6)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed_of(0, *words)))


def linear(x):
    return 2 * x[:, :1] - x[:, 1:] + 0.5


def pairs(truth, epoch, steps=4):
    for step in range(steps):
        x = draw(epoch, step)
        yield x, truth(x)


def conv():
    torch.manual_seed(0)
    return nn.Conv2d(2, 1, 1)


def train(net, folder=None, *, truth=linear, task="image", plan=PLAN, batches=None, **more):
    return fit_predictor(
        net,
        batches=batches or (lambda epoch: pairs(truth, epoch)),
        steps=4,
        validation=more.pop("validation", list(pairs(truth, -1, steps=2))),
        task=task,
        plan=plan,
        compute=CPU,
        folder=folder,
        **more,
    )


def test_it_learns_a_linear_map_of_the_pixels():
    net = conv()
    story = train(net)
    assert story.best < 1e-3
    assert story.rows[story.best_epoch]["val_pcc"] > 0.999
    assert torch.allclose(net.weight.flatten(), torch.tensor([2.0, -1.0]), atol=0.05)


def test_validation_may_be_read_again_and_of_any_size():
    def validation():
        for size in (5, 9):
            x = draw("field", size, shape=(1, 2, size, size + 1))
            yield x, linear(x)

    story = train(conv(), validation=validation)
    assert story.rows[-1]["val_pcc"] > 0.99


def test_it_learns_one_number():
    def truth(x):
        return 3 * x[:, :1].mean((2, 3))

    net = build("attributome.predictors.networks:small_cnn", ONE | {"outputs": 1}, seed=1)
    story = train(net, truth=truth, task="regression", plan=SLOWER)
    best = story.rows[story.best_epoch]
    assert best["val_pcc"] > 0.9
    assert best["val_r2"] > 0.7


def test_it_learns_classes():
    def truth(x):
        return (x[:, 0].mean((1, 2)) > x[:, 1].mean((1, 2))).long()

    net = build("attributome.predictors.networks:small_cnn", ONE | {"outputs": 2}, seed=1)
    story = train(net, truth=truth, task="classification", plan=SLOWER)
    assert story.rows[story.best_epoch]["val_accuracy"] > 0.85


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    def killed(epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return pairs(linear, epoch)

    straight, broken, resumed = conv(), conv(), conv()
    plan = Plan(lr=0.05, epochs=6)
    wanted = train(straight, tmp_path / "a", plan=plan)
    with pytest.raises(KeyboardInterrupt):
        train(broken, tmp_path / "b", plan=plan, batches=killed)
    got = train(resumed, tmp_path / "b", plan=plan)
    assert got.rows == wanted.rows
    assert torch.equal(resumed.weight, straight.weight)


def test_another_task_or_identity_does_not_go_on_from_a_checkpoint(tmp_path):
    plan = Plan(epochs=1)
    train(conv(), tmp_path, plan=plan, identity={"data": "one"})
    with pytest.raises(DataError, match="made with other settings, data"):
        train(conv(), tmp_path, plan=plan, identity={"data": "two"})


def test_no_validation_is_refused():
    with pytest.raises(DataError, match="no validation samples"):
        train(conv(), validation=[])


def test_targets_that_would_broadcast_are_refused():
    with pytest.raises(DataError, match=r"shape \(8, 1, 6, 6\) for targets of shape \(8, 2, 6, 6"):
        train(conv(), truth=lambda x: x)


@pytest.mark.parametrize(
    ("classes", "message"),
    [([0, 3], "class 3, but the predictor has 3"), ([-1, 0], "class -1, but"), ([0], "is needed")],
)
def test_classes_that_the_predictor_lacks_are_refused(classes, message):
    with pytest.raises(DataError, match=message):
        losses(torch.zeros(2, 3), torch.tensor(classes), "classification")


def test_scores_of_images_are_per_sample_and_known():
    y = draw("truth", shape=(3, 1, 5, 5))
    x = torch.cat([y[:1], -y[1:2], 2 * y[2:]])
    rows = score_predictor(
        nn.Identity(), [(x[:2], y[:2]), (x[2:], y[2:])], task="image", compute=CPU
    )
    assert [round(row["pcc"], 5) for row in rows] == [1.0, -1.0, 1.0]
    spread, power = y[2].var(correction=0), y[2].square().mean()
    assert rows[0]["r2"] == 1.0
    assert rows[2]["r2"] == pytest.approx((1 - power / spread).item(), abs=1e-5)
    assert rows[2]["mse"] == pytest.approx(power.item(), rel=1e-5)


def test_scores_of_numbers_and_classes():
    out = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    rows = score_predictor(
        nn.Identity(), [(out, torch.zeros(2, 2))], task="regression", compute=CPU
    )
    assert rows == [{"error": 2.0}, {"error": 0.0}]
    rows = score_predictor(
        nn.Identity(), [(out, torch.tensor([1, 1]))], task="classification", compute=CPU
    )
    assert [row["correct"] for row in rows] == [1.0, 0.0]


def test_agreement_of_a_constant_truth_is_zero_and_not_nan():
    found = agreement([torch.rand(4, 1)], [torch.ones(4, 1)], "regression")
    assert found == {"pcc": 0.0, "r2": 0.0}


def test_perfect_regression_has_r2_one():
    y = draw("y", shape=(6, 2))
    found = agreement([y[:2], y[2:]], [y[:4], y[4:]], "regression")
    assert found["pcc"] == pytest.approx(1.0)
    assert found["r2"] == pytest.approx(1.0)
