"""Losses against slow oracles: loops for MSE and L1, windows one by one for MS-SSIM."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from attributome.core.errors import UsageError
from attributome.inpainting.losses import LOSSES, ms_ssim

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def pictures(n=2, channels=2, size=(25, 23), seed=0, noise=0.3):
    """Smooth images and noisy ones of the same things."""
    draw = np.random.default_rng(seed)
    truth = gaussian_filter(draw.random((n, channels, *size)), (0, 0, 2, 2))
    truth = (truth - truth.min()) / np.ptp(truth)
    return np.clip(truth + noise * draw.normal(size=truth.shape), 0, 1), truth


def one_scale(x, y):
    """Wang et al. 2004, every window by itself: mean similarity, and mean contrast-structure."""
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    whole, structures = [], []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            both = (window * (a - ma) * (b - mb)).sum()
            structures.append((2 * both + 0.03**2) / (va + vb + 0.03**2))
            whole.append(structures[-1] * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2))
    return np.mean(whole), np.mean(structures)


def halved(x):
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return x[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean((1, 3))


def slowly(prediction, truth):
    scales = sum(min(truth.shape[2:]) // 2**level >= 11 for level in range(5))
    weights = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    found = []
    planes = (images.reshape(-1, *truth.shape[2:]) for images in (prediction, truth))
    for x, y in zip(*planes, strict=True):
        product = 1.0
        for level, weight in enumerate(weights):
            whole, structure = one_scale(x, y)
            product *= max(whole if level == scales - 1 else structure, 1e-4) ** weight
            x, y = halved(x), halved(y)
        found.append(product)
    return 1 - np.mean(found)


@pytest.mark.parametrize(("size", "scales"), [((12, 15), 1), ((25, 23), 2), ((44, 46), 3)])
def test_ms_ssim_is_what_windows_one_by_one_give(size, scales):
    given = pictures(n=1 if scales > 2 else 2, channels=1 if scales > 2 else 2, size=size)
    wanted = slowly(*given)
    assert 0.05 < wanted < 0.95
    got = ms_ssim(*map(torch.from_numpy, given))
    assert got.item() == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing_and_a_worse_one_more(name):
    costs = [
        LOSSES[name](*map(torch.from_numpy, pictures(noise=noise))).item()
        for noise in (0, 0.05, 0.2, 0.5)
    ]
    assert costs[0] == pytest.approx(0, abs=1e-12)
    assert costs == sorted(costs)
    assert costs[1] > 0


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("l1", 1)])
def test_mse_and_l1_are_means_over_every_pixel(name, power):
    prediction, truth = pictures()
    wanted = np.mean(
        [abs(a - b) ** power for a, b in zip(prediction.flat, truth.flat, strict=True)]
    )
    got = LOSSES[name](torch.from_numpy(prediction), torch.from_numpy(truth))
    assert got.item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_is_the_mean_of_its_cells(name):
    prediction, truth = map(torch.from_numpy, pictures(n=3))
    alone = [LOSSES[name](prediction[i : i + 1], truth[i : i + 1]) for i in range(3)]
    assert LOSSES[name](prediction, truth).item() == pytest.approx(torch.stack(alone).mean().item())


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_those_of_finite_differences(name):
    prediction, truth = map(torch.from_numpy, pictures(n=1, channels=1, size=(23, 23)))
    prediction.requires_grad_()
    (slope,) = torch.autograd.grad(LOSSES[name](prediction, truth), prediction)
    for at in ((0, 0, 0, 0), (0, 0, 11, 7), (0, 0, 22, 22)):
        step = torch.zeros_like(truth)
        step[at] = 1e-6
        with torch.no_grad():
            up, down = (LOSSES[name](prediction + sign * step, truth) for sign in (1, -1))
        assert ((up - down) / 2e-6).item() == pytest.approx(slope[at].item(), abs=1e-7)


def test_ms_ssim_stays_finite_where_images_are_opposite_or_flat():
    for prediction, truth in (
        (torch.rand(1, 1, 24, 24), torch.zeros(1, 1, 24, 24)),
        (torch.zeros(1, 1, 24, 24), torch.zeros(1, 1, 24, 24)),
        (1 - (noise := torch.rand(1, 1, 24, 24)), noise),
    ):
        prediction.requires_grad_()
        loss = ms_ssim(prediction, truth)
        (slope,) = torch.autograd.grad(loss, prediction)
        assert loss.isfinite()
        assert slope.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_compared_in_full(name):
    prediction, truth = map(torch.from_numpy, pictures())
    half = prediction.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = LOSSES[name](half, truth.float())
    assert got.dtype == torch.float32
    wanted = LOSSES[name](half.double(), truth)
    assert got.item() == pytest.approx(wanted.item(), abs=1e-5)


def test_what_cannot_be_compared_is_refused():
    one = torch.rand(2, 1, 8, 8)
    with pytest.raises(UsageError, match=r"shape \(2, 1, 8, 8\) .* truth of \(1, 1, 8, 8\)"):
        LOSSES["mse"](one, one[:1])
    with pytest.raises(UsageError, match=r"crops of \(8, 8\) are too small for it: use mse or l1"):
        ms_ssim(one, one)
