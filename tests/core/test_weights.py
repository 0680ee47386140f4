"""Weights go into a network whole, or not at all and with the reason."""

import pytest
import torch
from torch import nn

from attributome.core.errors import DataError
from attributome.core.files import plain
from attributome.core.weights import fill


def test_weights_that_fit_are_taken():
    wanted, net = nn.Linear(3, 2), nn.Linear(3, 2)
    fill(net, wanted.state_dict(), "x")
    assert torch.equal(net.weight, wanted.weight)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bias": None}, "net.pt is another: bias is missing"),
        ({"more": torch.zeros(1)}, "net.pt is another: more is unknown"),
        ({"bias": torch.zeros(3)}, r"net.pt is another: bias is \(3,\) and not \(2,\)"),
        ({"bias": torch.full((2,), torch.nan)}, "net.pt is another: bias holds what is not finite"),
        ({str(i): torch.zeros(1) for i in range(5)}, "0 is unknown, 1 is unknown, .* and 2 more"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_taken(change, says):
    net = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    weights = {n: v for n, v in {**nn.Linear(3, 2).state_dict(), **change}.items() if v is not None}
    with pytest.raises(DataError, match=says):
        fill(net, weights, "net.pt is another")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_plain_values_are_those_of_json():
    value = {1: (torch.pi, float("nan")), "a": torch.arange(2).numpy(), "b": None}
    assert plain(value) == {"1": [torch.pi, None], "a": [0, 1], "b": None}
    assert type(plain(torch.ones(1).numpy()[0])) is float
