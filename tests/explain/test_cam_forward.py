"""ScoreCAM and AblationCAM: right, for each sample by itself, however work is cut."""

from functools import partial

import pytest
import torch
from captum.attr import LayerFeatureAblation
from test_cam import CLASSES, Net, close
from torch import nn

from attributome.core import probe
from attributome.core.arrays import resize
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.probe import layer_output, predict_with
from attributome.core.targets import Logit, OutputSum
from attributome.explain.cam_forward import ablation_cam, score_cam
from oracles import cams as oracle

METHODS = {
    "score_cam": score_cam,
    "score_cam_softmax": partial(score_cam, softmax=True, baseline=0.3),
    "ablation_cam": ablation_cam,
}


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


@pytest.fixture
def x(dims):
    size = (8, 6) if dims == 2 else (4, 6, 8)
    return torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("baseline", [0.0, -0.4])
@pytest.mark.parametrize("layer", ["body", "mix"])
def test_score_cam_is_that_of_loops(layer, baseline, x, dims):
    model = Net(dims)
    maps = score_cam(model, x, Logit(CLASSES), layer=layer, baseline=baseline)
    act = layer_output(model, layer, x)
    for i in range(3):

        def score(image, k=CLASSES[i]):
            return float(model(torch.as_tensor(image)[None])[0, k].detach())

        coarse = oracle.score_cam(score, x[i].numpy(), act[i].numpy(), baseline)
        close(maps[i, 0], oracle.enlarged(coarse, tuple(x.shape[2:])))


@pytest.mark.parametrize("layer", ["body", "mix"])
def test_ablation_cam_is_that_of_loops(layer, x, dims):
    model = Net(dims)
    maps = ablation_cam(model, x, Logit(CLASSES), layer=layer)
    act = layer_output(model, layer, x)
    for i in range(3):

        def score(units, at=i):
            out = predict_with(model, layer, x[at : at + 1], torch.as_tensor(units)[None])
            return float(out[0, CLASSES[at]].detach())

        close(
            maps[i, 0],
            oracle.enlarged(oracle.ablation_cam(score, act[i].numpy()), tuple(x.shape[2:])),
        )


def test_ablation_weights_are_those_of_captum(x, dims):
    """Captum gives every voxel of a channel the drop; times the activation it is the map."""
    model = Net(dims)
    channels = torch.arange(5).view(1, 5, *[1] * dims)
    act = layer_output(model, "mix", x)
    drops = LayerFeatureAblation(model, model.mix).attribute(
        x, target=CLASSES, layer_mask=channels.expand(1, *act.shape[1:])
    )
    wanted = resize((drops.double() * act).sum(1, keepdim=True), x)
    found = ablation_cam(model, x, Logit(CLASSES), layer="mix")
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)  # captum's are in float32


def test_softmax_gives_shares(x, dims):
    """With one huge gain, the map is that of its channel."""

    def target(out):
        return 1e6 * out[:, 1]

    model = Net(dims)
    maps = score_cam(model, x, target, layer="body", softmax=True)
    act = layer_output(model, "body", x)
    one = torch.zeros(3, 6).double()
    for k in range(6):
        mask = torch.nn.functional.interpolate(
            act[:, k : k + 1], x.shape[2:], mode="bilinear" if dims == 2 else "trilinear"
        )
        low, high = (
            getattr(mask.flatten(1), f)(1).view(-1, *[1] * (dims + 1)) for f in ("amin", "amax")
        )
        one[:, k] = model(x * (mask - low) / (high - low))[:, 1].detach()
    best = one.argmax(1)
    wanted = torch.stack([act[i, best[i]] for i in range(3)])[:, None]
    close(maps, resize(wanted, x))


def test_work_may_be_cut_anyhow(method, x, dims, monkeypatch):
    model = Net(dims)
    whole = method(model, x, Logit(CLASSES), layer="body")
    for chunk in (1, 4, 100):
        close(method(model, x, Logit(CLASSES), layer="body", chunk=chunk), whole)
    monkeypatch.setitem(probe.AT_ONCE, "cpu", 1)
    close(method(model, x, Logit(CLASSES), layer="body"), whole)


def test_a_sample_does_not_see_the_others(method, x, dims):
    model = Net(dims)
    together = method(model, x, Logit(CLASSES), layer="body")
    for i in range(3):
        close(method(model, x[i : i + 1], Logit(int(CLASSES[i])), layer="body")[0], together[i])


def test_the_other_input_stays_with_its_sample(method, x, dims):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net(dims)

        def forward(self, a, b):
            return self.net(a) * b

    other = torch.rand(3, 4, generator=torch.Generator().manual_seed(2)).double()
    model = Two()
    together = method(Beside(model, 0, (other,)), x, OutputSum(), layer="net.body")
    for i in range(3):
        beside = Beside(model, 0, (other[i : i + 1],))
        close(method(beside, x[i : i + 1], OutputSum(), layer="net.body")[0], together[i])


def test_a_channel_that_shows_nothing_gains_nothing(x, dims):
    """One channel is constant; enlarged, it differs by rounding, which must not be stretched."""

    class Planted(nn.Module):
        def forward(self, x):
            return torch.cat([x, torch.full_like(x, 0.3)], 1)

    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims](
        (2, 2) if dims == 2 else (2, 4, 2)
    )
    head = nn.Sequential(nn.Flatten(), nn.Softplus())
    model = nn.Sequential(nn.Sequential(pool, Planted()), head)
    coarse = layer_output(model, "0", x[:, :1])
    enlarged = resize(coarse, x)[:, 1]
    assert enlarged.max() > enlarged.min()
    alone = nn.Sequential(pool, head)

    def target(out):
        return out[:, : coarse[0, 0].numel()].sum(1)

    wanted = score_cam(alone, x[:, :1], target, layer="0")
    close(score_cam(model, x[:, :1], target, layer="0"), wanted)


def test_a_plane_in_a_volume_has_the_map_of_the_plane(method):
    x = torch.rand(2, 2, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    flat = Net(2)

    class Deep(nn.Module):
        """The same network, told that its planes are volumes."""

        def __init__(self):
            super().__init__()
            self.body, self.rest = nn.Sequential(Lift(flat.body)), flat

        def forward(self, x):
            return flat.last(flat.mix(self.body(x)[:, :, 0]).tanh().flatten(2).square().sum(2))

    class Lift(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x[:, :, 0])[:, :, None]

    close(
        method(Deep(), x[:, :, None], Logit(1), layer="body")[:, :, 0],
        method(flat, x, Logit(1), layer="body"),
    )


@pytest.mark.parametrize("name", ["score_cam", "ablation_cam"])
def test_a_model_that_ignores_its_input_has_no_importance(name, x, dims):
    model = Net(dims)
    torch.nn.init.zeros_(model.last.weight)
    assert (METHODS[name](model, x, Logit(1), layer="body") == 0).all()


def test_a_layer_that_cannot_say_where_is_refused(method, x, dims):
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    model = nn.Sequential(pool(1), nn.Flatten())
    with pytest.raises(UsageError, match="a single voxel"):
        method(model, x, Logit(1), layer="0")
