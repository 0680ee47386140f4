"""Analytic: networks set by hand depend on what they are said to, and on nothing else."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, correlate
from torch import nn

from attributome.benchmark.counterfactuals import refuse_unverified, verify
from attributome.benchmark.networks import (
    linear_network,
    linear_support,
    planted_network,
    planted_support,
)
from attributome.benchmark.optimum import (
    BLOCKS,
    best_blocks,
    fitted_blocks,
    fitted_mask,
    linear_optimum,
    linear_problem,
)
from attributome.benchmark.scenes import KINDS, field
from attributome.core.errors import DataError
from attributome.core.probe import gradient, predict
from attributome.core.targets import Logit, Output, OutputSum, RegionMean

SPACES = {2: (64, 64), 3: (8, 48, 48)}
TASKS = ("image", "classification", "regression")


def drawn(task, dims, index=0, **changed):
    return field(task, SPACES[dims], seed=3, index=index, **changed)


def target_of(task):
    return {"image": OutputSum(), "classification": Logit(0), "regression": Output(0)}[task]


@pytest.mark.parametrize("task", TASKS)
def test_the_gradient_is_exactly_the_support(task, dims):
    net = planted_network(task, dims)
    x = torch.from_numpy(drawn(task, dims).image)[None]
    found = gradient(net, x, target_of(task)).abs().sum(1, keepdim=True) > 0
    truth = planted_support(net, x, 0)
    assert 0 < truth.float().mean() < 0.3
    assert not (found & ~truth).any()
    # at the field's rim the stain is cut off, and elsewhere every pixel of the support counts
    assert (found == truth).float().mean() > 0.999


@pytest.mark.parametrize("task", TASKS)
def test_occlusion_outside_the_support_changes_nothing(task, dims):
    net, target = planted_network(task, dims), target_of(task)
    x = torch.from_numpy(drawn(task, dims).image)[None]
    outside = ~planted_support(net, x, 0)[0, 0]
    if task == "classification":  # the other class reads the other marker
        outside &= ~planted_support(net, x, 1)[0, 0]
    before = target(predict(net, x))
    # pixels of a coarse grid: no smoothing window then holds two of them
    for corner in itertools.islice(itertools.product(range(4), repeat=dims), 4):
        grid = torch.zeros_like(outside)
        grid[tuple(slice(at, None, 4) for at in corner)] = True
        hidden = torch.where(grid & outside, 0.0, x)
        assert not torch.equal(hidden, x)
        assert torch.equal(target(predict(net, hidden)), before)


@pytest.mark.parametrize("task", ["image", "regression"])
def test_what_is_not_evidence_has_no_effect(task, dims):
    seen = {None: drawn(task, dims)} | {kind: drawn(task, dims, changed=kind) for kind in KINDS}
    net = planted_network(task, dims)
    out = {kind: net(torch.from_numpy(one.image)[None]) for kind, one in seen.items()}
    scale = out[None].abs().max()
    assert not torch.allclose(out["evidence"], out[None], atol=0.1 * scale.item())
    for kind in ("other", "decoy", "suppressor"):
        assert torch.allclose(out[kind], out[None], atol=1e-3 * scale.item()), kind


@pytest.mark.parametrize("task", TASKS)
def test_an_edit_changes_its_own_thing_only(task, dims):
    whole = drawn(task, dims)
    for kind in KINDS:
        gap = np.abs(drawn(task, dims, changed=kind).image - whole.image).max(0)
        inside = whole.where[kind]
        assert inside.any()
        far = ~binary_dilation(inside, iterations=4)
        assert gap[inside].mean() > 0.3
        assert gap[far].max() < 0.05, kind


def test_the_brightest_is_not_the_evidence(dims):
    for index in range(4):
        whole = drawn("image", dims, index)
        markers = whole.image[:2].max(0)
        assert markers[whole.where["suppressor"]].mean() > markers[whole.where["evidence"]].mean()
        assert whole.image[2].std() > whole.image[0].std()


def test_the_linear_network_is_a_correlation(dims, random):
    kernel = random.standard_normal((3, 5, 3)[:dims])
    x = random.standard_normal((1, 1, *(9, 8, 7)[:dims]))
    found = linear_network(torch.from_numpy(kernel))(torch.from_numpy(x)).detach()[0, 0]
    wanted = correlate(x[0, 0], kernel, mode="constant")
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_the_linear_support_is_where_the_score_feels_a_pixel(dims, random):
    """The oracle turns one pixel at a time; the kernel has zeros and no symmetry."""
    kernel = torch.from_numpy(random.standard_normal((3,) * dims))
    kernel[kernel < 0.3] = 0
    size = (6, 7, 5)[:dims]
    region = torch.zeros(1, 1, *size, dtype=torch.bool)
    region[(0, 0, *[slice(1, 3)] * dims)] = True
    net, x = linear_network(kernel), torch.from_numpy(random.standard_normal((1, 1, *size)))
    before = predict(net, x)[region]
    felt = torch.zeros_like(region)
    for at in itertools.product(*map(range, size)):
        turned = x.clone()
        turned[(0, 0, *at)] += 1
        felt[(0, 0, *at)] = not torch.equal(predict(net, turned)[region], before)
    assert torch.equal(linear_support(kernel, region), felt)
    slope = gradient(net, x, RegionMean(region[0, 0]))
    assert not (slope[~felt] != 0).any()


def test_a_fitted_mask_is_the_exact_support():
    problem = linear_problem(2)
    exact = linear_support(problem.kernel, problem.region)
    mask = fitted_mask(problem, steps=150) > 0.5
    assert abs(int(mask.sum()) - int(exact.sum())) <= 0.05 * int(exact.sum())
    assert int((mask & ~exact).sum()) <= 0.05 * int(mask.sum())


def test_brute_force_tries_every_mask_and_the_network_agrees():
    problem = linear_problem(2)
    fewest, values = best_blocks(problem, (2, 2), tau=0.5, draws=2)
    assert len(values) == 16
    assert values[15] == pytest.approx(1.0)
    assert abs(values[0]) < 0.3
    found, kept = fitted_blocks(problem, (2, 2), tau=0.5, draws=2)
    assert found == fewest
    assert np.abs(values - kept).min() < 1e-9  # what the network gives with these blocks


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_optimum_is_met(dims, seed):
    (row,) = linear_optimum(dims, seed=seed).to_dict("records")
    assert row["area_error"] <= 0.05
    assert row["outside"] <= 0.05
    assert row["mask_blocks"] == row["fewest_blocks"]
    assert BLOCKS[dims]


class Cheat(nn.Module):
    """Reads the granules, and a little the nuclei beside them."""

    def __init__(self, task, share):
        super().__init__()
        self.honest, self.share = planted_network(task, 2), share

    def forward(self, x):
        nuclei = x[:, 2].flatten(1).mean(1)
        out = self.honest(x)
        return out + self.share * nuclei.view(-1, *[1] * (out.ndim - 1))


@pytest.mark.parametrize("task", ["image", "regression"])
def test_a_network_that_uses_the_decoy_is_refused(task):
    tables = {
        share: verify(Cheat(task, share), task, (64, 64), fields=6, seed=0) for share in (0, 3)
    }
    refuse_unverified("honest", tables[0])
    with pytest.raises(DataError, match="the network cheat cannot be a judge .* the decoy moves"):
        refuse_unverified("cheat", tables[3])


def test_a_network_that_sees_nothing_is_refused():
    blind = nn.Sequential(nn.Conv2d(3, 1, 1))
    nn.init.zeros_(blind[0].weight)
    with pytest.raises(DataError, match="does not read it"):
        verify(blind, "image", (64, 64), fields=3, seed=0)


def test_a_network_that_hardly_reads_the_evidence_is_refused():
    table = verify(Cheat("regression", 50), "regression", (64, 64), fields=6, seed=0)
    with pytest.raises(DataError, match="taking the evidence away moves it by"):
        refuse_unverified("blinded", table)
