"""The U-Net that is trained here (the one test file that imports MONAI)."""

import pytest
import torch
from torch import nn

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.probe import predict
from attributome.core.training import Plan
from attributome.predictors.fit import fit_predictor
from attributome.predictors.inspect import inspect_predictor
from attributome.predictors.load import Card, build, load_predictor, save_predictor
from attributome.predictors.networks import NETWORKS, small_cnn, unet
from attributome.predictors.sizes import SizeRule, fitted

UNET = "attributome.predictors.networks:unet"
SMALL = {"features": [4, 4, 8, 8, 8, 4]}


@pytest.mark.parametrize("size", [(150, 210), (37, 53), (16, 16), (16, 17, 31)])
def test_any_size_from_sixteen(size):
    net, x = unet(2, 3, len(size), **SMALL), torch.randn(1, 2, *size)
    out = predict(net, x)
    assert out.shape == (1, 3, *size)
    with torch.no_grad():
        for weight in net.final_conv.parameters():
            weight.mul_(100)
    assert torch.allclose(predict(net, x), 100 * out, rtol=1e-4)  # nothing squashes it


@pytest.mark.parametrize("dims", [2, 3])
def test_inspection_finds_what_it_takes(dims):
    found = inspect_predictor(unet(3, 1, dims, **SMALL))
    assert (found.dims, found.channels, found.output, found.outputs) == (dims, 3, "image", 1)
    assert found.sizes == SizeRule(minimum=(16,) * dims, multiple=(1,) * dims)
    assert set(found.possible.values()) == {None}
    facts = {fact.name: fact for fact in found.layers}
    assert facts["down_4.convs"].grid == tuple(n // 16 for n in found.example)
    assert facts["final_conv"].grid == found.example


def test_nothing_is_padded_for_it():
    net = unet(1, 1, 2, **SMALL)
    model = fitted(net, inspect_predictor(net).sizes)
    assert model.note((150, 210)) is None
    x = torch.randn(1, 1, 37, 53)
    assert torch.equal(predict(model, x), predict(net, x))


def test_a_folder_round_trips(tmp_path):
    card = Card(
        factory=UNET,
        kwargs={"channels_in": 1, "channels_out": 1, "dims": 2} | SMALL,
        task="image",
        dims=2,
        inputs=("bright field",),
        outputs=("DNA",),
    )
    net = build(card.factory, card.kwargs, seed=5)
    save_predictor(tmp_path, net, card)
    x = torch.randn(1, 1, 33, 40)
    assert torch.equal(predict(load_predictor(tmp_path)[0], x), predict(net, x))


def test_it_learns_to_label():
    def pair(number):
        x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(number))
        return x, nn.functional.avg_pool2d(x, 3, stride=1, padding=1)

    story = fit_predictor(
        build(UNET, {"channels_in": 1, "channels_out": 1, "dims": 2} | SMALL),
        batches=lambda epoch: map(pair, range(10 * epoch, 10 * epoch + 10)),
        steps=10,
        validation=[pair(10_000)],
        task="image",
        plan=Plan(lr=0.01, epochs=6),
        compute=Compute(),
    )
    assert story.rows[story.best_epoch]["val_pcc"] > 0.9


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("size", [1, 7, 16])
def test_the_small_cnn_takes_any_size(dims, size):
    net = small_cnn(2, 3, dims, width=4)
    assert predict(net, torch.randn(2, 2, *[size] * dims)).shape == (2, 3)


def test_networks_that_cannot_be():
    with pytest.raises(UsageError, match="6 features .* not 3"):
        unet(1, 1, 2, features=(4, 4, 4))
    for make in NETWORKS.values():
        with pytest.raises(UsageError, match="dims 4: networks here are 2-D or 3-D"):
            make(1, 1, 4)
