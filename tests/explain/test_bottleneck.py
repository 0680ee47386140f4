"""The information bottleneck: bits where the model looks, none elsewhere, for each by itself."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from test_cam import CLASSES, Net, close
from torch import nn

from attributome.core import probe
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.seeds import seed_of
from attributome.core.targets import Logit, LogProbability, OutputSum
from attributome.explain.bottleneck import information_bottleneck
from oracles import cams as oracle


@pytest.fixture
def x(dims):
    size = (8, 6) if dims == 2 else (4, 6, 8)
    return torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(1)).double()


def linear(dims, scale=1.0):
    """A layer on the grid of the images, which a weighted sum reads; and the sum's weights."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    size = (8, 6) if dims == 2 else (4, 6, 8)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = nn.Linear(3 * math.prod(size), 1)
        model = nn.Sequential(conv(2, 3, 3, padding=1), nn.Flatten(), head).double()
    with torch.no_grad():
        head.weight.mul_(scale)
    return model, head.weight.detach().view(3, *size)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("known", [False, True], ids=["own", "background"])
@pytest.mark.parametrize("seed", [3, [3, 5, 3]], ids=["shared", "each"])
def test_it_is_that_of_loops(seed, known, smooth, x, dims):
    model, slope = linear(dims)
    axes = tuple(range(1, dims + 1))
    others = torch.rand(5, *x.shape[1:], generator=torch.Generator().manual_seed(7)).double()
    options = {"background": others} if known else {}
    maps = information_bottleneck(
        model, x, OutputSum(), layer="0", steps=4, draws=3, smooth=smooth, beta=2.0, seed=seed,
        **options,
    )  # fmt: skip
    basis = np.eye(x[0, 0].numel()).reshape(-1, *x.shape[2:])
    blurred = [gaussian_filter(one, smooth, mode="nearest", truncate=3) for one in basis]
    blur = np.stack([one.ravel() for one in blurred], 1)
    with torch.no_grad():
        act, seen = model[0](x).numpy(), model[0](others).numpy()
    for i, own in enumerate([seed] * 3 if isinstance(seed, int) else seed):
        noise = []
        for step in range(4):
            generator = torch.Generator().manual_seed(seed_of(own, "step", step))
            noise.append(torch.randn(3, *act[i].shape, generator=generator).double().numpy())
        if known:
            mean, spread = seen.mean(0), seen.std(0, ddof=1)
        else:
            mean = act[i].mean(axes, keepdims=True)
            spread = act[i].std(axes, ddof=1, keepdims=True)
        spread = np.maximum(spread, 0.01 * spread.mean())
        bits = oracle.bottleneck_bits(act[i], slope.numpy(), noise, 2.0, mean, spread, blur)
        torch.testing.assert_close(maps[i, 0], torch.as_tensor(bits), rtol=1e-6, atol=1e-9)


def test_it_comes_to_the_optimum_that_can_be_written_down(dims):
    """One unit per voxel, a linear target: `beta / n KL'(lambda) = r - mu` at the optimum."""
    x = torch.rand(1, 1, *[4] * dims, generator=torch.Generator().manual_seed(0)).double()
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    maps = information_bottleneck(
        model,
        x,
        OutputSum(),
        layer="0",
        steps=300,
        lr=0.1,
        draws=30,
        smooth=0.0,
        beta=x.numel() / 8,
    )
    shift, width = x - x.mean(), x.std()
    low, high = torch.zeros_like(x), torch.ones_like(x)
    for _ in range(60):
        lam = (low + high) / 2
        slope = 1 / 8 * (1 / (1 - lam) - (1 - lam) + lam * (shift / width) ** 2) - shift
        low, high = torch.where(slope < 0, lam, low), torch.where(slope < 0, high, lam)
    nats = -torch.log1p(-lam) + ((1 - lam) ** 2 + (lam * shift / width) ** 2 - 1) / 2
    error = (maps - nats / math.log(2)).abs().mean() / (nats / math.log(2)).mean()
    assert float(error) < 0.1  # the noise of the draws
    assert (maps[shift < -0.05] < 0.01).all()  # what lowers the target is hidden


class Half(nn.Module):
    """Reads the near half of the images' last axis only."""

    def __init__(self, dims, body):
        super().__init__()
        self.body, self.net = body, Net(dims)

    def forward(self, x):
        seen = self.body(x)
        return 30 * self.net(seen[..., : seen.shape[-1] // 2])


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_there_are_no_bits_where_the_model_does_not_look(smooth, x, dims):
    bits = information_bottleneck(
        Half(dims, nn.Identity()), x, LogProbability(CLASSES), layer="body", beta=0.5, smooth=smooth
    )
    near, far = bits.tensor_split(2, -1)
    assert (far == 0).all()
    assert (near > 0).all()
    assert (bits.flatten(1).sum(1) > 1).any()


def test_dear_bits_are_few(x, dims):
    model = Half(dims, nn.Identity())
    total = [
        information_bottleneck(
            model, x, LogProbability(CLASSES), layer="body", beta=beta, steps=30
        ).flatten(1).sum(1)
        for beta in (0.01, 0.1, 1.0, 100.0)
    ]  # fmt: skip
    for cheap, dear in pairwise(total):
        assert (cheap > dear).all()
    assert (total[-1] < 1e-3).all()


def test_bits_are_those_of_where_the_evidence_is(dims):
    """One bright spot, on which the class depends; all else is faint noise that it also reads."""
    x = 0.1 * torch.rand(2, 1, *[8] * dims, generator=torch.Generator().manual_seed(0)).double()
    spots = [(slice(1, 4),) * dims, (slice(5, 7),) * dims]
    for image, spot in zip(x, spots, strict=True):
        image[(0, *spot)] += 1
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    maps = information_bottleneck(model, x, OutputSum(), layer="0", beta=10.0, steps=20)
    for found, spot in zip(maps, spots, strict=True):
        inside = torch.zeros_like(found, dtype=torch.bool)
        inside[(0, *spot)] = True
        assert found[inside].mean() > 20 * found[~inside].mean()


OPTIONS = {"layer": "body", "beta": 0.1, "steps": 4, "draws": 3}


def test_a_sample_does_not_see_the_others(x, dims):
    model, seeds = Net(dims), [4, 5, 6]
    together = information_bottleneck(model, x, Logit(CLASSES), seed=seeds, **OPTIONS)
    for i in range(3):
        alone = information_bottleneck(
            model, x[i : i + 1], Logit(int(CLASSES[i])), seed=seeds[i], **OPTIONS
        )
        close(alone[0], together[i])


def test_work_may_be_cut_anyhow(x, dims, monkeypatch):
    whole = information_bottleneck(Net(dims), x, Logit(CLASSES), **OPTIONS)
    monkeypatch.setitem(probe.AT_ONCE, "cpu", 1)
    close(information_bottleneck(Net(dims), x, Logit(CLASSES), **OPTIONS), whole)


def test_seeds_and_nothing_else_decide(x, dims):
    model = Net(dims)
    first, second, other = (
        information_bottleneck(model, x, Logit(1), seed=seed, **OPTIONS) for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, other, rtol=1e-3)


def test_the_other_input_stays_with_its_sample(x, dims):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net(dims)

        def forward(self, a, b):
            return self.net(a) * b

    other = torch.rand(3, 4, generator=torch.Generator().manual_seed(2)).double()
    model, options = Two(), OPTIONS | {"layer": "net.body"}
    together = information_bottleneck(Beside(model, 0, (other,)), x, OutputSum(), **options)
    for i in range(3):
        beside = Beside(model, 0, (other[i : i + 1],))
        close(information_bottleneck(beside, x[i : i + 1], OutputSum(), **options)[0], together[i])


def test_a_plane_in_a_volume_has_the_map_of_the_plane():
    x = torch.rand(2, 2, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Softmax(1))
    flat = information_bottleneck(model, x, Logit(5), layer="0")
    deep = information_bottleneck(model, x[:, :, None], Logit(5), layer="0")
    close(deep[:, :, 0], flat)


def test_a_constant_model_or_layer_has_no_bits(x, dims):
    model = Net(dims)
    torch.nn.init.zeros_(model.last.weight)
    assert (information_bottleneck(model, x, Logit(1), layer="body") == 0).all()
    flat = information_bottleneck(Net(dims), torch.zeros_like(x), Logit(1), layer="body")
    assert flat.isfinite().all()


def test_many_steps_do_not_overflow(x, dims):
    """Where bits are free, all of them are kept, in single precision too."""
    maps = information_bottleneck(
        linear(dims)[0].float(),
        x.float(),
        OutputSum(),
        layer="0",
        beta=0.0,
        steps=40,
        lr=2.0,
        smooth=0.0,
    )
    assert maps.isfinite().all()
    assert (maps >= 0).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beta": -1.0}, "must not be negative"),
        ({"steps": 0}, "at least one step"),
        ({"draws": 0}, "one draw"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"seed": [1]}, "1 seeds were given for 3 samples"),
        ({"layer": "last"}, "no grid of"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, says, x, dims):
    with pytest.raises(UsageError, match=says):
        information_bottleneck(Net(dims), x, Logit(1), **{"layer": "body"} | options)


def test_a_background_of_one_image_has_no_spread(x, dims):
    with pytest.raises(UsageError, match="a background of 1 images has no spread"):
        information_bottleneck(Net(dims), x, Logit(1), layer="body", background=x[:1])
