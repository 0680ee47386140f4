"""Scores of all features at once are those of each feature by itself, however they are made."""

from functools import partial

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.targets import Logit
from attributome.profiles.camo.classes import class_camo
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.camo.scores import Overlap, covered_shares

NAMES = tuple(Overlap.__dataclass_fields__)
OWN = torch.tensor([3, 1, 3], dtype=torch.int32)
METHODS = ("grad_cam", "hires_cam")


class Features(nn.Module):
    """A body of 6 channels, and features from their means, an MLP of these, or more layers."""

    def __init__(self, dims, kind):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.kind = kind
        self.body = nn.Sequential(conv(2, 6, 3, stride=2, padding=1), nn.Tanh())
        self.mlp = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 5))
        self.more = nn.Sequential(conv(6, 4, 3, padding=1), nn.Softplus(), conv(4, 5, 3))
        self.double()

    def forward(self, x):
        a = self.body(x)
        if self.kind == "more":
            return self.more(a).flatten(2).logsumexp(2)
        pooled = a.flatten(2).amax(2) if self.kind == "max" else a.flatten(2).mean(2)
        return self.mlp(pooled) if self.kind == "mlp" else pooled


@pytest.fixture
def x(dims):
    size = (12, 8) if dims == 2 else (8, 12, 8)
    return torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def labels(x):
    found = torch.zeros(3, *x.shape[2:], dtype=torch.int32)
    found[:, 2:6, 2:7] = 3
    found[:, 6:, :4] = 1
    return found


def one_by_one(net, x, labels, count, method="grad_cam"):
    """A backward pass for each feature, and the enlarged map of each."""
    found = [
        class_camo(net, x, labels, OWN, layer="body", target=Logit(j), method=method).scores
        for j in range(count)
    ]
    return {name: torch.cat([getattr(one, name) for one in found], 1) for name in NAMES}


def same(scores, wanted, columns=None):
    for name in NAMES:
        each = wanted[name] if columns is None else wanted[name][:, columns]
        torch.testing.assert_close(
            getattr(scores, name), each, rtol=1e-9, atol=1e-11, equal_nan=True
        )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "options"), [("mean", {"pool": "mean"}), ("mlp", {"pool": "mean"}), ("more", {})]
)
def test_it_is_a_backward_pass_for_each_feature(kind, options, method, x, labels, dims):
    net = Features(dims, kind)
    if kind == "mlp":
        options = options | {"head": net.mlp}
    wanted = one_by_one(net, x, labels, net(x).shape[1], method)
    run = partial(feature_camo, net, x, labels, OWN, layer="body", method=method, **options)
    same(run(fine=True).scores, wanted)
    same(run(fine=True, features=[4, 0, 3], chunk=2).scores, wanted, [4, 0, 3])
    if options:  # and the closed form is what the general way finds
        without = feature_camo(net, x, labels, OWN, layer="body", method=method, fine=True)
        same(without.scores, wanted)


def test_few_at_a_time_are_the_same(monkeypatch, x, labels, dims):
    net = Features(dims, "mlp")
    for options in ({"pool": "mean"}, {"pool": "mean", "head": net.mlp}, {}):
        run = partial(feature_camo, net, x, labels, OWN, layer="body", **options)
        whole = run()
        for limits in ((1, 1), (2**24, 1), (1, 2**24)):
            for name, limit in zip(("AT_A_TIME", "FEW"), limits, strict=True):
                monkeypatch.setattr(f"attributome.profiles.camo.features.{name}", limit)
            parts = run()
            same(parts.scores, {name: getattr(whole.scores, name) for name in NAMES})
            assert parts.targets == whole.targets
        monkeypatch.undo()


def test_a_linear_head_weighs_the_channels(x, labels, dims):
    net = Features(dims, "mean")
    head = nn.Linear(6, 2).double()
    found = feature_camo(net, x, labels, OWN, layer="body", pool="mean", head=head, fine=True)
    same(found.scores, one_by_one(Headed(net, head), x, labels, 2))


class Headed(nn.Module):
    def __init__(self, net, head):
        super().__init__()
        self.body, self.head = net.body, head

    def forward(self, x):
        return self.head(self.body(x).flatten(2).mean(2))


def test_a_max_pooled_feature_is_at_its_maximum(x, labels, dims):
    net = Features(dims, "max")
    found = feature_camo(net, x, labels, OWN, layer="body", pool="max", method="argmax")
    act = net.body(x).detach()
    for i in range(3):
        held = torch.stack([labels[i] == OWN[i], (labels[i] > 0) & (labels[i] != OWN[i])])
        covered = covered_shares(held[None].double(), tuple(act.shape[2:]))[0].flatten(1)
        for j in range(6):
            at = act[i, j].flatten().argmax()
            assert found.scores.cell[i, j] == covered[0, at]
            assert found.scores.neighbours[i, j] == covered[1, at]
    assert found.targets[:2] == ("body_max_000", "body_max_001")
    assert found.method == "argmax"
    assert found.how().startswith("camo-1; box of a place; ")
    maps = feature_camo(net, x, labels, OWN, layer="body", pool="max").scores
    means = feature_camo(net, x, labels, OWN, layer="body", pool="mean").scores
    same(maps, {name: getattr(means, name) for name in NAMES})


def test_a_maximum_has_no_gradient_elsewhere(x, labels, dims):
    """The general way through the maximum agrees with the closed form."""
    net = Features(dims, "max")
    closed = feature_camo(net, x, labels, OWN, layer="body", pool="max", fine=True)
    same(closed.scores, one_by_one(net, x, labels, 6))


@pytest.mark.parametrize("what", [0, 1, 2])
def test_features_that_read_one_thing_are_told_apart(what, labels, dims):
    """Channel 0 is stained in the cell, 1 in neighbours, 2 in the background."""
    cell = labels == OWN.view(-1, *[1] * dims)
    parts = torch.stack([cell, (labels > 0) & ~cell, labels == 0], 1).double()
    net = nn.Sequential(nn.Identity(), nn.Flatten(2))
    for options in ({"pool": "mean"}, {"pool": "max", "method": "argmax"}):
        scores = feature_camo(net, parts, labels, OWN, layer="0", **options).scores
        found = torch.stack([scores.cell, scores.neighbours, scores.background], 2)
        assert torch.equal(found, torch.eye(3).double().expand(3, 3, 3))


def test_values_tell_whether_the_pool_is_right(x, labels, dims):
    net = Features(dims, "mlp")
    act = net.body(x).detach().flatten(2)
    run = partial(feature_camo, net, x, labels, OWN, layer="body")
    right = [
        (act.mean(2), {"pool": "mean"}),
        (act.amax(2), {"pool": "max"}),
        (net(x).detach(), {"pool": "mean", "head": net.mlp}),
        (net(x).detach(), {}),
    ]
    for values, options in right:
        assert len(run(values=values, **options).targets) == values.shape[1]
    for values, options in ((act.amax(2), right[0][1]), (act.mean(2) * 1.01, right[0][1])):
        with pytest.raises(UsageError, match="features of pool='mean' are not the values given"):
            run(values=values, **options)
    with pytest.raises(UsageError, match="outputs of the network are not .* nan there"):
        run(values=torch.full_like(right[3][0], torch.nan))
    with pytest.raises(UsageError, match=r"values of shape \(3, 6\) .* and this head.* \(3, 5\)"):
        run(values=act.mean(2), **right[2][1])


def test_names_are_those_of_the_profile(x, labels, dims):
    run = partial(feature_camo, Features(dims, "mean"), x, labels, OWN, layer="body")
    assert run(pool="mean", features=[5, 1]).targets == ("body_mean_005", "body_mean_001")
    assert run(features=[2]).targets == ("feature_002",)
    assert run(features=[2], names=list("abcdef")).targets == ("c",)
    table = run(pool="mean", features=[5, 1]).table(["p", "q", "r"])
    assert table["cell_id"].tolist() == ["p", "p", "q", "q", "r", "r"]
    assert table["target"].tolist() == ["body_mean_005", "body_mean_001"] * 3
    with pytest.raises(UsageError, match="1 names for 6 features"):
        run(names=["a"])


def test_cells_are_independent_and_nothing_is_changed(x, labels, dims):
    for kind, options in (("more", {}), ("mlp", {"pool": "mean"})):
        net = Features(dims, kind).train()
        options = options | ({"head": net.mlp} if kind == "mlp" else {})
        run = partial(feature_camo, net, layer="body", **options)
        together = run(x, labels, OWN).scores
        for i in range(3):
            alone = run(x[i : i + 1], labels[i : i + 1], OWN[i : i + 1]).scores
            for name in NAMES:
                torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i])
        assert all(module.training for module in net.modules())
        assert all(p.requires_grad and p.grad is None for p in net.parameters())
        assert not together.cell.requires_grad


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"head": nn.Identity()}, "pool='mean' belongs to it"),
        ({"head": nn.Identity(), "pool": "max"}, "pool='mean' belongs to it"),
        ({"method": "argmax"}, "'argmax' is for pool='max'"),
        ({"method": "hires_cam", "pool": "max"}, "use the method 'argmax'"),
        ({"pool": "mean", "features": [6]}, "6. asked of a model with 6 outputs"),
        ({"pool": "mean", "features": []}, "give at least one"),
        ({"layer": "mlp"}, "did not run"),
        ({"least": 7}, "fewer than 7 places"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, says, x, labels, dims):
    net = Features(dims, "mean")
    with pytest.raises(UsageError, match=says):
        feature_camo(net, x, labels, OWN, **{"layer": "body"} | options)
    with pytest.raises(UsageError, match="give a label image"):
        feature_camo(net, x, labels[:1], OWN, layer="body")
