"""What the README shows is run as it stands there."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def python_of(page: Path) -> list[str]:
    """The blocks of Python on a page, in order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_of_the_readme_runs_and_prints_what_it_says(capsys):
    code = python_of(README)[0]
    exec(compile(code, "README.md", "exec"), {})
    shown = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert float(shown["all"]) > 0.999
    assert float(shown["top tenth"]) < float(shown["all"])


def test_every_local_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
