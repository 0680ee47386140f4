"""The notebook runs from top to bottom, and finds what was planted."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "fcgr.ipynb"


def test_the_notebook_runs_and_finds_the_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {"__name__": "notebook"}
    for number, cell in enumerate(cells):
        assert not cell.get("outputs"), "what a cell printed is not kept"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    found = names["found"]
    assert (found["frame"]["first"], found["frame"]["last"]) == (2, 8)
    assert (tmp_path / "runs" / "planted" / "report" / "index.html").is_file()
