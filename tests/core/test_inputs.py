"""Predictors of several inputs behave as predictors of one: every row meets its own companions."""

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside, Packed, for_rows, network, pack, unpack
from attributome.core.probe import each_copy, gradient, layer_gradient, predict
from attributome.core.targets import Logit, Output

SHAPES = ((1, 8, 8), (2, 16, 12), (5,))


def inputs(batch=3, shapes=SHAPES):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(batch, *shape, generator=draw, dtype=torch.double) for shape in shapes]


class Branches(nn.Module):
    """Two images of unequal sizes and a vector, which meet in a product and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(2, 3, 5)
        self.last = nn.Linear(8, 4)
        self.double().train()

    def forward(self, a, b, c):
        a, b = (torch.tanh(f(x)).mean((2, 3)) for f, x in ((self.first, a), (self.second, b)))
        return self.last(torch.cat([a * b, c.tanh()], 1))


@pytest.fixture
def branches():
    return Branches()


def test_what_is_packed_is_unpacked():
    rows = pack(inputs())
    assert rows.shape == (3, 1, 64 + 384 + 5)
    for back, one in zip(unpack(rows, SHAPES), inputs(), strict=True):
        assert torch.equal(back, one)


def test_packed_and_beside_say_what_the_model_says(branches):
    given = inputs()
    wanted = branches(*given)
    assert torch.equal(Packed(branches, SHAPES)(pack(given)), wanted)
    for which in range(3):
        others = tuple(one for i, one in enumerate(given) if i != which)
        beside = Beside(branches, which, others)
        assert torch.equal(beside(given[which]), wanted)
        assert torch.equal(predict(beside, given[which]), wanted)
        assert network(beside) is branches
    assert network(Packed(branches, SHAPES)) is branches
    assert network(Packed(torch.add, SHAPES)) is None


@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_copies_and_chunks_meet_their_own_companions(branches, which, chunk):
    given, classes = inputs(), torch.tensor([0, 3, 2])
    beside = Beside(branches, which, tuple(one for i, one in enumerate(given) if i != which))
    x = given[which]
    many = torch.cat([x, 0.5 * x, -x])
    target = Logit(classes)
    found = each_copy(target, predict(beside, many, chunk=chunk), 3)
    slopes = gradient(beside, many, target, copies=3, chunk=chunk)
    for copy, scale in enumerate((1, 0.5, -1)):
        for i in range(3):
            leaf = (scale * x[i : i + 1]).requires_grad_()
            row = [one[i : i + 1] for one in given]
            row[which] = leaf
            value = branches(*row)[0, classes[i]]
            assert found[copy, i].item() == pytest.approx(value.item(), rel=1e-12)
            (slope,) = torch.autograd.grad(value, leaf)
            assert torch.allclose(slopes[3 * copy + i], slope[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_layers_are_seen_beside_other_inputs(branches, chunk):
    given = inputs()
    beside = Beside(branches, 0, tuple(given[1:]))
    act, slope = layer_gradient(beside, "first", given[0], Output(1), chunk=chunk)
    assert torch.allclose(act, branches.first(given[0]))
    alone = [
        layer_gradient(
            Beside(branches, 0, tuple(one[i : i + 1] for one in given[1:])),
            "first", given[0][i : i + 1], Output(1),
        )[1]
        for i in range(3)
    ]  # fmt: skip
    assert torch.allclose(slope, torch.cat(alone))
    assert branches.training


def test_one_companion_may_serve_all_samples():
    shared = torch.rand(1, 4)
    beside = Beside(torch.add, 0, (shared,))
    x = torch.rand(3, 4)
    assert torch.equal(predict(beside, x, chunk=2), x + shared)


def test_a_predictor_of_one_input_is_left_alone():
    assert for_rows(torch.relu, torch.rand(3, 4), slice(0, 3)) is torch.relu


@pytest.mark.parametrize(
    ("slip", "says"),
    [
        (lambda: Beside(torch.add, 2, (torch.rand(2, 3),)), "input 2 of a predictor of 2"),
        (lambda: Beside(torch.add, -1, (torch.rand(2, 3),)), "input -1 of a predictor of 2"),
        (lambda: Beside(torch.add, 0, (torch.rand(2, 3), torch.rand(3, 3))), r"\[2, 3\] samples"),
        (lambda: Beside(torch.add, 0, (torch.rand(2),)), "needs a batch axis and at least one"),
        (lambda: Beside(torch.add, 0, (torch.rand(2, 3),))(torch.rand(3, 3)), "give whole batches"),
        (lambda: gradient(Beside(torch.add, 0, (torch.rand(2, 1),)), torch.rand(3, 1), Output()),
         "3 images came for a predictor whose other inputs hold 2 samples"),
        (lambda: pack([]), "there are no inputs"),
        (lambda: pack([torch.rand(2, 3), torch.rand(1, 3)]), r"inputs of \[2, 1\] samples"),
        (lambda: pack([torch.rand(2, 3), torch.rand(2, 3).double()]), "float32 on cpu and torch.f"),
        (lambda: pack([torch.ones(2, 3, dtype=torch.long)]), "torch.int64 on cpu cannot lie in"),
        (lambda: unpack(torch.rand(2, 1, 7), ((3,), (5,))), "rows of 7 numbers .* which take 8"),
    ],
)  # fmt: skip
def test_slips_are_refused_in_a_sentence(slip, says):
    with pytest.raises(UsageError, match=says):
        slip()
