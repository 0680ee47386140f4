import pytest
from browsing import CHOSEN, OUTSIDE, WIDTH, asked
from profile_run import begun, whole

from attributome.report.profile import build_profile


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run of volumes in which nothing is missing."""
    root = tmp_path_factory.mktemp("runs") / "a-run-with-a-rather-long-name-of-its-own"
    return build_profile(whole(root, dims=3))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_on_profiles_fits_its_window(page, tmp_path, width):
    assert asked(page, tmp_path, WIDTH, width=width) <= width


@pytest.mark.browser
def test_a_page_of_profiles_that_has_begun_fits_a_phone(tmp_path):
    path = build_profile(begun(tmp_path / "a-run-with-a-rather-long-name-of-its-own"))
    assert asked(path, tmp_path, WIDTH, width=390) <= 390


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_no_text_of_profiles_leaves_its_chart(page, tmp_path, width):
    assert asked(page, tmp_path, f"{OUTSIDE}return out;", width=width) == []


@pytest.mark.browser
def test_crops_keep_their_proportions_and_neighbours_are_dashed(page, tmp_path):
    script = """
    const crops = [...document.querySelectorAll("svg.crop")];
    const ratio = (svg) => {
      const box = svg.getBoundingClientRect();
      const own = svg.viewBox.baseVal;
      return Math.abs(box.width / box.height - own.width / own.height);
    };
    const style = (path) => getComputedStyle(path).strokeDasharray;
    return {
      many: crops.length > 40,
      stretched: crops.filter((svg) => ratio(svg) > 0.02).length,
      own: [...new Set([...document.querySelectorAll(".crop .own")].map(style))],
      other: [...new Set([...document.querySelectorAll(".crop .other")].map(style))],
    };
    """
    found = asked(page, tmp_path, script)
    assert found == {"many": True, "stretched": 0, "own": ["none"], "other": ["4px, 3px"]}


@pytest.mark.browser
def test_one_treatment_of_a_map_of_wells_can_be_looked_for(page, tmp_path):
    assert asked(page, tmp_path, CHOSEN % "camo-treatment") == [False, 7, 0, 1, "3", True, 0, False]
