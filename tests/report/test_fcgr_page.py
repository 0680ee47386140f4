import base64
import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from browsing import asked
from fcgr_runs import add_audit, add_evaluation, add_unit, begun, pair_table, whole

from attributome.core.errors import DataError
from attributome.core.files import write_text
from attributome.report.fcgr import build_fcgr

SECTIONS = ["answer", "evaluation", "data", "uses", "explorer", "agreement", "trust", "origin"]
EVIL = '"><img src=x onerror=alert(1)></script><script>alert(2)</script> =1+1'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which nothing is missing."""
    return whole(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run):
    return text(run)


def text(run):
    return build_fcgr(run).read_text(encoding="utf-8")


def section(page, name):
    """One section as the words a reader sees."""
    inside = page.split(f'<section id="{name}"')[1].split("</section>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", inside).split())


def held(page):
    """What the script reads."""
    return json.loads(page.split('id="fcgr-data">')[1].split("</script>")[0])


@pytest.mark.parametrize("name", SECTIONS)
def test_each_section_is_there_and_full(page, name):
    assert f'href="#{name}"' in page
    assert "not there yet" not in section(page, name)


def test_the_answer_says_how_good_on_what_and_what_needs_no_network(page):
    answer = section(page, "answer")
    assert (
        "On miRNAs that it has not seen, the network reaches AUC 0.86 (95 % interval 0.81–0.91) "
        "and an average precision of 0.87 (95 % interval 0.82–0.92), n = 70 pairs of 5 miRNAs."
    ) in answer
    assert "Without a network the best is reverse-complement product AUC 0.80" in answer
    assert "miRNA identity AUC 0.50" in answer
    assert 'class="flag"' not in page


def test_a_red_flag_stands_before_the_answer(tmp_path):
    run = whole(tmp_path / "demo", mirnas=4, each=4)
    add_audit(run, red=True)
    answer = section(text(run), "answer")
    at = answer.index("miRNA identity alone reaches AUC 0.97")
    assert at < answer.index("the network reaches")
    assert "Read this before you believe a score" in answer


def test_a_score_that_is_undefined_or_was_not_measured_says_so(tmp_path):
    run = begun(tmp_path / "demo")
    add_evaluation(run)
    found = run.load("evaluation")
    found["scores"] = [
        row for row in found["scores"] if (row["predictor"], row["metric"]) != ("logistic", "ap")
    ]
    run.save("evaluation", found)
    table = section(text(run), "evaluation")
    assert "MCC seed match, yes or no undefined for 70 pairs" in table
    assert re.search(
        r"logistic regression on both images side by side 0.46 0.41–0.51 not measured", table
    )
    assert "nan" not in table.lower()


@pytest.mark.parametrize(
    ("gain", "low", "words"),
    [
        (0.06, 0.01, ""),
        (0.06, -0.02, "not surely better than reverse-complement product"),
        (-0.01, -0.1, "not better than reverse-complement product"),
    ],
)
def test_a_network_that_does_not_beat_what_is_trivial_says_so_first(tmp_path, gain, low, words):
    run = begun(tmp_path / "demo")
    add_evaluation(run)
    found = run.load("evaluation")
    for row in found["scores"]:
        if (row["predictor"], row["metric"]) == ("rc_product", "auc"):
            row["value"] = 0.86 - gain
    for row in found["comparisons"]:
        row["low"] = low
    run.save("evaluation", found)
    answer = section(text(run), "answer")
    assert ("Read this before" in answer) == bool(words)
    if words:
        assert answer.index(words) < answer.index("the network reaches")


def test_the_audit_is_shown_with_leakage_and_rejected_rows(page):
    found = section(page, "data")
    assert "amber Two rows were rejected" in found
    assert "training 84 validation 14 test 70" in found
    assert re.search(r"a miRNA of the same family 40 % 40 %", found)
    assert "the same pair none none" in found
    assert "letter &#39;X&#39; at position 4" in found
    assert "2 rows were rejected" in found


def test_the_evidence_in_the_seed_is_compared_with_its_length(page):
    uses = section(page, "uses")
    line = re.search(r"in-silico mutagenesis (\d+) % .*? (\d+) % ([\d.]+) × (\d+) pairs", uses)
    assert line, uses
    assert int(line[1]) > 3 * int(line[2])
    assert "not stable motifs in letters: not stable" in uses
    assert "90 % of its seqlets (80 % to 95 %) hold the seed match of their own miRNA" in uses
    assert "Like no seed match of these miRNAs" in uses


def test_trust_has_a_badge_for_each_check_and_counts_them(page):
    trust = section(page, "trust")
    assert "4 of 5 checks with a verdict passed." in trust
    assert "Completeness passed 0.004" in trust
    assert "Parameter randomisation failed 0.81" in trust
    assert "Random attribution no verdict" in trust


def test_the_origin_says_what_to_do_again(page):
    origin = section(page, "origin")
    for verb in ("audit", "train", "evaluate", "explain", "motifs", "compare", "report"):
        assert f"attributome fcgr {verb} --out demo" in origin
    assert "cd" * 32 in origin
    assert "steps = 50" in origin


@pytest.mark.parametrize(
    ("part", "verb"),
    [
        ("answer", "evaluate"),
        ("evaluation", "evaluate"),
        ("data", "audit"),
        ("uses", "explain"),
        ("uses", "motifs"),
        ("uses", "compare"),
        ("explorer", "explain"),
        ("agreement", "explain"),
        ("trust", "explain"),
    ],
)
def test_a_run_that_has_only_begun_names_the_command_of_each_part(tmp_path, part, verb):
    run = begun(tmp_path / "my run")
    found = section(text(run), part)
    assert "not there yet" in found
    assert f"attributome fcgr {verb} --out &#39;{tmp_path}/my run&#39;" in found


def test_nothing_is_fetched_and_only_the_own_script_may_run(page):
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith(("#", "data:image/png;base64,"))
    outside = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"https?://|<link|url\(|@import|fetch\(|XMLHttp|innerHTML|eval\(", outside)
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [
        ' type="application/json" id="fcgr-data"',
        "",
    ]
    digest = base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
    assert f"{policy} 'sha256-{digest}'\"" in page


def test_each_inner_link_leads_somewhere_and_ids_are_unique(page):
    body = page.split("<script")[0]
    ids = re.findall(r'\bid="([^"]*)"', body)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', body)) <= set(ids)
    code = page.split("<script>")[1]
    assert set(re.findall(r'\$\("([a-z-]+)"\)', code)) <= set(ids)


def test_every_drawing_has_words(page):
    drawings = re.findall(r"<svg [^>]*>", page.split("<script")[0])
    assert len(drawings) > 10
    assert all('role="img"' in each and re.search(r'aria-label="[^"]+"', each) for each in drawings)


def test_names_of_a_stranger_stay_text(tmp_path):
    run = whole(tmp_path / "demo", mirnas=4, each=4, hostile=EVIL, epistasis=2)
    write_text(run.root / "rejected.csv", f'row,column,value,reason\n1,site,"{EVIL[2:]}",bad\n')
    flag = {"level": "red", "title": EVIL, "words": EVIL}
    run.save("audit", {"counts": {EVIL: 1}, "trivial": [], "leakage": [], "flags": [flag]})
    found = text(run)
    assert found.count("<script") == 2
    assert "<img src=x" not in found
    data = held(found)
    assert data["pairs"][0]["id"] == EVIL
    raw = found.split('id="fcgr-data">')[1].split("</script>")[0]
    assert not set("<>&") & set(raw)


def test_the_same_run_gives_the_same_bytes(run, page):
    assert text(run) == page


@pytest.mark.parametrize("labels", [True, False])
def test_a_run_without_labels_or_with_one_has_no_outcomes_to_invent(tmp_path, labels):
    run = begun(tmp_path / "demo")
    pairs = pair_table(mirnas=3, each=4, labels=labels)
    if labels:
        pairs["label"] = 1
        row = {"predictor": "network", "metric": "auc", "value": None, "low": None, "high": None}
        reason = {"reason": "all 12 pairs have label 1", "n": 12, "groups": 3}
        run.save("evaluation", {"scores": [row | reason], "comparisons": [], "part": "test"})
    add_unit(run, 0, pairs, 3, ("mutagenesis", "saliency"), 0)
    found = text(run)
    outcomes = {pair["outcome"] for pair in held(found)["pairs"]}
    assert outcomes <= ({"TP", "FN"} if labels else {"says yes", "says no"})
    if labels:
        assert "all 12 pairs have label 1" in section(found, "evaluation")
        assert "The AUC of the network is undefined" in section(found, "answer")


def test_a_method_that_is_constant_is_undefined_and_not_zero(tmp_path):
    run = begun(tmp_path / "demo")
    pairs = pair_table(mirnas=3, each=4)
    add_unit(run, 0, pairs, 3, ("mutagenesis", "saliency"), 0)
    part = run.root / "parts" / "explain" / "pairs-000000"
    for branch in ("site", "mirna"):
        path = part / f"track_saliency_{branch}.npy"
        np.save(path, 0 * np.load(path))
    scores = pd.read_parquet(part / "scores.parquet")
    constant = scores["method"] == "saliency"
    scores.loc[constant, "rank_mutagenesis"] = np.nan
    scores.to_parquet(part / "scores.parquet", index=False)
    found = text(run)
    agreement = section(found, "agreement")
    assert re.search(r"saliency site – undefined 0 pairs of 0 miRNAs 12", agreement), agreement
    assert "undefined" in agreement.split("Each method against each other")[1]
    assert held(found)["pairs"][0]["tracks"]["saliency"]["site"]["s"] == 0


def test_a_table_of_another_form_is_refused(tmp_path):
    run = begun(tmp_path / "demo")
    pd.DataFrame({"word": ["ACG"]}).to_parquet(run.root / "kmers.parquet")
    with pytest.raises(DataError, match="no column 'kmer'"):
        build_fcgr(run)


def test_a_full_page_of_long_words_stays_small(tmp_path):
    run = whole(tmp_path / "demo", k=6, mirnas=18, each=14, site=50, epistasis=32)
    path = build_fcgr(run)
    found = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 6_000_000
    assert "200 of 252 explained pairs are in this page, chosen evenly" in found
    assert "only the largest pixels are kept" in section(found, "explorer")


def test_the_page_is_made_without_torch():
    code = "import sys, attributome.report.fcgr; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_on_pairs_fits_its_window(run, tmp_path, width):
    script = "return document.documentElement.scrollWidth"
    assert asked(build_fcgr(run), tmp_path, script, fragment="#pair=3", width=width) <= width


@pytest.mark.browser
def test_a_fragment_selects_a_pair_and_a_filter_narrows_the_table(run, tmp_path):
    script = """
    const rows = () => document.querySelectorAll("#pairs tbody tr").length;
    const before = rows();
    const kind = document.getElementById("by-kind");
    kind.value = "8mer";
    kind.dispatchEvent(new Event("input"));
    const canvas = document.querySelector("#maps canvas");
    const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
    for (let n = 0; n < 20; n++) { key("ArrowUp"); key("ArrowLeft"); }
    const told = [canvas.closest("figure").querySelector(".readout").textContent];
    for (const name of ["ArrowRight", "ArrowDown"]) {
      key(name);
      told.push(canvas.closest("figure").querySelector(".readout").textContent);
    }
    return { title: document.getElementById("pair-title").textContent, before, after: rows(), told,
             current: document.querySelector("#pairs [aria-current] th")?.textContent ?? "" };
    """
    found = asked(build_fcgr(run), tmp_path, script, fragment="#pair=5")
    kinds = [pair["kind"] for pair in held(text(run))["pairs"]]
    assert found["title"] == "Pair 5"
    assert found["before"] == len(kinds)
    assert found["after"] == kinds.count("8mer")
    # row 0: AAA, then one column to the right CAA (bit 0 is the first letter), then one down GAA
    assert [words[:3] for words in found["told"]] == ["AAA", "CAA", "GAA"]


@pytest.mark.browser
def test_a_hostile_name_is_shown_as_text(tmp_path):
    run = whole(tmp_path / "demo", mirnas=4, each=4, hostile=EVIL, epistasis=2)
    script = """
    location.hash = "";
    return { links: [...document.querySelectorAll("#pairs tbody a")].map((a) => a.textContent),
             images: document.querySelectorAll('img[src="x"]').length };
    """
    found = asked(build_fcgr(run), tmp_path, script)
    assert found["images"] == 0
    assert EVIL in [link.replace("&gt;", ">") for link in found["links"]]


def test_an_evaluation_alone_is_shown_alone(tmp_path):
    run = begun(tmp_path / "demo")
    add_evaluation(run)
    found = text(run)
    assert "the network reaches AUC 0.86" in section(found, "answer")
    assert "not there yet" in section(found, "explorer")
    assert held(found)["pairs"] == []
