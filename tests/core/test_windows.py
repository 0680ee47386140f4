"""Windows over a field: exact where the work is local, in bounded memory, on memory maps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.windows import axis_weights, over_field, windowed

CPU = Compute()


@pytest.mark.parametrize(
    ("size", "window", "overlap"), [(100, 32, 0.25), (64, 64, 0.5), (7, 3, 0.0), (33, 16, 0.9)]
)
def test_weights_sum_to_one_everywhere_and_the_last_window_ends_at_the_border(
    size, window, overlap
):
    total = np.zeros(size)
    for start, weight in axis_weights(size, window, overlap):
        assert (weight > 0).all()
        total[start : start + window] += weight
    assert np.allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 37, 53), (1, 9, 20, 31)])
def test_pointwise_work_is_reproduced_exactly(shape, random):
    field = random.normal(size=shape).astype(np.float32)
    out = over_field(
        lambda x: x.sum(1, keepdim=True) ** 2, field,
        window=[8] * (len(shape) - 1), overlap=0.5, batch=3, compute=CPU,
    )  # fmt: skip
    assert np.allclose(out, field.sum(0, keepdims=True) ** 2, atol=1e-5)


def test_a_field_that_fits_is_one_call_and_equals_the_network(random):
    field = random.normal(size=(1, 20, 24)).astype(np.float32)
    net = torch.nn.Conv2d(1, 2, 3, padding=1)
    whole = net(torch.from_numpy(field)[None])[0].detach().numpy()
    out = over_field(net, field, window=(64, 64), compute=CPU)
    assert np.allclose(out, whole, atol=1e-6)


def test_borders_of_windows_leave_no_seam(random):
    """A 3x3 blur sees zeros beyond each window; blending must hide that inside the field."""
    field = np.ones((1, 96, 96), np.float32)
    out = over_field(
        lambda x: F.avg_pool2d(x, 3, 1, 1), field, window=(32, 32), overlap=0.5, compute=CPU
    )
    inner = out[0, 8:-8, 8:-8]
    assert inner.min() > 0.95
    hard = over_field(
        lambda x: F.avg_pool2d(x, 3, 1, 1), field, window=(32, 32), overlap=0.0, compute=CPU
    )
    assert hard[0, 8:-8, 8:-8].min() < 0.7


def test_memory_maps_are_read_by_window_and_filled_in_place(tmp_path, random):
    field = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1, 64, 64))
    field[:] = random.normal(size=field.shape)
    out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float32, (1, 64, 64))
    sizes = []

    def work(x):
        sizes.append(tuple(x.shape))
        return 2 * x

    result = over_field(work, field, window=(16, 16), batch=5, compute=CPU, out=out)
    assert result is out
    assert np.allclose(np.load(tmp_path / "y.npy"), 2 * field, atol=1e-6)
    assert max(sizes) == (5, 1, 16, 16)


def test_a_windowed_predictor_takes_batches(random):
    x = torch.from_numpy(random.normal(size=(3, 2, 20, 20)).astype(np.float32))
    double = windowed(lambda x: 2 * x, window=(8, 8), compute=CPU)
    assert torch.allclose(double(x), 2 * x, atol=1e-5)


def test_an_overlap_that_is_no_share_is_refused():
    with pytest.raises(UsageError, match="overlap 1.5 is not a share"):
        over_field(
            torch.abs, np.zeros((1, 4, 4), np.float32), window=(2, 2), overlap=1.5, compute=CPU
        )
