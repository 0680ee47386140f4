"""Batch norm that really adapts: the statistics are those of the new images, and nothing else."""

import copy

import pytest
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.probe import predict
from attributome.predictors.adaptation import adapt_batch_norm
from attributome.predictors.networks import small_cnn, vgg_like


def draws(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def net():
    """Two norms with dropout and a dense norm behind, in mixed mode, in float64."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 2), nn.BatchNorm1d(2, affine=False),
    ).double()  # fmt: skip
    made.train()
    made[1].eval()
    return made


def moments(x):
    """Mean and unbiased variance of each feature, by a loop."""
    rows = [x[:, feature].flatten() for feature in range(x.shape[1])]
    return torch.stack([r.mean() for r in rows]), torch.stack([r.var() for r in rows])


def test_the_first_norm_holds_the_averages_of_batches_by_their_images(net):
    batches = [3 + 2 * draws(i, many, 1, 8, 8) for i, many in enumerate((5, 2, 9))]
    adapted = adapt_batch_norm(net, batches)
    told = [moments(net[0](x)) for x in batches]
    for number, name in enumerate(("running_mean", "running_var")):
        wanted = sum(len(x) * t[number] for x, t in zip(batches, told, strict=True)) / 16
        torch.testing.assert_close(getattr(adapted[1], name), wanted, rtol=1e-12, atol=1e-12)
    assert adapted[1].num_batches_tracked == 3


def test_deeper_norms_see_what_norms_before_them_make_of_the_batch(net):
    x = 3 + draws(0, 12, 1, 8, 8)
    adapted = adapt_batch_norm(net, [x])
    seen, checked = x, 0
    for old, new in zip(net, adapted, strict=True):
        if isinstance(old, nn.BatchNorm2d | nn.BatchNorm1d):
            mean, variance = moments(seen)
            torch.testing.assert_close(new.running_mean, mean, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(new.running_var, variance, rtol=1e-9, atol=1e-12)
            wide = (1, -1, *[1] * (seen.ndim - 2))
            values = seen.numel() / seen.shape[1]
            biased = variance * (values - 1) / values  # by which a batch itself is divided
            seen = (seen - mean.view(wide)) / (biased.view(wide) + old.eps).sqrt()
            checked += 1
        elif not isinstance(old, nn.Dropout):
            seen = old(seen)
    assert checked == 3


def test_weights_are_the_same_bits_and_the_original_is_as_it_was(net):
    before = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    adapted = adapt_batch_norm(net, [5 + draws(0, 8, 1, 8, 8)])
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in net.modules()] == modes
    for (name, old), new in zip(net.named_parameters(), adapted.parameters(), strict=True):
        assert torch.equal(old, new), name
        assert new.requires_grad == old.requires_grad
        assert new.data_ptr() != old.data_ptr()
    assert not torch.equal(adapted[1].running_mean, net[1].running_mean)
    assert not any(module.training for module in adapted.modules())
    assert [adapted[i].momentum for i in (1, 5)] == [0.1, 0.3]


def test_momentum_moves_from_the_statistics_of_the_training(net):
    net[1].running_mean += 2
    x = 3 + draws(0, 8, 1, 8, 8)
    old, new = net[1].running_mean, moments(net[0](x))[0]
    adapted = adapt_batch_norm(net, [x, x], momentum=0.25)
    torch.testing.assert_close(adapted[1].running_mean, 0.75**2 * old + (1 - 0.75**2) * new)


def test_an_image_does_not_depend_on_the_batch_it_is_asked_in(net):
    x = draws(0, 8, 1, 8, 8)
    adapted = adapt_batch_norm(net, [x])
    torch.testing.assert_close(predict(adapted, x)[3:4], predict(adapted, x[3:4]))


def planted(seed, many):
    """Classes by where a bright disc is: left or right."""
    labels = torch.arange(many) % 2
    x = 0.3 * draws(seed, many, 1, 16, 16).float()
    for image, label in zip(x, labels, strict=True):
        image[:, 5:11, 9 * label + 1 : 9 * label + 6] += 2
    return x, labels


def test_accuracy_comes_back_on_images_of_another_brightness_and_contrast():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 4 * 4, 2),
    )  # fmt: skip
    x, y = planted(0, 128)
    steps = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        steps.zero_grad()
        loss.backward()
        steps.step()
    net.eval()

    def accuracy(model, images, labels):
        return (predict(model, images).argmax(1) == labels).double().mean().item()

    others, truth = planted(1, 128)
    shifted = 12 + 0.2 * others  # far brighter, and five times less contrast
    assert accuracy(net, others, truth) == 1
    assert accuracy(net, shifted, truth) < 0.7
    adapted = adapt_batch_norm(net, shifted.split(32))
    assert accuracy(adapted, shifted, truth) > 0.97
    assert accuracy(net, shifted, truth) < 0.7


@pytest.mark.parametrize("make", [small_cnn, vgg_like])
def test_our_networks_adapt(make):
    words = {"depth": 11} if make is vgg_like else {}
    net = make(3, 4, 2, width=2, **words)
    x = 4 + draws(0, 6, 3, 32, 32).float()
    adapted = adapt_batch_norm(net, x.split(3))
    assert not torch.equal(predict(adapted, x), predict(net, x))


def bare():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2, track_running_stats=True))


@pytest.mark.parametrize(
    ("make", "batches", "words", "error", "says"),
    [
        (bare, [torch.zeros(2, 1, 8, 8)], {}, UsageError, "Sequential has no batch norm"),
        (
            lambda: nn.BatchNorm2d(1, track_running_stats=False),
            [torch.zeros(2, 1, 8, 8)], {}, UsageError, "no batch norm with statistics",
        ),
        (lambda: nn.BatchNorm2d(1), [], {}, DataError, "there are no images"),
        (lambda: nn.BatchNorm2d(1), [torch.zeros(0, 1, 2, 2)], {}, DataError, "is empty"),
        (
            lambda: nn.BatchNorm2d(1), [torch.full((2, 1, 2, 2), torch.nan)], {}, DataError,
            "not finite",
        ),
        (lambda: nn.BatchNorm2d(1), [torch.zeros(1, 1, 1, 1)], {}, DataError, "no variance"),
        (lambda: nn.BatchNorm2d(1), [], {"momentum": 1.5}, UsageError, "momentum 1.5 is no share"),
    ],
)  # fmt: skip
def test_what_cannot_be_adapted_is_refused(make, batches, words, error, says):
    net = make().eval()
    with pytest.raises(error, match=says):
        adapt_batch_norm(net, batches, **words)
    assert not any(module.training for module in net.modules())
