"""Randomised networks: what is changed, what is not, and the ends of the scales."""

import copy

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.targets import Logit
from attributome.explain.controls import intensity, random
from attributome.explain.gradients import input_x_gradient, saliency
from attributome.metrics import randomisation
from attributome.metrics.randomisation import layers, randomised
from oracles import metrics as oracle

NAMES = ("0", "1", "3", "6")  # two convolutions, the norm between them, and the head


@pytest.fixture
def given(classifier, images):
    return classifier.double(), images.double(), Logit(2)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("how", ["redraw", "permute"])
@pytest.mark.parametrize("order", [NAMES, NAMES[::-1]])
def test_one_layer_more_is_random_at_each_step(given, order, how):
    model, _, _ = given
    assert layers(model) == NAMES
    start = weights(model)
    done = set()
    for name, twin in zip(order, randomised(model, order, how=how), strict=True):
        if name != "1":  # a fresh norm has equal weights, and they stay
            done |= {f"{name}.weight", f"{name}.bias"}
        assert changed(start, weights(twin)) == done
        assert twin is not model
    assert changed(start, weights(model)) == set()


def test_redrawn_weights_keep_mean_and_spread_and_permuted_ones_their_values():
    model = nn.Sequential(nn.Linear(300, 200))
    was = weights(model)["0.weight"]
    (drawn,) = (weights(t)["0.weight"] for t in randomised(model, ["0"]))
    (moved,) = (weights(t)["0.weight"] for t in randomised(model, ["0"], how="permute"))
    assert drawn.std().item() == pytest.approx(was.std().item(), rel=0.02)
    assert drawn.mean().item() == pytest.approx(was.mean().item(), abs=1e-3)
    assert torch.equal(moved.flatten().sort().values, was.flatten().sort().values)
    assert not torch.equal(moved, was)


def test_the_seed_decides_and_layers_do_not_share_it(given):
    model, _, _ = given

    def last(seed, order=NAMES):
        return [weights(twin) for twin in randomised(model, order, seed=seed)][-1]

    assert changed(last(1), last(1)) == set()
    assert "0.weight" in changed(last(1), last(2))
    assert changed(last(1), last(1, NAMES[::-1])) == set()


@pytest.mark.parametrize("order", ["top_down", "bottom_up"])
def test_similarity_is_that_of_each_network_made_by_hand(given, order):
    model, x, target = given
    told = randomisation.similarity_by_layer(
        model, x, target, input_x_gradient, order=order, seed=4
    )
    before = input_x_gradient(model, x, target)
    names = NAMES[::-1] if order == "top_down" else NAMES
    assert told.shape == (3, 4)
    for step, twin in enumerate(randomised(model, names, seed=4)):
        after = input_x_gradient(copy.deepcopy(twin), x, target)
        for i in range(0, 3, 2):
            wanted = spearmanr(*(m[i].flatten().numpy() for m in (before, after))).statistic
            assert told[i, step].item() == pytest.approx(wanted, abs=1e-6)
    mean = randomisation.mprt(model, x, target, input_x_gradient, order=order, seed=4)
    assert torch.allclose(mean, told.mean(1))


def test_a_map_that_knows_nothing_of_the_model_is_the_worst(given):
    for explainer in (intensity, random):
        assert randomisation.mprt(*given, explainer).tolist() == pytest.approx([1, 1, 1])
        assert randomisation.emprt(*given, explainer).tolist() == [0, 0, 0]
    assert randomisation.smprt(*given, intensity, draws=2).tolist() == pytest.approx([1, 1, 1])


def test_a_map_that_forgets_is_perfect(given):
    """Ranks 1 2 3 4 turn to 2 4 1 3 once the head is random: their correlation is exactly 0."""
    model, x, target = given
    trained = model[6].weight.detach().clone()
    was, new = (torch.tensor(v, dtype=torch.double) for v in ([1, 2, 3, 4], [2, 4, 1, 3]))

    def forgetful(net, x, target):
        four = was if torch.equal(net[6].weight, trained) else new
        return four.repeat(x[:, :1].numel() // 4).view_as(x[:, :1])

    assert randomisation.mprt(model, x, target, forgetful).tolist() == pytest.approx([0] * 3)
    assert randomisation.smprt(model, x, target, forgetful).tolist() == pytest.approx([0] * 3)


def test_a_map_that_goes_flat_has_forgotten_and_a_flat_one_is_undefined(given):
    model, x, target = given
    trained = model[6].weight.detach().clone()

    def fading(net, x, target):
        return x if torch.equal(net[6].weight, trained) else 0 * x

    assert randomisation.mprt(model, x, target, fading).tolist() == [0, 0, 0]
    assert randomisation.emprt(model, x, target, fading).tolist() == [-1, -1, -1]
    for score in (randomisation.mprt, randomisation.emprt):
        assert score(model, x, target, lambda net, x, target: 0 * x).isnan().all()


def test_the_rise_is_that_of_the_histograms(given):
    model, x, target = given
    *_, twin = randomised(model, NAMES, seed=2)
    told = randomisation.emprt(model, x, target, saliency, seed=2, bins=30)
    for i in range(3):
        before, after = (
            oracle.histogram_entropy(saliency(net, x, target)[i].numpy(), 30)
            for net in (model, twin)
        )
        assert told[i].item() == pytest.approx((after - before) / before, rel=1e-6)


def test_smoothing_is_the_mean_over_noisy_images(given):
    """Of a map that is linear in the image, the smooth version differs by the mean noise alone."""
    model, x, target = given
    seen = []

    def watching(net, x, target):
        seen.append(x)
        return input_x_gradient(net, x, target)

    randomisation.smprt(model, x, target, watching, draws=3, width=0.2, seed=1)
    assert len(seen) == 3 * (1 + len(NAMES))
    assert all(torch.equal(a, b) for a, b in zip(seen[:3], seen[3:6], strict=True))
    jitter = torch.stack(seen[:3]) - x
    wide = 0.2 * (x.flatten(1).amax(1) - x.flatten(1).amin(1))
    assert torch.allclose(jitter.flatten(2).std(2).mean(0), wide, rtol=0.1)


def test_other_inputs_come_along():
    net = nn.Bilinear(3, 4, 2).double()
    a, b = torch.rand(2, 3).double(), torch.rand(2, 4).double()
    (twin,) = randomised(Beside(net, 0, (b,)), [""], seed=1)
    assert isinstance(twin, Beside)
    assert torch.equal(twin.others[0], b)
    assert not torch.allclose(twin(a), net(a, b))
    assert layers(Beside(net, 0, (b,))) == ("",)


def test_what_has_no_layers_is_refused(given):
    _, x, target = given
    with pytest.raises(UsageError, match="has no layers to randomise"):
        randomisation.mprt(torch.relu, x, target, intensity)
    with pytest.raises(UsageError, match="a plain function has no layers"):
        next(randomised(torch.relu, ["0"]))
    with pytest.raises(UsageError, match="no layer 'top'; this model has"):
        next(randomised(given[0], ["top"]))
