import json

import numpy as np
import pandas as pd
import pytest
from fcgr_runs import METHODS, begun, whole
from PIL import Image

from attributome.core.errors import DataError, UsageError
from attributome.report.fcgr.figures import heat_map, write_figures
from attributome.report.fcgr.plots import saved
from attributome.report.fcgr.upstream import (
    RANK_ONE,
    UpstreamSample,
    statistics,
    upstream_tree,
)

UPSTREAM = ("IntegratedGradients", "SHAP")  # two of the seven: files are alike for each
COLUMNS = ["Method", "Branch", "Mean", "Std", "Min", "Max", "AbsMean", "L1_Norm", "L2_Norm"]


def sample(index, *, methods=UPSTREAM, k=3, scale=1.0, labels=3):
    draw = np.random.default_rng(index)
    size = 2**k
    maps = {name: tuple(scale * draw.normal(size=(2, size, size))) for name in methods}
    found = draw.integers(0, labels + 1, (size, size))
    centres = draw.uniform(0, size, (labels, 2))
    return UpstreamSample(
        index=index,
        images=tuple(draw.random((2, size, size)) / size**2),
        maps=maps,
        cams=(draw.random((4, 4)), draw.random((4, 4))),
        clusters=((found, centres), (found, centres)),
        interaction=np.outer(draw.normal(size=8), draw.normal(size=8)),
    )


def test_the_tree_holds_each_file_that_upstream_documents(tmp_path):
    draw = np.random.default_rng(0)
    layers = {name: draw.normal(size=(20, 3, 3)) for name in ("mirna", "mrna")}
    samples = [sample(7)]
    written = upstream_tree(
        tmp_path / "out",
        samples,
        k=3,
        checkpoint="best.pth",
        background=20,
        dpi=20,
        filters=layers,
        activations={name: np.abs(each) for name, each in layers.items()},
    )
    names = {path.relative_to(tmp_path / "out").as_posix() for path in written}
    branches = ("mirna", "mrna")
    expected = {f"sample_7_{b}_{kind}.png" for b in branches for kind in ("comparison", "clusters")}
    expected |= {"sample_7_gradcam.png", "sample_7_interaction_heatmap.png"}
    expected |= {f"sample_7_{b}_{m}.png" for b in branches for m in UPSTREAM}
    assert len(expected) == 20 - 2 * 5
    expected |= {f"numpy_exports/sample_7_{m}_{b}.npy" for b in branches for m in UPSTREAM}
    expected |= {f"{b}_conv1_{kind}.png" for b in branches for kind in ("filters", "activations")}
    expected |= {f"average_attribution_{m}.png" for m in UPSTREAM}
    expected |= {"attribution_statistics.csv", "analysis_summary.json"}
    assert names == expected
    on_disk = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert on_disk == expected
    stored = np.load(tmp_path / "out" / "numpy_exports" / "sample_7_SHAP_mrna.npy")
    np.testing.assert_array_equal(stored, samples[0].maps["SHAP"][1].astype(np.float32))
    assert json.loads((tmp_path / "out" / "analysis_summary.json").read_text()) == {
        "n_samples_analyzed": 1,
        "n_background_samples": 20,
        "model_checkpoint": "best.pth",
        "k_mer": 3,
        "methods_used": list(UPSTREAM),
        "output_directory": str(tmp_path / "out"),
    }
    table = pd.read_csv(tmp_path / "out" / "attribution_statistics.csv")
    assert list(table.columns) == COLUMNS
    assert table["Branch"].tolist() == ["miRNA"] * 2 + ["mRNA"] * 2


def test_statistics_do_not_grow_with_the_number_of_samples():
    one, many = statistics([sample(1)]), statistics([sample(1)] * 9)
    pd.testing.assert_frame_equal(one, many)
    values = sample(1).maps["SHAP"][0]
    row = one[(one["Method"] == "SHAP") & (one["Branch"] == "miRNA")].iloc[0]
    assert row["L1_Norm"] == pytest.approx(np.abs(values).sum())
    assert row["L2_Norm"] == pytest.approx(np.linalg.norm(values))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "at least one pair"),
        ([sample(1), sample(2, methods=UPSTREAM[:1])], "all need the same"),
        ([sample(1, k=2)], "8 × 8"),
    ],
)
def test_samples_that_are_no_tree_are_refused(tmp_path, samples, message):
    with pytest.raises(UsageError, match=message):
        upstream_tree(tmp_path, samples, k=3, checkpoint="a", background=0, dpi=20)
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_given_is_written(tmp_path):
    bare = UpstreamSample(index=0, images=sample(0).images, maps={"Saliency": sample(0).images})
    written = upstream_tree(tmp_path, [bare], k=3, checkpoint="a", background=0, dpi=20)
    assert not [path for path in written if "gradcam" in path.name or "conv1" in path.name]
    assert not [path for path in written if "interaction" in path.name]


def test_empty_clusters_are_drawn_and_the_rank_one_map_says_what_it_is(tmp_path):
    empty = (np.zeros((8, 8), int), np.zeros((0, 2)))
    full = sample(3, methods=("Saliency",))
    nothing = UpstreamSample(
        index=3, images=full.images, maps=full.maps, clusters=(empty, empty), interaction=None
    )
    assert upstream_tree(tmp_path, [nothing], k=3, checkpoint="a", background=0, dpi=20)
    assert "rank 1" in RANK_ONE


@pytest.mark.parametrize("kind", ["gray", "signed", "overlay"])
def test_zero_is_white_on_a_signed_map_and_the_image_itself_in_an_overlay(kind):
    image, evidence = np.zeros((4, 4)), np.zeros((4, 4))
    image[0, 0] = 0.5
    evidence[3, 3] = -2.0
    figure = heat_map(image, evidence, title="", kind=kind)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    box = figure.axes[0].get_window_extent()

    def at(row, column):
        x = box.x0 + (column + 0.5) / 4 * box.width
        y = len(pixels) - box.y1 + (row + 0.5) / 4 * box.height
        return pixels[int(y), int(x)].tolist()

    nearly_white = [247, 247, 247]  # the middle of the signed scale
    bright, dark = ([255] * 3, [0] * 3) if kind != "signed" else (nearly_white, nearly_white)
    assert np.abs(np.subtract([at(0, 0), at(1, 1)], [bright, dark])).max() <= 3
    red, _, blue = at(3, 3)
    assert (blue > red + 40) == (kind != "gray")


def test_figures_are_written_at_150_dots_per_inch(tmp_path):
    path = saved(heat_map(np.ones((4, 4)), np.zeros((4, 4)), title="flat"), tmp_path / "map.png")
    with Image.open(path) as picture:
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_the_figures_of_a_run_are_named_by_pair_and_motif(tmp_path):
    run = whole(tmp_path / "demo", mirnas=3, each=4, epistasis=2, methods=tuple(METHODS)[:2])
    written = write_figures(run, tmp_path / "figures", pairs=2, dpi=50)
    names = sorted(path.name for path in written)
    assert {"motif_1.png", "motif_2.png"} <= set(names)
    kinds = [name.split("_", 1)[1] for name in names]
    assert kinds.count("tracks.png") == kinds.count("site.png") == kinds.count("mirna.png") == 2
    assert kinds.count("epistasis.png") >= 1
    assert all(path.stat().st_size > 1000 for path in written)


def test_a_run_with_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing to draw yet"):
        write_figures(begun(tmp_path / "demo"), tmp_path / "figures")
