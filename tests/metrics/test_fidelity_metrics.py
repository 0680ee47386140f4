"""Infidelity, sensitivity-n, completeness, the area of efficacy, and agreements of outputs."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as scikit

from attributome.core.draws import each
from attributome.core.errors import UsageError
from attributome.core.targets import Output
from attributome.metrics import fidelity, outputs
from attributome.metrics.faithfulness import area_under, efficacy, efficacy_area, smallest_size
from attributome.metrics.fidelity import blanks, noisy
from attributome.metrics.ranking import positions
from oracles import metrics as oracle


@pytest.fixture
def x(images):
    return images[..., :5, :4].double()


@pytest.fixture
def weight(x):
    return torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(1), dtype=x.dtype)


@pytest.fixture
def linear(weight):
    return lambda v: (v * weight).flatten(1).sum(1, keepdim=True) + 3


def bent(v):
    flat = v.flatten(1)
    return torch.sin(flat * torch.linspace(1, 4, flat.shape[1], dtype=v.dtype)).sum(1, keepdim=True)


def alone(image):
    return bent(torch.from_numpy(image)[None]).item()


def drawn(x, draw, count, seed):
    return each(x, seed, lambda one, g: torch.stack([draw(one, g) for _ in range(count)], 1))


@pytest.mark.parametrize("draw", [noisy(0.2), blanks(2, 0.5)], ids=["noise", "blanks"])
@pytest.mark.parametrize("channels", [1, 2])
def test_infidelity_is_that_of_the_loop(x, draw, channels):
    maps = (x**2 - 0.3)[:, :channels]
    told = fidelity.infidelities(bent, x, Output(), maps, perturb=draw, draws=5, seed=[1, 2, 3])
    taken = drawn(x, draw, 5, [1, 2, 3])
    for i in range(3):
        wanted = oracle.infidelity(alone, x[i].numpy(), maps[i].numpy(), taken[i].numpy())
        assert [one[i].item() for one in told] == pytest.approx(wanted, rel=1e-8)


def test_infidelity_at_its_best(x, linear, weight):
    exact = weight.expand_as(x)
    plain, scaled, scale = fidelity.infidelities(linear, x, Output(), exact)
    assert torch.allclose(plain, torch.zeros(3).double(), atol=1e-20)
    plain, scaled, scale = fidelity.infidelities(linear, x, Output(), 4 * exact)
    assert (plain > 0.01).all()
    assert torch.allclose(scaled, torch.zeros(3).double(), atol=1e-20)
    assert torch.allclose(scale, torch.full((3,), 0.25).double())
    flat = fidelity.infidelities(linear, x, Output(), 0 * exact)
    assert torch.equal(flat.plain, flat.scaled)


def test_sensitivity_n_is_that_of_the_loop(x):
    maps, fill = x.sqrt(), torch.zeros_like(x)
    ours = fidelity.sensitivity_n(bent, x, Output(), maps, fill, shares=(0.1, 0.5), draws=6, seed=4)
    noise = each(maps, 4, lambda o, g: torch.stack([noisy(1.0)(o, g) for _ in range(6)], 1))
    for i in range(3):
        wanted = []
        for share in (0.1, 0.5):
            count = round(share * maps[0].numel())
            sets = [oracle.order(one.numpy())[:count] for one in noise[i]]
            wanted.append(
                oracle.sensitivity_n(alone, x[i].numpy(), maps[i].numpy(), fill[i].numpy(), sets)
            )
        assert ours[i].item() == pytest.approx(np.mean(wanted), rel=1e-8)


def test_sensitivity_n_at_its_ends(x, linear, weight):
    given = (linear, x, Output())
    for sign in (1, -1):
        score = fidelity.sensitivity_n(*given, sign * x * weight, torch.zeros_like(x))
        assert torch.allclose(score, torch.full((3,), float(sign)).double(), rtol=1e-12)
    assert fidelity.sensitivity_n(*given, torch.zeros_like(x), torch.zeros_like(x)).isnan().all()


def test_completeness(x, linear, weight):
    exact = x * weight
    error = fidelity.completeness(exact, linear, x, Output())
    assert torch.allclose(error, torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(
        fidelity.completeness(3 * exact, linear, x, Output()), torch.tensor(2.0).double()
    )
    wanted = (x.flatten(1).sum(1) - (bent(x) - bent(x + 1))[:, 0]) / (bent(x) - bent(x + 1))[:, 0]
    assert torch.allclose(fidelity.completeness(x, bent, x, Output(), x + 1), wanted.abs())


def test_completeness_without_a_change(x, linear):
    """Nothing to explain: complete if the map says nothing, else undefined."""
    assert fidelity.completeness(0 * x, linear, x, Output(), x).tolist() == [0, 0, 0]
    assert fidelity.completeness(x, linear, x, Output(), x).isnan().all()


def test_impossible_requests_are_refused(x, linear):
    with pytest.raises(UsageError, match="0 draws estimate nothing"):
        fidelity.infidelity(linear, x, Output(), x, draws=0)
    with pytest.raises(UsageError, match="is not defined: ask for at least 2"):
        fidelity.sensitivity_n(linear, x, Output(), x, x, draws=1)
    with pytest.raises(UsageError, match="is nothing or everything"):
        fidelity.sensitivity_n(linear, x, Output(), x, x, shares=(1.0,))


def test_area_under_a_curve():
    curve = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.5, 1.0], [-1.0, -1.0, -1.0]])
    assert area_under(curve, (0, 0.5, 1)).tolist() == [1, 0.5, -1]
    assert area_under(curve, (0.1, 0.2, 0.6)).tolist() == pytest.approx([1, 0.65, -1])
    for sizes in ((0, 0.5), (0, 1, 0.5), (0, 0, 1), (-1, 0, 1), (0, 1, 2)):
        with pytest.raises(UsageError, match="an area needs|make no axis"):
            area_under(curve, sizes)


def test_efficacy_and_its_area_at_their_ends(x):
    """All of the evidence is in one pixel, that either map puts first or last."""
    maps = 0.5 * x[:, :1]
    maps.flatten(1)[:, 0] = 1
    given = {"agreement": outputs.same_value(1.0), "sizes": (0.5, 0.75, 0.9)}

    def first(v):
        return (v.flatten(1)[:, :1] > -0.5).to(v)

    fill = -torch.ones_like(x)
    assert efficacy_area(first, x, maps, fill, **given).tolist() == [1, 1, 1]
    assert efficacy_area(first, x, -maps, fill, **given).tolist() == [0, 0, 0]
    ones = torch.ones_like(maps)
    assert efficacy(lambda v: v, x, ones, -x).tolist() == pytest.approx([1, 1, 1])
    assert efficacy(lambda v: v, x, 0 * ones, -x).tolist() == pytest.approx([-1, -1, -1])


def test_smallest_size_takes_the_batch_as_a_whole(x):
    """A model that knows its batch would fail on a part of it, and each sample has its own size."""
    edge = torch.tensor([0.2, 0.5, 1.0], dtype=torch.double)
    maps = positions(x[:, :1]).flip(0).to(x)
    places = maps.flatten(1).argsort(1, descending=True)

    def model(v):
        assert len(v) == 3
        kept = (v == x).all(1).flatten(1).gather(1, places)
        return (kept.double().mean(1) >= edge - 1e-9).to(v)[:, None]

    given = {"floor": 1.0, "sizes": (0.1, 0.3, 0.6, 1.0), "agreement": outputs.same_value(1.0)}
    size = smallest_size(model, x, maps, x + 1, reference=torch.ones(3, 1).double(), **given)
    assert size.tolist() == pytest.approx(edge.tolist(), abs=0.03)


def test_agreements_of_outputs():
    a, b = torch.tensor([[3.0, 1, 0], [0, 2, 1]]), torch.tensor([[1.0, 3, 0], [0, 1, 0]])
    assert outputs.same_class(a, b).tolist() == [0, 1]
    assert outputs.same_class(a, a).tolist() == [1, 1]
    error = outputs.small_error(2.0)
    assert error(a, a).tolist() == [1, 1]
    assert error(a, b).tolist() == pytest.approx([1 - (8 / 3) ** 0.5 / 2, 1 - (2 / 3) ** 0.5 / 2])
    overlap = outputs.dice(0.5)
    assert overlap(a, b).tolist() == pytest.approx([1, 2 / 3])
    assert overlap(a, -b + 0.4).tolist()[0] == 0
    assert overlap(0 * a, 0 * b).isnan().all()


def test_structural_similarity_is_that_of_scikit_image(images):
    shape = images.shape[2:]
    other = images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    ours = outputs.structural_similarity(1.5)(other, images)
    assert outputs.structural_similarity()(images, images).tolist() == pytest.approx([1, 1, 1])
    for i in range(3):
        wanted = scikit(
            images[i].numpy(), other[i].numpy(), data_range=1.5, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        assert ours[i].item() == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(UsageError, match="window"):
        outputs.structural_similarity(sigma=float(shape[0]))(other, images)
