"""Pixel flipping and removal against the slow version, and the ends of their scales."""

import numpy as np
import pytest
import torch

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.targets import Output, OutputSum
from attributome.metrics import orders
from attributome.metrics.ranking import check_channels
from attributome.metrics.road import impute, remove_and_debias, road, road_and_blurred
from oracles import metrics as oracle


@pytest.fixture
def small(dims):
    """Three images of two channels, a fill, and maps of one and of two channels."""
    draw = torch.Generator().manual_seed(3)
    shape = (3, 2, *[5, 4, 3][:dims])
    x, fill, fine = (torch.randn(shape, generator=draw, dtype=torch.double) for _ in range(3))
    return x, fill, fine[:, :1].round(decimals=1), fine


def bumpy(x):
    """Not linear, not the same everywhere: one output per sample."""
    flat = x.flatten(1)
    weight = torch.linspace(-1, 2, flat.shape[1], dtype=x.dtype)
    return torch.tanh(flat * weight).sum(1, keepdim=True) + (flat[:, :1] * flat[:, 1:2])


def alone(image):
    return bumpy(torch.from_numpy(image)[None]).item()


def exactly(values):
    return pytest.approx(values, abs=1e-12)


def first_pixel(x):
    return x.flatten(1)[:, :1]


def one_of(x, where):
    maps = torch.rand(x[:, :1].shape, generator=torch.Generator().manual_seed(0)).to(x) / 2
    maps.flatten(1)[:, where] = 1
    return maps


@pytest.mark.parametrize("order", ["morf", "lerf"])
@pytest.mark.parametrize("channels", [1, 2])
def test_flipping_is_that_of_the_loop(small, channels, order):
    x, fill, coarse, fine = small
    maps = coarse if channels == 1 else fine
    ours = orders.flipping(bumpy, x, Output(), maps, fill, steps=7, order=order)
    for i in range(3):
        wanted = oracle.flipping(
            alone, x[i].numpy(), maps[i].numpy(), fill[i].numpy(), 7, lerf=order == "lerf"
        )
        np.testing.assert_allclose(ours[i], wanted, rtol=1e-9)


def test_heights_are_those_of_the_loop(small):
    x, fill, _, maps = small
    given = (bumpy, x, Output(), maps, fill)
    morf, lerf = (orders.flipping(*given, steps=6, order=o) for o in ("morf", "lerf"))
    told = [score(*given, steps=6) for score in (orders.deletion, orders.insertion, orders.abpc)]
    for i in range(3):
        whole, blank = alone(x[i].numpy()), alone(fill[i].numpy())
        low = oracle.height(morf[i].tolist(), whole, blank)
        high = oracle.height(lerf[i].tolist(), whole, blank)
        assert [one[i].item() for one in told] == pytest.approx([low, high, high - low], rel=1e-9)
        # what the trapezoid rule makes of the same curve, as the docstring says
        assert oracle.trapezoid(morf[i].tolist(), whole, blank) == pytest.approx(
            (5 * low + 0.5) / 6
        )


def test_one_pixel_that_decides_is_the_best_and_the_worst(small):
    x, _, _, _ = small
    given = {"model": first_pixel, "x": x, "target": Output(), "fill": torch.zeros_like(x)}
    steps = x[0, 0].numel()
    for where, (gone, back, between) in ((0, (0, 1, 1)), (-1, (1, 0, -1))):
        # the pixel that decides is first for one map and the last for its negative
        maps = one_of(x, 0) if where == 0 else -one_of(x, 0)
        every = {**given, "maps": maps, "steps": steps}
        assert orders.deletion(**every).tolist() == exactly([gone] * 3)
        assert orders.insertion(**every).tolist() == exactly([back] * 3)
        assert orders.abpc(**every).tolist() == exactly([between] * 3)
        best = where == 0
        assert (1 - orders.deletion_over_random(**every) < 1e-12).all() == best
        assert (1 - orders.insertion_over_random(**every) < 1e-12).all() == best
        assert (orders.deletion_over_random(**every) > 0).all() == best
        assert (orders.insertion_over_random(**every) > 0).all() == best


def test_a_random_order_is_chance(small):
    """For equal contributions every order has the same height, and chance is no gain."""
    x, _, maps, _ = small
    given = (lambda v: v.flatten(1), torch.ones_like(x), OutputSum(), maps, torch.zeros_like(x))
    steps = maps[0].numel()
    assert torch.allclose(orders.random_height(*given, steps=steps), torch.tensor(0.5).double())
    for gain in (orders.deletion_over_random, orders.insertion_over_random, orders.abpc):
        assert torch.allclose(gain(*given, steps=steps), torch.zeros(3).double(), atol=1e-12)


def test_curves_end_at_the_image_and_at_the_fill(small):
    x, fill, maps, _ = small
    gone = orders.deletion_curve(bumpy, x, Output(), maps, fill, steps=5)
    back = orders.insertion_curve(bumpy, x, Output(), maps, fill, steps=5)
    for curve, ends in ((gone, (x, fill)), (back, (fill, x))):
        assert torch.allclose(curve[:, [0, -1]], torch.cat([bumpy(e) for e in ends], 1))


def test_a_constant_map_and_an_unmoved_target_are_undefined(small):
    x, fill, maps, _ = small
    for score in (orders.deletion, orders.insertion, orders.abpc):
        assert score(bumpy, x, Output(), 0 * maps, fill, steps=4).isnan().all()
        assert score(bumpy, x, Output(), maps, x, steps=4).isnan().all()
    assert road(bumpy, x, Output(), 0 * maps).isnan().all()


def test_other_inputs_stay_with_their_samples(small):
    x, fill, maps, _ = small
    model = Beside(lambda a, b: bumpy(a * b), 0, (x + 3,))
    ours = orders.flipping(model, x, Output(), maps, fill, steps=4)
    for i in range(3):
        one = Beside(lambda a, b: bumpy(a * b), 0, (x[i : i + 1] + 3,))
        rows = slice(i, i + 1)
        wanted = orders.flipping(one, x[rows], Output(), maps[rows], fill[rows], steps=4)
        assert torch.allclose(ours[rows], wanted)


def test_imputation_solves_the_system(small):
    x, _, maps, fine = small
    for holes in (maps, fine):
        gone = holes > -0.2
        ours = impute(x, gone)
        for i in range(3):
            for c in range(2):
                hole = gone[i, c if holes is fine else 0].numpy()
                wanted = oracle.impute(x[i, c].numpy(), hole)
                np.testing.assert_allclose(ours[i, c], wanted, rtol=1e-8, atol=1e-10)


def test_imputation_of_a_plane_is_the_plane():
    """Inside, and far from the border, the mean of the neighbours of a slope is the slope."""
    x = torch.arange(12.0).expand(1, 1, 9, 12).contiguous()
    gone = torch.zeros(1, 1, 9, 12, dtype=torch.bool)
    gone[..., 2:7, 3:9] = True
    assert torch.allclose(impute(x, gone, 0 * x), x, atol=1e-4)


def test_noise_is_added_only_where_pixels_are_gone(small):
    x, _, maps, _ = small
    clean, noisy = (remove_and_debias(x, maps, 0.4, noise=n, seed=2) for n in (0.0, 0.5))
    gone = (maps.flatten(1) >= maps.flatten(1).quantile(0.6, dim=1, keepdim=True)).view_as(maps)
    changed = clean != noisy
    assert not (changed & ~gone).any()
    assert changed.flatten(1).sum(1).tolist() == [2 * round(0.4 * maps[0].numel())] * 3


def test_removal_at_its_best_and_worst():
    """One bright pixel on black decides; what is imputed in its place is black."""
    x = torch.zeros(2, 1, 6, 7).double()
    x[..., 2, 3] = 1

    def bright(x):
        return (x.flatten(1)[:, 17:18] > 0.5).double()

    maps = one_of(x, 17)
    assert road(bright, x, Output(), maps, noise=0).tolist() == [1, 1]
    assert road(bright, x, Output(), -maps, noise=0).tolist() == [-1, -1]
    ours, control = road_and_blurred(bright, x, Output(), maps, noise=0, sigma=1.0)
    assert ours.tolist() == [1, 1]
    assert (control <= ours).all()


def test_road_is_the_loop(small):
    x, _, maps, _ = small
    ours = road(bumpy, x, Output(), maps, shares=(0.25, 0.6), noise=0)
    for i in range(3):
        image, values, total = x[i].numpy(), maps[i, 0].numpy(), 0.0
        way = oracle.order(values)
        for share in (0.25, 0.6):
            for sign, places in ((1, way[::-1]), (-1, way)):
                gone = np.zeros(values.size, bool)
                gone[places[: round(share * values.size)]] = True
                full = [oracle.impute(c, gone.reshape(values.shape)) for c in image]
                total += sign * alone(np.stack(full)) / 2
        assert ours[i].item() == pytest.approx(total, rel=1e-8)


def test_impossible_requests_are_refused(small):
    x, fill, maps, _ = small
    with pytest.raises(UsageError, match="1 steps were asked over"):
        orders.abpc(bumpy, x, Output(), maps, fill, steps=1)
    with pytest.raises(UsageError, match="maps of 3 channels came for images of 2"):
        orders.deletion(bumpy, x, Output(), maps.expand(3, 3, *x.shape[2:]), fill)
    with pytest.raises(UsageError, match="do not lie on images"):
        check_channels(maps[:, :, :2], x)
    with pytest.raises(UsageError, match="remove nothing or everything"):
        road(bumpy, x, Output(), maps, shares=(0.5, 1.0))
