import pytest
from browsing import CHOSEN, OUTSIDE, WIDTH, asked
from inpaint_run import begun, whole

from attributome.report.inpaint import build_inpaint


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run in which nothing is missing, and whose names are long."""
    names = tuple(f"a-protein-with-a-long-name-{n:02d}" for n in range(24))
    root = tmp_path_factory.mktemp("runs") / "demo"
    return build_inpaint(whole(root, proteins=names))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_on_cells_fits_its_window(page, tmp_path, width):
    assert asked(page, tmp_path, WIDTH, width=width) <= width


@pytest.mark.browser
def test_a_page_of_a_run_that_has_begun_fits_a_phone(tmp_path):
    path = build_inpaint(begun(tmp_path / "a-run-with-a-rather-long-name-of-its-own"))
    assert asked(path, tmp_path, WIDTH, width=390) <= 390


@pytest.mark.browser
def test_every_picture_is_drawn_and_no_name_leaves_its_chart(page, tmp_path):
    broken = "const broken = [...document.images].filter((image) => !image.naturalWidth).length;"
    script = f"{broken}{OUTSIDE}return {{ broken, out }};"
    found = asked(page, tmp_path, script)
    assert found == {"broken": 0, "out": []}


@pytest.mark.browser
def test_one_name_of_a_map_can_be_looked_for(page, tmp_path):
    assert asked(page, tmp_path, CHOSEN % "label") == [False, 25, 0, 1, "3", True, 0, False]
