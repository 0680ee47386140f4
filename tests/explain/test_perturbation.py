"""Occlusion, feature ablation and RISE: right, for each sample by itself, however work is cut."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, Occlusion

from attributome.core import probe
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.targets import Logit, Output, OutputSum
from attributome.explain.perturbation import feature_ablation, occlusion, rise
from attributome.explain.segments import blocks
from oracles import perturbation as oracle

CLASSES = torch.tensor([4, 0, 2])


@pytest.fixture
def x(dims):
    space = (7, 6) if dims == 2 else (5, 4, 6)
    return torch.rand(3, 2, *space, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def model(x):
    """Five numbers that are no sums over pixels."""
    weight = torch.randn(5, x[0].numel(), generator=torch.Generator().manual_seed(2)).double()
    return lambda x: (x.flatten(1) @ weight.T).tanh() * x.flatten(1).square().sum(1, keepdim=True)


@pytest.fixture
def one(model):
    """Sample i's own target of one image, for the oracles."""
    return lambda i: lambda image: float(model(torch.as_tensor(image)[None])[0, CLASSES[i]])


@pytest.fixture
def labels(x):
    """Three, four and five features; those of the last sample have gaps between their numbers."""
    found = [blocks(x[:1], (3, *[8] * (x.ndim - 3))), blocks(x[:1], 4), blocks(x[:1], 3)]
    return torch.cat([found[0], found[1], found[2] % 5 * 2])


def methods(labels):
    return {
        "occlusion": lambda m, x, t: occlusion(m, x, t, window=3, stride=2),
        "feature_ablation": lambda m, x, t: feature_ablation(m, x, t, features=labels[: len(x)]),
        "rise": lambda m, x, t: rise(m, x, t, masks=40, cells=3),
        "rise_seeds": lambda m, x, t: rise(m, x, t, masks=40, cells=3, seed=[5, 6, 7][: len(x)]),
    }


NAMES = list(methods(None))


@pytest.mark.parametrize(("window", "stride"), [(3, None), (3, 2), (4, 1), (9, 9)])
@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_occlusion_is_that_of_loops(model, one, x, window, stride, baseline):
    maps = occlusion(model, x, Logit(CLASSES), window=window, stride=stride, baseline=baseline)
    for i in range(3):
        along = [window] * (x.ndim - 2), [stride or window] * (x.ndim - 2)
        wanted = torch.as_tensor(oracle.occlusion(one(i), x[i].numpy(), *along, baseline))
        torch.testing.assert_close(maps[i, 0], wanted, rtol=1e-10, atol=1e-12)


def test_occlusion_is_that_of_captum(model, x):
    window, stride = ((3, 4), (2, 3)) if x.ndim == 4 else ((3, 4, 2), (1, 3, 2))
    baseline = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).double()
    maps = occlusion(model, x, Logit(CLASSES), window=window, stride=stride, baseline=baseline)
    peer = Occlusion(model).attribute(
        x, (2, *window), strides=(2, *stride), baselines=baseline, target=CLASSES
    )
    # captum adds windows up in single precision, whatever the images are in
    torch.testing.assert_close(maps.expand_as(x).float(), peer)


def test_feature_ablation_is_that_of_captum(model, x):
    labels = blocks(x, 3)
    maps = feature_ablation(model, x, Logit(CLASSES), features=labels, baseline=0.2)
    peer = FeatureAblation(model).attribute(
        x, feature_mask=labels[:1, None], baselines=0.2, target=CLASSES
    )
    torch.testing.assert_close(maps.expand_as(x), peer, rtol=1e-10, atol=1e-12)


def test_feature_ablation_has_features_of_each_sample(model, one, x, labels):
    maps = feature_ablation(model, x, Logit(CLASSES), features=labels, baseline=-0.4)
    for i in range(3):
        wanted = torch.as_tensor(oracle.ablation(one(i), x[i].numpy(), labels[i].numpy(), -0.4))
        torch.testing.assert_close(maps[i, 0], wanted, rtol=1e-10, atol=1e-12)


def test_windows_and_blocks_are_features(model, x):
    torch.testing.assert_close(
        occlusion(model, x, Output(1), window=2),
        feature_ablation(model, x, Output(1), features=blocks(x, 2)),
    )


def test_a_window_of_one_pixel_gives_the_terms_of_a_sum(x):
    weight = torch.randn(x[0].shape, generator=torch.Generator().manual_seed(0)).double()
    maps = occlusion(
        lambda x: (x * weight).flatten(1).sum(1, keepdim=True), x, Output(), window=1, baseline=0.5
    )
    torch.testing.assert_close(maps, ((x - 0.5) * weight).sum(1, keepdim=True))


def test_a_maximum_drops_to_the_second_largest(x):
    maps = occlusion(lambda x: x.flatten(1).amax(1, keepdim=True), x[:, :1], Output(), window=1)
    first, second = x[:, 0].flatten(1).topk(2).values.T
    wanted = torch.zeros_like(x[:, 0]).flatten(1)
    wanted.scatter_(1, x[:, 0].flatten(1).argmax(1, keepdim=True), (first - second)[:, None])
    torch.testing.assert_close(maps.flatten(1), wanted)


@pytest.mark.parametrize("seed", [3, [3, 4, 3]], ids=["shared", "each"])
def test_rise_is_that_of_loops(model, one, x, seed):
    maps = rise(model, x, Logit(CLASSES), masks=9, cells=2, keep=0.6, baseline=0.1, seed=seed)
    dims = x.ndim - 2
    for i, s in enumerate([seed] * 3 if isinstance(seed, int) else seed):
        generator = torch.Generator().manual_seed(s)
        drawn = torch.rand(1, 9, dims + 3**dims, generator=generator)[0].numpy()
        masks = [oracle.smooth_mask(d, x.shape[2:], 2, float(np.float32(0.6))) for d in drawn]
        wanted = oracle.rise(one(i), x[i].numpy(), np.array(masks), 0.1)
        torch.testing.assert_close(maps[i, 0], torch.as_tensor(wanted), rtol=1e-8, atol=1e-10)


def test_rise_finds_the_pixel_that_counts(dims):
    x = torch.rand(2, 1, *[12] * dims, generator=torch.Generator().manual_seed(0)).double() + 1
    at = [(3,) * dims, (8, 2, 5)[:dims]]
    region = torch.zeros(x.shape).double()
    for i, pixel in enumerate(at):
        region[(i, 0, *pixel)] = 1
    model = Beside(lambda x, r: (x * r).flatten(1).sum(1, keepdim=True), 0, (region,))
    maps = rise(model, x, Output(), masks=1000, cells=6)
    for found, pixel in zip(maps[:, 0], at, strict=True):
        top = torch.unravel_index(found.argmax(), found.shape)
        assert max(abs(int(a) - b) for a, b in zip(top, pixel, strict=True)) <= 1
        far = found.flip(tuple(range(dims)))[pixel]
        assert abs(float(far)) < 0.1 * float(found[pixel])


@pytest.mark.parametrize("name", NAMES)
def test_work_may_be_cut_anyhow(name, model, x, labels, monkeypatch):
    explain = methods(labels)[name]
    whole = explain(model, x, Logit(CLASSES))
    for few in (1, 3 * x.numel()):
        monkeypatch.setitem(probe.AT_ONCE, "cpu", few)
        torch.testing.assert_close(explain(model, x, Logit(CLASSES)), whole)


@pytest.mark.parametrize("name", NAMES)
def test_the_other_input_stays_with_its_sample(name, x, labels):
    """Three samples with different companions; one at a time is what they must come to."""
    generator = torch.Generator().manual_seed(4)
    other = torch.randn(x.shape, generator=generator).double()

    def model(a, b):
        return (a * b).flatten(1).sum(1, keepdim=True).tanh() * a.flatten(1).sum(1, keepdim=True)

    explain = methods(labels)[name]
    together = explain(Beside(model, 0, (other,)), x, OutputSum())
    for i in range(3):
        picked = methods(labels[i : i + 1])[name] if name != "rise_seeds" else explain
        if name == "rise_seeds":
            alone = rise(
                Beside(model, 0, (other[i : i + 1],)), x[i : i + 1], OutputSum(),
                masks=40, cells=3, seed=[5 + i],
            )  # fmt: skip
        else:
            alone = picked(Beside(model, 0, (other[i : i + 1],)), x[i : i + 1], OutputSum())
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize("name", ["occlusion", "rise"])
def test_a_pixel_that_is_not_read_gets_nothing(name, x, labels):
    """Exactly by occlusion of single pixels; RISE gives a smooth map, so on the mean of many."""

    def model(x):
        return x[:, 0].flatten(1)[:, :1].square()

    if name == "occlusion":
        maps = occlusion(model, x, Output(), window=1).flatten(1)
        assert (maps[:, 1:] == 0).all()
        torch.testing.assert_close(maps[:, 0], x[:, 0].flatten(1)[:, 0].square())
    else:
        maps = rise(model, x, Output(), masks=3000, cells=4).flatten(1)
        assert (maps[:, -1].abs() < 0.1 * maps[:, 0]).all()


def test_a_plane_in_a_volume_is_a_plane():
    x = torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0)).double()

    def model(x):
        return x.flatten(1).cumsum(1).prod(1, keepdim=True).tanh()

    flat = occlusion(model, x, Output(), window=3, stride=2)
    deep = occlusion(model, x[:, :, None], Output(), window=(1, 3, 3), stride=(1, 2, 2))
    torch.testing.assert_close(deep[:, :, 0], flat)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *a: occlusion(*a, window=2, stride=3), "leaves gaps between windows"),
        (lambda *a: occlusion(*a, window=(2, 2, 2, 2)), "a window of"),
        (lambda *a: occlusion(*a, baseline=torch.zeros(7)), "a baseline of shape"),
        (lambda *a: rise(*a, masks=1), "at least two masks"),
        (lambda *a: rise(*a, keep=1.0), "a probability between 0 and 1"),
        (lambda *a: rise(*a, masks=2, keep=0.01), "hidden by all 2 masks"),
        (lambda *a: rise(*a, seed=[1]), "1 seeds were given for 3 samples"),
    ],
)
def test_what_cannot_be_meant_is_refused(model, x, call, says):
    with pytest.raises(UsageError, match=says):
        call(model, x, Output())
