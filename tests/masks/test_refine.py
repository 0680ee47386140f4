"""Refinement of one image's mask: never worse than its start, and better where better exists."""

import pytest
import torch

from attributome.core.arrays import mix, pearson, top_share
from attributome.core.draws import each
from attributome.core.errors import UsageError
from attributome.core.fills import gaussian
from attributome.core.inputs import Beside
from attributome.core.seeds import seed_of
from attributome.masks.objective import PRESETS, Objective
from attributome.masks.refine import SIZES, refine

GOAL = PRESETS["image"]


@pytest.fixture
def x(dims):
    space = (16, 16) if dims == 2 else (8, 8, 8)
    return torch.randn(3, 2, *space, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture
def support(x):
    """Where each sample is read: a slab at another place."""
    regions = torch.zeros_like(x[:, :1])
    for i, region in enumerate(regions[:, 0]):
        region[2 * i : 2 * i + 2, 2:7] = 1
    return regions


@pytest.fixture
def model(support):
    """A linear image-to-image model that reads channel 0 of the support."""
    return Beside(lambda x, region: 2 * x[:, :1] * region, 0, (support,))


@pytest.fixture
def start(x):
    return torch.rand(x[:, :1].shape, generator=torch.Generator().manual_seed(1)).double()


def test_a_bad_start_finds_the_support(model, x, support, start):
    with torch.no_grad():  # as a caller may have it
        found = refine(model, x, start, goal=GOAL)
    assert (found.scores[:, -1] > found.scores[:, 0] + 0.3).all()
    size = float(support[0].mean())
    inside = (top_share(found.maps, size) * support).flatten(1).sum(1)
    before = (top_share(start, size) * support).flatten(1).sum(1)
    assert (inside >= 0.5 * support.flatten(1).sum(1)).all()
    assert (inside > 2 * before).all()


def held_out_score(model, x, maps, seed=0, sizes=SIZES):
    """The score by its definition, one mask size at a time."""
    named = [seed_of(seed, "refine", "held out")] * len(x)
    fill = each(x, named, lambda one, g: gaussian(one, g, GOAL.noise_scale))
    whole = model(x)
    scores = [pearson(model(mix(x, top_share(maps, s), fill)), whole) for s in sizes]
    return torch.stack(scores).mean(0)


@pytest.mark.parametrize("rate", [0.1, 30.0, 1e-9], ids=["usual", "wild", "still"])
def test_no_map_is_worse_than_its_start(model, x, start, rate):
    """And each is the best that was seen, whatever the steps did."""
    found = refine(model, x, start, goal=GOAL, steps=12, every=3, rate=rate)
    assert found.steps == (0, 3, 6, 9, 12)
    now = held_out_score(model, x, found.maps)
    torch.testing.assert_close(found.scores[:, 0], held_out_score(model, x, start))
    torch.testing.assert_close(now, found.scores.amax(1))
    assert (now >= found.scores[:, 0] - 1e-12).all()
    assert torch.equal(found.maps.flatten(1).sort(1)[0], start.flatten(1).sort(1)[0])


def test_the_best_start_stays_as_it_is(model, x, support):
    """The support itself first: at its own size nothing beats it."""
    start = support + 1e-3 * torch.rand(support.shape, generator=torch.Generator().manual_seed(2))
    size = float(support[0].mean())
    found = refine(model, x, start, goal=GOAL, steps=10, sizes=[size])
    torch.testing.assert_close(found.scores[:, 0], torch.ones(3).double())
    assert torch.equal(found.maps, start)


def test_each_sample_is_refined_by_itself(x, support, start):
    """Other companions, other seeds, together and alone."""

    def refined(those, seed):
        model = Beside(lambda x, region: (x * region).tanh(), 0, (support[those],))
        return refine(model, x[those], start[those], goal=GOAL, steps=6, every=2, seed=seed)

    seeds = [4, 5, 6]
    together = refined(slice(0, 3), seeds)
    for i in range(3):
        alone = refined(slice(i, i + 1), seeds[i : i + 1])
        torch.testing.assert_close(together.scores[i : i + 1], alone.scores)
        torch.testing.assert_close(together.maps[i : i + 1], alone.maps)
    shared = refined(slice(0, 3), 4)
    torch.testing.assert_close(shared.maps[0], together.maps[0])
    assert not torch.equal(shared.scores[1], together.scores[1])


@pytest.mark.parametrize("form", ["rank", "soft", "bernoulli", "concrete"])
def test_every_form_of_the_loss_improves(model, x, start, form):
    goal = Objective(form=form, pool="sample", size=0.2, fidelity=0.1, noise_scale=1.5)
    found = refine(model, x, start, goal=goal, steps=40, rate=0.2)
    assert (found.scores.amax(1) > found.scores[:, 0] + 0.1).all()


def test_it_costs_what_it_says(x, start):
    forwards, backwards = [], []

    def model(x):
        forwards.append(len(x))
        out = x[:, :1] * 2
        if out.requires_grad:
            out.register_hook(lambda g: backwards.append(len(g)))
        return out

    found = refine(model, x[:1], start[:1], goal=GOAL, steps=7, every=3, draws=4)
    assert found.steps == (0, 3, 6, 7)
    assert found.evaluations[0] == 1 + len(SIZES)
    assert found.evaluations[-1] == sum(forwards) + sum(backwards)
    none = refine(model, x[:1], start[:1], goal=GOAL, steps=0)
    assert none.steps == (0,)
    assert torch.equal(none.maps, start[:1])


def test_a_grain_moves_only_coarse_detail(model, x, start):
    """With one knot for the whole field all pixels move alike, so the order cannot change."""
    found = refine(model, x, start, goal=GOAL, steps=6, grain=16)
    assert torch.equal(found.maps, start)
    finer = refine(model, x, start, goal=GOAL, grain=2)
    assert (finer.scores.amax(1) > finer.scores[:, 0] + 0.1).all()


def test_a_model_with_one_output_needs_a_comparison(x, support, start):
    x = x + 2  # so that what is kept of the support tells in its sum
    model = Beside(lambda x, region: (x * region).flatten(1).sum(1, keepdim=True), 0, (support,))
    with pytest.raises(UsageError, match="say with `agree` how"):
        refine(model, x, start, goal=PRESETS["regression"])

    def near(out, full):
        return 1 - ((out - full) / 5).square().mean(1)

    found = refine(model, x, start, goal=PRESETS["regression"], agree=near, steps=20)
    assert (found.scores.amax(1) > found.scores[:, 0]).all()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"steps": 51}, "give at most 50"),
        ({"every": 0}, "of at least 1"),
        ({"grain": 0}, "of at least 1"),
        ({"seed": [1]}, "1 seeds were given for 3 samples"),
    ],
)
def test_what_cannot_be_meant_is_refused(model, x, start, params, says):
    with pytest.raises(UsageError, match=says):
        refine(model, x, start, goal=GOAL, **params)
