"""What pairs of cells teach is the class that was planted, and copying a cell does not teach it.

Three networks with the same first weights see the same cells. One is trained as it should be, on
two cells of one protein: how noisy, bright, turned or spotted the source is says nothing about the
target, so that all there is to carry over is where the protein is, which is the class. One is
trained for as many steps on each cell as its own partner. It predicts far better, because its
middle, 16 x (size / 4)^2 numbers, has room for the whole protein plane, noise included; what it
carries are pixels. The third is not trained at all. Accuracy is judged across fields of view, and
cells of three proteins share a class, so that neither a field nor a protein can stand for it. The
camera's noise is 1.5 times that of `planted`, or copied pixels would tell the patterns apart as
well: without noise the classes hardly need any learning.
"""

import numpy as np
import pandas as pd
import pytest

from attributome.core.compute import Compute
from attributome.core.training import Plan
from attributome.inpainting.cells import Cells
from attributome.inpainting.fit import fit_inpainter
from attributome.inpainting.network import Inpainter
from attributome.inpainting.planted import planted
from attributome.inpainting.preprocess import prepare
from attributome.profiles.features import extract
from attributome.profiles.neighbours import knn_accuracy

BAR = 0.95
FIELDS, SEED = 3, 0
EPOCHS, BATCH = 24, 24
JUDGED = ("conv4_1_max", "conv5_1_max")
"""The layers that see 26 and 34 pixels: more than a cell, which is about 19 wide."""


@pytest.fixture(scope="module")
def cells():
    return prepare(
        planted(groups=3, fields=FIELDS, cells=16, size=40, noise=1.5, seed=SEED), "yeast"
    )


def network():
    return Inpainter(1, 2, widths=(12, 16, 24, 24, 16), marker_width=8, norm="group", seed=SEED)


def trained(cells, epochs):
    """A network and its story; the last field of each protein is held out of the steps."""
    held = cells.table["field"].str.endswith(f"_f{FIELDS - 1}")
    ids = cells.table["id"]
    net = network()
    story = fit_inpainter(
        net,
        cells,
        {"train": ids[~held].tolist(), "validate": ids[held].tolist()},
        plan=Plan(lr=4e-3, weight_decay=1e-2, epochs=epochs),
        batch=BATCH,
        seed=SEED,
        compute=Compute(),
        augment=False,  # a flip of one of the two would keep a cell from being copied
    )
    return net, story


def their_own_partners(cells):
    """Each cell twice, and in a group of its own: the only partner is itself."""
    twice = np.repeat(np.arange(len(cells)), 2)
    table = cells.table.iloc[twice].reset_index(drop=True)
    copies = table["id"] + np.where(np.arange(len(table)) % 2, "/again", "")
    return Cells(
        table=table.assign(group=table["id"], id=copies),
        crops=cells.crops[twice],
        channels=cells.channels,
        targets=cells.targets,
        markers=cells.markers,
    )


def accuracies(net, cells):
    """Of each layer and pool, k nearest neighbours in other folds of fields."""
    table = pd.concat(list(extract(net, cells)), ignore_index=True)
    stems = [f"{layer}_{pool}" for layer in net.layers for pool in ("max", "mean")]
    return {
        stem: knn_accuracy(
            table.filter(like=f"{stem}_").to_numpy(),
            cells.table["class"].to_numpy(),
            without=cells.table["field"].to_numpy(),
            folds=FIELDS,
            seed=SEED,
        )
        for stem in stems
    }


@pytest.fixture(scope="module")
def ours(cells):
    return trained(cells, EPOCHS)


@pytest.fixture(scope="module")
def copying(cells):
    return trained(their_own_partners(cells), EPOCHS // 2)


def test_pairs_teach_the_planted_class_across_fields(cells, ours):
    net, story = ours
    found = accuracies(net, cells)
    for stem in JUDGED:
        assert found[stem].balanced >= BAR, stem
        assert found[stem].units == 4 * 3 * FIELDS
        assert found[stem].chance == 0.25
    best = story.rows[story.best_epoch]
    assert best["val_mse"] < best["val_copy_marker"] / 3


def test_a_cell_paired_with_itself_is_copied_and_its_class_not_learned(cells, ours, copying):
    net, story = copying
    # the better the pretext, the worse the features: copying is an answer to another question
    assert story.best < 0.5 * ours[1].best
    found, good = accuracies(net, cells), accuracies(ours[0], cells)
    assert max(one.balanced for one in found.values()) < BAR
    for stem in JUDGED:
        assert found[stem].balanced < good[stem].balanced - 0.05, stem


def test_a_network_that_learned_nothing_fails_as_well(cells):
    assert max(one.balanced for one in accuracies(network(), cells).values()) < BAR
