"""The networks of the CIFAR-10 and the cell-cycle track: sizes, weights counted, learning."""

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.probe import predict
from attributome.predictors.card import Card
from attributome.predictors.inspect import inspect_predictor
from attributome.predictors.load import build, load_predictor, save_predictor
from attributome.predictors.networks import (
    NETWORKS,
    VGG,
    Block,
    CountedDropout,
    resnet_regressor,
    vgg_like,
)

KERNEL = {2: 9, 3: 27}
WIDE = {2: 49, 3: 343}


def weights(net):
    return sum(p.numel() for p in net.parameters())


def vgg_weights(channels, outputs, dims, width, depth):
    """Convolutions without bias, two numbers per norm, and two dense layers."""
    total, before = 0, channels
    for many, times in zip(VGG[depth], (1, 2, 4, 8, 8), strict=True):
        for _ in range(many):
            total += before * times * width * KERNEL[dims] + 2 * times * width
            before = times * width
    return total + (8 * width + 1) * 4 * width + (4 * width + 1) * outputs


def resnet_weights(channels, outputs, dims, width):
    """Embedding; per width four convolutions; three projections; the dense part."""
    total = channels * width * WIDE[dims] + 2 * width
    before = width
    for after in (width, 2 * width, 4 * width, 8 * width):
        total += KERNEL[dims] * (before * after + 3 * after * after) + 4 * 2 * after
        total += before * after + 2 * after if before != after else 0
        before = after
    dense = before * before + before
    return total + dense + 4 * (dense + 2 * before) + before * outputs + outputs


@pytest.mark.parametrize(("dims", "width", "depth"), [(2, 4, 19), (2, 8, 11), (3, 2, 13)])
def test_the_vgg_has_the_weights_of_its_layout(dims, width, depth):
    net = vgg_like(3, 10, dims, width=width, depth=depth)
    assert weights(net) == vgg_weights(3, 10, dims, width, depth)
    convolutions = [m for m in net if isinstance(m, nn.Conv2d | nn.Conv3d)]
    assert len(convolutions) == depth - 3  # the top of a VGG had three dense layers


@pytest.mark.parametrize(("dims", "width"), [(2, 4), (2, 64), (3, 2)])
def test_the_resnet_has_the_weights_of_its_table(dims, width):
    net = resnet_regressor(1, 1, dims, width=width)
    assert weights(net) == resnet_weights(1, 1, dims, width)
    if (dims, width) == (2, 64):  # torchvision's ResNet-18 without its head, for three channels
        body = weights(net) - 5 * (512 * 512 + 512) - 4 * 2 * 512 - 513
        assert body == 11_689_512 - 513_000 - 2 * 64 * 49


def test_the_published_width_of_the_vgg():
    """20,018,880 weights of the VGG-19 without its top, less biases, and a batch norm each."""
    biases = sum(many * times * 64 for many, times in zip(VGG[19], (1, 2, 4, 8, 8), strict=True))
    top = 512 * 256 + 256 + 256 * 10 + 10
    assert vgg_weights(3, 10, 2, 64, 19) == 20_024_384 - biases + 2 * biases + top


@pytest.mark.parametrize("side", [1, 7, 16, 33])
@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_any_size_goes_in_and_one_row_comes_out(name, side, dims):
    net = NETWORKS[name](channels_in=2, outputs=3, dims=dims, width=2).eval()
    side = min(side, 16) if dims == 3 else side
    x = torch.randn(2, 2, *[side] * dims)
    out = net(x)
    assert out.shape == (2, 3)
    assert out.isfinite().all()
    torch.testing.assert_close(net(x[1:]), out[1:])
    if name == "resnet":
        assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_gradients_reach_every_weight(name):
    net = NETWORKS[name](channels_in=1, outputs=2, dims=2, width=2)
    net(torch.randn(4, 1, 32, 32)).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_block_whose_convolutions_are_zero_is_its_way_around():
    same, half = Block(3, 3, 2).eval(), Block(3, 5, 2, stride=2).eval()
    assert isinstance(same.around, nn.Identity)
    for block in (same, half):
        nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(same(x), x.relu())
    means = x.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    torch.testing.assert_close(half(x), half.around(means).relu())


def test_dropout_is_named_by_its_count_and_touches_no_other_draws():
    drop, x = CountedDropout(0.25), torch.ones(1000, 8)
    state = torch.random.get_rng_state()
    first, second = drop(x), drop(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first, second)
    assert sorted({*first.flatten().tolist()}) == pytest.approx([0, 4 / 3])
    assert (first == 0).double().mean().item() == pytest.approx(0.25, abs=0.02)
    resumed = CountedDropout(0.25)
    resumed.load_state_dict({"count": torch.tensor(1)})
    assert torch.equal(resumed(x), second)
    assert torch.equal(drop.eval()(x), x)
    assert drop.count == 2


def learned(net, x, y, loss):
    steps = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(25):
        value = loss(net(x), y)
        steps.zero_grad()
        value.backward()
        steps.step()
    return predict(net.eval(), x)


def discs(many):
    """Images with a square whose brightness grows, with a gap in the middle."""
    bright = torch.linspace(0, 1, many)
    bright = torch.where(bright > 0.5, 0.6 + 0.4 * bright, 0.4 * bright)
    x = 0.1 * torch.randn(many, 1, 32, 32)
    x[:, :, 8:24, 8:24] += 3 * bright.view(-1, 1, 1, 1)
    return x, bright[:, None]


def test_the_regressor_learns_a_brightness():
    torch.manual_seed(0)
    x, bright = discs(48)
    out = learned(resnet_regressor(1, 1, 2, width=4), x, bright, nn.functional.mse_loss)
    assert (out - bright).abs().mean() < 0.1


def test_the_classifier_learns_a_brightness():
    torch.manual_seed(0)
    x, bright = discs(48)
    y = (bright[:, 0] > 0.5).long()
    net = vgg_like(1, 2, width=4, depth=11)
    assert (learned(net, x, y, nn.functional.cross_entropy).argmax(1) == y).double().mean() > 0.9


@pytest.mark.parametrize(
    ("name", "words"), [("vgg", {"width": 2, "depth": 11}), ("resnet", {"width": 2})]
)
def test_they_are_saved_known_and_can_be_explained(name, words, tmp_path):
    kwargs = {"channels_in": 1, "outputs": 2, "dims": 2, **words}
    made = NETWORKS[name]
    card = Card(factory=f"attributome.predictors.networks:{made.__name__}", kwargs=kwargs)
    net = build(card.factory, card.kwargs, seed=1)
    save_predictor(tmp_path, net, card)
    again, _ = load_predictor(tmp_path)
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(predict(again, x), predict(net, x))
    found = inspect_predictor(again, channels=1, dims=2, size=(32, 32))
    assert found.possible == {"nothing": None, "gradient": None, "layer": None}
    assert found.outputs == 2


@pytest.mark.parametrize(
    ("make", "words", "says"),
    [
        (vgg_like, {"depth": 12}, "no VGG has depth 12"),
        (vgg_like, {"width": 0}, "width 0"),
        (vgg_like, {"dropout": 1.0}, "dropout 1.0"),
        (vgg_like, {"dims": 1}, "dims 1"),
        (resnet_regressor, {"width": 0}, "width 0 make no network"),
        (resnet_regressor, {"dims": 4}, "dims 4"),
    ],
)
def test_what_makes_no_network_is_refused(make, words, says):
    with pytest.raises(UsageError, match=says):
        make(**{"channels_in": 1, "outputs": 1, "dims": 2, **words})
