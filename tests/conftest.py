import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other


@pytest.fixture(autouse=True)
def _the_same_numbers_in_any_order():
    """A test that draws without a generator must not depend on which tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=[2, 3], ids=["2d", "3d"])
def dims(request):
    return request.param


@pytest.fixture
def images(dims):
    return torch.rand(3, 2, *[16] * dims, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def classifier(dims):
    """A CNN in mixed mode (frozen batch norm, one frozen weight), to catch careless restoring."""
    torch.manual_seed(0)
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    model = nn.Sequential(
        conv(2, 4, 3, padding=1),
        norm(4),
        nn.ReLU(inplace=True),
        conv(4, 4, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(4 * 8**dims, 5),
    ).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model


@pytest.fixture
def real_data():
    """The folder of real data; tests marked `real` skip in one line where it is absent."""
    folder = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set ATTRIBUTOME_DATA")
    return folder


@pytest.fixture
def random():
    return np.random.default_rng(0)
