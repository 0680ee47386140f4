"""Real volumes and fields, briefly: from segmentation to Grad-CAMO, whatever a network has learned.

Nothing here has a right answer; what is tested is what must hold of any.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.probe import layer_output
from attributome.core.targets import Logit
from attributome.core.training import Plan
from attributome.data.images import read_image
from attributome.data.segmentation import segment
from attributome.predictors.cells import cell_network
from attributome.profiles.camo.classes import class_camo
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.camo.summary import summarise
from attributome.profiles.causes import causal_tests
from attributome.profiles.learning.classifier import (
    channel_statistics,
    classes_of,
    fit_classifier,
    read_crops,
    rows_of,
)
from attributome.profiles.single_cells import crop_field, from_arrays

pytestmark = pytest.mark.real

HERE = Compute()
FIELDS = ("DMSO_r04c14f05p01", "AMG900_r14c09f05p01")


def together(parts, channels):
    """The crops of several fields, with the side of its field on which each cell lies."""
    tables = [part.tables["cells"] for part in parts]
    sides = [np.where(of["x"] < of["x"].median(), "left", "right") for of in tables]
    table = pd.concat([of.assign(side=side) for of, side in zip(tables, sides, strict=True)])
    table = table.assign(plate="one", well=table["field"] + " " + table["side"])
    images, labels = (np.concatenate([p.arrays[k] for p in parts]) for k in ("images", "labels"))
    return from_arrays(table, images, labels, table["label"].to_numpy(), channels)


@pytest.fixture
def embryos(real_data):
    parts = []
    for stage in (8, 16):
        path = real_data / "volumes_3d" / f"qcanet_images_raw__{stage}_cell_stage.tif"
        image = read_image(path, axes="ZYX").array
        labels = segment(image[0], diameter=16.0, scale="log")
        made = crop_field(
            image, labels, field=f"{stage}-cell", channels=("nuclei",), size=(24, 24, 24),
            border="pad",
        )  # fmt: skip
        parts.append(made)
    return together(parts, ("nuclei",))


def test_every_nucleus_of_two_embryos_has_a_score_and_features_with_scores(embryos):
    assert embryos.table["field"].value_counts().to_dict() == {"8-cell": 8, "16-cell": 16}
    net = cell_network(1, 2, size=embryos.size, kind="small", width=4, cam_cells=12)
    every = np.arange(len(embryos))
    net.scale.set(*channel_statistics(embryos, every))
    some = read_crops(embryos, every)
    asked = (net.eval(), some.images, some.labels, some.own)
    classes = torch.tensor([int(of == "8-cell") for of in embryos.table["field"]])
    scores = class_camo(*asked, layer="body", target=Logit(classes)).scores
    assert torch.equal(scores.undefined, scores.cell.isnan())
    kept = ~scores.undefined
    total = (scores.cell + scores.neighbours + scores.background)[kept]
    torch.testing.assert_close(total, torch.ones_like(total))
    sizes = (some.labels == some.own.view(-1, 1, 1, 1)).flatten(1).float().mean(1)
    torch.testing.assert_close(scores.chance[:, 0], sizes)
    assert 0.1 < sizes.median() < 0.3  # a nucleus fills a fifth of its crop
    features = feature_camo(*asked, layer="body", pool="mean")
    assert features.scores.cell.shape == (24, 16)
    assert layer_output(net, "pool", some.images).shape == (24, 16, 1, 1, 1)
    assert features.scores.cell.nanmean() > sizes.mean()  # nuclei are what is bright


def test_two_real_fields_are_told_apart_by_what_lies_beside_the_cell_as_well(real_data):
    parts = []
    for name in FIELDS:
        path = real_data / "jump_brightfield" / f"{name}.ome.tif"
        image = read_image(path, axes="CYX").array[:5]
        labels = segment(image[4], diameter=14.0)
        compound = {"compound": name.split("_")[0]}
        made = crop_field(
            np.log(image + 1), labels, field=name, channels=tuple("abcde"), size=(48, 48),
            meta=compound,
        )  # fmt: skip
        parts.append(made)
    cells = together(parts, tuple("abcde"))
    ids, left = cells.table["id"], (cells.table["side"] == "left").to_numpy()
    halves = {"train": ids[left].tolist(), "validate": ids[~left].tolist()}
    rows = rows_of(cells, halves)
    net = cell_network(5, 2, size=(48, 48), kind="small", width=6, cam_cells=12, dropout=0.0)
    net.scale.set(*channel_statistics(cells, rows["train"]))
    plan = Plan(lr=3e-3, epochs=6)
    fit_classifier(net, cells, halves, label="compound", plan=plan, batch=16, compute=HERE)
    classes = classes_of(cells, halves["train"], "compound")
    tests = causal_tests(
        net, cells, rows["validate"], label="compound", classes=classes, compute=HERE
    ).set_index("test")["balanced"]
    assert tests["as it is"] > 0.7
    assert tests["cell erased, around"] > 0.6  # field and compound are one: the cell is not needed
    assert tests["background replaced"] < 0.4  # the other field's is gone by
    some = read_crops(cells, rows["validate"])
    names = cells.table["compound"].iloc[rows["validate"]]
    target = Logit(torch.tensor([classes.index(of) for of in names]))
    camo = class_camo(net, some.images, some.labels, some.own, layer="body", target=target)
    table = camo.table(ids.iloc[rows["validate"]].tolist()).assign(well="one")
    row = summarise(table.assign(target="true class")).iloc[0]
    assert row["cells"] + row["undefined"] == len(rows["validate"])
    assert abs(row["median"] - row["chance"]) < 0.3
    assert row["chance_above_half"] == 0  # a nucleus never fills half of such a crop
