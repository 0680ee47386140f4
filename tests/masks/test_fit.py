"""Planted truth: we know which half of the image the predictor reads."""

import pytest
import torch
import torch.nn.functional as F

from attributome.core.arrays import top_share
from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.fills import fill_for
from attributome.core.targets import Logit, Output, OutputSum
from attributome.core.training import Plan
from attributome.masks.fit import fit_masks, mask_explainer
from attributome.masks.generator import Design, generator_for, load_generator, save_generator
from attributome.masks.objective import PRESETS
from attributome.masks.start import choose_start
from attributome.metrics.faithfulness import efficacy

CPU = Compute()
WIDTH = (4, 4, 8, 8, 8, 4)


def fresh(dims, condition, predictor="p", grain=1):
    design = Design(
        channels=2, dims=dims, condition=condition, predictor=predictor, features=WIDTH, grain=grain
    )
    return generator_for(design, seed=0)


def left_half(x):
    used = torch.zeros_like(x)
    used[..., : x.shape[-1] // 2] = 1
    return F.avg_pool2d(x * used, 3, 1, 1) if x.ndim == 4 else F.avg_pool3d(x * used, 3, 1, 1)


def left_value(x):
    return 3 * x[..., : x.shape[-1] // 2].flatten(1).mean(1, keepdim=True) ** 2


def brighter_side(x):
    half = x.shape[-1] // 2
    left, middle = x[..., :half].flatten(1), x[..., half : half + 1].flatten(1)
    return 20 * torch.stack([left.mean(1), middle.mean(1)], 1)


def draw(dims, count, seed, still):
    draws = torch.Generator().manual_seed(seed)
    base = torch.randn(count, 1, *[32 if dims == 2 else 16] * dims, generator=draws)
    return base if still else base + torch.randn(count, 1, *[1] * dims, generator=draws)


def train(model, target, goal, *, dims=2, condition="prediction", epochs=4, folder=None, steps=15):
    still = condition == "prediction"  # a scalar needs images that differ as a whole
    generator = fresh(dims, condition)
    story = fit_masks(
        CPU.place(generator, dims), model, target, goal=goal,
        plan=Plan(lr=5e-3, epochs=epochs), steps=steps, compute=CPU, folder=folder,
        batches=lambda epoch: (draw(dims, 8, 1000 * epoch + i, still) for i in range(steps)),
        validation=[draw(dims, 8, 10**6, still)],
    )  # fmt: skip
    return generator, story


def inside_and_outside(generator, model, target, dims):
    x = draw(dims, 4, 77, still=generator.design.condition == "prediction")
    maps = mask_explainer(generator)(model, x, target)
    assert maps.min() >= 0
    assert maps.max() <= 1
    half = x.shape[-1] // 2
    return x, maps, maps[..., : half - 1].mean().item(), maps[..., half + 2 :].mean().item()


@pytest.mark.parametrize("dims", [2, 3])
def test_image_masks_find_the_half_that_is_used(dims):
    generator, story = train(left_half, OutputSum(), PRESETS["image"], dims=dims)
    x, maps, inside, outside = inside_and_outside(generator, left_half, OutputSum(), dims)
    assert inside > outside + 0.3
    fill = fill_for(x, list("abcd"), "gaussian", scale=1.5, seed=0)
    learned = efficacy(left_half, x, top_share(maps, 0.5), fill)
    random = efficacy(left_half, x, top_share(torch.rand_like(maps), 0.5), fill)
    assert (learned > 0.7).all()
    assert (learned > random + 0.15).all()
    assert story.best < story.rows[0]["val_loss"]


@pytest.mark.parametrize(
    ("model", "target", "preset"),
    [(left_value, Output(), "regression"), (brighter_side, Logit(0), "classification")],
)
def test_scalar_masks_find_the_region_that_carries_the_output(model, target, preset):
    generator, _ = train(model, target, PRESETS[preset], condition="gradient", epochs=5)
    _, _, inside, outside = inside_and_outside(generator, model, target, 2)
    assert inside > outside + 0.2


@pytest.mark.parametrize("preset", ["published_image", "published_regression"])
def test_published_presets_run_on_the_same_loop(preset):
    image = preset == "published_image"
    model, condition = (left_half, "prediction") if image else (left_value, "gradient")
    generator, story = train(
        model, Output(), PRESETS[preset], condition=condition, epochs=2, steps=6
    )
    assert story.rows[-1]["loss"] < story.rows[0]["loss"]
    assert not generator.training


def test_a_predictor_with_batch_norm_is_not_moved_by_training_masks():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 1, 1)
    ).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train(net, OutputSum(), PRESETS["image"], epochs=1, steps=3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_importance_is_the_rank_among_the_fields_that_were_seen():
    generator = fresh(2, "prediction")
    generator.eval()
    seen = torch.randn(2, 2, 33, 47)
    with torch.no_grad():
        logits = generator.logits(seen)
        generator.settle(logits.flatten())
        maps = generator(seen)
    assert maps.shape == (2, 1, 33, 47)
    order = logits.flatten().argsort()
    wanted = torch.linspace(0, 1, len(order))
    assert torch.allclose(maps.flatten()[order], wanted, atol=2e-2)
    assert (maps.flatten()[order].diff() >= -1e-6).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_a_coarse_generator_draws_no_detail_below_its_grain(dims):
    seen = torch.randn(2, 2, *[36] * dims)
    with torch.no_grad():
        fine, coarse = (fresh(dims, "prediction", grain=g).eval().logits(seen) for g in (1, 4))
    assert fine.shape == coarse.shape

    def roughness(logits):
        return (logits.diff(dim=-1).square().mean() / logits.var()).item()

    assert roughness(coarse) < 0.5 * roughness(fine)


def test_a_generator_is_read_back_and_knows_its_predictor(tmp_path):
    generator = fresh(2, "prediction", predictor="abc")
    save_generator(tmp_path, generator, {"preset": "image"})
    again = load_generator(tmp_path, predictor="abc")
    seen = torch.randn(1, 2, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(seen), generator.eval()(seen))
    with pytest.raises(DataError, match="was trained for another predictor"):
        load_generator(tmp_path, predictor="xyz")
    (tmp_path / "generator.safetensors").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot read the mask generator"):
        load_generator(tmp_path)


def test_training_resumes_to_the_same_masks(tmp_path):
    straight, _ = train(left_half, OutputSum(), PRESETS["image"], epochs=2, steps=3)
    resumed, _ = train(left_half, OutputSum(), PRESETS["image"], epochs=2, steps=3, folder=tmp_path)
    again, story = train(
        left_half, OutputSum(), PRESETS["image"], epochs=2, steps=3, folder=tmp_path
    )
    assert story.finished
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
        assert torch.equal(again.state_dict()[name], value), name


def test_training_begins_from_the_best_of_several_rankings_and_of_their_opposites():
    """Turned round, the generator ranks what the predictor does not read first; it is noticed."""
    generator, images = fresh(2, "prediction"), [draw(2, 8, 5, True)]
    goal = PRESETS["image"]
    before = {name: value.clone() for name, value in generator.state_dict().items()}

    def begin(starts):
        generator.load_state_dict(before)
        return choose_start(
            generator, left_half, OutputSum(), goal=goal, images=images, starts=starts, seed=0
        )

    alone = begin(1)
    signed = generator.state_dict()["net.final_conv.weight"]
    original = before["net.final_conv.weight"]
    assert torch.equal(signed, original) or torch.equal(signed, -original)
    several = begin(6)
    assert several > alone
    assert begin(6) == several
    generator.load_state_dict(
        {n: -v if n.startswith("net.final_conv") else v for n, v in before.items()}
    )
    turned = choose_start(
        generator, left_half, OutputSum(), goal=goal, images=images, starts=1, seed=0
    )
    assert turned == alone  # whichever sign it came with


def test_no_start_at_all_is_refused():
    with pytest.raises(UsageError, match="0 starts"):
        choose_start(
            fresh(2, "prediction"), left_half, OutputSum(), goal=PRESETS["image"],
            images=[draw(2, 2, 5, True)], starts=0, seed=0,
        )  # fmt: skip
