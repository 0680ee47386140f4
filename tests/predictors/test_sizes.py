"""Images of any size: padded, cropped back, said, and differentiable on the way."""

import pytest
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.probe import gradient, layer_gradient, predict, still
from attributome.core.targets import OutputSum
from attributome.predictors.inspect import inspect_predictor
from attributome.predictors.load import load_predictor
from attributome.predictors.sizes import SizeRule, fit_size, fitted

EIGHTS = SizeRule(minimum=(8, 8), multiple=(8, 8))


def image(*size, batch=1, channels=1):
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rule", "size", "wanted"),
    [
        (EIGHTS, (150, 210), (152, 216)),
        (EIGHTS, (8, 16), (8, 16)),
        (SizeRule(minimum=(16, 16), multiple=(16, 32)), (150, 210), (160, 240)),
        (SizeRule(minimum=(17, 5), multiple=(16, 1)), (34, 53), (49, 53)),
        (SizeRule(minimum=(4, 8), multiple=(1, 8), fixed=(4, None)), (9, 17), (4, 24)),
    ],
)
def test_the_next_accepted_size(rule, size, wanted):
    assert fit_size(rule, size) == wanted


def test_images_below_the_minimum_are_refused_with_both_sizes(make):
    with pytest.raises(DataError, match="images of 7x210 are smaller than 8x8, the smallest"):
        fitted(make(), EIGHTS)(image(7, 210))


def test_images_of_another_dimension_are_refused():
    with pytest.raises(DataError, match="images of 4x8x8 are 3-D, but the predictor takes 2-D"):
        fit_size(EIGHTS, (4, 8, 8))


@pytest.mark.parametrize("size", [(150, 210), (37, 53), (8, 9), (16, 24)])
def test_the_output_is_on_the_grid_of_the_input(make, size):
    net, x = make(), image(*size, batch=2)
    out = predict(fitted(net, EIGHTS), x)
    assert out.shape == x.shape
    if size == (16, 24):
        assert torch.equal(out, predict(net, x))


@pytest.mark.parametrize(("size", "mode"), [((150, 210), "reflect"), ((9, 12), "reflect")])
def test_the_padding_mirrors_half_before_and_half_behind(make, size, mode):
    net, x = make(), image(*size)
    high, wide = (-n % 8 for n in size)
    pads = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
    whole = predict(net, nn.functional.pad(x, pads, mode=mode))
    wanted = whole[..., pads[2] :, pads[0] :][..., : size[0], : size[1]]
    assert torch.equal(predict(fitted(net, EIGHTS), x), wanted)


def test_an_image_too_small_to_mirror_repeats_its_last_pixel(make):
    rule = SizeRule(minimum=(2, 2), multiple=(30, 30))
    seen = []

    def model(x):
        seen.append(x)
        return x

    x = image(3, 3)
    assert torch.equal(fitted(model, rule)(x), x)
    assert torch.equal(seen[0], nn.functional.pad(x, (14, 15, 14, 15), mode="replicate"))


def test_volumes(make):
    net = make(dims=3, levels=2)
    rule = SizeRule(minimum=(4, 4, 4), multiple=(4, 4, 4))
    x = image(5, 11, 13)
    assert predict(fitted(net, rule), x).shape == x.shape
    assert fitted(net, rule).note((5, 11, 13)) == (
        "fields of 5x11x13 were padded to 8x12x16 and cropped back"
    )


def test_it_says_what_it_does_and_nothing_where_it_does_nothing(make):
    model = fitted(make(), EIGHTS)
    assert model.note((150, 210)) == "fields of 150x210 were padded to 152x216 and cropped back"
    assert model.note((16, 24)) is None
    only = fitted(make(), SizeRule(minimum=(16, 16), multiple=(1, 1), fixed=(16, 16)))
    assert only.note((16, 16)) is None
    assert only.note((40, 16)) == (
        "fields of 40x16 were predicted in overlapping windows of 16x16, because the predictor "
        "takes no other size"
    )


def test_gradients_pass_and_equal_finite_differences(make):
    model, x = fitted(make().double(), EIGHTS), image(11, 13).double()
    found = gradient(model, x, OutputSum())
    assert found.shape == x.shape
    for place in ((0, 0, 0, 0), (0, 0, 5, 6), (0, 0, 10, 12)):
        step = torch.zeros_like(x)
        step[place] = 1e-5
        up, down = (predict(model, x + s * step).sum() for s in (1, -1))
        assert found[place].item() == pytest.approx(((up - down) / 2e-5).item(), rel=1e-4)


def test_layers_keep_their_names_and_the_whole_predictor_is_reached(make):
    net = make()
    model = fitted(net, EIGHTS)
    names = [name for name, _ in model.named_modules()]
    assert names == ["", "predictor", *(name for name, _ in net.named_modules() if name)]
    activation, grad = layer_gradient(model, "down", image(11, 13), OutputSum())
    assert activation.shape == grad.shape == (1, 4, 2, 2)
    net.train()
    net.norm.eval()
    with still(model):
        assert not any(module.training for module in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
    assert net.training
    assert not net.norm.training
    assert net.last.training
    assert all(p.requires_grad for p in net.parameters())


def test_wrapped_in_a_larger_module_the_names_get_its_prefix(make):
    names = [name for name, _ in nn.Sequential(fitted(make(), EIGHTS)).named_modules()]
    assert names[:4] == ["", "0", "0.predictor", "0.first"]


def test_eval_and_train_reach_the_layers(make):
    net = make()
    model = fitted(net, EIGHTS)
    assert not model.training
    model.train()
    assert net.training
    assert net.norm.training
    model.eval()
    assert not net.norm.training


def test_a_whole_state_dict_is_kept(make):
    net = make()
    assert fitted(net, EIGHTS).state_dict().keys() == {f"predictor.{k}" for k in net.state_dict()}


def test_windows_of_a_pointwise_predictor_join_without_a_seam():
    rule = SizeRule(minimum=(16, 16), multiple=(1, 1), fixed=(16, 16), batch=3)
    net = nn.Conv2d(1, 2, 1).requires_grad_(False)
    x = image(50, 37, batch=2)
    assert torch.allclose(fitted(net, rule)(x), net(x), atol=1e-6)
    found = gradient(fitted(net, rule), x, OutputSum())
    assert torch.allclose(found, net.weight.sum().expand_as(x), atol=1e-6)


def test_windows_along_one_axis_and_padding_along_the_other(make):
    rule = SizeRule(minimum=(16, 8), multiple=(1, 8), fixed=(16, None))
    model, x = fitted(make(), rule), image(40, 21)
    assert predict(model, x).shape == x.shape


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_fixed_batch_is_filled_and_cut(rows):
    calls = []

    def model(x):
        calls.append(len(x))
        return 2 * x

    rule = SizeRule(minimum=(1, 1), multiple=(1, 1), batch=rows)
    x = image(4, 4, batch=5)
    assert torch.equal(fitted(model, rule)(x), 2 * x)
    assert calls == [rows] * -(-5 // rows)


def test_one_number_for_a_padded_image_is_left_alone():
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert fitted(pooled, EIGHTS)(image(9, 9, batch=3)).shape == (3, 1)


def test_one_number_for_an_image_larger_than_the_fixed_size_is_refused():
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rule = SizeRule(minimum=(8, 8), multiple=(1, 1), fixed=(8, 8))
    with pytest.raises(UsageError, match="images of 20x8 must be cropped to 8x8"):
        fitted(pooled, rule)(image(20, 8))


@pytest.mark.parametrize("how", ["trace", "exported", "dynamic"])
@pytest.mark.parametrize("size", [(150, 210), (37, 53)])
def test_programs_from_elsewhere_on_awkward_fields(make, saved, how, size):
    net = make()
    source = saved(net, how, image(16, 24, batch=2))
    loaded, _ = load_predictor(source, trust=True)
    model = fitted(loaded, inspect_predictor(loaded).sizes)
    x = image(*size, batch=3)
    out = predict(model, x)
    assert out.shape == x.shape
    if how != "exported":
        assert torch.allclose(out, predict(fitted(net, EIGHTS), x), atol=1e-5)
    assert gradient(model, x, OutputSum()).any()
