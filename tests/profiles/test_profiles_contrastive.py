"""Two variants of a cell are told from all others: the loss, its training, and what it teaches."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.data.planted_plates import planted_plates
from attributome.predictors.cells import cell_network
from attributome.profiles.learning.classifier import channel_statistics
from attributome.profiles.learning.contrastive import contrastive_features, fit_contrastive, nt_xent
from attributome.profiles.learning.trajectory import read_frames
from attributome.profiles.neighbours import knn_accuracy
from attributome.profiles.single_cells import from_arrays

HERE = Compute()


def cells_of(plates):
    return from_arrays(
        plates.table, plates.images, plates.labels, plates.own, plates.channels, plates.spacing
    )


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def plates(request):
    size = (24, 24) if request.param == 2 else (8, 24, 24)
    return planted_plates(
        dims=request.param, plates=2, wells=2, fields=1, cells=2, treatments=2, size=size
    )


@pytest.fixture
def cells(plates):
    return cells_of(plates)


@pytest.fixture
def parts(plates):
    return {part: plates.ids(part) for part in ("train", "validate")}


def network(cells, **given):
    return cell_network(
        len(cells.channels), 2, size=cells.size, kind="small", **{"width": 2, "dropout": 0} | given
    )


def trained(cells, parts, *, net=None, epochs=2, batch=3, **given):
    net = net or network(cells)
    plan = Plan(lr=1e-3, epochs=epochs)
    return net, fit_contrastive(net, cells, parts, plan=plan, batch=batch, compute=HERE, **given)


def features(net, cells, **given):
    table = pd.concat(contrastive_features(net, cells, **given), ignore_index=True)
    return table, table.filter(like="Cells_").to_numpy()


def slow(z1, z2, temperature):
    """The loss of each variant by loops, and their mean."""
    z = [*z1.tolist(), *z2.tolist()]
    n, count = len(z), len(z1)

    def cosine(a, b):
        return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    total = 0.0
    for i in range(n):
        other = (i + count) % n
        near = [math.exp(cosine(z[i], z[k]) / temperature) for k in range(n) if k != i]
        total -= math.log(math.exp(cosine(z[i], z[other]) / temperature) / sum(near))
    return total / n


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("count", [2, 5])
def test_the_loss_is_that_of_loops(count, temperature, random):
    z1, z2 = (torch.from_numpy(random.normal(size=(count, 4))) for _ in range(2))
    assert nt_xent(z1, z2, temperature).item() == pytest.approx(slow(z1, z2, temperature))
    # lengths do not matter, nor the order of crops, nor which variant is first
    assert nt_xent(7 * z1, z2 / 3, temperature).item() == pytest.approx(slow(z1, z2, temperature))
    turned = nt_xent(z2.flip(0), z1.flip(0), temperature).item()
    assert turned == pytest.approx(slow(z1, z2, temperature))


def test_the_loss_of_embeddings_that_are_alike_or_at_right_angles():
    same = torch.ones(6, 3, dtype=torch.float64)
    assert nt_xent(same, same, 0.2).item() == pytest.approx(math.log(11))
    apart = torch.eye(6, dtype=torch.float64)
    best = -math.log(math.exp(5) / (math.exp(5) + 10))
    assert nt_xent(apart, apart, 0.2).item() == pytest.approx(best)
    assert nt_xent(apart, apart.roll(1, 0), 0.2).item() == pytest.approx(best + 5)


def test_the_gradient_brings_variants_together(random):
    z1 = torch.from_numpy(random.normal(size=(4, 3))).requires_grad_()
    z2 = torch.from_numpy(random.normal(size=(4, 3)))
    assert torch.autograd.gradcheck(lambda z: nt_xent(z, z2, 0.5), z1)


def test_precision_is_not_lost_under_autocast(random):
    z1, z2 = (torch.from_numpy(random.normal(size=(8, 16))).float() for _ in range(2))
    plain = nt_xent(z1, z2, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(z1, z2, 0.1), plain)


@pytest.mark.parametrize(
    ("shapes", "temperature", "words"),
    [
        (((1, 2), (1, 2)), 0.2, "two crops"),
        (((3, 2), (3, 2)), 0.0, "temperature"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(shapes, temperature, words):
    with pytest.raises(UsageError, match=words):
        nt_xent(*(torch.ones(shape) for shape in shapes), temperature)


@pytest.mark.parametrize("erase", ["none", "mask", "background"])
def test_a_resumed_training_ends_with_the_same_bits(cells, parts, tmp_path, erase):
    def stop(_done, words):
        if words.startswith("epoch 2"):
            raise KeyboardInterrupt

    given = {"erase": erase, "followed": parts["train"][:2]}
    whole, story = trained(cells, parts, folder=tmp_path / "whole", **given)
    torch.manual_seed(7)  # which nothing may depend on
    with pytest.raises(KeyboardInterrupt):
        trained(cells, parts, folder=tmp_path / "cut", progress=stop, **given)
    again, resumed = trained(cells, parts, folder=tmp_path / "cut", **given)
    assert resumed.rows == story.rows
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    one, other = (read_frames(tmp_path / name / "frames") for name in ("whole", "cut"))
    assert len(one) == len(other) == 2
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError, match="other settings"):
        trained(cells, parts, folder=tmp_path / "cut", temperature=0.5, **given)


def test_frames_are_the_features_after_each_epoch(cells, parts, tmp_path):
    ids = parts["train"][::-1][:3]
    net, _ = trained(cells, parts, epochs=1, folder=tmp_path, followed=ids)
    rows = np.array([cells.table["id"].tolist().index(name) for name in ids])
    (frame,) = read_frames(tmp_path / "frames")
    np.testing.assert_array_equal(frame, features(net, cells, rows=rows, batch=3)[1])


def test_classes_of_the_network_stay_and_the_global_generator_too(cells, parts):
    net = network(cells)
    head = {name: value.clone() for name, value in net.head.state_dict().items()}
    body = net.body[0].weight.detach().clone()
    before = torch.get_rng_state()
    trained(cells, parts, net=net, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(net.head.state_dict()[name], value) for name, value in head.items())
    assert not torch.equal(net.body[0].weight, body)


def test_features_are_mean_maps_of_each_cell_alone(cells):
    net = network(cells).train()
    table, values = features(net, cells, batch=5)
    assert net.training
    assert table["Metadata_id"].tolist() == cells.table["id"].tolist()
    assert [*table.columns[-2:]] == ["Cells_contrastive_006", "Cells_contrastive_007"]
    assert values.dtype == np.float32
    rows = np.array([5, 0, 3])
    with torch.no_grad():
        maps = net.eval().maps(torch.from_numpy(cells.images(rows)))
    np.testing.assert_allclose(values[rows], maps.flatten(2).mean(2), rtol=1e-4, atol=1e-6)
    some, _ = features(net, cells, rows=rows, batch=1, stem="x")
    assert some["Metadata_id"].tolist() == cells.table["id"].iloc[rows].tolist()
    assert [*some.columns[-1:]] == ["x_007"]
    np.testing.assert_allclose(some.filter(like="x_"), values[rows], rtol=1e-4, atol=1e-6)
    # what is beside the cell is not shown where it was not in training
    alone = cells.images(rows) * (cells.labels(rows) == 1)[:, None]
    with torch.no_grad():
        maps = net.maps(torch.from_numpy(alone))
    erased = features(net, cells, rows=rows, erase="mask")[1]
    np.testing.assert_allclose(erased, maps.flatten(2).mean(2), rtol=1e-4, atol=1e-6)


def test_any_module_with_a_row_of_features_can_learn(cells, parts):
    size = len(cells.channels) * math.prod(cells.size)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, 3))
    _, story = trained(cells, parts, net=net, epochs=1)
    assert story.finished
    assert features(net, cells)[1].shape == (len(cells), 3)
    with pytest.raises(UsageError, match="row of features"):
        trained(cells, parts, net=torch.nn.Identity())


def test_what_is_beside_the_cell_is_learned_unless_it_is_taken_away():
    """The own cells are all alike, and each crop has a shade of its own around it."""
    random, count = np.random.default_rng(0), 40
    own = np.zeros((count, 16, 16), np.int32)
    own[:, 6:10, 6:10] = 1
    shades = random.uniform(0, 1, (count, 6, 1, 1)).astype(np.float32)
    images = np.where(own[:, None] == 1, np.float32(0.5), shades)
    images[:, :, ::2, ::2] += np.float32(0.02)  # no channel is constant
    table = pd.DataFrame({"id": [f"c{i}" for i in range(count)], "field": ["a"] * 32 + ["b"] * 8})
    cells = from_arrays(table, images, own, np.ones(count, np.int32), [*"abcdef"])
    parts = {"train": table["id"][:32].tolist(), "validate": table["id"][32:].tolist()}
    chance, found = math.log(15), {}
    for erase in ("none", "mask", "background"):
        net = network(cells, width=4)
        _, story = trained(cells, parts, net=net, epochs=12, batch=8, erase=erase)
        found[erase] = story.rows[-1]
    assert found["none"]["loss"] < 0.75 * chance
    assert found["none"]["val_error"] < 0.2
    assert found["mask"]["loss"] > 0.95 * chance
    assert found["background"]["loss"] > 0.95 * chance
    assert found["mask"]["val_error"] > 0.5


@pytest.mark.parametrize(("erase", "more", "least"), [("none", 0.05, 0.7), ("mask", 0.1, 0.8)])
def test_treatments_are_told_across_plates_without_labels(erase, more, least):
    """Half of 288 cells' neighbours of other plates, beside the same network untrained."""
    plates = planted_plates(plates=3, wells=4, fields=2, cells=4, size=(24, 24))
    cells = cells_of(plates)

    def balanced(net):
        table, values = features(net, cells, erase=erase)
        of = table["Metadata_plate"].to_numpy()
        for plate in np.unique(of):  # its light and gain, which all features know
            some = values[of == plate]
            values[of == plate] = (some - some.mean(0)) / (some.std(0) + 1e-6)
        return knn_accuracy(values, table["Metadata_treatment"].to_numpy(), without=of, k=5)

    net = network(cells, width=8, cam_cells=6)
    net.scale.set(*channel_statistics(cells, np.arange(len(cells))))
    before = balanced(net).balanced
    parts = {"train": plates.ids("train") + plates.ids("held out")}
    parts["validate"] = plates.ids("validate")
    fit_contrastive(
        net, cells, parts, plan=Plan(lr=5e-3, epochs=8), batch=32, compute=HERE, erase=erase
    )
    after = balanced(net)
    assert after.balanced > before + more
    assert after.balanced > least
    assert after.chance == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"plan": Plan(watch="accuracy")},
        {"batch": 1},
        {"width": 0},
        {"temperature": 0.0},
        {"followed": ["P0_A01_f0_c0"]},
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(wrong):
    plates = planted_plates(plates=2, wells=2, fields=1, cells=2, treatments=2, size=(24, 24))
    cells = cells_of(plates)
    parts = {part: plates.ids(part) for part in ("train", "validate")}
    given = {"plan": Plan(epochs=1), "batch": 4, "compute": HERE} | wrong
    with pytest.raises(UsageError):
        fit_contrastive(network(cells), cells, parts, **given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"train": p["train"]}, "has no cells"),
        (lambda p: {**p, "validate": p["train"][:1]}, "fields are to be trained"),
        (lambda p: {**p, "train": p["train"][:1]}, "needs two"),
        (lambda p: {**p, "train": ["nobody"]}, "nobody"),
    ],
)
def test_parts_without_others_are_refused(cells, parts, change, words):
    with pytest.raises(DataError, match=words):
        trained(cells, change(parts))


def test_features_that_cannot_be_are_refused(cells):
    net = network(cells)
    for wrong in ({"batch": 0}, {"rows": np.array([], np.int64)}, {"rows": np.array([99])}):
        with pytest.raises(UsageError):
            features(net, cells, **wrong)
    with torch.no_grad():
        net.body[0].weight[0] = torch.inf
    with pytest.raises(DataError, match="not finite"):
        features(net, cells)
