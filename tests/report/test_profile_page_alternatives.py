"""Features without labels and remedies on the page: what is told, and what of it is refused."""

import base64

import pytest
from profile_run import begun, changed, section, text, whole

from attributome.core.errors import DataError
from attributome.core.files import read_json, write_json
from attributome.report.profile import build_profile


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which nothing is missing."""
    return whole(tmp_path_factory.mktemp("runs") / "demo")


def test_kinds_of_features_stand_side_by_side(run):
    page = text(run)
    found = section(page, "profiles")
    told = "contrastive 180 320 0.55 (0.50–0.60; chance 0.19) 0.50 (0.45–0.55; chance 0.19)"
    assert told in found
    assert "before training 180 320 0.45" in found
    assert "0.50 (0.40–0.60; chance 0.33) –" in found  # the classifier: its time is not told twice
    assert "Contrastive features find replicates." in found
    assert "The treatment is told on other plates" in found
    drawn = page.split("Replicates are found: the classifier 0.35 / 0.30, before training")
    assert len(drawn) > 1
    assert ">chance 0.19</text>" in drawn[1].split("</svg>")[0]


def test_the_film_is_inside_the_page_where_it_is_small(run, tmp_path):
    raw = (run.root / "trajectory.gif").read_bytes()
    assert f"data:image/gif;base64,{base64.b64encode(raw).decode()}" in text(run)
    other = whole(tmp_path / "demo")
    (other.root / "trajectory.gif").write_bytes(b"GIF89a" + bytes(1_000_000))
    page = text(other)
    assert "data:image/gif" not in page
    assert '<a href="../trajectory.gif">' in page
    (other.root / "trajectory.gif").unlink()
    assert "trajectory.gif" not in text(other).split("Every setting of the job")[0]


def test_an_animation_of_another_folder_is_not_shown(tmp_path):
    run = whole(tmp_path / "demo")
    (tmp_path / "other.gif").write_bytes(b"GIF89a")
    changed(run, "alternatives", lambda c: c["trajectory"].update(file="../other.gif"))
    assert "data:image/gif" not in text(run)


def test_what_was_not_possible_is_said(tmp_path):
    run = whole(tmp_path / "demo")

    def change(found):
        found["reasons"] = {"inpainting": "the crops are volumes"}
        found["retrieval"][4:] = [
            {"profiles": "contrastive", "of": "unseen wells", "reason": "each label has one well"}
        ]

    found = section(text(changed(run, "alternatives", change)), "profiles")
    assert "Inpainting: the crops are volumes." in found
    assert "Replicates of contrastive in unseen wells: each label has one well." in found


def test_what_nobody_asked_for_has_its_command(tmp_path):
    page = text(begun(tmp_path / "demo"))
    assert "attributome profile alternatives --out" in section(page, "profiles")
    assert "attributome profile remedies --out" in section(page, "remedies")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["retrieval"][1].pop("map"), r"retrieval\[1\] has no 'map'"),
        (lambda c: c["retrieval"][1].pop("of"), r"retrieval\[1\] has no 'of'"),
        (lambda c: c["batches"][0].update(low="x"), "no number"),
        (lambda c: c.update(features=3), "not a list"),
        (lambda c: c.update(trajectory=[1]), "not an object"),
    ],
)
def test_a_malformed_comparison_is_refused(tmp_path, change, told):
    run = whole(tmp_path / "demo")
    changed(run, "alternatives", change)
    with pytest.raises(DataError, match=told):
        build_profile(run)


def test_remedies_have_words_tests_and_wells(run):
    found = section(text(run), "remedies")
    assert "A penalty can be gamed." in found
    assert "no remedy 0.33 0.31–0.35 0.30 0.52 0.48–0.56 0.62 2 % flagged" in found
    assert "overlap penalty 0.71 0.69–0.73 0.30 0.60 0.56–0.64 0.70 2 % nothing found" in found


def test_words_are_text_and_no_markup(tmp_path):
    run = whole(tmp_path / "demo")
    found = read_json(run.root / "remedies.json")
    write_json(run.root / "remedies.json", {**found, "words": ["<script>alert(1)</script>"]})
    changed(run, "alternatives", lambda c: c.update(words=["<img src=x>"]))
    page = text(run)
    assert "<script>alert" not in page
    assert "<img src=x>" not in page


def test_accuracies_that_are_not_known_are_dashes(tmp_path):
    run = whole(tmp_path / "demo")
    found = read_json(run.root / "remedies.json")
    none = dict.fromkeys(("accuracy_held_out", "low", "high", "accuracy_test"))
    rows = [{**row, **none} for row in found["remedies"]]
    write_json(run.root / "remedies.json", {"remedies": rows})
    assert "overlap penalty 0.71 0.69–0.73 0.30 – – – 2 %" in section(text(run), "remedies")


def test_the_film_says_what_it_is(run):
    assert "9 epochs; 40 cells that did not train." in section(text(run), "profiles")
