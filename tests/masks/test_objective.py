"""The loss by hand, and the forms: values, shares and gradients."""

import pytest
import torch

from attributome.core.arrays import pearson
from attributome.masks.objective import FORMS, PRESETS, Objective, as_mask, loss_terms


@pytest.fixture
def outputs():
    draws = torch.Generator().manual_seed(0)
    return [torch.randn(4, 1, 6, 6, generator=draws, dtype=torch.double) for _ in range(2)]


def test_published_image_loss_is_the_formula_of_the_paper(outputs):
    got, wanted = outputs
    masks = torch.rand(4, 1, 6, 6, dtype=torch.double)
    terms = loss_terms(PRESETS["published_image"], got, wanted, masks)
    hinge = (0.9 - pearson(got, wanted)).clamp_min(0).mean()
    wanted_loss = (got - wanted).square().mean() + masks.square().mean() + 6 * hinge
    assert torch.allclose(terms["loss"], wanted_loss)


def test_published_scalar_losses_pool_over_the_batch_and_are_two_sided():
    got, wanted = torch.rand(8, 1).double(), torch.rand(8, 1).double()
    masks = torch.rand(8, 1, 4, 4).double()
    pooled = torch.corrcoef(torch.stack([got[:, 0], wanted[:, 0]]))[0, 1]
    loss = loss_terms(PRESETS["published_regression"], got, wanted, masks)["loss"]
    by_hand = (got - wanted).square().mean() + masks.mean() + 2.5 * (0.95 - pooled).abs()
    assert torch.allclose(loss, by_hand)
    p, q = torch.randn(8, 3).double(), torch.randn(8, 3).double()
    loss = loss_terms(PRESETS["published_classification"], p, q, masks)["loss"]
    p, q = p.softmax(1), q.softmax(1)
    pooled = torch.corrcoef(torch.stack([p.flatten(), q.flatten()]))[0, 1]
    by_hand = (p - q).square().mean() + masks.mean() + 1.75 * (0.95 - pooled).abs()
    assert torch.allclose(loss, by_hand)


def test_better_than_enough_costs_nothing_unless_two_sided(outputs):
    same = outputs[0]
    masks = torch.zeros(4, 1, 6, 6)
    hinge = Objective(form="soft", enough=0.9, pool="sample")
    both = Objective(form="soft", enough=0.9, pool="sample", two_sided=True)
    assert loss_terms(hinge, same, same, masks)["loss"].item() == pytest.approx(0)
    assert loss_terms(both, same, same, masks)["loss"].item() == pytest.approx(0.1)


def test_agreement_inside_a_region_ignores_the_rest(outputs):
    got, wanted = outputs
    weight = torch.zeros(4, 1, 6, 6)
    weight[..., :3] = 1
    goal = Objective(pool="sample")
    terms = loss_terms(goal, got, wanted, torch.zeros(4, 1, 6, 6), weight)
    assert torch.allclose(terms["pcc"], pearson(got[..., :3], wanted[..., :3]).mean())


def test_constant_outputs_have_finite_loss_and_gradient():
    got = torch.ones(2, 1, 4, 4, requires_grad=True)
    loss = loss_terms(PRESETS["image"], got, torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    loss["loss"].backward()
    assert got.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_forms_pass_gradients_and_hard_forms_are_binary(form):
    logits = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    masks = as_mask(Objective(form=form), logits, 0.5, torch.Generator().manual_seed(1))
    masks.sum().backward()
    assert logits.grad.abs().sum() > 0
    assert set(masks.detach().unique().tolist()) <= {0.0, 1.0} or form == "soft"
    again = as_mask(Objective(form=form), logits, 0.5, torch.Generator().manual_seed(1))
    assert torch.equal(masks, again)


@pytest.mark.parametrize("pool", ["sample", "batch"])
def test_rank_keeps_a_drawn_share_of_what_ranks_highest(pool):
    logits = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    goal = Objective(form="rank", areas=(0.05, 0.2), pool=pool)
    sizes = []
    for seed in range(40):
        masks = as_mask(goal, logits, 0.0, torch.Generator().manual_seed(seed))
        rows = [slice(0, 4)] if pool == "batch" else [slice(i, i + 1) for i in range(4)]
        for row in rows:
            assert logits[row][masks[row] == 1].min() > logits[row][masks[row] == 0].max()
        sizes.append(masks.mean().item())
    assert min(sizes) > 0.045
    assert max(sizes) < 0.205
    assert max(sizes) > 2 * min(sizes)


def test_bernoulli_and_concrete_keep_a_pixel_with_its_probability():
    logits = torch.full((1, 1, 200, 200), 0.4)
    for form in ("bernoulli", "concrete"):
        masks = as_mask(Objective(form=form), logits, 0.0, torch.Generator().manual_seed(0))
        assert masks.mean().item() == pytest.approx(torch.tensor(0.4).sigmoid().item(), abs=0.01)
