"""Rows of right and wrong, measured batch by batch: against a loop, and where it is planted."""

import numpy as np
import pytest
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.fills import fill_for
from attributome.core.records import Sample
from attributome.core.targets import Output, TopProbability
from attributome.data.intensity import Scaling
from attributome.masks.fit import mask_explainer
from attributome.masks.generator import Design, generator_for
from attributome.masks.objective import PRESETS
from attributome.pipeline.study.correctness import measure_correctness
from attributome.studies.correctness import efficacy_and_correctness

SCALING = Scaling(kind="zscore", center=(100.0, 90.0, 80.0), scale=(20.0, 30.0, 25.0))
DRAW = np.random.default_rng(0)
CLASSES = [int(label) for label in DRAW.integers(0, 4, 11)]
NUMBERS = DRAW.random(11)
GOAL = {task: PRESETS[task] for task in ("classification", "regression")}


def samples(targets):
    draw = np.random.default_rng(1)
    for number, target in enumerate(targets):
        yield Sample(
            id=f"s{number}",
            image=draw.normal(90, 25, (3, 16, 16)).astype(np.float32),
            channels=("r", "g", "b"),
            target=float(target),
            meta={"corruption": "fog", "image": number},
        )


def net(outputs):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(6 * 16, outputs),
    )  # fmt: skip


@pytest.fixture(scope="module")
def mask():
    design = Design(channels=4, dims=2, condition="gradient", predictor="x", features=(4,) * 6)
    return mask_explainer(generator_for(design, seed=0).eval())


@pytest.mark.parametrize("threshold", [None, 0.7])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_rows_are_those_of_a_loop_over_images(mask, task, threshold):
    classes = task == "classification"
    model, targets = net(4 if classes else 1), CLASSES if classes else NUMBERS
    words = {"task": task, "scaling": SCALING, "threshold": threshold, "spread": 0.3}
    found = measure_correctness(model, mask, samples(targets), GOAL[task], batch=4, **words)
    assert model.training  # put back
    model.eval()
    assert found["id"].tolist() == [f"s{i}" for i in range(11)]
    assert found["image"].tolist() == [*range(11)]
    for row, sample in zip(found.to_dict("records"), samples(targets), strict=True):
        centre, scale = (np.reshape(v, (3, 1, 1)) for v in (SCALING.center, SCALING.scale))
        x = torch.from_numpy((sample.image - centre) / scale).float()[None]
        maps = mask(model, x, TopProbability() if classes else Output())
        kept = maps.clone()
        if threshold is not None:
            places = maps.flatten().argsort(descending=True, stable=True)
            kept = torch.zeros(256).index_fill(0, places[: round(0.3 * 256)], 1).view_as(maps)
        noise = fill_for(x, [sample.id], "gaussian", scale=0.5, seed=1)
        assert (noise == noise[:, :1]).all()
        with torch.no_grad():
            out, noised = model(x)[0], model(kept * x + (1 - kept) * noise)[0]
        assert row["mask_size"] == pytest.approx(kept.mean().item(), abs=1e-6)
        if classes:
            before, after = (o.softmax(0).double().numpy() for o in (out, noised))
            assert (row["truth"], row["top"]) == (sample.target, before.argmax())
            assert row["correct"] == (before.argmax() == sample.target)
            assert row["probability"] == pytest.approx(before.max(), rel=1e-5)
            assert row["efficacy"] == pytest.approx(np.corrcoef(before, after)[0, 1], abs=1e-5)
        else:
            assert row["prediction"] == pytest.approx(out.item(), abs=1e-5)
            assert row["error"] == pytest.approx(abs(out.item() - sample.target), abs=1e-5)
            change = abs(out.item() - noised.item())
            assert row["efficacy"] == pytest.approx(max(0, 1 - change / 0.3), abs=1e-4)


def test_a_row_does_not_depend_on_its_batch_and_batches_are_read_one_by_one(mask):
    model, read, seen = net(4), [], []

    def watched():
        for one in samples(CLASSES):
            read.append(one.id)
            yield one

    def explainer(model, x, target):
        seen.append(len(read))
        return mask(model, x, target)

    words = {"task": "classification", "scaling": SCALING, "threshold": 0.8}
    goal = GOAL["classification"]
    one = measure_correctness(model, explainer, watched(), goal, batch=3, **words)
    assert seen == [3, 6, 9, 11]
    other = measure_correctness(model, mask, samples(CLASSES), goal, batch=64, **words)
    for name in ("probability", "efficacy", "mask_size"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)
    assert one["top"].tolist() == other["top"].tolist()


def test_an_image_whose_evidence_is_found_keeps_its_answer_and_the_table_can_be_judged():
    """A patch's colour is the class; half the maps point at the patch, half beside it."""
    draw = np.random.default_rng(0)
    some, good = [], []
    for number in range(80):
        image = draw.normal(0, 0.3, (3, 16, 16)).astype(np.float32)
        shown = number % 3
        image[shown, :6, :6] += 3
        found = number % 2 == 0
        good.append(found)
        image[:, 15, 15] = 50 if found else -50  # tells the explainer below
        some.append(Sample(
            id=str(number), image=image, channels=tuple("rgb"),
            target=float(shown if found else (shown + 1) % 3),
            meta={"split": ("validate", "test")[number // 40]},
        ))  # fmt: skip
    plain = Scaling(kind="zscore", center=(0.0,) * 3, scale=(1.0,) * 3)

    def model(x):
        return 4 * x[:, :, :6, :6].mean((2, 3))

    def points(model, x, target):
        maps = torch.zeros(len(x), 1, 16, 16)
        for one, image in zip(maps, x, strict=True):
            at = slice(0, 6) if image[0, 15, 15] > 0 else slice(7, 13)
            one[:, at, at] = 1
        return maps

    table = measure_correctness(
        model, points, some, GOAL["classification"], task="classification", scaling=plain,
        threshold=1 - 36 / 256,
    )  # fmt: skip
    assert table["correct"].tolist() == [int(found) for found in good]
    assert table["mask_size"].unique().tolist() == [36 / 256]
    assert table.loc[table["correct"] == 1, "efficacy"].min() > 0.99
    found = efficacy_and_correctness(table, unit="id", draws=100)
    row = found.scores.set_index("score").loc["efficacy"]
    assert row["auroc"] > 0.9
    assert abs(found.scores.set_index("score").loc["probability", "auroc"] - 0.5) < 0.3
    assert found.gains["low"][0] > 0


GOOD = {"task": "classification", "scaling": SCALING}


@pytest.mark.parametrize(
    ("outputs", "targets", "words", "error", "says"),
    [
        (4, [], {}, DataError, "there are no samples"),
        (4, [7], {}, DataError, "'s0' is of class 7.0, but the predictor has 4 classes"),
        (4, [0.5], {}, DataError, "is of class 0.5"),
        (1, [0], {}, DataError, "no scores of classes"),
        (4, [0], {"task": "regression", "spread": 1.0}, DataError, "one number is needed"),
        (1, [0], {"task": "regression"}, UsageError, "the spread of the predictions is None"),
        (4, [0], {"batch": 0}, UsageError, "batches of 0"),
        (4, [0], {"threshold": 2.0}, UsageError, "threshold 2.0"),
    ],
)
def test_what_cannot_be_measured_is_refused(mask, outputs, targets, words, error, says):
    with pytest.raises(error, match=says):
        measure_correctness(
            net(outputs), mask, samples(targets), GOAL["classification"], **(GOOD | words)
        )


def test_images_without_a_truth_or_of_other_sizes_are_refused(mask):
    bare = [Sample(id="a", image=np.zeros((3, 16, 16), np.float32), channels=tuple("rgb"))]
    with pytest.raises(DataError, match="'a' has no class"):
        measure_correctness(net(4), mask, bare, GOAL["classification"], **GOOD)
    sizes = [
        Sample(id=str(s), image=np.ones((3, s, s), np.float32), channels=tuple("rgb"), target=0.0)
        for s in (16, 18)
    ]
    with pytest.raises(DataError, match="images of one size are needed"):
        measure_correctness(net(4), mask, sizes, GOAL["classification"], **GOOD)
