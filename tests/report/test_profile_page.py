import base64
import hashlib
import html
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from profile_run import (
    PLATES,
    TREATMENTS,
    add_causes,
    add_evaluation,
    add_network,
    begun,
    changed,
    looked,
    scores,
    section,
    text,
    whole,
)

from attributome.core.files import read_json, write_json, write_text
from attributome.report.profile import build_profile
from attributome.report.profile.doubts import doubts
from attributome.report.profile.facts import read

SECTIONS = ["answer", "doubts", "where", "cells", "features", "causes", "profiles", "remedies",
            "origin"]  # fmt: skip
EVIL = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which nothing is missing."""
    return whole(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run):
    return text(run)


@pytest.fixture(scope="module")
def flagged(tmp_path_factory):
    """The page of a classifier that goes by the background."""
    root = tmp_path_factory.mktemp("runs") / "cheater"
    return text(whole(root, cheating=True, plate=0.6))


@pytest.fixture(scope="module")
def begun_page(tmp_path_factory):
    """Folder and page of a run that has only begun."""
    run = begun(tmp_path_factory.mktemp("runs") / "my run")
    return run.root, text(run)


def said(run):
    """What speaks against a run, in words."""
    found = doubts(read(run))
    named = {"bad": "red", "watch": "amber"}
    return " ".join(f"{named[one.state]} {one.title}. {one.words}" for one in found)


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_is_there_and_full(page, name):
    assert f'href="#{name}"' in page
    assert "not there yet" not in section(page, name).lower()
    assert "nan" not in section(page, name).lower().split()


def test_the_answer_says_what_was_found_beside_chance_and_in_which_tests(page):
    said = section(page, "answer")
    assert "in the median 0.69 of a cell’s map lies on the cell (95 % interval 0.66–0.71" in said
    assert "over 180 wells), where a map without any preference would have 0.30" in said
    assert "none of the tests below found that it goes by anything else" in said
    assert "89 % of 2,499 cells (95 % interval 85–92 %) have more than half of their map" in said
    assert "of uniform maps, which look nowhere, 0.2 % would." in said
    assert "Balanced accuracy on held-out plates is 0.78 (95 % interval 0.74–0.81); " in said
    assert "With the cell erased it is 0.18–0.21 by 3 ways to fill the hole, against 0.78" in said
    assert "published" not in said  # these crops are flat
    assert "Flagged" not in said


def test_a_flagged_classifier_is_flagged_first_and_in_red(flagged):
    said, told = section(flagged, "answer"), section(flagged, "doubts")
    assert "Flagged: Grad-CAMO is not clearly above chance (+0.00, from −0.02); with the" in said
    assert "read the 3 red points below" in said
    assert "it stays above guessing (0.17)." in said
    titles = ["red Grad-CAMO is at chance", "red Accuracy is kept without the cell"]
    titles += ["red The plate is still in the profiles", "amber A network that learnt nothing"]
    places = [told.index(title) for title in titles]
    assert places == sorted(places)
    assert "background only 0.74 (0.71–0.77, guessing 0.17)" in told


def test_no_page_calls_a_classifier_honest(page, flagged, begun_page):
    for one in (page, flagged, begun_page[1]):
        words = html.unescape(re.sub(r"<[^>]+>", " ", one)).lower()
        assert "cheat" not in words.replace("cheater", "")
        assert "trustworthy" not in words


def test_in_three_dimensions_the_published_share_stands_beside(tmp_path):
    found = section(text(whole(tmp_path / "demo", dims=3)), "answer")
    assert "For context: 30 % was published for one classifier of 3-D Cell Painting" in found


def test_without_causal_tests_the_answer_says_so(tmp_path):
    found = text(looked(tmp_path))
    assert "Whether it needs the cell was not tested yet." in section(found, "answer")
    assert "attributome profile camo --out" in section(found, "causes")


def test_cells_without_any_map_give_no_number(tmp_path):
    def empty(found):
        names = ("median", "low", "high", "excess", "share_above_half", "share_low", "share_high")
        found.update(dict.fromkeys((*names, "chance", "chance_above_half")), cells=0)
        told = "Grad-CAMO is undefined: 2520 of 2520 cells have no map"
        found["flag"] = {"level": "undefined", "reasons": [told], "words": []}

    run = changed(looked(tmp_path), "camo", empty)
    table = pd.read_parquet(run.root / "camo.parquet")
    table[["score_cell", "score_neighbour", "score_background"]] = np.nan
    table.to_parquet(run.root / "camo.parquet")
    found = text(run)
    assert "Nobody can say: the maps of all 21 cells are empty." in section(found, "answer")
    assert "red No cell has a map" in section(found, "doubts")
    assert "None of the cells has a map" in section(found, "where")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(grid=[5, 8]), "amber The maps are coarse. Layer body has 5 × 8"),
        (lambda c: c.update(chance=0.7), "amber The cells fill their crops. In the median a cell"),
        (lambda c: c.update(wells=2), "red Too few wells. 2 wells: below 3"),
        (lambda c: c.update(wells=8), "amber Few wells. 8 wells"),
        (lambda c: c.update(undefined=2000), "red Some cells have no map. In 2,000 of 4,499"),
        (lambda c: c.update(unknown=7), "amber Cells without a score. 7 are of no class"),
        (lambda c: c["controls"][1].update(median=0.7), "amber With masks moved by half a crop"),
        (lambda c: c["flag"].update(level="flagged", reasons=["it is new"]), "red The classifier"),
    ],
)
def test_what_speaks_against_it_is_told(tmp_path, change, told):
    run = looked(tmp_path)
    assert told not in said(run)
    assert told in said(changed(run, "camo", change))


def test_an_axis_that_the_layer_did_not_shrink_is_not_coarse(tmp_path):
    run = looked(tmp_path, dims=3, grid=[5, 8, 8])
    assert "The maps are coarse" in said(run)
    add_network(run, dims=3)
    card = read_json(run.root / "network" / "network.json") | {"size": [5, 64, 64]}
    write_json(run.root / "network" / "network.json", card)
    assert "The maps are coarse" not in said(run)


@pytest.mark.parametrize(("remedy", "title"), [("mask", "masked"), ("penalty", "trained for")])
def test_a_training_that_makes_grad_camo_high_is_named(tmp_path, remedy, title):
    run = looked(tmp_path)
    write_json(run.root / "network" / "network.json", {"trained": {"remedy": remedy}})
    assert title in said(run)


def test_a_classifier_that_guesses_is_told(tmp_path):
    run = begun(tmp_path / "demo")
    add_evaluation(run)
    told = "red It is not surely better than guessing. Balanced accuracy on held-out plates is 0.20"
    assert told not in said(run)
    guess = {"balanced": 0.2, "low": 0.15, "high": 0.24}

    def change(found):
        found["accuracy"]["held_out_plates"].update(guess)

    assert told in said(changed(run, "evaluation", change))


def test_no_plate_held_out_and_fields_that_failed_are_told(tmp_path):
    run = begun(tmp_path / "demo", held_out=0)
    write_text(run.root / "rejected.csv", "where,reason\nBR0117/B02/1,it has no cells\n")
    found = text(run)
    assert "amber No plate was held out" in section(found, "doubts")
    assert "Fields could not be used. 1 of 360" in section(found, "doubts")
    assert "BR0117/B02/1 it has no cells" in section(found, "origin")


def test_causal_tests_say_what_is_done_and_what_is_left(page):
    found = section(page, "causes")
    assert "n = 820 cells of 60 wells, from held-out plates. Lines: 95 % intervals." in found
    assert "cell erased, mean the cell is filled with the mean of its background 0.19" in found
    assert "0.77 0.73–0.81 98 % 0.17" in found
    assert "on plates that it has not seen 0.78: −0.05 (−0.09 to 0.01)." in found
    assert "Which plate, by other plates: 1 plate is left." in found


def test_without_wells_there_are_no_intervals_and_the_page_says_so(tmp_path):
    run = looked(tmp_path)
    add_causes(run, few=True)
    found = section(text(run), "causes")
    assert "There are no intervals: they need at least 3 wells." in found
    told = changed(run, "causes", lambda c: c.update(tests=[], reason="there is one class"))
    assert "classified again. There is one class." in section(text(told), "causes")


def test_profiles_stand_stage_by_stage_with_how_they_were_made(page):
    found = section(page, "profiles")
    assert "sphered 180 × 320 ZCA, regularisation relative 0.01; fitted on 12 negative" in found
    assert "aligned (TVN) not made Not asked for." in found
    assert "by Grad-CAMO 180 × 240 80 features dropped; 611 cells left out" in found
    assert "raw 180 320 0.41 (0.35–0.47) 0 % of 5 0.92 (0.84–1.00)" in found
    assert "NSCB" in found
    assert "Not drawn: sphered." in found
    assert "DNA 1 0.72 0.59 0.46 0.33" in found
    assert "−0.12" in found


def test_a_statistic_that_is_impossible_gives_its_reason(tmp_path):
    run = begun(tmp_path / "demo")
    add_evaluation(run)

    def change(found):
        found["retrieval"] = [{"profiles": "raw", "reason": "each label has one well"}]
        found["accuracy"]["test"] = {"reason": "no cell is of a known class"}
        found["channels"], found["channels_reason"] = [], "there is one channel"

    found = section(text(changed(run, "evaluation", change)), "profiles")
    assert "Replicates of the profiles “raw”: each label has one well." in found
    assert "test wells – No cell is of a known class." in found
    assert "Not measured: There is one channel." in found


def test_remedies_stand_side_by_side(page):
    assert "overlap penalty 0.71 0.69–0.73 0.30 0.60 0.56–0.64" in section(page, "remedies")


def test_a_run_that_has_begun_says_which_command_makes_each_part(begun_page):
    root, found = begun_page
    quoted = html.unescape(section(found, "answer"))
    chain = " && ".join(
        f"attributome profile {v} --out '{root}'" for v in ("crop", "train", "camo")
    )
    assert chain in quoted
    for name in ("where", "cells", "features", "causes", "profiles"):
        assert "not there yet" in section(found, name)
    assert f"evaluation attributome profile evaluate --out '{root}'" in section(found, "origin")


def test_the_origin_says_by_what_the_scores_were_made(page):
    found = section(page, "origin")
    for told in (
        "2,520 cells, 360 fields, 180 wells, 3 plates",
        "crops 96 × 96 voxels, border: drop",
        "outlines of cells made here: method otsu, spacing not measured",
        "weights SHA-256 " + "cd" * 32,
        "grad-cam of layer body, 8 × 8 places",
        "enlarged linear, half-pixel centres",
        "crop 61.0 s, train 12.3 min, camo 93.5 s",
        "held-out plates, 1 plate BR0119",
    ):
        assert told in found, told
    assert "Not there yet" not in found


def test_the_page_is_one_file_that_runs_only_its_own_script(page):
    code = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_the_same_run_gives_the_same_bytes(run):
    first = build_profile(run).read_bytes()
    assert build_profile(run).read_bytes() == first


def test_names_cannot_become_markup(tmp_path):
    run = looked(tmp_path)

    def change(found):
        found["by"][0].update(treatment=EVIL, plate=EVIL)
        found["layer"] = EVIL

    table = pd.read_parquet(run.root / "camo.parquet")
    table.loc[:20, "treatment"] = EVIL
    table.to_parquet(run.root / "camo.parquet")
    found = text(changed(run, "camo", change))
    assert "<img src=x" not in found
    assert found.count("<script>") == 1


def test_the_page_needs_no_torch():
    code = "import sys, attributome.report.profile; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_factory_is_what_it_says():
    assert len(PLATES) * 60 * 14 == len(scores())
    assert {*scores()["treatment"]} == {*TREATMENTS}
