"""Every way to call a function looks the same to a rule; tangents keep their promise alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.rules import Rules, active, check_visible, instead, name_of
from attributome.core.secants import EXACT, POWERS, Pair, facing, secant, spread, times


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def square_instead(call):
    return call.value() * 0 + call.tensor().detach() ** 2


WAYS = {
    "module": nn.ReLU(),
    "in-place module": nn.ReLU(inplace=True),
    "function": F.relu,
    "in-place function": lambda x: F.relu(x, inplace=True),
    "in-place by position": lambda x: F.relu(x, True),
    "by name": lambda x: F.relu(input=x),
    "torch": torch.relu,
    "torch in place": torch.relu_,
    "method": lambda x: x.relu(),
    "in-place method": lambda x: x.relu_(),
    "operator": torch.ops.aten.relu.default,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_answers_every_way_to_call(way):
    x = draw(2, 3)
    wanted = x**2
    given = x.clone()
    with Rules(lambda x: x, {"relu": square_instead}):
        found = WAYS[way](given)
    assert torch.equal(found, wanted)
    assert torch.equal(given, wanted if "place" in way else x)


@pytest.mark.parametrize(
    ("call", "name", "inplace"),
    [
        (lambda a, b: a + b, "add", False),
        (lambda a, b: 1 - a, "rsub", False),
        (lambda a, b: a.__imul__(b), "mul", True),
        (lambda a, b: a.mul_(b), "mul", True),
        (lambda a, b: a / b, "div", False),
        (lambda a, b: 2 / a, "rdiv", False),
        (lambda a, b: a @ b.T, "matmul", False),
        (lambda a, b: torch.special.softmax(a, 1), "softmax", False),
        (lambda a, b: a[0], "getitem", False),
        (lambda a, b: torch.linalg.vector_norm(a), "norm", False),
    ],
)
def test_names_are_plain(call, name, inplace):
    seen = []

    class Listening(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(name_of(func))
            return func(*args, **(kwargs or {}))

    with Listening():
        call(draw(2, 3), draw(2, 3, seed=1))
    assert seen[-1] == (name, inplace)


def test_what_has_no_rule_runs_or_is_refused():
    x = draw(2, 3).requires_grad_()
    with Rules(lambda x: x, {}):
        assert torch.equal(x.sort().values, torch.sort(x).values)
    with Rules(lambda x: x, {}, "this test"):
        assert x.argmax(1).shape == (2,)
        assert (x > 0).any()
        assert x.detach().sort().values.shape == x.shape
        with pytest.raises(UsageError, match="this test cannot explain this model: 'sort'"):
            x.sort()


def test_the_layer_that_calls_is_named():
    class Inner(nn.Module):
        def forward(self, x):
            return x.sort().values

    model = nn.Sequential(nn.Identity(), nn.Sequential(Inner()))
    x = draw(2, 3).requires_grad_()
    with (
        Rules(model, {}, "this test"),
        pytest.raises(UsageError, match=r"'sort', called by layer '1.0' \(Inner\)"),
    ):
        model(x)


def test_a_compiled_layer_is_refused_by_name():
    class Pure(nn.Module):
        def forward(self, x):
            return x

    with pytest.warns(DeprecationWarning, match="torch.jit"):
        script = torch.jit.trace(Pure(), draw(1, 2))
    with pytest.raises(UsageError, match="'1' is a compiled TopLevelTracedModule"):
        check_visible(nn.Sequential(nn.ReLU(), script), "this test")


def test_parameters_never_depend_on_the_input():
    weight = nn.Parameter(draw(2))
    assert not active(weight)
    assert active(weight * 2)
    assert not active(draw(2))
    assert not active(3)


def test_instead_has_the_value_of_one_and_the_gradient_of_the_other():
    x = draw(3).requires_grad_()
    out = instead(x.detach() + 7, 2 * x)
    assert torch.equal(out, x + 7)
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full_like(x, 2))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("apart", [0.0, 1e-12, 1e-3, 1.0, 30.0])
def test_slopes_do_not_cancel(name, apart):
    """Against 50 digits; a naive difference quotient would lose all of them at 1e-12."""
    from mpmath import mp, mpf

    functions = {
        "sqrt": mp.sqrt, "rsqrt": lambda v: 1 / mp.sqrt(v), "reciprocal": lambda v: 1 / v,
        "square": lambda v: v * v, "exp": mp.exp, "log": mp.log,
    }  # fmt: skip
    x0 = torch.tensor([0.3, 1.7], dtype=torch.double)
    x = x0 + apart
    found = EXACT[name](x, x0)
    for a, b, slope in zip(x.tolist(), x0.tolist(), found.tolist(), strict=True):
        with mp.workdps(50):
            high, low = mpf(a), mpf(b) if a != b else mpf(b) - mpf(10) ** -30
            wanted = (functions[name](high) - functions[name](low)) / (high - low)
        assert slope == pytest.approx(float(wanted), rel=1e-13)


@pytest.mark.parametrize("f", [torch.tanh, F.gelu, F.softplus], ids=lambda f: f.__name__)
def test_secants_of_smooth_functions_hold_where_points_meet(f):
    x0 = draw(50)
    for apart in (0.0, 1e-12, 1e-8, 1e-4, 1.0):
        slope = secant(f, x0 + apart, x0, smooth=True)
        middle = (x0 + apart / 2).requires_grad_()
        exact = torch.autograd.grad(f(middle).sum(), middle)[0]
        if apart < 1e-3:
            assert torch.allclose(slope, exact, rtol=1e-6, atol=1e-7)
        else:
            assert torch.allclose(slope * apart, f(x0 + apart) - f(x0))


def test_pairs_multiply_exactly():
    p, q = (Pair(draw(4, seed=s), draw(4, seed=s + 1), draw(4, seed=s + 1)) for s in (0, 5))
    at_x = times(Pair(p.x, p.x0, p.x), Pair(q.x, q.x0, q.x))
    at_x0 = times(Pair(p.x, p.x0, p.x0), Pair(q.x, q.x0, q.x0))
    assert torch.allclose(at_x.tangent - at_x0.tangent, p.x * q.x - p.x0 * q.x0)
    constant = times(Pair(p.x, p.x, None), Pair(q.x, q.x, None))
    assert constant.tangent is None
    assert set(POWERS) < set(EXACT)


def test_copies_are_found_wherever_the_batch_went():
    x = draw(5, 3, 2)
    for axis in (0, 1, 2):
        like = torch.cat([x + 1, x + 2, x + 3], axis)
        assert torch.equal(spread(x, like), torch.cat([x, x, x], axis))
        xs, likes, join = facing(x, like)
        assert torch.equal(join(likes - xs), like - torch.cat([x] * 3, axis))
    assert spread(x, x + 1) is x
    for shape in ((5, 3), (10, 6, 2), (7, 3, 2)):
        with pytest.raises(ValueError, match="differ in more than copies"):
            spread(x, torch.zeros(shape))
