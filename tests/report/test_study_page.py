import base64
import html
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browsing import WIDTH, asked

import attributome.pipeline.study as pipeline
from attributome.core.errors import DataError
from attributome.core.files import make_folder, write_json
from attributome.report.study import build_study
from attributome.report.study.drawing import Drawn, canvas, save, styled
from attributome.report.study.figures import FIGURES, LARGEST
from attributome.report.study.words import BESIDE, first, own
from attributome.store import Run
from attributome.studies.catalogue import CATALOGUE

STUDIES = Path(pipeline.__file__).parent
NAMES = ("nuclei", "a-predictor-of-something-with-a-long-name")
RUNS = [(NAMES[0], "runs/nuclei-1"), (NAMES[0], "runs/nuclei-2"), (NAMES[1], "runs/other")]
TYPED = "attributome study all nuclei=runs/nuclei-1 --out 'runs/my studies' --unit well"
EVIL = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
BROKEN = "return [...document.images].filter((image) => !image.naturalWidth).length"
CUT = """
return [...document.querySelectorAll("figure img, pre, p, li, table")].filter((one) => {
  const box = one.getBoundingClientRect(), scroll = one.closest(".scroll");
  return box.width && !scroll && (box.left < -1 || box.right > innerWidth + 1);
}).map((one) => one.outerHTML.slice(0, 80))
"""
INNER = (
    "return [...document.querySelectorAll('pre')].filter(o => o.scrollWidth > o.clientWidth + 1)"
)
INNER += ".length"


def tell(root, name, tables, *, command=TYPED, words=("Something was found.",), **more):
    """One study as `study` leaves it."""
    folder = root / "studies" / name
    make_folder(folder)
    for key, table in tables.items():
        table.to_csv(folder / f"{key}.csv", index=False)
        table.to_parquet(folder / f"{key}.parquet", index=False)
    told = {"study": name, "numbers": {}, "n": "8 fields of 4 units, 2 predictors"}
    told |= {"test": "nothing is tested", "words": [*words], "command": command, "options": {}}
    told |= {"tables": sorted(tables), "arrays": [], **more}
    write_json(folder / "found.json", told)
    return folder


def curves(name):
    values = np.linspace(0, 0.9, 10)
    middle = 1 - values**2
    return pd.DataFrame(
        {"predictor": name, "value": values, "median": middle, "median_low": middle - 0.05,
         "median_high": middle + 0.05}
    )  # fmt: skip


def fields(count):
    rows = [
        {"predictor": name, "field": f"f{i}", "unit": f"w{i // 2}", "pcc": 0.5 + 0.04 * (i % 9)}
        for name in NAMES
        for i in range(count)
    ]
    return pd.DataFrame(rows)


def folder_of_studies(
    root, *, count=8, words=("nuclei: correlation 0.75. That is much.", "other: 0.38.")
):
    asked_for = [{"name": name, "root": folder, "predictor": "ab" * 32} for name, folder in RUNS]
    job = {"name": "studies", "seed": 0, "split": "test", "unit": "well"}
    run = Run.begin(root, {"attributome": "0.1.0", "job": job, "runs": asked_for})
    run.save("options", job)
    run.save("summary", {"scores": {}})
    means = pd.DataFrame({"predictor": NAMES, "mean": [0.75, np.nan], "met": [True, False]})
    tell(root, "scores", {"fields": fields(count), "means": means}, words=words)
    numbers = {name: {"of_the_runs": [0.3]} for name in NAMES}
    table = pd.concat([curves(name) for name in NAMES])
    tell(root, "threshold", {"curves": table}, numbers=numbers, command="python mine.py")
    write_json(root / "studies" / "left_out.json", {"regions": "no field has a segmentation"})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two studies of the catalogue, two of somebody's own, and one that was left out."""
    run = folder_of_studies(tmp_path_factory.mktemp("studies") / "my studies")
    add_own(run)
    return run


def add_own(run):
    """Two studies that the catalogue does not know, the second without a word on its figure."""
    planted = {"mixed": {"title": "Planted shifts", "shows": "claimed error", "bad": "no slope"}}
    folder = tell(
        run.root, "confidence_planted", {}, title="Claimed error on planted shifts",
        question="Does it rank fields by their error?", figures=planted,
    )  # fmt: skip
    other = tell(run.root, "own_study", {"rows": fields(3)})
    with styled():
        for home, key in ((folder, "mixed"), (other, "by_class")):
            figure, axes = canvas(2.0)
            axes.plot([0, 1], [0, 1])
            save(Drawn(key=key, title=key, figure=figure, shows="", bad=""), home)


@pytest.fixture(scope="module")
def path(run):
    return build_study(run)


@pytest.fixture(scope="module")
def page(path):
    return path.read_text(encoding="utf-8")


def words_of(part):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split())


def section(page, name):
    return page.split(f'<section id="{name}"')[1].split("</section>")[0]


def test_every_caption_has_n_test_and_the_command(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    assert len(captions) == 4
    for caption in captions:
        assert "<b>n</b> = 8 fields of 4 units, 2 predictors." in caption
        assert "<b>Test:</b> Nothing is tested." in caption
        assert re.search(r"<pre class=\"line\"><code>.+</code></pre>", caption)
    assert all("Bad news would be:" in caption for caption in captions[:3])


def test_a_study_that_was_made_with_all_others_tells_its_own_command(page):
    assert "attributome study scores nuclei=" in words_of(section(page, "study-scores"))
    assert "python mine.py" in words_of(section(page, "study-threshold"))
    assert shlex.split(own(TYPED, "scores"))[2:6] == [
        "scores", "nuclei=runs/nuclei-1", "--out", "runs/my studies"
    ]  # fmt: skip
    assert own("attributome study scores a", "scores") == "attributome study scores a"


def test_settings_of_other_studies_are_left_out_of_a_command():
    more = "--set noise.floor=1 --set spatial.step=8 --set data=1 --set groups.by=well --seed 3"
    of_dremi = "--set spatial.step=8 --set data=1 --set groups.by=well --seed 3"
    assert (
        own(f"attributome study all a {more}", "dremi") == f"attributome study dremi a {of_dremi}"
    )


@pytest.mark.parametrize("name", [name for name in CATALOGUE if (STUDIES / f"{name}.py").is_file()])
def test_a_study_reads_no_settings_that_its_command_leaves_out(name):
    code = (STUDIES / f"{name}.py").read_text(encoding="utf-8")
    read = {*re.findall(r"\bjob\.(\w+)", code)} & {*CATALOGUE}
    assert read <= {name, "groups"} | BESIDE.get(name, set())


def test_the_first_sentence_ends_where_another_begins():
    assert first(["a: it rose by 0.5. Then more."]) == "a: it rose by 0.5."
    assert first(["a: it rose. 3 of 8 fell.", "b: it fell."]) == "a: it rose."
    assert first(["It fell by 0.5 (Holm p = 0.1)."]) == "It fell by 0.5 (Holm p = 0.1)."
    assert first([]) == ""


def test_the_contents_name_every_question_with_the_first_sentence(page):
    contents = re.findall(r'<li><a href="#(.+?)">(.*?)</a><span>(.*?)</span>', page)
    assert [one[0] for one in contents] == [
        "study-scores", "study-threshold", "study-confidence_planted", "study-own_study"
    ]  # fmt: skip
    assert contents[0][1:] == (CATALOGUE["scores"].question, "nuclei: correlation 0.75.")
    assert all(f'<section id="{one[0]}"' in page for one in contents)


def test_predictors_stand_with_their_runs_fields_and_units(page):
    told = words_of(section(page, "answers"))
    assert "nuclei 8 4 runs/nuclei-1 , runs/nuclei-2" in told
    assert f"{NAMES[1]} 8 4 runs/other" in told


def test_what_is_left_out_or_open_is_told_with_the_way_to_it(page, run):
    left, _, undone = section(page, "left").partition("Not done yet")
    assert "Left out: no field has a segmentation." in words_of(left)
    assert CATALOGUE["regions"].needs in words_of(left)
    command = f"attributome study regions --out {shlex.quote(str(run.root))}"
    assert command in words_of(left)
    done = {"scores", "threshold", "regions"}
    assert undone.count("<li>") == len(CATALOGUE) - len(done)


def test_studies_of_ones_own_are_shown_with_their_figures(page):
    planted = section(page, "study-confidence_planted")
    assert "Claimed error on planted shifts" in planted
    assert "Does it rank fields by their error?" in planted
    assert "Claimed error. <b>n</b>" in planted
    assert "../studies/confidence_planted/mixed.svg" in planted
    assert "../studies/own_study/by_class.png" in section(page, "study-own_study")
    assert 'id="study-own_study-title">Own study<' in page


def test_nothing_comes_from_outside_and_every_link_leads_somewhere(page, path):
    assert re.findall(r'(?:src|href)="(?!data:image/|#|\.\./)[^"]*"', page) == []
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html.unescape(page)
    links = re.findall(r'href="(\.\./[^"]+)"', page)
    assert len(links) > 10
    assert [link for link in links if not (path.parent / link).is_file()] == []
    inside = re.findall(r'href="#([^"]+)"', page)
    assert [anchor for anchor in inside if f'id="{anchor}"' not in page] == []


def test_figures_load_nothing_from_outside(page):
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(pictures) == 4
    for picture in pictures:
        code = base64.b64decode(picture).decode()
        assert (
            re.findall(r'(?:href|src)="(?!#)[^"]*"|url\((?!#)[^)]*\)|@import|<script', code) == []
        )


def test_the_same_studies_give_the_same_bytes(run, path, page):
    pictures = {one: one.read_bytes() for one in run.root.rglob("*.svg")}
    assert build_study(run).read_text(encoding="utf-8") == page
    assert {one: one.read_bytes() for one in run.root.rglob("*.svg")} == pictures


def test_figures_are_drawn_again_where_their_tables_changed_or_on_demand(tmp_path):
    run = folder_of_studies(tmp_path / "s")
    page = build_study(run).read_text(encoding="utf-8")
    folders = {one.parent for one in run.root.rglob("*.svg")}
    pictures = {one: one.stat().st_mtime_ns for one in run.root.rglob("*.svg")}

    def drawn_again(**how):
        made = build_study(run, **how).read_text(encoding="utf-8")
        now = {one: one.stat().st_mtime_ns for one in run.root.rglob("*.svg")}
        again = {one.parent for one, at in now.items() if pictures.get(one) != at}
        pictures.update(now)
        return made, again

    assert drawn_again(anew=False) == (page, set())
    assert drawn_again() == (page, folders)
    one, another = sorted(folders)[:2]
    table = next(one.glob("*.parquet"))
    pd.read_parquet(table).iloc[::-1].to_parquet(table)
    assert drawn_again(anew=False)[1] == {one}
    next(another.glob("*.png")).unlink()
    (one / "figures.json").write_text("{")
    made, again = drawn_again(anew=False)
    assert again == {one, another}
    assert drawn_again(anew=False) == (made, set())


def test_a_short_table_is_open_and_a_long_one_unfolds_and_is_cut(tmp_path):
    page = build_study(folder_of_studies(tmp_path / "s", count=80)).read_text(encoding="utf-8")
    scores = section(page, "study-scores")
    shown, _, unfolded = scores.partition("<details>")
    assert '<th scope="row">nuclei</th><td>0.75</td><td>yes</td>' in shown
    assert "<td>–</td><td>no</td>" in shown
    assert "Fields: 160 rows, 4 columns" in unfolded
    assert unfolded.count('<tr><th scope="row">') == 100
    assert "60 more rows are in the file." in words_of(unfolded)


def test_a_figure_that_is_too_large_for_a_page_is_shown_as_png(tmp_path):
    run = folder_of_studies(tmp_path / "s")
    add_own(run)
    svg = run.root / "studies" / "own_study" / "by_class.svg"
    svg.write_text(svg.read_text(encoding="utf-8") + " " * LARGEST, encoding="utf-8")
    page = build_study(run).read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,' in section(page, "study-own_study")
    assert len(page) < LARGEST


def test_words_of_a_study_stay_words(tmp_path):
    page = build_study(folder_of_studies(tmp_path / "s", words=(EVIL,))).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page
    assert html.escape("<script>alert(2)</script>") in page


def test_a_folder_in_which_all_was_left_out_has_a_page(tmp_path):
    run = Run.begin(tmp_path / "s", {"runs": [{"name": "a", "root": "runs/a"}]})
    make_folder(run.root / "studies")
    write_json(run.root / "studies" / "left_out.json", {"scores": "no target"})
    page = build_study(run).read_text(encoding="utf-8")
    assert "No study was done" in page
    assert "Left out: no target." in words_of(page)


def spoil_table(run):
    (run.root / "studies" / "scores" / "fields.parquet").write_bytes(b"no table")


def lose_table(run):
    (run.root / "studies" / "scores" / "means.parquet").unlink()


def lose_words(run):
    path = run.root / "studies" / "scores" / "found.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    del told["test"]
    path.write_text(json.dumps(told), encoding="utf-8")


def spoil_figure(run):
    add_own(run)
    (run.root / "studies" / "own_study" / "by_class.svg").write_text("<html></html>")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_table, "cannot read .*fields.parquet"),
        (lose_table, "has lost its table 'means'"),
        (lose_words, "does not say 'test'"),
        (spoil_figure, "is no SVG with a viewBox"),
    ],
)
def test_a_spoilt_study_is_refused_in_one_sentence(tmp_path, spoil, says):
    run = folder_of_studies(tmp_path / "s")
    spoil(run)
    with pytest.raises(DataError, match=says):
        build_study(run)


def test_a_folder_without_studies_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no studies"):
        build_study(Run.begin(tmp_path, {}))


def test_figures_are_of_studies_that_the_catalogue_knows():
    assert {*FIGURES} <= {*CATALOGUE}


def test_the_page_needs_no_torch():
    code = "import sys, attributome.report.study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_of_studies_fits_its_window(path, tmp_path, width):
    assert asked(path, tmp_path, WIDTH, width=width) <= width
    assert asked(path, tmp_path, CUT, width=width) == []
    assert asked(path, tmp_path, INNER, width=width) == 0


@pytest.mark.browser
def test_every_figure_is_drawn(path, tmp_path):
    assert asked(path, tmp_path, BROKEN) == 0
