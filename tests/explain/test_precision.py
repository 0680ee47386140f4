"""In half precision a method says nearly the same, or it is not run in half precision."""

import pytest
import torch

from attributome.core.targets import Logit
from attributome.explain import CONTROLS, HALF, METHODS, method, parameters
from attributome.metrics.ranking import correlation
from attributome.predictors.networks import small_cnn


@pytest.fixture(scope="module")
def case():
    """A small network whose batch norm has seen the kind of images that it explains."""
    torch.manual_seed(0)
    net = small_cnn(2, 5, 2, width=8).train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.randn(16, 2, 32, 32))
    return net.eval(), torch.randn(3, 2, 32, 32)


def test_only_methods_of_the_table_are_named():
    assert set(HALF) <= METHODS.keys() - CONTROLS.keys()


@pytest.mark.parametrize("name", HALF)
def test_a_map_in_bfloat16_is_nearly_that_in_float32(case, name):
    net, x = case
    params = {"layer": "relu3", "evaluations": 160}
    explainer = method(name, **{k: v for k, v in params.items() if k in parameters(name)})
    exact = explainer(net, x, Logit(1))
    with torch.autocast("cpu", torch.bfloat16):
        rough = explainer(net, x, Logit(1)).float()
    alike = correlation(exact.flatten(1), rough.flatten(1))
    assert (alike > 0.99).all()
    assert not torch.equal(exact, rough)  # autocast did reach the network
