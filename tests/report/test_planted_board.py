"""The page of a planted benchmark, written as the benchmark writes it."""

import re

import numpy as np
import pandas as pd
import pytest
from test_report import needed_width, section

from attributome.core.errors import DataError
from attributome.report import build_board
from attributome.store import Run

METRICS = ["iou_at_area", "pointing_game"]
SETUP = "image-3d-trained"


def benchmark(root, *, beaten=True, fields=24):
    """Two methods, of which one is silent, beside two controls, and one method that refused."""
    run = Run.begin(root, {"benchmark": "planted", "seed": 3, "setups": [SETUP], "fields": fields})
    medians = {"lrp": 0.7, "saliency": 0.2, "edges": 0.3, "random": 0.05}
    rows = [row(method, metric, v, beaten) for method, v in medians.items() for metric in METRICS]
    draw, space = np.random.default_rng(0), (3, 20, 30)
    truth = np.zeros(space, bool)
    truth[1, 5:12, 8:20] = True
    arrays = {f"map_{m}": (v * truth + 0.01 * draw.normal(size=space)) for m, v in medians.items()}
    arrays |= {
        "map_saliency": np.zeros(space),
        "truth": truth,
        "image": draw.normal(size=(3, *space)),
    }
    scores = pd.DataFrame({"method": list(medians), "iou_at_area": list(medians.values())})
    scores["setup"], scores["field"] = SETUP, 0
    note = {"setup": SETUP, "field": 0, "methods": list(medians)}
    run.write("fields", f"{SETUP}-000", arrays=arrays, tables={"scores": scores}, note=note)
    edit = {"setup": SETUP, "median": 1.2, "low": 0.9, "high": 1.4, "fields": 12, "passed": True}
    run.save(
        "benchmark",
        {
            "level": 0.01,
            "metrics": METRICS,
            "channels": ["marker A", "marker B", "nuclei"],
            "pixel_size": {"2": [0.29, 0.29], "3": [0.58, 0.29, 0.29]},
            "methods": rows,
            "comparisons": [],
            "networks": [{**edit, "edit": "evidence", "bound": 0.5}],
            "optimum": [{"dims": 2, "exact_pixels": 256, "mask_pixels": 260, "area_error": 0.016}],
            "seconds": [{"setup": SETUP, "method": "lrp", "seconds": 0.0042}],
            "refused": [{"setup": SETUP, "method": "score_cam", "reason": "<b>no layer</b>"}],
            "pictures": [f"{SETUP}-000"],
        },
    )
    return run


def row(method, metric, median, beaten):
    control = method in ("edges", "random")
    lost = [] if method == "lrp" and beaten else ["edges"] if beaten else ["edges", "random"]
    return {
        "setup": SETUP,
        "metric": metric,
        "method": method,
        "role": "control" if control else "method",
        "median": None if metric == "pointing_game" and method == "saliency" else median,
        "low": median - 0.02,
        "high": median + 0.03,
        "n": 24,
        "undefined": 0,
        "beats_controls": None if control else not lost,
        "not_beaten": None if control else ", ".join(lost),
    }


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return build_board(benchmark(tmp_path_factory.mktemp("board") / "b")).read_text("utf-8")


def test_the_result_names_who_wins_and_who_never_does(page):
    result = section(page, "result")
    assert "LRP beats every control most often: in 2 of 2 comparisons" in result
    assert "Never: saliency." in result
    assert "LRP 2 of 2 saliency 0 of 2" in result


def test_a_network_has_its_methods_controls_marks_and_refusals(page):
    network = section(page, "network-1")
    assert "Every control is beaten on all 2 metrics by LRP." in network
    assert "LRP 0.70 ✓ 0.68–0.73" in network
    assert "saliency 0.20 0.18–0.23 ⚑ not sure against edges –" in network
    assert "edges (control) 0.30" in network
    assert (
        network.index("LRP 0.70") < network.index("edges (control)") < network.index("saliency 0.2")
    )
    assert "4.2 ms" in network
    assert "Score-CAM : &lt;b&gt;no layer&lt;/b&gt;" in network
    assert "3-D, trained, and verified by edits" in network


def test_pictures_show_the_truth_the_scale_and_the_slice(page):
    network = section(page, "network-1")
    assert "marker A; z-slice 2 of 3" in network
    assert "no evidence for this target: the map is 0 everywhere" in network
    assert network.count("scale ± ") == 3
    assert "LRP overlap 0.70" in network
    assert re.search(r'class="bar" style="width:22.99%"><span>2 µm', page)


def test_how_far_it_can_be_trusted_is_said(page):
    trust = section(page, "trust")
    assert "the evidence is taken away 1.20 0.90–1.40 at least 0.50 passed 12" in trust
    assert "2 256 260 1.6 % – – –" in trust


def test_the_page_is_one_sound_file(page):
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("#", "data:image/png;base64,")) or address == "../benchmark.json"
    assert not re.search(r"https?://|<script|\bnan\b|\bNone\b", page)


def test_too_few_fields_are_named_where_nothing_could_win(tmp_path):
    few = build_board(benchmark(tmp_path / "a", beaten=False)).read_text("utf-8")
    assert "No method beats every control on any metric of any network." in few
    assert "sure against no control" in few
    assert "More fields are needed" not in few  # 24 fields are enough to tell
    run = benchmark(tmp_path / "b", beaten=False)
    found = run.load("benchmark")
    found["methods"] = [{**each, "n": 8} for each in found["methods"]]
    run.save("benchmark", found)
    assert "With 8 fields that could not be otherwise" in build_board(run.root).read_text("utf-8")


def test_what_is_no_finished_benchmark_is_refused(tmp_path):
    run = Run.begin(tmp_path / "run", {"benchmark": "planted"})
    with pytest.raises(DataError, match="no finished planted benchmark: it has no benchmark.json"):
        build_board(run)
    run.save("benchmark", {"metrics": METRICS})
    with pytest.raises(DataError, match="its benchmark.json has no 'methods'"):
        build_board(str(run.root))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_of_the_benchmark_fits_its_window(tmp_path, width):
    assert needed_width(build_board(benchmark(tmp_path / "b")), tmp_path, width) <= width
