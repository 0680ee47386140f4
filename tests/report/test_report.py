import base64
import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic import SUMMARY, add_panel, choices, started, whole_run

from attributome.core.errors import DataError
from attributome.core.files import write_text
from attributome.report import build
from attributome.report.doubts import duels
from attributome.report.facts import read
from attributome.report.pictures import ORANGE, Range, coloured, outlined

SECTIONS = ["answer", "fields", "size", "spread", "smallest", "planted", "soft", "training"]
SECTIONS += ["choices", "guarantee", "origin", "numbers"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a run in which nothing is missing."""
    return text(whole_run(tmp_path_factory.mktemp("runs") / "demo"))


def text(run):
    return build(run).read_text(encoding="utf-8")


def section(page, name):
    """One section as the words a reader sees."""
    inside = page.split(f'<section id="{name}"')[1].split("</section>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", inside).split())


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_of_a_whole_run_is_there_and_full(whole, name):
    assert f'href="#{name}"' in whole
    assert "not there yet" not in section(whole, name)


def test_the_answer_says_efficacy_size_interval_and_controls(whole):
    answer = section(whole, "answer")
    assert "Keeping 8.4 % of each field" in answer
    assert "median PCC 0.94 (95 % interval 0.91–0.96, n = 12 fields)" in answer
    assert "A random mask of the same size gives 0.41" in answer
    assert "the brightest contrast, gives 0.80" in answer
    assert "With 90 % confidence, at least 90 % of new fields" in answer
    assert "No control of the same area does as well: the nearest, brightest contrast" in answer
    assert 'class="flag"' not in whole


def test_every_chart_has_a_caption_and_every_picture_an_alternative(whole):
    assert whole.count('<figure class="plot') == whole.count("Bad news would be:") >= 10
    assert all(alt for alt in re.findall(r'<img [^>]*alt="([^"]*)"', whole))
    assert len(re.findall("<img ", whole)) == len(re.findall("<img [^>]*alt=", whole))
    charts = re.findall(r'<svg [^>]*class="chart[^>]*>', whole)
    assert all('role="img"' in chart and 'aria-label="' in chart for chart in charts)


def test_nothing_is_fetched_from_anywhere(whole):
    for address in re.findall(r'(?:src|href)="([^"]*)"', whole):
        assert address.startswith(("#", "data:image/png;base64,")) or address == "../summary.json"
    assert not re.search(r"https?://|<script|<link|url\(|@import", whole)
    assert "default-src 'none'" in whole


def test_each_inner_link_leads_somewhere_and_ids_are_unique(whole):
    ids = re.findall(r'\bid="([^"]*)"', whole)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', whole)) <= set(ids)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = whole_run(tmp_path / "demo", fields=3, examples=1)
    assert build(run).read_bytes() == build(run).read_bytes()
    assert [path.name for path in (tmp_path / "demo" / "report").iterdir()] == ["index.html"]


def test_a_run_that_has_only_begun_names_the_command_of_each_part(tmp_path):
    run = started(tmp_path / "my runs")
    page = text(run)
    for name in SECTIONS:
        if name == "planted":
            assert '<section id="planted"' not in page
        else:
            assert "not there yet" in section(page, name)
    for verb in ("score", "train predictor", "train masks"):
        assert f"attributome {verb} --out &#39;{tmp_path}/my runs&#39;" in page


def test_what_came_from_outside_is_escaped(tmp_path):
    run = whole_run(tmp_path / "demo", fields=3, examples=0)
    evil = '<script>alert("1")</script>'
    add_panel(run, evil, np.random.default_rng(0), channels=[evil], meta={evil: evil})
    row = {"sample": [evil], "method": [evil], "kind": ["control"], "mask_size": [0.1]}
    run.write("score", "evil", tables={"scores": pd.DataFrame({**row, "efficacy": [0.5]})})
    run.save("summary", {**SUMMARY, evil: evil, "guarantee": evil})
    run.save("provenance", {"command": evil, "notes": [evil], "versions": {evil: evil}})
    page = text(run)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8


def test_a_control_that_beats_the_mask_is_said_first(tmp_path):
    answer = section(text(whole_run(tmp_path / "demo", intensity=0.985, examples=0)), "answer")
    assert "Brightest contrast does better than the learned mask" in answer
    assert re.search(r"as good or better in (9|1\d) of 12 fields", answer)
    assert answer.index("does better than") < answer.index("A random mask of the same size")
    assert "No control of the same area does as well" not in answer


@pytest.mark.parametrize(
    ("shift", "level", "lost"),
    [
        ([-0.2] * 8, False, False),
        ([-0.005] * 8, True, False),  # a hundredth is no lead
        ([0.0] * 2 + [-0.2] * 6, True, False),  # as good in a quarter of the fields
        ([0.0] + [-0.2] * 7, False, False),
        ([0.02] * 8, True, True),
        ([0.001] * 5 + [-0.2] * 3, True, True),  # better in most fields
    ],
)
def test_a_control_is_compared_field_by_field(tmp_path, shift, level, lost):
    run = started(tmp_path / "demo")
    mask = np.linspace(0.7, 0.95, 8)
    parts = {"learned_mask": mask, "intensity": mask + shift}
    rows = [
        (f"s{n}", m, "control" if m == "intensity" else "signature", 0.1, v)
        for m, values in parts.items()
        for n, v in enumerate(values)
    ]
    columns = ["sample", "method", "kind", "mask_size", "efficacy"]
    run.write("score", "all", tables={"scores": pd.DataFrame(rows, columns=columns)})
    (duel,) = duels(read(run))
    assert (duel.level, duel.lost) == (level, lost)
    assert duel.difference == pytest.approx(np.median(shift))
    words = "does better than" if lost else "does about as well as"
    assert (f"Brightest contrast {words} the learned mask" in text(run)) == level


@pytest.mark.parametrize(
    ("key", "value", "title"),
    [
        ("area_ratio_to_intensity", 1.1, "The brightest contrast needs no more area"),
        ("efficacy_median", 0.62, "The mask does not keep the prediction"),
        ("mask_size_median", 0.8, "The mask keeps most of the field"),
        ("decoy_ratio", 0.5, "The mask falls for the decoy"),
        ("predictor_pcc", 0.3, "The network itself predicts poorly"),
    ],
)
def test_each_doubt_has_its_reason(tmp_path, key, value, title):
    run = started(tmp_path / "demo")
    run.save("choices", choices())
    run.save("summary", SUMMARY)
    assert title not in text(run)
    run.save("summary", {**SUMMARY, key: value})
    assert title in text(run)


def test_two_fields_are_too_few(tmp_path):
    assert "Only 2 test fields" in text(whole_run(tmp_path / "demo", fields=2, examples=0))


def test_a_guarantee_that_cannot_be_given_says_why(tmp_path):
    run = whole_run(tmp_path / "demo", fields=2, examples=0)
    refused = {"given": False, "reason": "12 calibration fields are fewer than 22", "curve": []}
    run.save("choices", {**choices(), "guarantee": refused})
    answer = section(text(run), "answer")
    assert "No guarantee can be given: 12 calibration fields are fewer than 22." in answer


def test_a_volume_shows_the_slice_with_the_most_signature(tmp_path):
    run = started(tmp_path / "demo")
    draw = np.random.default_rng(0)
    add_panel(run, "volume", draw, size=(6, 40, 50), pixel_size=None)
    kept = np.asarray(run.array("panel", "volume", "signature"))[0].sum(axis=(1, 2))
    fields = section(text(run), "fields")
    assert f"Pictures show z-slice {kept.argmax() + 1} of 6" in fields
    assert "Pixel size not given" in fields


def test_an_empty_signature_is_a_state_and_not_a_picture(tmp_path):
    run = started(tmp_path / "demo")
    add_panel(run, "dark", np.random.default_rng(0), empty=True)
    fields = section(text(run), "fields")
    assert "The signature is empty: no part of this field passed the threshold." in fields
    assert "The importance map is 0.00 everywhere" in fields
    assert "no outline: the signature is empty here" in fields


def test_a_constant_input_says_so(tmp_path):
    flat = np.full((1, 20, 30), 7.0, np.float32)
    arrays = {"input": flat, "map": 0 * flat, "signature": np.ones((1, 20, 30), np.uint8)}
    run = started(tmp_path / "demo")
    run.write("panel", "flat", arrays=arrays, note={"prediction": 12.34, "noisy_prediction": 12.1})
    fields = section(text(run), "fields")
    assert "every pixel is 7" in fields
    assert "Prediction from the whole field: 12.3; from what the mask keeps: 12.1." in fields


def test_an_area_that_was_not_reached_is_counted_apart(tmp_path):
    run = started(tmp_path / "demo")
    areas = {"learned_mask": [0.05, 0.07, 0.06], "random": [np.nan, np.nan, 0.3]}
    rows = [(f"s{n}", m, a) for m, values in areas.items() for n, a in enumerate(values)]
    table = pd.DataFrame(rows, columns=["sample", "method", "area"])
    run.write("score", "all", tables={"smallest": table})
    page = text(run)
    smallest = section(page, "smallest")
    assert "× 2" in smallest
    assert "(2 of 6)" in smallest
    assert re.findall(r'class="end value">(.*?)<', page)[:2] == ["6 %", "–"]


def test_the_scale_bar_has_the_length_it_says(tmp_path):
    run = started(tmp_path / "demo")
    add_panel(run, "a", np.random.default_rng(0), size=(40, 80), pixel_size=(0.5, 0.5))
    share, words = re.findall(r'class="bar" style="width:([\d.]+)%"><span>(.*?)</span>', text(run))[
        0
    ]
    assert words == "10 µm"
    assert float(share) / 100 * 80 * 0.5 == pytest.approx(10)


def test_maps_of_all_fields_share_one_scale():
    faint, strong = np.full((4, 4), 0.1), np.full((4, 4), 0.9)
    assert coloured(faint) != coloured(strong)
    faint[0, 0] = 0.2  # stretching each map by itself would change all its other pixels
    assert pixel(coloured(faint), -1, -1) == pixel(coloured(np.full((4, 4), 0.1)), -1, -1)


def test_an_outline_lies_on_the_mask_and_nowhere_else():
    mask = np.zeros((320, 320))
    mask[100:200, 100:200] = 1
    source = outlined(np.zeros((320, 320)), Range(low=0, high=1), [(mask, ORANGE)])
    assert pixel(source, 100, 150) == ORANGE
    assert pixel(source, 150, 150) == (0, 0, 0)
    assert pixel(source, 50, 50) == (0, 0, 0)


def test_a_table_of_another_form_is_refused(tmp_path):
    run = started(tmp_path / "demo")
    run.write("score", "a", tables={"scores": pd.DataFrame({"sample": ["a"]})})
    with pytest.raises(DataError, match="the table 'scores' of .* has no column 'method'"):
        build(run)


def test_an_example_without_its_map_is_refused(tmp_path):
    run = started(tmp_path / "demo")
    run.write("panel", "a", arrays={"input": np.zeros((1, 4, 4))})
    with pytest.raises(DataError, match="the example 'a' of .* has no array 'map'"):
        build(run)


def test_a_negative_or_undefined_efficacy_is_drawn_and_not_hidden(tmp_path):
    run = started(tmp_path / "demo")
    rows = [
        ("a", "learned_mask", "signature", 0.1, 0.9),
        ("b", "learned_mask", "signature", 0.1, 1),
    ]
    rows += [("a", "random", "control", 0.1, -0.4), ("b", "random", "control", 0.1, np.nan)]
    columns = ["sample", "method", "kind", "mask_size", "efficacy"]
    curve = pd.DataFrame([("a", "random", 0.1, -0.4), ("a", "random", 0.2, np.nan)])
    curve.columns = ["sample", "method", "area", "efficacy"]
    tables = {"scores": pd.DataFrame(rows, columns=columns), "curve": curve}
    run.write("score", "all", tables=tables)
    page = text(run)
    assert "a: -0.400" in page
    assert "without a value: 1" in page
    assert not re.search(r"\bnan\b", page)


def test_a_promise_for_another_threshold_says_so(whole):
    assert "It is given for threshold 0.43; the search alone gave 0.5." in section(
        whole, "guarantee"
    )


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_its_window(tmp_path, width):
    assert needed_width(build(whole_run(tmp_path / "demo", examples=1)), tmp_path, width) <= width


def needed_width(page, folder, width):
    """The width in pixels that a page takes in a window of this width."""
    browser = shutil.which("chromium")
    assert browser, "this test needs a Chromium on the PATH"
    # the page has no scripts; a copy beside it measures itself, in a frame that may be narrow
    measured = page.read_text(encoding="utf-8")
    measured = re.sub(r"<meta http-equiv[^>]*>", "", measured)
    script = "parent.postMessage(document.documentElement.scrollWidth, '*')"
    write_text(folder / "copy.html", f"{measured}<script>{script}</script>")
    frame = f'<iframe src="copy.html" style="border:0;width:{width}px;height:900px"></iframe>'
    listen = "onmessage = e => document.body.dataset.needs = e.data"
    write_text(folder / "frame.html", f"<body><script>{listen}</script>{frame}</body>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    options += ["--virtual-time-budget=5000", "--window-size=1500,1000"]
    options += [f"--user-data-dir={folder / 'profile'}", (folder / "frame.html").as_uri()]
    said = subprocess.run([browser, *options], capture_output=True, text=True, timeout=120)
    needs = re.search(r'data-needs="(\d+)"', said.stdout)
    assert needs, said.stderr[-500:]
    return int(needs[1])


def pixel(source, y, x):
    """One pixel of a picture on the page."""
    data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return tuple(np.asarray(Image.open(io.BytesIO(data)))[y, x].tolist())
