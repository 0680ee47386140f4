"""The pages about methods, targets, metrics and trust: their Python runs, their tables are true."""

import inspect
import math
import re
from pathlib import Path

import pytest
import torch

from attributome.core import cells, fidelity, targets
from attributome.explain import CONTROLS, METHODS, need, parameters
from attributome.explain.cost import forecast
from attributome.metrics import METRICS
from attributome.quality import CHECKS
from test_readme import python_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
OTHERS = ("targets", "metrics", "trust", "fcgr", "inpainting", "profiles")
PAGES = [*sorted((DOCS / "methods").glob("*.md")), *(DOCS / f"{name}.md" for name in OTHERS)]


def rows(page: Path, columns: int) -> dict[str, list[str]]:
    """Rows of the tables with so many columns, by the code in their first cell."""
    found = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        name = re.match(r"\[?`(\w+)", cells[0]) if len(cells) == columns else None
        if name:
            found[name[1]] = cells[1:]
    return found


@pytest.fixture(autouse=True)
def _one_thread():
    """Small images are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs_from_top_to_bottom(page):
    names: dict[str, object] = {"__name__": "docs"}
    for code in python_of(page):
        exec(compile(code, page.name, "exec"), names)


def test_pages_have_python_to_run():
    assert sum(map(len, map(python_of, PAGES))) > 30


def test_a_broken_snippet_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        test_the_python_of_a_page_runs_from_top_to_bottom(page)


def test_numbers_that_a_page_foretells_come_out(capsys):
    def printed(name: str) -> list[str]:
        names: dict[str, object] = {"__name__": "docs"}
        for code in python_of(DOCS / name):
            exec(compile(code, name, "exec"), names)
        return capsys.readouterr().out.splitlines()

    cancelled, offset, *_ = printed("methods/gradients.md")
    length, total = map(float, cancelled.split())
    assert length > 0.01
    assert total == 0
    times, output = map(float, offset.split())
    assert times > 2 * output
    grad, hires = (float(line.split()[-1]) for line in printed("methods/cam.md"))
    assert grad > 0.1
    assert hires == 0
    assert printed("targets.md")[0] == "0.0"
    small, large = (float(line.split()[-1]) for line in printed("methods/perturbation.md"))
    assert (small, large) == (0, 1)


def test_every_method_is_in_the_table_with_its_cost_and_its_need():
    table = rows(DOCS / "methods" / "index.md", 7)
    assert set(table) == {*METHODS, "learned_mask"}
    background = torch.zeros(8, 1)
    for name, (needs, _, passes, *_) in table.items():
        params = {} if name == "learned_mask" else parameters(name)
        if params.get("background", 0) is inspect.Parameter.empty:
            params["background"] = background
        cost = forecast(name, params, (256, 256), channels=64)
        assert cost is not None
        bound = "≤ " if cost.at_most else ""
        assert passes == f"{bound}{cost.forwards} + {cost.backwards}", name
        if name in METHODS and name not in CONTROLS:
            assert needs.split()[0].strip(",") == need(name) or name == "deep_shap"


def test_every_method_has_a_page_that_calls_it_or_names_it():
    told = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
    lost = [
        name
        for name in METHODS
        if not any(re.search(rf'"{name}"|## .*{name}', told[page]) for page in told
                   if page not in ("index", "planted"))
    ]  # fmt: skip
    assert lost == []


def test_the_table_of_metrics_is_that_of_the_code():
    table = rows(DOCS / "metrics.md", 7)
    assert set(table) == set(METRICS)

    def end(value: float) -> str:
        return ("-" if value < 0 else "") + "∞" if math.isinf(value) else f"{value:g}"

    for name, metric in METRICS.items():
        wanted = [metric.group, metric.better, end(metric.perfect), end(metric.worst)]
        assert table[name][:4] == wanted, name


def test_every_target_is_told_and_every_name_of_one_is_read():
    table = rows(DOCS / "targets.md", 3)
    classes = [
        name
        for module in (targets, fidelity, cells)
        for name, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__ and callable(getattr(one, "words", None))
    ]
    assert set(table) == set(classes)
    labels = torch.full((4, 4), 7)
    for name, (short, _) in table.items():
        if short:
            made = targets.target_named(short.strip("`"), regions=labels)
            assert type(made).__name__ == name


def test_the_bounds_of_the_flags_are_those_of_the_code():
    table = rows(DOCS / "trust.md", 4)
    assert set(table) == set(CHECKS)
    for name, check in CHECKS.items():
        doubtful, bad, _ = table[name]
        if doubtful:
            assert doubtful == f"{check.worse} {check.warn:g}", name
        assert bad in (f"{check.worse} {check.bad:.4f}".rstrip("0").rstrip("."), f"{check.worse} "
                       f"{check.bad:g}", f"at {check.bad:g}"), name  # fmt: skip


def test_pictures_are_there_and_small():
    shown = [
        page.parent / link
        for page in PAGES
        for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    assert len(shown) == 8
    assert [path.name for path in shown if path.stat().st_size > 150_000] == []


def test_the_planted_table_is_filled_between_its_marks(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_tables

    each = {"setup": "image-2d-exact", "metric": "iou_at_area", "n": 3, "undefined": 1}
    told = [("a", "method", 0.5, True), ("b", "method", None, False), ("c", "control", 0.125, None)]
    keys = ("method", "role", "median", "beats_controls")
    rows = [each | dict(zip(keys, one, strict=True)) for one in told]
    results = {"metrics": ["iou_at_area", "pointing_game"], "methods": rows}
    page = make_tables.PAGE.read_text(encoding="utf-8")
    once = make_tables.filled(page, results)
    assert "| `a` | 0.50 (1/2) |" in once
    assert "| `b` | – |" in once
    assert "| *c* | 0.12 |" in once
    assert "Up to 4 fields" in once
    assert make_tables.filled(once, results) == once
