"""Kernel SHAP and Owen values: what enumeration gives, and the axioms that define them."""

import numpy as np
import pytest
import torch
from captum.attr import ShapleyValues

from attributome.core import probe
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.targets import Logit, Output, OutputSum
from attributome.explain.segments import blocks, compact, halves, sizes_of
from attributome.explain.shapley import coalitions, kernel_shap, owen
from oracles import shapley as oracle

CLASSES = torch.tensor([4, 0, 2])


@pytest.fixture
def x(dims):
    space = (7, 8) if dims == 2 else (4, 4, 6)
    return torch.rand(3, 2, *space, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def model(x):
    """Five numbers in which every pixel acts together with all others."""
    weight = torch.randn(5, x[0].numel(), generator=torch.Generator().manual_seed(2)).double()
    return lambda x: (x.flatten(1) @ weight.T).tanh() * x.flatten(1).square().sum(1, keepdim=True)


@pytest.fixture
def labels(x):
    """Features of any shape: six, four (with gaps between the numbers) and one."""
    generator = torch.Generator().manual_seed(3)
    first, second = torch.randint(0, 6, (2, 1, *x.shape[2:]), generator=generator)
    return torch.cat([first, second % 4 * 3, torch.zeros_like(first)])


def game(model, image, labels, output, baseline=0.0):
    """The players are features; a coalition shows them."""

    def value(players):
        kept = np.isin(labels.numpy(), list(players))
        seen = torch.where(torch.as_tensor(kept), image, baseline)
        return float(model(seen[None])[0, output])

    return value


def per_feature(maps, labels):
    """The sum of each sample's map over each of its features."""
    flat = labels.flatten(1)
    return maps.new_zeros(sizes_of(labels).shape).scatter_add_(1, flat, maps.flatten(1))


def gap(model, x, target, baseline=0.0):
    return target(model(x)) - target(model(torch.full_like(x, baseline)))


@pytest.mark.parametrize("seed", [0, [1, 2, 3]], ids=["shared", "each"])
def test_with_all_coalitions_kernel_shap_is_shapley(model, x, labels, seed):
    maps = kernel_shap(
        model, x, Logit(CLASSES), features=labels, evaluations=64, baseline=0.2, seed=seed
    )
    renumbered = compact(labels, x)
    found = per_feature(maps, renumbered)
    for i, n in enumerate([6, 4, 1]):
        play = game(model, x[i], renumbered[i], int(CLASSES[i]), 0.2)
        wanted = torch.as_tensor(oracle.shapley(play, n))
        torch.testing.assert_close(found[i, :n], wanted, rtol=1e-9, atol=1e-11)
        assert (found[i, n:] == 0).all()


def test_the_oracle_is_itself_shapley():
    table = np.random.default_rng(0).normal(size=32)
    play = lambda players: table[sum(2**p for p in players)]  # noqa: E731
    assert np.allclose(oracle.shapley(play, 5), oracle.shapley_by_orders(play, 5))


def test_kernel_shap_is_captums_enumeration(model, x):
    labels = blocks(x, [*x.shape[2:-1], 2])
    maps = kernel_shap(model, x, Logit(CLASSES), features=labels, baseline=0.1)
    peer = ShapleyValues(model).attribute(
        x, feature_mask=labels[:1, None], baselines=0.1, target=CLASSES
    )
    size = sizes_of(labels)[:, :1].view(-1, *[1] * (x.ndim - 1))
    # captum adds the orders up in single precision, whatever the images are in
    torch.testing.assert_close((maps * size).expand_as(x).float(), peer)


def test_a_product_is_shared_and_a_maximum_as_by_hand():
    x = torch.tensor([[[[3.0, 5.0]]]]).double()
    features = torch.tensor([[[0, 1]]])

    def shares(model):
        return kernel_shap(model, x, Output(), features=features).flatten().tolist()

    assert shares(lambda x: x.flatten(1).prod(1, keepdim=True)) == pytest.approx([7.5, 7.5])
    assert shares(lambda x: x.flatten(1).amax(1, keepdim=True)) == pytest.approx([1.5, 3.5])


@pytest.mark.parametrize("evaluations", [512, 150, 128])
def test_drawn_coalitions_are_exact_for_a_sum(x, evaluations):
    """Sensitivity-n, for every n: what any pixels add to the target is the sum of their map."""
    weight = torch.randn(x[0].shape, generator=torch.Generator().manual_seed(0)).double()

    def model(x):
        return (x * weight).flatten(1).sum(1, keepdim=True)

    labels = blocks(x, 1 if x.ndim == 4 else 2) % 50
    maps = kernel_shap(model, x, Output(), features=labels, evaluations=evaluations, baseline=0.3)
    terms = ((x - 0.3) * weight).sum(1, keepdim=True)
    torch.testing.assert_close(per_feature(maps, labels), per_feature(terms, labels))


def test_drawn_coalitions_come_near_and_nearer(model, x):
    labels = torch.randint(0, 8, (1, *x.shape[2:]), generator=torch.Generator().manual_seed(0))
    wanted = torch.as_tensor(oracle.shapley(game(model, x[0], labels[0], 0), 8))

    def error(evaluations):
        maps = [
            kernel_shap(model, x[:1], Logit(0), features=labels, evaluations=evaluations, seed=seed)
            for seed in range(8)
        ]
        found = torch.stack([per_feature(m, labels)[0] for m in maps])
        return ((found - wanted).norm(dim=1) / wanted.norm()).mean().item()

    assert error(240) < 0.15
    assert error(240) < 0.6 * error(50)
    assert error(256) < 1e-9


@pytest.mark.parametrize("evaluations", [20, 64, 512])
def test_maps_sum_to_the_difference_however_few_the_evaluations(model, x, labels, evaluations):
    labels = labels if evaluations > 20 else labels[:, :1].expand_as(labels) % 10
    target = Logit(CLASSES)
    maps = kernel_shap(model, x, target, features=labels, evaluations=evaluations, baseline=0.1)
    torch.testing.assert_close(maps.flatten(1).sum(1), gap(model, x, target, 0.1))
    maps = kernel_shap(model, x, target, evaluations=max(evaluations, 128), baseline=0.1)
    torch.testing.assert_close(maps.flatten(1).sum(1), gap(model, x, target, 0.1))
    maps = owen(model, x, target, depth=3, baseline=0.1)
    torch.testing.assert_close(maps.flatten(1).sum(1), gap(model, x, target, 0.1))


def test_dummies_get_nothing_and_twins_get_the_same(x):
    labels = blocks(x, [4, *x.shape[3:]]) * 0 + torch.arange(x.shape[-1]) % 4

    def model(x):  # reads columns 0, 1 and 2, the first two alike
        sums = [x[..., c].flatten(1).sum(1) for c in (0, 1, 2)]
        return ((sums[0] + sums[1]).tanh() * sums[2])[:, None]

    even = x.clone()
    even[..., 1] = even[..., 0]
    even[..., 4:] = 0
    phi = per_feature(kernel_shap(model, even, Output(), features=labels), labels)
    torch.testing.assert_close(phi[:, 0], phi[:, 1])
    assert (phi[:, 3].abs() < 1e-12).all()
    assert (phi[:, :3].abs() > 1e-3).all()


def test_coalitions_are_pairs_by_size():
    kept, weight = coalitions(8, 202, seed=0)
    assert kept.shape == (200, 8)
    assert torch.equal(kept[:100], ~kept[100:])
    assert weight.unique().tolist() == [1]
    share = 1 / (np.arange(1, 8) * np.arange(7, 0, -1))
    counts = np.bincount(kept.sum(1).numpy(), minlength=9)[1:8]
    assert np.abs(counts - 200 * share / share.sum()).max() <= 2
    assert (kept.double().mean(0) == 0.5).all()  # by the complements
    assert not torch.equal(kept, coalitions(8, 202, seed=1)[0])
    assert coalitions(8, 256, seed=0)[0].unique(dim=0).shape == (254, 8)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_owen_is_the_mean_over_orders_of_the_tree(model, x, depth):
    maps = owen(model, x, Logit(CLASSES), depth=depth, baseline=0.2)
    labels = halves(x, depth)
    found = per_feature(maps, labels)
    for i in range(3):
        wanted = oracle.owen(game(model, x[i], labels[i], int(CLASSES[i]), 0.2), depth)
        torch.testing.assert_close(found[i], torch.as_tensor(wanted), rtol=1e-9, atol=1e-11)


def test_owen_is_exact_for_a_sum_at_the_usual_depth(x):
    maps = owen(lambda x: x.flatten(1).sum(1, keepdim=True), x, Output())
    labels = halves(x, 4)
    torch.testing.assert_close(
        per_feature(maps, labels), per_feature(x.sum(1, keepdim=True), labels)
    )


def counted(model, seen):
    def count(x):
        seen.append(len(x))
        return model(x)

    return count


@pytest.mark.parametrize("depth", [1, 4])
def test_owen_costs_what_it_says(model, x, depth):
    seen = []
    owen(counted(model, seen), x[:1], Output(), depth=depth)
    assert sum(seen) == 2 * (4**depth - 1) // 3 + 2


@pytest.mark.parametrize(("evaluations", "spent"), [(100, 64), (64, 64), (40, 40), (41, 40)])
def test_kernel_shap_costs_at_most_its_evaluations(model, x, labels, evaluations, spent):
    seen = []
    kernel_shap(counted(model, seen), x[:1], Output(), features=labels[:1], evaluations=evaluations)
    assert sum(seen) == spent


def methods(labels, seed=0):
    return {
        "kernel_shap": lambda m, x, t: kernel_shap(
            m, x, t, features=labels, evaluations=30, seed=seed
        ),
        "owen": lambda m, x, t: owen(m, x, t, depth=3),
    }


NAMES = ["kernel_shap", "owen"]


@pytest.mark.parametrize("name", NAMES)
def test_work_may_be_cut_anyhow(name, model, x, labels, monkeypatch):
    explain = methods(labels)[name]
    whole = explain(model, x, Logit(CLASSES))
    for few in (1, 5 * x.numel()):
        monkeypatch.setitem(probe.AT_ONCE, "cpu", few)
        torch.testing.assert_close(explain(model, x, Logit(CLASSES)), whole)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [7, [7, 8, 9]], ids=["shared", "each"])
def test_the_other_input_stays_with_its_sample(name, seed, x, labels):
    """Three samples with other companions, features and coalitions, together and alone."""
    other = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).double()

    def model(a, b):
        return (a * b).flatten(1).sum(1, keepdim=True).tanh() * a.flatten(1).sum(1, keepdim=True)

    together = methods(labels, seed)[name](Beside(model, 0, (other,)), x, OutputSum())
    for i in range(3):
        own = slice(i, i + 1)
        alone = methods(labels[own], seed if isinstance(seed, int) else seed[own])[name]
        torch.testing.assert_close(
            together[own], alone(Beside(model, 0, (other[own],)), x[own], OutputSum())
        )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda *a: kernel_shap(*a, evaluations=60), "cannot tell .* features apart"),
        (lambda *a: kernel_shap(*a, seed=[1]), "1 seeds were given for 3 samples"),
        (lambda *a: owen(*a, depth=12), "cannot be halved 12 times"),
    ],
)
def test_what_cannot_be_meant_is_refused(model, x, call, says):
    with pytest.raises(UsageError, match=says):
        call(model, x, Output())
