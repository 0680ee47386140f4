"""What inspection says is what the network does."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.explain import METHODS, need
from attributome.predictors.inspect import inspect_predictor
from attributome.predictors.load import Card, load_predictor
from attributome.predictors.networks import small_cnn
from attributome.predictors.sizes import SizeRule, fit_size


def rule(minimum, multiple, fixed=None, batch=None, dims=2):
    return SizeRule(
        minimum=(minimum,) * dims, multiple=(multiple,) * dims, fixed=fixed, batch=batch
    )


class Answer(nn.Module):
    """Whatever a function makes of a convolved image."""

    def __init__(self, function, channels=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, 3, padding=1)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.mark.parametrize(("levels", "multiple"), [(0, 1), (3, 8), (4, 16)])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_size_rule_of_levels(make, levels, multiple, dims):
    found = inspect_predictor(make(levels=levels, dims=dims, channels=3))
    assert (found.dims, found.channels, found.output, found.outputs) == (dims, 3, "image", 1)
    assert found.sizes == rule(multiple, multiple, dims=dims)


def test_a_multiple_that_is_no_power_of_two():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, stride=3), nn.ConvTranspose2d(4, 1, 3, stride=3))
    assert inspect_predictor(net).sizes == rule(3, 3)


def test_axes_have_rules_of_their_own():
    step = (1, 4, 4)
    net = nn.Sequential(
        nn.Conv3d(1, 4, (3, 4, 4), stride=step, padding=(1, 0, 0)),
        nn.ConvTranspose3d(4, 1, (3, 4, 4), stride=step, padding=(1, 0, 0)),
    )
    found = inspect_predictor(net).sizes
    assert found == SizeRule(minimum=(1, 4, 4), multiple=(1, 4, 4))


def test_a_minimum_without_a_multiple():
    net = Answer(lambda x: nn.functional.avg_pool2d(x, 11, stride=1).mean((2, 3)))
    found = inspect_predictor(net)
    assert found.sizes == rule(11, 1)
    assert (found.output, found.outputs) == ("classes", 2)


def test_a_classifier_of_one_size(classifier, dims):
    found = inspect_predictor(classifier)
    assert found.sizes == SizeRule(minimum=(16,) * dims, multiple=(1,) * dims, fixed=(16,) * dims)
    assert (found.channels, found.output, found.outputs) == (2, "classes", 5)
    assert classifier.training
    assert not classifier[1].training


def test_an_unusual_fixed_size_is_found_where_it_is_told():
    net = Answer(lambda x: x.reshape(-1, 2 * 21 * 33)[:, :1])
    with pytest.raises(DataError, match=r"sizes from 2x2 to 512x512 .if it takes an"):
        inspect_predictor(net)
    found = inspect_predictor(net, size=(21, 33))
    assert found.sizes == SizeRule(minimum=(21, 33), multiple=(1, 1), fixed=(21, 33))
    assert found.output == "scalar"


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channels_are_found(channels):
    assert inspect_predictor(small_cnn(channels, 1, 2, width=4)).channels == channels
    grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    assert inspect_predictor(grouped).channels == channels


def test_images_of_other_channels_are_refused(make):
    with pytest.raises(DataError, match="images have 3 channels, but the predictor takes 1"):
        inspect_predictor(make(), channels=3)
    with pytest.raises(DataError, match="images have 2 channels, but the predictor takes 1"):
        inspect_predictor(make(), Card(inputs=("a", "b")))


def test_a_predictor_without_convolutions_must_be_told_its_dimensions():
    with pytest.raises(UsageError, match="say dims=2 or dims=3"):
        inspect_predictor(nn.Identity())
    found = inspect_predictor(nn.Identity(), dims=3, channels=2)
    assert (found.dims, found.channels, found.sizes) == (3, 2, rule(1, 1, dims=3))
    with pytest.raises(DataError, match="images of 8x8 are 2-D; the predictor takes 3-D"):
        inspect_predictor(nn.Identity(), dims=3, size=(8, 8))


def test_outputs_that_cannot_be_explained_are_refused():
    with pytest.raises(DataError, match=r"answers .* with \(1, 2, 1, 1\), which is neither"):
        inspect_predictor(Answer(lambda x: x.mean((2, 3), keepdim=True)))
    with pytest.raises(DataError, match="the predictor returned a tuple"):
        inspect_predictor(Answer(lambda x: (x, x)))


def test_a_card_of_another_task_is_refused(make):
    with pytest.raises(DataError, match="card says 'regression', but it answers"):
        inspect_predictor(make(), Card(task="regression", dims=2))


def test_several_numbers_are_a_regression_where_the_card_says_so():
    net = small_cnn(1, 3, 2, width=4)
    assert inspect_predictor(net).output == "classes"
    assert inspect_predictor(net, Card(task="regression")).output == "scalar"


def test_layers_with_their_grids(make):
    found = inspect_predictor(make())
    facts = {fact.name: fact for fact in found.layers}
    assert found.example == (64, 64)
    assert list(facts) == ["first", "norm", "down", "up", "last"]
    assert (facts["down"].type, facts["down"].channels, facts["down"].grid) == ("Conv2d", 4, (8, 8))
    assert facts["last"].grid == (64, 64)
    assert all(fact.runs == 1 for fact in found.layers)


def test_a_layer_that_runs_twice_is_counted():
    shared = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(1, 2, 1), shared, nn.Conv2d(2, 1, 1), shared)
    runs = {fact.name: fact.runs for fact in inspect_predictor(net).layers}
    assert runs == {"0": 1, "1": 2, "2": 1}


def test_hooks_and_modes_are_put_back(make):
    net = make()
    net.train()
    net.norm.eval()
    inspect_predictor(net)
    assert all(not module._forward_hooks for module in net.modules())
    assert net.training
    assert not net.norm.training


def test_every_method_has_an_answer(make):
    found = inspect_predictor(make())
    assert found.possible == {"nothing": None, "gradient": None, "layer": None}
    assert {need(name) for name in METHODS} <= found.possible.keys()
    assert found.norms == ()


class Narrowing(nn.Module):
    """A classifier whose grid at 64 pixels is 64, 16, 4, 2 and 1."""

    def __init__(self, dims=2, twice=False):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.first, self.second = conv(1, 2, 3, padding=1), conv(2, 2, 4, stride=4)
        self.third, self.fourth = conv(2, 2, 4, stride=4), conv(2, 2, 2, stride=2)
        self.act, self.twice = nn.Tanh(), twice
        pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
        self.pool, self.last, self.head = pool(1), conv(2, 2, 1), nn.Linear(2, 3)

    def forward(self, x):
        x = self.act(self.second(self.act(self.first(x))))
        x = self.act(self.third(x))
        x = self.act(self.third(nn.functional.interpolate(x, scale_factor=4))) if self.twice else x
        return self.head(self.last(self.pool(self.act(self.fourth(x)))).flatten(1))


@pytest.mark.parametrize("twice", [False, True])
def test_layers_that_suit_a_class_activation_map(make, twice):
    found = inspect_predictor(make(Narrowing, twice=twice))
    reasons = {fact.name: fact.reason for fact in found.layers}
    grids = {fact.name: fact.grid for fact in found.layers}
    assert grids["second"] == (16, 16)
    assert reasons["last"] == reasons["pool"] == "its grid is one voxel"
    assert reasons["head"] == "its output is no image"
    assert reasons["first"] is reasons["second"] is reasons["fourth"] is None
    assert reasons["third"] == ("it runs 2 times in one forward pass" if twice else None)
    least = ("fourth", "first", "second")  # the best last: small grids first, then large ones
    assert found.usable_layers == (least if twice else (*least, "third"))
    assert found.possible["layer"] is None


def test_the_suggested_layer_of_a_volume_and_of_an_image_to_image_network(make):
    assert inspect_predictor(make(Narrowing, dims=3)).usable_layers[-1] == "second"
    assert inspect_predictor(make()).usable_layers[-1] == "down"


def test_a_grid_of_one_voxel_is_named_as_the_reason():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 3, 1), nn.Flatten())
    found = inspect_predictor(net)
    assert found.usable_layers == ()
    assert found.possible["layer"] == "layer '1' cannot be used: its grid is one voxel"
    assert found.possible["gradient"] is None


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: x.detach().mean((2, 3)), "the predictor has no gradient"),
        (lambda x: x.mean((2, 3)).round() + 0 * x.mean((2, 3)), "zero everywhere"),
        (lambda x: x.mean((2, 3)).mul(0).sqrt(), "is not finite"),
    ],
)
def test_gradients_that_do_not_exist(function, reason):
    possible = inspect_predictor(Answer(function)).possible
    assert reason in possible["gradient"]
    assert reason in possible["layer"]
    assert possible["nothing"] is None


def test_class_activation_needs_a_convolution():
    possible = inspect_predictor(nn.Sequential(nn.Hardtanh()), dims=2, channels=1).possible
    assert possible["layer"] == ("the predictor has no named convolution whose output is an image")
    assert possible["gradient"] is None


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("script", "the layers of a TorchScript program cannot be watched"),
        ("trace", "the layers of a TorchScript program cannot be watched"),
        ("exported", "no layer of this predictor runs as a module, so none can be watched"),
        ("dynamic", "no layer of this predictor runs as a module, so none can be watched"),
    ],
)
def test_programs(make, saved, how, reason):
    source = saved(make(), how, torch.rand(2, 1, 16, 24))
    found = inspect_predictor(load_predictor(source, trust=True)[0])
    assert (found.dims, found.channels, found.output) == (2, 1, "image")
    fixed = SizeRule(minimum=(16, 24), multiple=(1, 1), fixed=(16, 24), batch=2)
    assert found.sizes == (fixed if how == "exported" else found.sizes)
    if how != "exported":
        assert fit_size(found.sizes, (150, 210)) == (152, 216)
        assert found.sizes.fixed is None
        assert found.sizes.batch is None
    assert found.layers == ()
    assert found.usable_layers == ()
    assert found.possible == {"nothing": None, "gradient": None, "layer": reason}


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(2), nn.GroupNorm(1, 2)])
@pytest.mark.parametrize("how", ["", "trace", "dynamic"])
def test_norms_by_the_images_own_spread_are_named(saved, norm, how):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), norm, nn.Conv2d(2, 1, 1)).eval()
    if how:
        net = load_predictor(saved(net, how, torch.rand(2, 1, 16, 24)), trust=True)[0]
    (said,) = inspect_predictor(net).norms
    assert said.startswith("1 layers (first: ")
    assert "integrated gradients do not add up there" in said


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (nn.BatchNorm2d(2), "depends on the other images of its batch"),
        (nn.Dropout(0.5), "answers the same image differently each time"),
    ],
)
def test_a_program_saved_in_training_mode_is_noticed(saved, part, said):
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), part).train()
    program, _ = load_predictor(saved(net, "dynamic", torch.rand(2, 1, 16, 24)), trust=True)
    assert said in inspect_predictor(program).norms[0]
    assert inspect_predictor(net).norms == ()


def test_an_inspection_is_json(make):
    text = json.dumps(asdict(inspect_predictor(make())), allow_nan=False)
    assert json.loads(text)["sizes"]["multiple"] == [8, 8]
