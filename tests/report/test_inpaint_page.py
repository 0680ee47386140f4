import base64
import hashlib
import html
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from inpaint_run import (
    PROTEINS,
    add_data,
    add_findings,
    add_network,
    add_umap,
    begun,
    changed,
    evaluated,
    whole,
)

from attributome.core.files import write_text
from attributome.report.inpaint import build_inpaint

SECTIONS = ["answer", "doubts", "accuracy", "training", "pretext", "looking", "maps", "origin"]
EVIL = '"><img src=x onerror=alert(1)></script><script>alert(2)</script>'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which nothing is missing."""
    return whole(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run):
    return text(run)


@pytest.fixture(scope="module")
def begun_page(tmp_path_factory):
    """Folder and page of a run that has only begun."""
    run = begun(tmp_path_factory.mktemp("runs") / "my run")
    return run.root, text(run)


def text(run):
    return build_inpaint(run).read_text(encoding="utf-8")


def section(page, name):
    """One section as the words a reader sees."""
    inside = page.split(f'<section id="{name}"')[1].split("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", inside)).split())


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_is_there_and_full(page, name):
    assert f'href="#{name}"' in page
    assert "not there yet" not in section(page, name)
    assert "nan" not in section(page, name).lower().split()


def test_the_answer_says_how_good_on_what_and_beside_what(page):
    answer = section(page, "answer")
    assert (
        "Yes, by these data. In telling 5 groups apart across fields: balanced accuracy 0.71 "
        "(95 % interval 0.67–0.75; guessing 0.20; n = 1,240 cells of 20 fields), surely more than "
        "the same network untrained and raw intensities."
    ) in answer
    assert "0.38 same network, untrained: balanced accuracy across fields" in answer
    assert "0.51 raw intensities: balanced accuracy across fields" in answer
    assert "0.73 the highest of 10 layers and pools conv4_1 max: chosen after the fact" in answer
    assert "0.0151 mean squared error of the painted protein 0.0139–0.0165, n = 248" in answer
    assert "0.0237 error of showing the marker instead" in answer
    assert "72 % of maxima lie inside the own cell conv3_1; chance 41 %, excess 0.27–0.35" in answer
    assert "With neighbours of the same field it would be 0.790" in answer


def test_without_other_fields_there_is_no_verdict(tmp_path):
    def one_field(found):
        reason = "1 group; give at least 2"
        rows = found["accuracy"]
        found["accuracy"] = [
            row
            if row["protocol"] == "leave one cell out"
            else {k: row[k] for k in ("features", "layer", "pool", "protocol")} | {"reason": reason}
            for row in rows
        ]

    found = text(changed(evaluated(tmp_path), one_field))
    assert "These data cannot say it" in section(found, "answer")
    assert "field folds : 1 group; give at least 2." in section(found, "accuracy")


def test_red_stands_before_amber_and_is_named_in_the_answer(tmp_path):
    found = text(evaluated(tmp_path, mse=0.03, fields=6))
    assert "Before you believe it, read the red point below" in section(found, "answer")
    told = section(found, "doubts")
    assert told.index("red The network paints no better") < told.index("amber Few fields.")


def test_a_clean_run_has_no_doubts(tmp_path):
    found = text(evaluated(tmp_path))
    assert "Nothing that this page looks for" in section(found, "doubts")
    assert 'class="bad"' not in found


@pytest.mark.parametrize(("value", "doubted"), [(0.70, True), (0.66, False)])
def test_an_untrained_network_that_comes_near_with_another_layer_is_named(tmp_path, value, doubted):
    def near(found):
        for row in found["accuracy"]:
            if (row["features"], row["layer"], row["pool"]) == ("untrained", "conv4_1", "mean"):
                row["balanced"] = value

    told = section(text(changed(evaluated(tmp_path), near)), "doubts")
    assert ("An untrained network comes near with conv4_1 mean" in told) == doubted
    assert ("reaches 0.70 against 0.71 (0.67–0.75): much of this" in told) == doubted


def test_a_network_from_elsewhere_may_have_seen_the_fields(tmp_path, page):
    run = evaluated(tmp_path)
    asked = json.loads((run.root / "run.json").read_text())
    asked["job"]["network"] = {"source": "published.h5"}
    (run.root / "run.json").write_text(json.dumps(asked))
    found = text(run)
    assert "trained elsewhere, perhaps on these fields. It is published.h5." in section(
        found, "doubts"
    )
    assert "which training has not seen" not in section(found, "pretext")
    assert "which training has not seen" in section(page, "pretext")


def test_what_was_left_out_is_counted_by_its_reason(page):
    doubts = section(page, "doubts")
    assert "3 beside 1,240 cells that were kept: 1 because it has no group, 1 because" in doubts
    assert "row 7 Erg6_3 the crop is constant" in section(page, "origin")


def test_accuracy_stands_by_protocol_and_layer_with_its_intervals(page):
    found = section(page, "accuracy")
    assert "inpainting features conv3_1 max 0.79 0.75–0.83 0.59 0.55–0.63 0.71 0.67–0.75" in found
    assert "leave plate out : there is one plate; give at least 2." in found
    assert "Judged by the 11 nearest cells of other folds, each of whole fields." in found
    # the lead by the protocol to believe stands first among the differences
    order = found.split("By how much they are better")[1]
    first = "conv3_1 max field folds same network, untrained +0.33 0.30–0.36 yes"
    assert order.split("Surely better")[1].strip().startswith(first)


def test_the_confusion_has_every_count_and_names_the_most_frequent_mistake(page, run):
    found = section(page, "accuracy")
    rows = run.load("evaluation")["confusion"]["counts"]
    for name, row in zip(PROTEINS, rows, strict=True):
        assert f"{name} {' '.join(map(str, row))} {sum(row)}" in found
    assert "Most often taken for another: Snf7 for Vma1 (13 % of 215 cells)" in found


def test_many_classes_become_a_picture(tmp_path):
    names = tuple(f"P{n:02d}" for n in range(30))
    found = text(evaluated(tmp_path, proteins=names))
    assert 'alt="Confusion matrix of 30 classes"' in found


def test_training_names_the_best_epoch_and_shows_the_first_and_the_last(page):
    found = section(page, "training")
    assert "12 epochs; the lowest held-out error is 0.0122, in epoch 12, against 0.0237" in found
    assert "It took 8.5 min." in found
    strip = found.split("Erg6_0b beside Erg6_0")[1].split("Erg6_1b")[0]
    assert re.findall(r"epoch (\d+)", strip) == ["1", "5", "8", "12"]
    assert "source cell, GFP target cell, RFP target cell, GFP: truth" in strip


def test_the_worst_the_middle_and_the_best_pairs_are_shown_once(page, run):
    found = section(page, "pretext")
    pairs = pd.read_parquet(run.root / "predictions" / "pairs.parquet").sort_values("mse")
    names = (pairs["target"] + " beside " + pairs["source"]).tolist()
    kinds = [found.split(head)[1] for head in (" Worst ", " Median ", " Best ")]
    ends = [kinds[0].split(" Median ")[0], kinds[1].split(" Best ")[0], kinds[2]]
    for inside, expected in zip(ends, (names[-2:], names[5:7], names[:2]), strict=True):
        assert [name for name in names if name in inside] == expected
    better = int((pairs["mse"] < pairs["copy_marker"]).sum())
    assert f"In {100 * better // 12} % of 12 pairs" in found


def test_pretext_and_looking_stand_beside_what_learns_nothing(page):
    found = section(page, "pretext")
    assert "On test fields its error is 36 % less than showing the marker." in found
    assert re.search(r"the best constant 0.0311 .*an empty picture 0.0482", found)
    assert "n = 248 pairs of 4 fields" in found
    table = section(page, "looking").split("Undefined")[1]
    assert "conv3_1 72 % 41 % +0.31 0.27–0.35 59,520 20 12" in table


def test_leaves_of_the_tree_stand_in_their_order_with_their_cluster(page, run):
    tree = run.load("findings")["proteins"]
    cluster = {row["label"]: row["cluster"] for row in tree["clusters"]}
    told = [f"{tree['labels'][at]} · {cluster[tree['labels'][at]]}" for at in tree["order"]]
    drawn = page.split('class="chart tree"')[1].split("</svg>")[0]
    assert re.findall(r"([A-Z]\w+ · \d)", drawn) == told
    assert drawn.count('class="branch"') == len(tree["merges"])
    rows = [found.split('"')[0] for found in drawn.split(' y="')[1:] if found]
    assert rows[: len(told)] == sorted(rows[: len(told)], key=float)


def test_the_surest_sets_stand_first_and_are_marked(page):
    found = section(page, "maps")
    assert "2 of 3 tests have q below 0.05" in found
    assert "COPII coat 1 2 of 3 5 8 < 0.001 < 0.001 ✓ nuclear pore" in found
    assert "vacuole 1 2 of 3 5 6 0.16 0.32 How much" in found


def test_the_origin_says_what_to_do_again(page):
    origin = section(page, "origin")
    for verb in ("prepare", "train", "features", "evaluate", "predict", "report"):
        assert f"attributome inpaint {verb} --out demo" in origin
    assert "weights SHA-256 " + "cd" * 32 in origin
    assert "training, 12 fields field-00, field-01" in origin
    assert "time train 8.5 min, evaluate 18.2 s" in origin


@pytest.mark.parametrize(
    ("part", "verb"),
    [
        ("answer", "evaluate"),
        ("doubts", "evaluate"),
        ("accuracy", "evaluate"),
        ("training", "train"),
        ("pretext", "evaluate"),
        ("pretext", "predict"),
        ("looking", "evaluate"),
        ("maps", "evaluate"),
    ],
)
def test_a_run_that_has_only_begun_names_the_command_of_each_part(begun_page, part, verb):
    found = section(begun_page[1], part)
    assert "not there yet" in found
    assert f"attributome inpaint {verb} --out '{begun_page[0]}'" in found


def test_the_answer_names_all_that_must_be_said_before_it(tmp_path):
    run = begun(tmp_path / "demo")
    add_data(run)
    add_network(run)
    steps = [f"attributome inpaint {verb} --out {run.root}" for verb in ("features", "evaluate")]
    assert " && ".join(steps) in (answer := section(text(run), "answer"))
    assert "attributome inpaint train" not in answer


def test_parts_that_cannot_be_made_say_why(tmp_path):
    run = evaluated(tmp_path, masks=False)
    found = text(run)
    assert "Not measured: these cells have no masks." in section(found, "looking")
    add_findings(run, sets=False)
    findings = run.load("findings") | {"proteins": None, "reason": "2 labels; give at least 3"}
    run.save("findings", findings)
    maps = section(text(run), "maps")
    assert "There is no tree: 2 labels; give at least 3." in maps
    assert "No sets of proteins were given" in maps
    assert "it needs umap-learn" in maps


def test_nothing_is_fetched_and_only_the_own_script_may_run(page):
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("#", "data:image/png;base64,"))
    outside = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|<link|url\(|@import|fetch\(|XMLHttp|innerHTML|eval\(", outside)
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [""]
    digest = base64.b64encode(hashlib.sha256(scripts[0][1].encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
    assert f"{policy} 'sha256-{digest}'\"" in page


def test_each_inner_link_leads_somewhere_and_pictures_have_words(page):
    body = page.split("<script")[0]
    ids = re.findall(r'\bid="([^"]*)"', body)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', body)) <= set(ids)
    drawings = [d for d in re.findall(r"<svg [^>]*>", body) if 'aria-hidden="true"' not in d]
    assert len(drawings) > 10
    assert all('role="img"' in each and re.search(r'aria-label="[^"]+"', each) for each in drawings)
    pictures = re.findall(r"<img [^>]*>", body)
    assert len(pictures) > 40
    assert all(re.search(r'alt="[^"]+"', each) for each in pictures)


def test_names_of_a_stranger_stay_text(tmp_path):
    names = (EVIL, *PROTEINS[1:])
    run = whole(tmp_path / "demo", proteins=names)
    write_text(run.root / "rejected.csv", f"where,value,reason\n1,x,{EVIL.replace(chr(34), '')}\n")
    found = text(run)
    assert found.count("<script") == 1
    assert "<img src=x" not in found
    assert "&lt;img src=x" in found


def test_the_same_run_gives_the_same_bytes(run, page):
    assert text(run) == page


def test_a_run_of_many_stays_a_small_page(tmp_path):
    names = tuple(f"P{n:03d}" for n in range(210))
    run = whole(tmp_path / "demo", proteins=names, fields=60, points=12000)
    path = build_inpaint(run)
    found = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 2_000_000
    assert "5,000 of 12,000 points, of each field as many as its share" in section(found, "maps")
    assert "53 others" in section(found, "maps")
    assert "the 24 of 210 that are worst beside the marker" in section(found, "pretext")
    assert "The 30 most variable of 210" in section(found, "maps")


def test_a_map_without_points_that_have_a_place_is_no_map(tmp_path):
    run = begun(tmp_path / "demo")
    add_umap(run, points=20)
    table = pd.read_parquet(run.root / "umap.parquet")
    table.loc[:4, "x"] = np.nan
    table.to_parquet(run.root / "umap.parquet")
    maps = section(text(run), "maps")
    assert "15 of 20 points" in maps
    assert "5 without a place are not drawn" in maps
    table.assign(x=np.nan).to_parquet(run.root / "umap.parquet")
    assert "The map of cells is not there yet" in section(text(run), "maps")


def test_the_page_is_made_without_torch():
    code = "import sys, attributome.report.inpaint; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
