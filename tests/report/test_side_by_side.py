"""The page of a run with several methods."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from many_methods import METHODS, several_run
from PIL import Image
from synthetic import started, whole_run
from test_report import needed_width, pixel, section, text

from attributome.report import agreement, build, evidence, methods
from attributome.report.facts import Example, read
from attributome.report.figures import legible
from attributome.report.gallery import ground, scales
from attributome.report.looks import CONTROLS, LOOKS
from attributome.report.looks import METHODS as METHOD_LOOKS
from attributome.report.numbers import chance, median_of, num, share_below
from attributome.report.pictures import BLUE, ORANGE, in_colour, signed, signed_outlined, top

MANY = METHODS | {name: 0.5 for name in METHOD_LOOKS if name not in METHODS}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of six methods, one of which found nothing."""
    return several_run(tmp_path_factory.mktemp("runs") / "six", silent=("saliency",))


@pytest.fixture(scope="module")
def page(run):
    return text(run)


def row_of(page, label):
    """The words of one line of the leaderboard."""
    board = page.split('<table class="board">')[1].split("</table>")[0]
    (line,) = [line for line in board.split("<tr") if f"<span>{label}</span>" in line]
    return line.split(">")[0], re.sub(r"[ \n]+", " ", re.sub(r"<[^>]+>", " ", f"<{line}"))


def test_a_run_of_one_method_has_none_of_these_sections(tmp_path):
    page = text(whole_run(tmp_path / "one", fields=3, examples=1))
    for name in ("methods", "agreement", "evidence"):
        assert f'id="{name}"' not in page
        assert f'href="#{name}"' not in page


def test_a_run_of_several_methods_has_all_of_them_and_stays_one_sound_page(page):
    for name in ("methods", "agreement", "evidence"):
        assert f'href="#{name}"' in page
        assert "not there yet" not in section(page, name)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)
    assert all(alt for alt in re.findall(r'<img [^>]*alt="([^"]*)"', page))
    assert not re.search(r"https?://|<script|<link|url\(|@import|\bnan\b", page)


def test_the_leaderboard_marks_winners_losers_and_controls(page):
    assert "beats every control (p\xa0&lt;\xa00.001)" in row_of(page, "learned mask")[1]
    assert "does not beat brightest contrast (p\xa0=\xa00.41)" in row_of(page, "VarGrad")[1]
    assert 'class="control"' in row_of(page, "edges")[0]
    assert 'class="control"' not in row_of(page, "VarGrad")[0]
    assert "within 1 % in 12 fields" in row_of(page, "integrated gradients")[1]
    assert re.search(r"\b(3|4) of 6 methods beat every control", section(page, "methods"))
    assert "n = 12 fields" in section(page, "methods")


def test_a_leaderboard_that_is_not_there_yet_names_its_command(tmp_path):
    run = several_run(tmp_path / "run", fields=2, examples=0)
    (run.root / "leaderboard.json").unlink()
    assert "The leaderboard of the methods is not there yet" in section(text(run), "methods")


def test_undefined_numbers_of_the_leaderboard_are_dashes_and_counted(tmp_path):
    run = started(tmp_path / "run")
    row = {"method": "rise", "kind": "method", "n": 4, "undefined": 3, "median": None}
    run.save("leaderboard", {"rows": [row]})
    (line,) = methods.leaderboard(read(run))["lines"]
    assert (line.median, line.interval, line.n) == ("–", "", "4, 3 undefined")
    assert line.against.words == "no control was scored"


def test_the_pair_that_agrees_least_is_named_with_what_efficacy_supports(tmp_path):
    run = started(tmp_path / "run")
    maps = ("grad_cam", "learned_mask", "saliency")
    efficacy = {
        "grad_cam": [0.8, 0.9, 0.7],
        "learned_mask": [0.9] * 3,
        "saliency": [0.68, 0.8, 0.5],
    }
    rows = [
        (f"s{n}", m, "signature" if m == "learned_mask" else "method", 0.1, v)
        for m in maps
        for n, v in enumerate(efficacy[m])
    ]
    columns = ["sample", "method", "kind", "mask_size", "efficacy"]
    ranks = {("grad_cam", "saliency"): [0.1, 0.2, np.nan], ("grad_cam", "learned_mask"): [0.5] * 3}
    alike = [(f"s{n}", *pair, v, 0.3) for pair, vs in ranks.items() for n, v in enumerate(vs)]
    agree = pd.DataFrame(alike, columns=["sample", "a", "b", "rank", "overlap"])
    tables = {"scores": pd.DataFrame(rows, columns=columns), "agreement": agree}
    run.write("score", "all", tables=tables)
    matrix = agreement.matrix(read(run))
    assert matrix.lowest == (
        "Grad-CAM and saliency agree least: median rank agreement 0.15 over 2 fields, and their "
        "top pixels overlap by 0.30. Efficacy at equal area supports Grad-CAM by 0.12 (3 fields)."
    )
    assert matrix.n == "3 fields; 1 comparisons of a field were undefined"
    texts = [[cell and cell.text for cell in cells] for _, cells in matrix.rows]
    assert texts == [[None, "–", "0.50"], ["–", None, "0.15"], ["0.30", "0.30", None]]
    assert agreement.support(read(run), "learned_mask", "learned_mask").startswith(
        "Efficacy at equal area does not decide"
    )


def test_evidence_is_compared_with_the_area_of_its_region(page, run):
    said = section(page, "evidence")
    part = evidence.parts(read(run))[0]
    assert part.enrichment == pytest.approx(part.share / 0.41)
    assert f"Of the evidence of the learned mask, {100 * part.share:.0f} % (median" in said
    assert f"which covers 41 % of the field: {part.enrichment:.2g} times its share" in said
    assert said.count("Bad news would be:") == 2


def region_table(run, cell, background, areas=(0.3, 0.7)):
    rows = [
        (f"s{n}", "learned_mask", region, share, area)
        for region, shares, area in zip(
            ("cell", "Background, empty"), (cell, background), areas, strict=True
        )
        for n, share in enumerate(shares)
    ]
    columns = ["sample", "method", "region", "share", "area"]
    run.write("score", "all", tables={"regions": pd.DataFrame(rows, columns=columns)})
    return run


def test_evidence_on_the_background_is_a_doubt_and_undefined_is_counted(tmp_path):
    run = region_table(started(tmp_path / "a"), [0.2, np.nan, 0.1], [0.8, np.nan, 0.9])
    page = text(run)
    assert "Most of the evidence of the learned mask lies on the Background, empty" in page
    assert "85 % of the positive evidence (median over 2 fields)" in section(page, "answer")
    assert "2, 1 undefined" in section(page, "evidence")
    assert "In 1 cases a map had no positive evidence" in section(page, "evidence")


@pytest.mark.parametrize(("cell", "background"), [([0.4] * 3, [0.6] * 3), ([0.9] * 3, [0.1] * 3)])
def test_evidence_on_the_cells_is_no_doubt(tmp_path, cell, background):
    page = text(region_table(started(tmp_path / "a"), cell, background))
    assert "lies on the Background, empty</h4>" not in page


@pytest.mark.parametrize(
    ("errors", "words", "doubt"),
    [
        ([0.001, 0.009], "within 1 % in 2 fields", False),
        (
            [0.001, 0.03, 0.04, np.nan],
            "3 % off (median), above 1 % in 2 of 3 fields, 1 undefined",
            False,
        ),
        ([0.5, 1.8, 2.0], "180 % off (median), above 1 % in 3 of 3 fields", True),
        ([np.nan], "undefined in 1 field", False),
    ],
)
def test_sums_that_are_off_are_marked_and_gross_ones_are_a_doubt(tmp_path, errors, words, doubt):
    run = several_run(tmp_path / "run", methods={"deep_lift": 0.9, "rise": 0.8}, examples=0)
    rows = pd.DataFrame({"sample": map(str, range(len(errors))), "completeness_error": errors})
    facts = read(run)
    facts.tables["checks"] = rows.assign(method="deep_lift")
    assert methods.sums(facts)["deep_lift"].mark.words == words
    run.write("score", "more", tables={"checks": rows.assign(method="rise")})
    answer = section(text(run), "answer")
    assert re.search(r"DeepLIFT: [23]\d % off", answer)  # as its own fields say
    assert (f"RISE: {words}" in answer) == doubt


def test_a_silent_map_is_a_state_and_every_other_has_its_scale(page):
    fields = section(page, "fields")
    assert fields.count("no evidence for this target: the map is 0 everywhere") == 2
    assert fields.count("fixed scale 0 to 1") == 2  # the learned mask of two fields
    assert fields.count("scale ± ") == 8
    assert fields.count("nothing negative") == 4  # Grad-CAM++ and VarGrad
    assert "red speaks for the sum of the model's outputs" in fields.replace("&#39;", "'")
    scales = re.findall(r"scale ± ([\d.]+)", fields)
    assert len(set(scales)) == 4  # the same for one method in all fields


def test_one_scale_of_a_method_holds_the_strongest_field(run):
    facts = read(run)
    faint = Example(
        id="z",
        arrays={name: 0.1 * array for name, array in facts.examples[0].arrays.items()},
        note={},
    )
    assert scales(replace(facts, examples=[*facts.examples, faint])) == scales(facts)


def test_a_signed_map_is_white_at_zero_and_symmetric():
    red = pixel(signed(np.full((4, 4), 2.0), 2.0), 0, 0)
    blue = pixel(signed(np.full((4, 4), -2.0), 2.0), 0, 0)
    none = pixel(signed(np.zeros((4, 4)), 2.0), 0, 0)
    assert min(none) > 240
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert pixel(signed(np.full((4, 4), 9.0), 2.0), 0, 0) == red
    mask = np.zeros((320, 320))
    mask[100:200, 100:200] = 1
    source = signed_outlined(np.full((320, 320), 2.0), 2.0, mask)
    assert (pixel(source, 100, 150), pixel(source, 50, 50)) == (ORANGE, red)


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.0, []), (0.01, [3]), (0.5, [1, 3]), (0.75, [0, 1, 3]), (1, [0, 1, 2, 3])],
)
def test_top_pixels_are_the_largest_and_ties_go_by_position(share, kept):
    ranking = np.array([[1.0, 2.0], [1.0, 3.0]], np.float32)
    assert np.flatnonzero(top(ranking, share)).tolist() == kept


def test_colour_images_are_shown_in_colour_on_one_scale(tmp_path):
    page = text(several_run(tmp_path / "run", fields=2, examples=1, colour=True))
    assert "red, green and blue on one scale, as the network sees them; black" in page
    source = re.findall(r'src="([^"]*)" alt="Input of', page)[0]
    red, green, blue = pixel(source, 0, 0)
    assert not red == green == blue
    assert in_colour(np.zeros((3, 2, 4, 5)), 1).shape == (4, 5, 3)


def test_three_channels_of_other_names_are_no_colours(tmp_path):
    run = several_run(tmp_path / "run", fields=2, examples=1, colour=True)
    example = read(run).examples[0]
    example.note["channels"][0] = "far red"
    assert ground(example, None).about == "far red (channel 1 of 3)"


def test_a_leading_method_that_is_no_mask_names_itself(tmp_path):
    some = {name: value for name, value in METHODS.items() if name != "learned_mask"}
    page = text(several_run(tmp_path / "run", methods=some, examples=1))
    assert "sizes, without their sign" in section(page, "fields")
    assert "map of integrated gradients cut at one threshold" in section(page, "answer")
    assert "Of the evidence of integrated gradients" in section(page, "evidence")


def test_a_volume_shows_the_same_slice_in_every_picture(tmp_path):
    fields = section(
        text(several_run(tmp_path / "run", fields=2, examples=1, size=(5, 30, 40))), "fields"
    )
    assert fields.count("scale ± ") == 5
    assert "Pictures show z-slice" in fields


def test_charts_of_many_methods_stay_legible_and_say_what_is_left_out(tmp_path):
    run = several_run(tmp_path / "run", methods=MANY, fields=2, examples=1)
    page, facts = text(run), read(run)
    chosen, left = legible(facts, facts.methods, 8)
    assert chosen[0] == "learned_mask"
    assert len(chosen) == 8
    assert sorted(chosen + left) == sorted(facts.methods)
    compared = section(page, "methods")
    assert "Left out, to keep the chart legible:" in compared
    assert f"{len(MANY) - 8} more methods, of lower rank" in section(page, "fields")
    curves = page.split('id="methods"')[1].split("<svg")[1:]
    assert max(part.count('class="line"') for part in curves) <= 8


@pytest.mark.parametrize("style", ["dash", "hue"])
def test_no_two_methods_are_told_apart_by_colour_alone(style):
    known = METHOD_LOOKS | CONTROLS
    pairs = [(look.marker, getattr(look, style)) for look in known.values()]
    assert len(pairs) == len(set(pairs))
    labels = [look.label for look in LOOKS.values()]
    assert len(labels) == len(set(labels))
    assert all(look.about for look in known.values())


def test_the_certified_share_and_the_accuracy_are_sentences(page):
    answer = section(page, "answer")
    assert "In 11 of 12 test fields the signature keeps at least 0.90 (PCC)" in answer
    assert "with 95 % confidence at least 66 % of fields like these do" in answer
    assert "names the real class in 92 % of the test fields (95 % interval 62 % to 100 %" in answer
    numbers = section(page, "numbers")
    assert "certified_share share of fields like these that keep it, at least" in numbers


def test_disagreement_is_shown_with_the_pair_that_agrees_least(page, run):
    said = section(page, "agreement")
    pair = agreement.lowest(read(run))
    assert {pair.a, pair.b} == {"learned_mask", "var_grad"}
    assert said.count("top pixels: orange learned mask, blue VarGrad") == 2
    assert said.count("the spread of each pixel&#39;s rank") == 2
    sources = re.findall(r'src="([^"]*)" alt="Top pixels of learned mask and VarGrad', page)
    assert len(sources) == 2
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        drawn = np.asarray(Image.open(io.BytesIO(data))).reshape(-1, 3)
        assert {ORANGE, BLUE} <= set(map(tuple, drawn.tolist()))


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = several_run(tmp_path / "run", fields=2, examples=1)
    assert build(run).read_bytes() == build(run).read_bytes()


def test_numbers_are_written_without_flattery():
    assert (share_below(0.8799), share_below(0.87), share_below(0.0)) == ("87 %", "87 %", "0 %")
    assert (chance(0.0001), chance(0.032)) == ("p\xa0<\xa00.001", "p\xa0=\xa00.032")
    assert num(-0.001) == "0.00"
    assert median_of([1.0, np.nan, 3.0], np.nan) == 2
    assert np.isnan(median_of([np.nan], np.nan))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_a_page_of_many_methods_fits_its_window(tmp_path, width):
    run = several_run(tmp_path / "run", methods=MANY, fields=4, examples=1)
    assert needed_width(build(run), tmp_path, width) <= width
