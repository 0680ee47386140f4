"""Extremal perturbation: masks of the size that was asked, where the model looks."""

import pytest
import torch

from attributome.core import probe
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.targets import Output, OutputSum
from attributome.explain.extremal import extremal_perturbation, sized


def shapes(dims, batch=3, size=12):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 1, *[size] * dims, generator=generator).double() + 0.5


def reader(regions):
    """A model of images whose companion says where it reads, and its saturating sum there."""
    return Beside(lambda x, r: (x * r).flatten(1).mean(1, keepdim=True), 0, (regions,))


def corners(x):
    """A region per sample, half of the field along each axis, in different places."""
    half = x.shape[-1] // 2
    places = [[0] * (x.ndim - 2), [half] * (x.ndim - 2), [0, half, half][: x.ndim - 2]]
    regions = torch.zeros_like(x)
    for i, place in enumerate(places[: len(x)]):
        regions[(i, 0, *(slice(p, p + half) for p in place))] = 1
    return regions


def test_sized_masks_have_their_area_and_its_gradient():
    logits = 3 * torch.randn(2, 1, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    areas = torch.tensor([0.1, 0.7]).double()
    masks = sized(logits, areas)
    torch.testing.assert_close(masks.flatten(1).mean(1), areas)
    torch.testing.assert_close(sized(logits + 100, areas), masks)
    assert torch.equal(masks.flatten(1).argsort(1), logits.flatten(1).argsort(1))
    assert torch.autograd.gradcheck(
        lambda t: sized(t, areas), logits.clone().requires_grad_(), eps=1e-4, atol=1e-5
    )


def test_masks_lie_where_each_sample_is_read(dims):
    x = shapes(dims)
    regions = corners(x)
    area = float(regions[0].mean())
    maps = extremal_perturbation(reader(regions), x, Output(), areas=[area], fill="mean")
    torch.testing.assert_close(maps.flatten(1).mean(1), torch.full((3,), area).double())
    assert ((maps * regions).flatten(1).sum(1) > 0.9 * regions.flatten(1).sum(1)).all()


def test_the_mask_is_nearly_the_best_of_its_area():
    """Of a sum, the best mask of all is known: the largest terms; a smooth one comes near it."""
    at = torch.linspace(-2, 2, 16).double()
    x = torch.exp(-(at[:, None] ** 2) - (at - 0.5) ** 2)[None, None]

    def model(x):
        return x.flatten(1).sum(1, keepdim=True)

    for area in (0.1, 0.4):
        mask = extremal_perturbation(model, x, Output(), areas=[area], fill="mean")
        best = x.flatten().topk(round(area * 256)).values.sum()
        assert 0.93 * best < model(x * mask) < 1.01 * best


def test_several_areas_are_the_mean_of_each(dims):
    x = shapes(dims)
    model = reader(corners(x))
    both = extremal_perturbation(model, x, Output(), areas=(0.1, 0.3), steps=8)
    each = [extremal_perturbation(model, x, Output(), areas=[a], steps=8) for a in (0.1, 0.3)]
    torch.testing.assert_close(both, torch.stack(each).mean(0))


def test_the_scale_of_the_target_does_not_matter():
    x = shapes(2)
    regions = corners(x)
    maps = [
        extremal_perturbation(reader(s * regions), x, Output(), areas=[0.25], steps=20)
        for s in (1, 1e4)
    ]
    torch.testing.assert_close(*maps, rtol=1e-3, atol=1e-3)


def test_samples_and_chunks_do_not_matter(dims, monkeypatch):
    x = shapes(dims)
    regions = corners(x)
    seeds = [5, 6, 7]

    def explain(those):
        return extremal_perturbation(
            reader(regions[those]), x[those], OutputSum(),
            areas=(0.1, 0.2, 0.4), steps=6, fill="gaussian", seed=seeds[those],
        )  # fmt: skip

    together = explain(slice(0, 3))
    alone = torch.cat([explain(slice(i, i + 1)) for i in range(3)])
    torch.testing.assert_close(together, alone)
    monkeypatch.setitem(probe.AT_ONCE, "cpu", 1)
    torch.testing.assert_close(explain(slice(0, 3)), together)


def test_without_a_gradient_there_is_no_evidence():
    x = shapes(2)
    regions = corners(x)
    regions[1] = 0
    maps = extremal_perturbation(reader(regions), x, Output(), areas=[0.25], steps=5)
    assert maps.flatten(1).any(1).tolist() == [True, False, True]


@pytest.mark.parametrize("params", [{"areas": []}, {"areas": [0.1, 1.0]}, {"steps": 0}])
def test_what_cannot_be_meant_is_refused(params):
    with pytest.raises(UsageError, match="at least one share between 0 and 1"):
        extremal_perturbation(torch.relu, shapes(2), Output(), **params)
