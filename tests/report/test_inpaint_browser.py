import pytest
from browsing import asked
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
    script = "return document.documentElement.scrollWidth"
    assert asked(page, tmp_path, script, width=width) <= width


@pytest.mark.browser
def test_a_page_of_a_run_that_has_begun_fits_a_phone(tmp_path):
    script = "return document.documentElement.scrollWidth"
    path = build_inpaint(begun(tmp_path / "a-run-with-a-rather-long-name-of-its-own"))
    assert asked(path, tmp_path, script, width=390) <= 390


@pytest.mark.browser
def test_every_picture_is_drawn_and_no_name_leaves_its_chart(page, tmp_path):
    script = """
    const broken = [...document.images].filter((image) => !image.naturalWidth).length;
    const out = [];
    for (const chart of document.querySelectorAll("svg.chart:not(.tree)")) {
      const box = chart.getBoundingClientRect();
      if (!box.width) continue;
      for (const text of chart.querySelectorAll("text")) {
        const own = text.getBoundingClientRect();
        if (own.left < box.left - 2 || own.right > box.right + 2) out.push(text.textContent);
      }
    }
    return { broken, out };
    """
    found = asked(page, tmp_path, script)
    assert found == {"broken": 0, "out": []}


@pytest.mark.browser
def test_one_name_of_a_map_can_be_looked_for(page, tmp_path):
    script = """
    const panel = document.querySelector("[data-map=label]");
    const select = panel.querySelector("select");
    const shown = () => panel.querySelectorAll("path.chosen").length;
    const found = [select.closest("label").hidden, select.options.length, shown()];
    select.value = "3";
    select.dispatchEvent(new Event("input"));
    const path = panel.querySelector("path.chosen");
    found.push(shown(), path.dataset.name, path === panel.querySelector("svg").lastElementChild);
    select.value = "";
    select.dispatchEvent(new Event("input"));
    found.push(shown(), panel.classList.contains("one"));
    return found;
    """
    assert asked(page, tmp_path, script) == [False, 25, 0, 1, "3", True, 0, False]
