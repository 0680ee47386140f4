"""The head that claims how wrong a prediction is: it learns, keeps its promises, sees shifts."""

import numpy as np
import pytest
import torch
from torch import nn

from attributome.core.arrays import pearson, top_share
from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.probe import gradient, predict
from attributome.core.seeds import rng, seed_of
from attributome.core.targets import Weighted
from attributome.core.training import Plan
from attributome.data.planted import planted
from attributome.data.shifted import in_spreads, shifted_fields
from attributome.predictors.confidence import (
    Judged,
    claimed_error,
    claimed_map,
    confidence_head,
    fit_confidence,
    judged,
)
from attributome.predictors.fit import fit_predictor
from attributome.studies.confidence import fit_error_map, judge_confidence

CPU = Compute()
PLAN = Plan(lr=0.01, epochs=16)
PARTS = {"train": range(24), "validate": range(24, 36)}


def noisy(i, size=(16, 16)):
    """The rougher the prediction, the larger the error."""
    draw = rng(0, "noisy", i)
    error = draw.uniform(0, 0.9)
    inputs = draw.standard_normal((2, *size)) * np.array([error, 1]).reshape(2, *[1] * len(size))
    return Judged(inputs=inputs.astype(np.float32), error=error, unit=f"w{i // 3}")


def samples_of(size=(16, 16)):
    return [noisy(i, size) for i in range(36)]


def head_of(dims=2, **more):
    return confidence_head(2, dims, **({"width": 4} | more))


def fitted(samples, dims=2, *, parts=PARTS, plan=PLAN, batch=8, **more):
    net = head_of(dims)
    return net, fit_confidence(net, samples, parts, plan=plan, batch=batch, compute=CPU, **more)


def test_an_error_is_one_minus_the_absolute_correlation(random):
    prediction, truth = random.standard_normal((2, 1, 9, 8))
    mask, image = random.uniform(size=(2, 1, 9, 8))
    for sign in (1, -1):
        one = judged(sign * prediction, mask, truth, unit="w", image=image)
        wanted = 1 - abs(np.corrcoef(prediction.ravel(), truth.ravel())[0, 1])
        assert one.error == pytest.approx(wanted, abs=1e-12)
        shown = np.concatenate([sign * prediction, mask, image])
        assert np.array_equal(one.inputs, shown.astype(np.float32))
    assert judged(np.full_like(truth, 3.3), mask, truth, unit="w").error == 1
    assert judged(2 - 3 * truth, mask, truth, unit="w").error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("truth", "message"), [(2.0, "constant"), (np.nan, "not finite")])
def test_a_truth_that_says_nothing_is_refused(random, truth, message):
    prediction, mask = random.standard_normal((2, 1, 4, 4))
    with pytest.raises(DataError, match=message):
        judged(prediction, mask, np.full((1, 4, 4), truth), unit="w")


@pytest.mark.parametrize("size", [1, 7, 16])
def test_a_head_takes_every_size_and_keeps_the_batch(dims, size):
    state = torch.get_rng_state()
    net, again = head_of(dims), head_of(dims)
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(3, 2, *[size] * dims, generator=torch.Generator().manual_seed(0))
    claims = predict(net, x)
    assert claims.shape == (3, 1)
    assert ((claims > 0) & (claims < 1)).all()
    assert torch.equal(predict(again, x), claims)
    assert torch.allclose(predict(net, x[1:2]), claims[1:2], atol=1e-6)
    other = confidence_head(**{**net.kwargs, "seed": 1})
    other.load_state_dict(net.state_dict())
    assert torch.equal(predict(other, x), claims)
    assert not torch.equal(predict(head_of(dims, seed=1), x), claims)


def test_a_resnet_of_monai():
    net = head_of(kind="resnet", version="10")
    assert predict(net, torch.rand(2, 2, 20, 33)).shape == (2, 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [({"version": "9"}, "version '9'"), ({"dims": 4}, "4 dims"), ({"width": 0}, "width 0")],
)
def test_no_head_of_this_kind(more, message):
    with pytest.raises(UsageError, match=message):
        confidence_head(**({"channels": 2, "dims": 2} | more))


@pytest.mark.parametrize("size", [(16, 16), (4, 12, 12)], ids=["2d", "3d"])
def test_it_learns_and_is_better_than_the_mean(size):
    samples = samples_of(size)
    net, story = fitted(samples, len(size))
    best = story.rows[story.best_epoch]
    assert best["val_loss"] < 0.25 * best["val_constant"]
    errors = np.array([one.error for one in samples])
    constant = ((errors[24:] - errors[:24].mean()) ** 2).mean()
    assert best["val_constant"] == pytest.approx(constant)
    claims = [claimed_error(net, one.inputs, compute=CPU) for one in samples[24:]]
    assert ((np.array(claims) - errors[24:]) ** 2).mean() == pytest.approx(best["val_loss"])


def test_windows_train_on_fields_of_any_size():
    samples = [noisy(i, (16 + i % 3, 40)) for i in range(36)]
    _, story = fitted(samples, window=(12, 12))
    best = story.rows[story.best_epoch]
    assert best["val_loss"] < 0.4 * best["val_constant"]


def test_a_field_is_the_mean_of_its_windows_and_a_map_says_where():
    net, _ = fitted(samples_of())
    draw = np.random.default_rng(0)
    field = draw.standard_normal((2, 16, 64)).astype(np.float32)
    field[0, :, :32] *= 0.1
    claims = claimed_map(net, field, window=(16, 16), overlap=0.0, compute=CPU)
    alone = [claimed_error(net, field[..., at : at + 16], compute=CPU) for at in range(0, 64, 16)]
    assert claims[0, 3, ::16] == pytest.approx(alone, abs=1e-6)
    assert max(alone[:2]) + 0.2 < min(alone[2:])
    whole = claimed_error(net, field, window=(16, 16), overlap=0.0, compute=CPU)
    assert whole == pytest.approx(np.mean(alone), abs=1e-6)
    blended = claimed_map(net, field, window=(16, 16), compute=CPU)[0, 0]
    assert blended[:24].max() + 0.2 < blended[40:].min()
    assert blended.max() < 1


def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    class Killed:
        def __call__(self, done, _words):
            if done > 0.5:
                raise KeyboardInterrupt

    samples, plan = samples_of(), Plan(lr=0.01, epochs=4)
    straight, wanted = fitted(samples, plan=plan, folder=tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fitted(samples, plan=plan, folder=tmp_path / "b", progress=Killed())
    resumed, got = fitted(samples, plan=plan, folder=tmp_path / "b")
    assert got.rows == wanted.rows
    state = straight.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in resumed.state_dict().items())
    with pytest.raises(DataError, match="made with other settings"):
        fitted([*samples[1:], samples[0]], plan=plan, folder=tmp_path / "a",
               parts={"train": range(23), "validate": range(26, 34)})  # fmt: skip


def test_the_batch_of_an_epoch_leaves_no_field_out_and_the_seed_draws(tmp_path):
    samples = samples_of()
    plan = Plan(lr=0.01, epochs=1)
    stories = [fitted(samples, plan=plan, batch=7, seed=seed)[1].rows for seed in (0, 0, 1)]
    assert stories[0] == stories[1] != stories[2]


@pytest.mark.parametrize(
    ("change", "more", "kind", "message"),
    [
        ({"parts": {"train": range(25), "validate": range(25, 36)}}, {}, DataError,
         "unit 'w8' trains and validates"),
        ({"parts": {"train": range(24)}}, {}, DataError, "no rows validate"),
        ({"parts": {"train": range(24), "validate": [36]}}, {}, DataError, "row 36 of the part"),
        ({"batch": 0}, {}, UsageError, "batch 0"),
        ({"window": (17, 4)}, {}, UsageError, r"a window of \(17, 4\) for .* \(16, 16\)"),
        ({}, {"inputs": np.zeros((2, 16, 17), np.float32)}, UsageError, "give a window"),
        ({}, {"inputs": np.zeros((3, 16, 16), np.float32)}, DataError, "a head of 2 channels"),
        ({}, {"error": float("nan")}, DataError, "the error of row 0 is nan"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_refused(change, more, kind, message):
    samples = samples_of()
    first = {"inputs": samples[0].inputs, "error": samples[0].error, "unit": "w0"} | more
    with pytest.raises(kind, match=message):
        fitted([Judged(**first), *samples[1:]], **change)


def test_a_constant_channel_is_refused():
    flat = [
        Judged(
            inputs=one.inputs * np.array([[[1.0]], [[0.0]]], np.float32), error=0.5, unit=one.unit
        )
        for one in samples_of()
    ]
    with pytest.raises(DataError, match="channel 1 is constant"):
        fitted(flat)


# A planted shift: one small predictor, trained on fields as they should be, meets wells that were
# blurred, noisy, brighter with less contrast, or of a cell type with larger nuclei.

SIZE, WELLS = (64, 64), {"train": 60, "validate": 20, "test": 40}


def target_of(sample):
    return (sample.target - 1405) / 2800


def small_predictor():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 1))
    pairs = [(in_spreads(one), target_of(one)) for one in planted(fields=32, size=SIZE, seed=7)]
    x, y = (torch.from_numpy(np.stack(one)).float() for one in zip(*pairs, strict=True))
    fit_predictor(
        net, batches=lambda _: [(x[i : i + 4], y[i : i + 4]) for i in range(0, 28, 4)], steps=7,
        validation=[(x[28:], y[28:])], task="image", plan=Plan(lr=3e-3, epochs=14), compute=CPU,
    )  # fmt: skip
    return net


def masked(net, x, field):
    """Prediction, the 30 % of pixels with the largest gradient times input, and its efficacy."""
    out = predict(net, x)
    importance = (gradient(net, x, Weighted(out)) * x).abs()
    mask = top_share(nn.functional.avg_pool2d(importance, 5, 1, 2), 0.3)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed_of(0, field)))
    return out, mask, pearson(predict(net, x + 2 * (1 - mask) * noise), out).item()


def shift_experiment():
    """Fields of 120 wells, each with its shift: the table and what a head sees of each field."""
    net = small_predictor()
    fields = shifted_fields(wells=WELLS, size=SIZE, seed=0)
    samples, efficacies = [], []
    for i, sample in enumerate(fields):
        out, mask, efficacy = masked(net, torch.from_numpy(in_spreads(sample))[None], i)
        truth, well = target_of(sample), sample.meta["well"]
        samples.append(judged(out[0].numpy(), mask[0].numpy(), truth, unit=well))
        efficacies.append(efficacy)
    errors = [one.error for one in samples]
    return fields.table().assign(efficacy=efficacies, error=errors), samples


def test_confidence_ranks_fields_of_new_wells_under_planted_shifts():
    table, samples = shift_experiment()
    parts = {name: table.index[table["split"] == name].tolist() for name in set(table["split"])}
    head = head_of()
    test = table.loc[parts["test"]]
    plan = Plan(lr=0.01, epochs=10)
    fit_confidence(head, samples, parts, plan=plan, compute=CPU)
    claims = [claimed_error(head, samples[i].inputs, compute=CPU) for i in parts["test"]]
    judge = {"unit": "well", "claims": "error"}
    found = judge_confidence(test.assign(score=claims), **judge, by="shift", draws=500).scores
    everywhere, within = found.iloc[0], found.iloc[-1]
    assert (everywhere["n"], everywhere["units"]) == (80, 40)
    assert everywhere["spearman"] >= 0.6
    assert everywhere["spearman_low"] > 0.4
    assert everywhere["gain_low"] > 0.3
    assert abs(everywhere["bias"]) < 0.1
    assert within["spearman_low"] > 0  # it does not only tell one shift from another

    # a mask that preserves a prediction says less: noise hides little in a field that is all noise
    errors = fit_error_map(table, unit="well")
    mapped = test.assign(score=errors.claims(test["efficacy"].to_numpy()))
    unsupervised = judge_confidence(mapped, **judge, draws=500).scores.iloc[0]
    assert unsupervised["spearman_low"] > 0
    assert unsupervised["spearman"] < everywhere["spearman"]
