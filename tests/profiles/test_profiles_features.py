"""Features are those of a slow loop over cells and places, and never depend on the batch."""

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.profiles.features import POOLS, argmax_in_mask, extract, named

WIDTHS = (3, 4, 5, 4, 3)


def network(**options):
    net = Inpainter(1, 1, **{"widths": WIDTHS, "marker_width": 2, "seed": 1} | options)
    with torch.no_grad():  # norms that do something
        for name, buffer in net.named_buffers():
            if name.endswith(("mean", "var")):
                buffer += torch.rand(buffer.shape, generator=torch.Generator().manual_seed(2))
    return net


def cells(n=7, size=8, masks=True, fields=3):
    draw = np.random.default_rng(0)
    table = pd.DataFrame({"id": [f"c{i}" for i in range(n)], "group": "g"})
    own = draw.random((n, size, size)) < 0.3
    own[:, 0, 0] = True
    return Cells(
        table=table.assign(field=[f"f{i % fields}" for i in range(n)], plate=1),
        crops=draw.random((n, 2, size, size), dtype=np.float32),
        channels=("protein", "nucleus"),
        targets=("protein",),
        markers=("nucleus",),
        masks=own if masks else None,
    )


def whole(*args, **more):
    return pd.concat(list(extract(*args, **more)), ignore_index=True)


def slow(net, given, i):
    """Every pool of every layer of one cell, by loops."""
    found = {}
    with torch.no_grad():
        maps = net.eval().encode(torch.from_numpy(given.source(np.array([i]))))
    for layer, (one,) in maps.items():
        step = given.size[0] // one.shape[1]
        for f, plane in enumerate(one.numpy().astype(float)):
            top, total, own_top, own_total, weight = -np.inf, 0.0, -np.inf, 0.0, 0.0
            for y in range(len(plane)):
                for x in range(len(plane)):
                    here = (slice(y * step, y * step + step), slice(x * step, x * step + step))
                    share = given.masks[i][here].sum() / step**2
                    top, total = max(top, plane[y, x]), total + plane[y, x]
                    own_top = max(own_top, share * plane[y, x])
                    own_total, weight = own_total + share * plane[y, x], weight + share
            found[f"{layer}_max_{f:03d}"] = top
            found[f"{layer}_mean_{f:03d}"] = total / plane.size
            found[f"{layer}_masked_max_{f:03d}"] = own_top
            found[f"{layer}_masked_mean_{f:03d}"] = own_total / weight
    return found


@pytest.mark.parametrize("options", [{}, {"norm": "group", "residual": True}])
def test_all_layers_and_pools_are_those_of_a_slow_loop(options):
    net, given = network(**options), cells()
    found = whole(net, given, pools=tuple(POOLS), batch=3)
    features = [name for name in found if not name.startswith("Metadata_")]
    assert len(features) == 4 * sum(WIDTHS)
    for i in range(len(given)):
        truth = slow(net, given, i)
        assert sorted(truth) == sorted(features)
        wanted = np.array([truth[name] for name in features])
        np.testing.assert_allclose(found.loc[i, features].astype(float), wanted, atol=1e-5)


def test_columns_say_what_they_are():
    found = whole(network(), cells(), layers=["conv3_1"], pools=("max",))
    known = [f"Metadata_{name}" for name in ("id", "group", "field", "plate", "mask_share")]
    assert [*found] == [*known, *(f"conv3_1_max_00{i}" for i in range(5))]
    assert (found.dtypes.iloc[5:] == np.float32).all()
    np.testing.assert_allclose(found["Metadata_mask_share"], cells().masks.mean((1, 2)))
    assert found["Metadata_plate"].tolist() == [1] * 7
    assert named("conv1_1_max", 1001)[17] == "conv1_1_max_0017"
    assert "Metadata_mask_share" not in whole(network(), cells(masks=False))


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_a_cell_is_described_alike_in_any_company(batch):
    net, given = network(), cells()
    whole_at_once = whole(net, given, pools=tuple(POOLS))
    some = np.array([5, 0, 3])
    found = whole(net, given, rows=some, pools=tuple(POOLS), batch=batch)
    wanted = whole_at_once.iloc[some].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, atol=1e-6, rtol=1e-5)
    assert [len(block) for block in extract(net, given, batch=2)] == [2, 2, 2, 1]


def test_the_network_is_as_it_was_between_blocks_and_if_nobody_reads_on():
    net, given = network().train(), cells()
    net.conv2_1_norm.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    blocks = extract(net, given, batch=2)
    next(blocks)
    assert net.training
    assert net.conv1_1.training
    assert not net.conv2_1_norm.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_only_what_is_asked_for_is_read_and_what_is_not_finite_is_refused():
    given = cells(6)
    blocks = extract(network(), given, batch=3)
    assert len(next(blocks)) == 3
    given.crops[4] = np.nan
    with pytest.raises(DataError, match="the crop of cell 'c4'"):
        next(blocks)
    with pytest.raises(DataError, match="the crop of cell 'c4'"):
        argmax_in_mask(network(), given)
    broken = network()
    with torch.no_grad():
        broken.conv3_1.conv.bias[1] = torch.nan
    with pytest.raises(DataError, match="conv3_1_max_001 of cell 'c0' is nan"):
        next(extract(broken, cells()))


def test_a_cell_without_a_mask_has_no_masked_features_and_is_counted():
    given, said = cells(), []
    given.masks[2] = False
    found = whole(
        network(), given, pools=tuple(POOLS), batch=4, progress=lambda *told: said.append(told)
    )
    own = [name for name in found if "_masked_" in name]
    rest = [name for name in found if name.startswith("conv") and name not in own]
    assert found.loc[2, own].isna().all()
    assert found.drop(index=2)[own].notna().all(axis=None)
    assert found[rest].notna().all(axis=None)
    assert said[-1] == (1.0, "7 of 7 cells, 1 without a pixel of their own mask")


def test_a_mask_of_everything_changes_nothing():
    given = cells()
    given.masks[:] = True
    found = whole(network(), given, pools=tuple(POOLS))
    for pool in ("max", "mean"):
        plain = [name for name in found if f"_{pool}_" in name and "masked" not in name]
        own = [name.replace(f"_{pool}_", f"_masked_{pool}_") for name in plain]
        np.testing.assert_allclose(found[own], found[plain], rtol=1e-5)


def test_what_lies_outside_the_mask_does_not_reach_the_first_masked_layer():
    given = cells(3)
    given.masks[:] = False
    given.masks[:, :4] = True
    before = whole(network(), given, layers=["conv1_1"], pools=("max", "masked_max", "masked_mean"))
    given.crops[:, :, 6:] = 50  # two rows below, out of reach of a 3 x 3 kernel
    after = whole(network(), given, layers=["conv1_1"], pools=("max", "masked_max", "masked_mean"))
    own = [name for name in before if "_masked_" in name]
    pd.testing.assert_frame_equal(before[own], after[own])
    assert (after["conv1_1_max_001"] != before["conv1_1_max_001"]).all()


def test_half_precision_gives_nearly_the_same_numbers():
    exact = whole(network(), cells(), pools=("max", "masked_mean"))
    rough = whole(
        network(), cells(), pools=("max", "masked_mean"), compute=Compute(precision="bf16")
    )
    features = [name for name in exact if name.startswith("conv")]
    assert (rough[features].dtypes == np.float32).all()
    np.testing.assert_allclose(rough[features], exact[features], atol=0.03, rtol=0.05)


def copying(weight=1.0):
    """A network whose first layer is the protein, as it stands, times `weight`."""
    net = network(widths=(1, 2, 2, 2, 2))
    with torch.no_grad():
        net.conv1_1.conv.weight.zero_()
        net.conv1_1.conv.weight[0, 0, 1, 1] = weight
        net.conv1_1.conv.bias.zero_()
    return net


def spotted(places, fields=4):
    """Cells with one bright pixel each; the left half is their own."""
    given = cells(len(places), fields=fields)
    given.crops[:] = 0.1
    given.masks[:] = False
    given.masks[:, :, :4] = True
    for i, (y, x) in enumerate(places):
        given.crops[i, 0, y, x] = 1
    return given


def test_a_feature_that_looks_at_its_own_cell_says_so():
    def row(places):
        found = argmax_in_mask(copying(), spotted(places), layers=["conv1_1"], batch=3)
        return found.features.iloc[0], found

    own, looking = row([(1, 1), (7, 3), (2, 0), (4, 3)])
    assert (own["inside"], own["chance"], own["excess"]) == (1, 0.5, 0.5)
    assert (own["low"], own["high"], own["cells"], own["fields"]) == (0.5, 0.5, 4, 4)
    assert looking.cells["conv1_1_inside"].tolist() == [1, 1, 1, 1]
    other, _ = row([(1, 4), (7, 7), (2, 5), (4, 6)])
    assert (other["inside"], other["excess"]) == (0, -0.5)
    # anywhere alike: chance
    anywhere, _ = row([(y, x) for y in range(8) for x in range(8)])
    assert (anywhere["inside"], anywhere["excess"]) == (0.5, 0)
    assert anywhere["low"] <= 0 <= anywhere["high"]


def test_places_that_tie_count_by_their_mean_and_a_constant_map_has_no_maximum():
    given = spotted([(1, 1), (2, 2), (3, 3), (4, 1)])
    given.crops[1, 0, 5, 6] = 1  # as bright, in the neighbour
    given.crops[2] = 0.3
    given.masks[3] = False
    found = argmax_in_mask(copying(), given, layers=["conv1_1"])
    assert found.cells["conv1_1_inside"].tolist()[:2] == [1, 0.5]
    assert found.cells["conv1_1_inside"].isna().tolist() == [False, False, True, True]
    assert found.cells["conv1_1_undefined"].tolist() == [0, 0, 1, 1]
    (row,) = found.features.to_dict("records")
    assert (row["inside"], row["chance"], row["cells"], row["undefined"]) == (0.75, 0.5, 2, 2)
    assert np.isnan(row["low"])  # two fields say nothing about their spread
    dead = argmax_in_mask(copying(-1.0), given, layers=["conv1_1"]).features.iloc[0]
    assert np.isnan(dead["inside"])
    assert np.isnan(dead["chance"])
    assert (dead["cells"], dead["undefined"], dead["fields"]) == (0, 4, 0)


def test_where_features_look_is_what_a_slow_loop_finds():
    net, given = network(), cells(9)
    found = argmax_in_mask(net, given, batch=2, draws=200)
    assert found.features["feature"].tolist() == [
        f"conv{i + 1}_1_{f:03d}" for i, width in enumerate(WIDTHS) for f in range(width)
    ]
    for layer, step in (("conv1_1", 1), ("conv2_1", 2), ("conv5_1", 4)):
        inside = np.full((9, net.get_submodule(layer).conv.out_channels), np.nan)
        for i in range(9):
            with torch.no_grad():
                maps = net.eval().encode(torch.from_numpy(given.source(np.array([i]))))[layer][0]
            for f, plane in enumerate(maps.numpy()):
                if plane.max() > plane.min():
                    at = [tuple(p) for p in np.argwhere(plane == plane.max())]
                    inside[i, f] = np.mean(
                        [
                            given.masks[i, y * step : (y + 1) * step, x * step : (x + 1) * step]
                            for y, x in at
                        ]
                    )
        rows = found.features.query("layer == @layer")
        defined = np.isfinite(inside)
        chance = given.masks.mean((1, 2))[:, None] * defined
        count = defined.sum(0)
        assert rows["cells"].tolist() == count.tolist()
        some = count > 0
        np.testing.assert_allclose(
            rows["inside"][some], np.where(defined, inside, 0).sum(0)[some] / count[some], atol=1e-6
        )
        np.testing.assert_allclose(rows["chance"][some], chance.sum(0)[some] / count[some])
        together = found.layers.set_index("layer").loc[layer]
        assert together["inside"] == pytest.approx(np.nanmean(inside), abs=1e-6)
        assert together["cells"] + together["undefined"] == inside.size
        spread = rows[rows["fields"] >= 3]
        assert (spread["low"] <= spread["excess"] + 1e-9).all()
        assert (spread["excess"] <= spread["high"] + 1e-9).all()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"layers": ["conv6_1"]}, "conv6_1"),
        ({"layers": []}, "give some of conv1_1"),
        ({"layers": ["conv1_1", "conv1_1"]}, "each once"),
        ({"pools": ("median",)}, "median"),
        ({"pools": ()}, "give some of max"),
        ({"rows": np.array([7])}, "from 0 to 6"),
        ({"rows": np.array([], int)}, "0 rows"),
        ({"batch": 0}, "a batch of 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(more, words):
    with pytest.raises(UsageError, match=words):
        extract(network(), cells(), **more)


def test_masks_that_are_needed_are_asked_for():
    with pytest.raises(UsageError, match="masked_mean"):
        extract(network(), cells(masks=False), pools=("masked_mean",))
    with pytest.raises(UsageError, match="needs masks"):
        argmax_in_mask(network(), cells(masks=False))
    with pytest.raises(UsageError, match="predicts 2 channels"):
        extract(network(), cells(), layers=None) and extract(
            Inpainter(2, 1, widths=WIDTHS), cells()
        )
