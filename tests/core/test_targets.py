"""Every target is the number it says, in words that say it, and refuses what it cannot mean."""

import dataclasses

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from attributome.core import cells, fidelity, targets
from attributome.core.cells import CellMeans
from attributome.core.errors import DataError, UsageError
from attributome.core.fidelity import (
    Correlation,
    NegativeError,
    Overlap,
    Similarity,
    check_gradient_target,
)
from attributome.core.probe import gradient, predict
from attributome.core.similarity import dice, ssim
from attributome.core.targets import (
    Channel,
    Difference,
    Logit,
    LogProbability,
    Margin,
    Output,
    OutputSum,
    RegionMean,
    RegionSum,
    TopProbability,
    Voxel,
    Weighted,
    describe,
    target_named,
)

SCORES = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]], dtype=torch.double)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.fixture
def size(dims):
    return (12, 14, 13)[:dims]


@pytest.fixture
def outputs(size):
    return noise(3, 2, *size)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (Logit(1), [3, -1]),
        (Logit(torch.tensor([0, 2])), [1, 5]),
        (Margin(1), [1, -6]),
        (Margin(torch.tensor([1, 2])), [1, 5]),
        (Difference(1, 2), [1, -6]),
        (Difference(torch.tensor([1, 0]), 2), [1, -5]),
        (Output(2), [2, 5]),
        (OutputSum(), [6, 4]),
        (Channel(1), [3, -1]),
        (Weighted(torch.tensor([1.0, 0.0, -2.0])), [-3, -10]),
        (Weighted(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])), [1, 10]),
        (LogProbability(1), np.log(np.exp([3, -1]) / np.exp(SCORES.numpy()).sum(1))),
        (TopProbability(), np.exp([3, 5]) / np.exp(SCORES.numpy()).sum(1)),
    ],
    ids=repr,
)
def test_targets_of_scores(target, wanted):
    assert np.allclose(target(SCORES).numpy(), wanted, rtol=1e-12)


def test_targets_of_images(outputs, size):
    dims, image = len(size), outputs.numpy()
    each = noise(3, *size) > 0
    inside = [image[i][:, each[i].numpy()] for i in range(3)]
    assert np.allclose(RegionMean(each)(outputs), [v.mean() for v in inside])
    assert np.allclose(RegionSum(each)(outputs), [v.sum() for v in inside])
    assert np.allclose(RegionMean(each[0])(outputs), image[:, :, each[0].numpy()].mean((1, 2)))
    one = Channel(1, RegionMean(each))(outputs)
    assert np.allclose(one, [v[1].mean() for v in inside])
    at = (3, 1, 2)[:dims]
    assert np.array_equal(Voxel(at, 1)(outputs), image[(slice(None), 1, *at)])
    weights = noise(2, *size, seed=1)
    assert np.allclose(
        Weighted(weights)(outputs), (image * weights.numpy()).sum((*range(1, dims + 2),))
    )
    assert torch.allclose(gradient(lambda x: x, outputs, Weighted(weights)), weights)


def test_fidelity_is_that_of_numpy(outputs):
    reference = outputs + 0.5 * noise(*outputs.shape, seed=3)
    a, r = outputs.numpy(), reference.numpy()
    whole = [np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in zip(a, r, strict=True)]
    each = [
        np.mean([np.corrcoef(p.ravel(), q.ravel())[0, 1] for p, q in zip(*pair, strict=True)])
        for pair in zip(a, r, strict=True)
    ]
    assert np.allclose(Correlation(reference)(outputs), whole)
    assert np.allclose(Correlation(reference, per_channel=True)(outputs), each)
    error = [-((p - q) ** 2).mean() for p, q in zip(a, r, strict=True)]
    assert np.allclose(NegativeError(reference)(outputs), error)
    over = [
        2 * ((p > 0.3) & (q > 0.3)).sum() / ((p > 0.3).sum() + (q > 0.3).sum())
        for p, q in zip(a, r, strict=True)
    ]
    assert np.allclose(Overlap(reference, 0.3, 0)(outputs), over)
    assert np.allclose(Overlap(reference, 0.3, 1e-6)(outputs), over)


@pytest.mark.parametrize("sigma", [1.5, 0.8])
def test_ssim_is_that_of_scikit_image(outputs, sigma):
    b = outputs + 0.5 * noise(*outputs.shape, seed=3) + 100  # far from 0, where squares would lose
    a = outputs + 100
    spans = [np.ptp(q.numpy()) for q in b]
    wanted = [
        structural_similarity(
            p.numpy(), q.numpy(), data_range=span, gaussian_weights=True, sigma=sigma,
            use_sample_covariance=False, channel_axis=0,
        )
        for p, q, span in zip(a, b, spans, strict=True)
    ]  # fmt: skip
    assert np.allclose(ssim(a, b, sigma=sigma), wanted, rtol=1e-6)
    assert np.allclose(Similarity(b, sigma)(a), wanted, rtol=1e-6)
    assert torch.allclose(ssim(a, a), torch.ones(3, dtype=torch.double))
    given = ssim(a, b, data_range=torch.tensor(spans), sigma=sigma)
    assert torch.allclose(given, ssim(a, b, sigma=sigma))


def test_a_plane_is_as_similar_in_3d_as_in_2d():
    a, b = noise(2, 1, 12, 14), noise(2, 1, 12, 14, seed=1)
    assert torch.allclose(ssim(a[:, :, None], b[:, :, None]), ssim(a, b))


def test_undefined_similarities_are_nan():
    flat = torch.ones(1, 1, 12, 12)
    assert ssim(flat, flat).isnan().all()
    assert dice(0 * flat, 0 * flat).isnan().all()


@pytest.mark.parametrize(
    "make",
    [
        Correlation,
        lambda r: Correlation(r, per_channel=True),
        NegativeError,
        Similarity,
        lambda r: Overlap(r, 0.2, 0.5),
    ],
    ids=["correlation", "per_channel", "error", "ssim", "dice"],
)
def test_fidelity_is_best_at_its_reference_where_its_gradient_is_zero(outputs, make):
    target = make(outputs)
    assert torch.allclose(target(outputs), target(outputs).round(), atol=1e-12)  # 1, or 0 error
    away = outputs + 0.1 * noise(*outputs.shape, seed=2)
    assert (target(away) < target(outputs)).all()

    def double(x):
        return 2 * x + 0.1 * x**3

    target = make(double(outputs))
    there, here = (gradient(double, at, target).abs().max() for at in (away, outputs))
    assert there > 1e-4
    assert here < 1e-12
    for asked in (target, Channel(0, target)):
        with pytest.raises(UsageError, match="is largest at the image itself, so its gradient"):
            check_gradient_target(asked)


def test_gradients_may_explain_sums(outputs):
    for target in (OutputSum(), Logit(0), Channel(1, OutputSum()), Weighted(outputs), len):
        check_gradient_target(target)
    energy = gradient(lambda x: x**2, outputs, Weighted(outputs**2))
    assert torch.allclose(energy, torch.autograd.functional.vjp(lambda x: x**4 / 2, outputs,
                          torch.ones_like(outputs))[1])  # fmt: skip


@pytest.mark.parametrize("per", ["shared", "each"])
def test_cells_are_the_means_of_their_pixels(outputs, size, per):
    draw = torch.Generator().manual_seed(4)
    labels = 10 * torch.randint(0, 4, (3, *size), generator=draw)
    labels[1][labels[1] == 20] = 0  # the second sample has one cell less
    labels = labels if per == "each" else labels[0]
    goal = CellMeans(labels, len(size))
    found, image = goal(outputs), outputs.numpy()
    assert found.shape == (3, 3)
    for i in range(3):
        own = (labels[i] if per == "each" else labels).numpy()
        ids = [n for n in np.unique(own) if n]
        row = goal.ids[i if per == "each" else 0]
        assert row.tolist() == ids + [0] * (3 - len(ids))
        wanted = [image[i][:, own == n].mean() for n in ids]
        assert np.allclose(found[i, : len(ids)], wanted)
        assert found[i, len(ids) :].isnan().all()
    there = ~found.isnan()
    for column in range(3):
        one = goal.cell(column)(outputs)
        assert torch.allclose(one[there[:, column]], found[there[:, column], column])


def test_the_gradient_of_a_cell_is_one_over_its_area(outputs, size):
    labels = torch.zeros(size, dtype=torch.long)
    labels[..., 2:5] = 7
    leaf = outputs.clone().requires_grad_()
    (grad,) = torch.autograd.grad(CellMeans(labels, len(size))(leaf).sum(), leaf)
    assert torch.allclose(grad, ((labels == 7) / (labels == 7).sum() / 2).expand_as(grad).double())


EVERY = {
    Logit: Logit(3), LogProbability: LogProbability(3), Margin: Margin(3),
    Difference: Difference(3, 1), TopProbability: TopProbability(), Output: Output(2),
    OutputSum: OutputSum(), Channel: Channel(1), RegionMean: RegionMean(torch.ones(2, 2)),
    RegionSum: RegionSum(torch.ones(2, 2)), Voxel: Voxel((1, 2), 1),
    Weighted: Weighted(torch.ones(2)), Correlation: Correlation(noise(1, 2, 3)),
    NegativeError: NegativeError(noise(1, 2, 3)), Similarity: Similarity(noise(1, 2, 3)),
    Overlap: Overlap(noise(1, 2, 3), -9.0, 1.0),
    CellMeans: CellMeans(torch.arange(4).view(2, 2), 2),
}  # fmt: skip


def test_every_target_is_described_in_words_of_its_own():
    homes = (targets, fidelity, cells)
    there = {
        one for home in homes for one in vars(home).values()
        if dataclasses.is_dataclass(one) and one.__module__ == home.__name__
    }  # fmt: skip
    assert there == set(EVERY)
    said = [describe(target) for target in EVERY.values()]
    assert len(set(said)) == len(said)
    assert not [words for words in said if "(" in words.split(" at ")[0] or words.endswith(".")]
    assert describe(Logit(3)) == "the score of class 3"
    assert describe(Logit(torch.tensor([1, 2]))) == "each sample's class"
    assert describe(Channel(1)) == "the sum of the model's outputs, in output channel 1 only"
    assert describe(test_targets_of_scores) == "test_targets_of_scores"
    for target in (Logit(3), Output(), OutputSum(), TopProbability()):
        assert eval(repr(target)) == target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("sum", OutputSum()),
        ("output:2", Output(2)),
        ("class:3", Logit(3)),
        ("class:3-1", Difference(3, 1)),
        ("logprob:3", LogProbability(3)),
        ("margin:12", Margin(12)),
        ("top", TopProbability()),
        ("channel:1", Channel(1)),
        ("voxel:12,40", Voxel((12, 40))),
        ("voxel:1,2,3", Voxel((1, 2, 3))),
    ],
)
def test_targets_have_names(text, target):
    assert target_named(text) == target


def test_a_region_is_named_by_its_label():
    regions = torch.tensor([[0, 7], [7, 2]])
    assert torch.equal(target_named("region:7", regions=regions).region, regions == 7)
    with pytest.raises(DataError, match="'region:5': the image of regions has no pixel with that"):
        target_named("region:5", regions=regions)
    with pytest.raises(UsageError, match="needs an image of regions, and there is none"):
        target_named("region:7")


@pytest.mark.parametrize(
    "text",
    ["", "sums", "class", "class:-1", "class:1-", "voxel:3", "output:1.5", "Sum", "region:a"],
)
def test_other_names_are_refused_with_the_list(text):
    with pytest.raises(
        UsageError, match=r"no target .* it is one of these.* class:3-1, .*region:7"
    ):
        target_named(text)


IMAGE, FLAT = noise(2, 3, 4, 5), torch.ones(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("target", "out", "says"),
    [
        (Logit(3), SCORES, r"class 3 asked of outputs of shape \(2, 3\)"),
        (Logit(-1), SCORES, r"class -1 asked of outputs of shape \(2, 3\)"),
        (Margin(torch.tensor([0, -2])), SCORES, "class -2 asked"),
        (Logit(0), IMAGE, r"class 0 asked of outputs of shape \(2, 3, 4, 5\)"),
        (Difference(0, 9), SCORES, "class 9 asked"),
        (Logit(torch.tensor([0, 1, 2])), SCORES, r"classes of shape \(3,\) for 2 samples"),
        (Logit(torch.tensor(0.5)), SCORES, "classes are whole numbers, not torch.float32"),
        (Margin(0), SCORES[:, :1], "a margin needs two classes or more"),
        (Output(3), SCORES, "output 3 asked of a model with 3 outputs"),
        (Output(-1), SCORES, "output -1 asked"),
        (Output(), IMAGE, "no row of numbers per sample"),
        (TopProbability(), IMAGE, "no row of numbers per sample"),
        (Channel(3), IMAGE, "channel 3 asked of outputs of shape"),
        (Channel(-1), IMAGE, "channel -1 asked of outputs of shape"),
        (RegionMean(torch.zeros(4, 5)), IMAGE, "the region of a target is empty"),
        (RegionSum(torch.zeros(2, 4, 5)), IMAGE, "the region of a target is empty"),
        (RegionMean(torch.ones(5, 4)), IMAGE, r"region of shape \(5, 4\) .* give \(4, 5\)"),
        (RegionSum(torch.ones(3, 4, 5)), IMAGE, r"give \(4, 5\) for all samples, or \(2, 4, 5\)"),
        (RegionMean(torch.ones(())), SCORES, "a region of shape"),
        (Voxel((1, 5)), IMAGE, r"voxel \(1, 5\) of channel 0 asked of outputs of size \(4, 5\)"),
        (Voxel((-1, 0)), IMAGE, r"voxel \(-1, 0\)"),
        (Voxel((1,)), IMAGE, r"voxel \(1,\) of channel 0"),
        (Voxel((1, 1), 3), IMAGE, "with 3 channels"),
        (Weighted(torch.ones(4, 5)), IMAGE, r"weights of shape \(4, 5\) for outputs of shape"),
        (Correlation(IMAGE), IMAGE[:1], "compare outputs of the same batch"),
        (NegativeError(IMAGE[:1]), IMAGE, "compare outputs of the same batch"),
        (Similarity(IMAGE), IMAGE, "axis of 4 pixels is shorter than the window of 11"),
        (CellMeans(torch.ones(4, 4, dtype=torch.long), 2), IMAGE, r"give \(4, 5\) for all samples"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_a_sentence(target, out, says):
    with pytest.raises(UsageError, match=says) as refused:
        target(out)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Correlation(torch.cat([noise(1, 1, 4, 4), FLAT[:1]])), "sample 1 of the ref"),
        (lambda: Correlation(torch.stack([noise(1, 4), FLAT[0, 0, :1]], 1), per_channel=True),
         "channel 1 of the reference output is constant"),
        (lambda: Similarity(FLAT), "sample 0 of the reference output is constant"),
        (lambda: Overlap(IMAGE, 99.0, 1.0), "sample 0 of the reference has nothing above 99.0"),
        (lambda: CellMeans(torch.zeros(4, 4, dtype=torch.long), 2), "holds no cell"),
        (lambda: CellMeans(-torch.ones(4, 4, dtype=torch.long), 2), "holds negative numbers"),
    ],
)  # fmt: skip
def test_references_that_say_nothing_are_refused(make, says):
    with pytest.raises(DataError, match=says):
        make()


def test_other_slips():
    with pytest.raises(UsageError, match="softness of an overlap is -1"):
        Overlap(IMAGE, 0.0, -1)
    with pytest.raises(UsageError, match=r"labels of shape \(4,\) for 2-D images"):
        CellMeans(torch.ones(4, dtype=torch.long), 2)


@pytest.mark.parametrize("name", ["saliency", "input_x_gradient", "guided_backprop", "grad_cam"])
def test_a_gradient_at_the_image_is_not_asked_where_it_is_zero(name):
    from attributome.explain import method, parameters

    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU())
    explainer = method(name, **({"layer": "0"} if "layer" in parameters(name) else {}))
    with pytest.raises(UsageError, match="its gradient there is zero"):
        explainer(model, x, fidelity.NegativeError(predict(model, x)))
