"""Training a classifier of cells: what it is given, what it refuses, and that it can be resumed."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.data.planted_plates import planted_plates
from attributome.predictors.cells import cell_network
from attributome.profiles.learning.classifier import (
    channel_statistics,
    classes_of,
    fit_classifier,
    predicted,
    read_crops,
    rows_of,
    shown,
    wells_of,
)
from attributome.profiles.learning.variants import draw_variants, varied
from attributome.profiles.single_cells import from_arrays

HERE = Compute()


@pytest.fixture(scope="module")
def plates():
    return planted_plates(plates=2, wells=2, fields=1, cells=3, size=(24, 24))


@pytest.fixture(scope="module")
def cells(plates):
    return from_arrays(
        plates.table, plates.images, plates.labels, plates.own, plates.channels, plates.spacing
    )


@pytest.fixture(scope="module")
def parts(plates):
    return {part: plates.ids(part) for part in ("train", "validate", "held out")}


def network(**given):
    return cell_network(
        2, 3, size=(24, 24), kind="small", width=2, **{"cam_cells": 12, "dropout": 0.2, **given}
    )


def trained(cells, parts, *, epochs=2, net=None, **given):
    net = net or network()
    plan = Plan(lr=1e-3, epochs=epochs)
    story = fit_classifier(net, cells, parts, plan=plan, batch=4, compute=HERE, **given)
    return net, story


@pytest.mark.parametrize(
    "given",
    [{"ema": 0.9, "penalty": 0.5}, {"erase": "mask"}, {"erase": "background"}],
    ids=str,
)
def test_a_resumed_training_ends_with_the_same_bits(cells, parts, tmp_path, given):
    def stop(_done, words):
        if words.startswith("epoch 2"):
            raise KeyboardInterrupt

    whole, story = trained(cells, parts, **given)
    with pytest.raises(KeyboardInterrupt):
        trained(cells, parts, folder=tmp_path, progress=stop, **given)
    again, resumed = trained(cells, parts, folder=tmp_path, **given)
    assert resumed.rows == story.rows
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_other_settings_do_not_go_on_from_a_checkpoint(cells, parts, tmp_path):
    trained(cells, parts, folder=tmp_path, epochs=1)
    for other in ({"penalty": 0.1}, {"erase": "mask"}, {"smoothing": 0.0}):
        with pytest.raises(DataError, match="other settings"):
            trained(cells, parts, folder=tmp_path, epochs=1, **other)


def test_the_global_generator_is_not_touched(cells, parts):
    before = torch.get_rng_state()
    trained(cells, parts, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_log_has_the_parts_of_the_loss(cells, parts):
    _, story = trained(cells, parts, epochs=1, penalty=2.0)
    row = story.rows[0]
    assert {"loss", "cross_entropy", "outside", "undefined", "val_loss", "val_error"} < {*row}
    assert 0 < row["outside"] < 1
    assert 0 <= row["undefined"] < 1
    assert row["loss"] > row["cross_entropy"]


def test_held_out_loss_and_error_are_those_of_the_weights_that_are_left(cells, parts):
    uneven = {**parts, "train": parts["train"][:-2]}
    net, story = trained(cells, uneven, epochs=1, smoothing=0.2, erase="mask")
    rows = rows_of(cells, uneven)
    some = read_crops(cells, rows["validate"])
    names = classes_of(cells, uneven["train"], "treatment")
    y = torch.tensor([names.index(t) for t in cells.table["treatment"].iloc[rows["validate"]]])
    counts = cells.table["treatment"].iloc[rows["train"]].value_counts()
    weight = torch.tensor([len(rows["train"]) / 3 / counts[name] for name in names])
    with torch.no_grad():
        out = net.eval()(shown(some, "mask"))
    loss = F.cross_entropy(out, y, reduction="none", label_smoothing=0.2) * weight[y]
    assert story.rows[0]["val_loss"] == pytest.approx(loss.mean().item(), rel=1e-5)
    said = predicted(net, cells, rows["validate"], batch=2, compute=HERE, erase="mask")
    assert np.array_equal(said, out.argmax(1).numpy())
    recalls = [(said[y == code] == code).mean() for code in range(3)]
    assert story.rows[0]["val_error"] == pytest.approx(1 - np.mean(recalls), abs=1e-6)


def test_channels_are_described_over_all_voxels(cells):
    rows = np.arange(7)
    mean, spread = channel_statistics(cells, rows, batch=3)
    x = cells.images(rows).astype(np.float64)
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(spread, x.std((0, 2, 3)), rtol=1e-5)


def test_wells_are_named_with_their_plate(cells):
    assert len(set(wells_of(cells))) == 12
    assert wells_of(cells)[0] == "P0/A01"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"train": p["train"], "validate": ()}, "has no cells"),
        (lambda p: {"validate": p["validate"]}, "has no cells"),
        (lambda p: {**p, "validate": [*p["validate"], p["train"][0]]}, "the well"),
        (lambda p: {**p, "held out": [*p["held out"], p["train"][0]]}, "the well"),
        (lambda p: {**p, "validate": [*p["validate"], "nobody"]}, "nobody"),
        (lambda p: {**p, "train": [*p["train"], p["train"][0]]}, "twice"),
        (lambda p: {**p, "train": p["train"][:3]}, "at least two"),
        (lambda p: {**p, "train": p["train"][:6]}, "without training cells"),
    ],
)
def test_parts_that_do_not_keep_apart_are_refused(cells, parts, change, words):
    with pytest.raises(DataError, match=words):
        trained(cells, change(parts))


def test_a_held_out_plate_must_be_another_plate(cells, plates):
    wells = plates.table["well"]
    parts = {
        "train": [*plates.table["id"][(plates.table["plate"] == "P0") & (wells.str[1:] == "01")]],
        "validate": plates.ids("validate"),
        "held out": [*plates.table["id"][plates.table["plate"] == "P1"]],
    }
    trained(cells, parts, epochs=1)
    moved = cells.table.assign(plate="P0", well=cells.table["plate"] + wells)
    one = from_arrays(moved, plates.images, plates.labels, plates.own, plates.channels)
    with pytest.raises(DataError, match="the plate 'P0'"):
        trained(one, parts, epochs=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"plan": Plan(watch="accuracy")},
        {"batch": 1},
        {"smoothing": 1.0},
        {"penalty": -1.0},
        {"ema": 1.0},
        {"net": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1152, 3)), "penalty": 1.0},
        {"net": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1152, 4))},
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(cells, parts, wrong):
    given = {"net": network(), "plan": Plan(epochs=1), "batch": 4, **wrong}
    with pytest.raises(UsageError):
        fit_classifier(given.pop("net"), cells, parts, compute=HERE, **given)


def test_a_users_own_module_can_be_trained(cells, parts):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1152, 3))
    _, story = trained(cells, parts, net=net, epochs=1)
    assert story.finished


def test_labels_go_with_the_image_in_every_variant(dims):
    size = (16, 16) if dims == 2 else (10, 16, 16)
    labels = torch.zeros(40, *size, dtype=torch.long)
    labels[(slice(None), *[slice(4, 9)] * (dims - 1), slice(5, 12))] = 3
    x = (labels == 3).float()[:, None].repeat(1, 2, *[1] * dims)
    draws = draw_variants(40, size, 2, seed=1, epoch=2)
    images, made = varied(x, labels, draws)
    assert images.shape == x.shape
    assert made.shape == labels.shape
    assert made.dtype == labels.dtype
    zoomed = torch.from_numpy(draws.zoom < 1)
    assert 5 < zoomed.sum() < 35
    low, high = (
        f(images, dim=tuple(range(2, dims + 2)), keepdim=True) for f in (torch.amin, torch.amax)
    )
    seen = ((images - low) / (high - low))[:, 0] > 0.5
    agree = (seen == (made == 3)).flatten(1).float().mean(1)
    assert (agree[~zoomed] == 1).all()
    assert agree.min() > 0.9
    assert not torch.equal(made[~zoomed], labels[~zoomed])
    # a sample's variant does not depend on the rest of its batch
    part = np.array([7, 3])
    again, also = varied(x[part], labels[part], draws.of(part))
    assert torch.equal(again, images[part])
    assert torch.equal(also, made[part])


def test_variants_are_drawn_by_seed_and_epoch():
    def draw(**given):
        return draw_variants(50, (16, 20), 3, **{"seed": 0, "epoch": 0, **given})

    assert np.array_equal(draw().contrast, draw().contrast)
    assert not np.array_equal(draw().contrast, draw(epoch=1).contrast)
    assert not np.array_equal(draw().contrast, draw(seed=1).contrast)
    assert {*draw().turns} == {0, 2}  # planes that are not square stay as they lie
    assert np.abs(draw().brightness).max() <= 0.1
    assert 0.8 <= draw().zoom.min() < 1 == draw().zoom.max()


def test_brightness_and_contrast_are_of_the_channels_own_range():
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64) * 50 + 300
    draws = draw_variants(1, (8, 8), 1, seed=0, epoch=0)
    still = {"flips": np.zeros((1, 2), bool), "turns": np.zeros(1, np.int64), "zoom": np.ones(1)}
    draws = type(draws)(
        **still, place=draws.place, brightness=np.array([[0.1]]), contrast=np.array([[1.2]])
    )
    made, _ = varied(x, torch.zeros(1, 8, 8, dtype=torch.long), draws)
    torch.testing.assert_close(made.mean(), x.mean() + 0.1 * (x.max() - x.min()))
    torch.testing.assert_close(made.std(), 1.2 * x.std())


def test_a_table_without_wells_is_refused(cells, parts, plates):
    table = cells.table.drop(columns="well")
    bare = from_arrays(table, plates.images, plates.labels, plates.own, plates.channels)
    with pytest.raises(DataError, match="no column 'well'"):
        trained(bare, parts)
    with pytest.raises(DataError, match="no column 'drug'"):
        trained(cells, parts, label="drug")
    holes = cells.table.assign(treatment=pd.Series([None, *cells.table["treatment"][1:]]))
    some = from_arrays(holes, plates.images, plates.labels, plates.own, plates.channels)
    with pytest.raises(DataError, match="have no treatment"):
        trained(some, parts)
