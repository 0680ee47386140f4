"""The house keeps its own rules: the map is true, imports point downwards, nothing local leaks."""

import ast
import fnmatch
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import attributome

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "attributome"
# written in pieces, so that this file does not contain what it looks for
HOSTS = re.compile(
    "|".join(
        re.escape(name + end)
        for name, end in (
            ("pypi", ".org"),
            ("pythonhosted", ".org"),
            ("registry." + "npmjs", ".org"),
            ("deb.debian", ".org"),
        )
    )
)
FOLDERS = "|".join(("work", "farm", "root", "tmp", "home", "Users"))
SHARED_NAMES = ("conftest.py",)
MACHINE = re.compile(rf"(^|[^\w.])/(?:{FOLDERS})/[\w.]", re.MULTILINE)


def paths_named(text: str) -> list[str]:
    """Words in backticks that look like a source file or, with a slash at the end, a folder."""
    words = re.findall(r"`([^`\s]+)`", text)
    shape = re.compile(r"[\w.-]+(/[\w.-]+)*(\.(py|md|toml|txt|yml|html|css|js)|/)")
    return [word for word in words if shape.fullmatch(word)]


def files() -> Iterator[Path]:
    """The project's own files: what .gitignore does not name, and of hidden folders only CI's."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [
            name
            for name in inner
            if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored)
            and (not name.startswith(".") or name in (".ci", ".github"))
        ]
        for name in names:
            if not any(fnmatch.fnmatch(name, pattern) for pattern in ignored):
                yield Path(folder) / name


def leaks(text: str) -> list[str]:
    return [match.group().strip() for look in (HOSTS, MACHINE) for match in look.finditer(text)]


def python(code: str) -> subprocess.CompletedProcess[str]:
    """What a fresh interpreter says."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_every_path_on_the_map_exists():
    named = paths_named((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
    lost = [p for p in named if not (ROOT / p).exists() and not (PACKAGE / p).exists()]
    assert named
    assert lost == []


def test_no_two_test_files_share_a_name():
    """Pytest imports them by their bare names; two alike fail wherever both run in one process."""
    names = [p.name for p in (ROOT / "tests").rglob("*.py") if p.name not in SHARED_NAMES]
    assert names
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_every_room_is_on_the_map():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [p.parent.name for p in PACKAGE.glob("*/__init__.py")] + [
        p.name for p in PACKAGE.glob("*.py") if p.name != "__init__.py"
    ]
    assert rooms
    assert [room for room in rooms if room not in text] == []


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("see `core/probe.py` and `docs/`", ["core/probe.py", "docs/"]),
        ("`runs/<name>/parts/`, `module:factory`, `make test`, `predict`, `*.npy`", []),
    ],
)
def test_paths_are_told_from_other_words(text, paths):
    assert paths_named(text) == paths


@pytest.mark.parametrize("name", attributome.__all__)
def test_public_names_resolve(name):
    assert getattr(attributome, name) is not None


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "docs"])
def test_scripts_import_what_there_is(folder):
    gone = [
        f"{path.name}: {node.module}.{name.name}"
        for path in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("attributome")
        for name in node.names
        if not there(str(node.module), name.name)
    ]
    assert gone == []


def there(module: str, name: str) -> bool:
    """Whether a module has something of this name, or is a package with such a module."""
    try:
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


def test_what_is_gone_is_seen():
    assert there("attributome.core.errors", "DataError")
    assert there("attributome.core", "errors")
    assert not there("attributome.core", "nothing")
    assert not there("attributome.core.errors", "Nothing")
    assert not there("attributome.core.nothing", "DataError")


def test_an_unknown_public_name_is_refused():
    with pytest.raises(AttributeError, match="attributome has no 'nothing_like_it'"):
        attributome.__getattr__("nothing_like_it")


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert attributome.__version__ == project["version"]


def test_imports_point_downwards():
    done = python(
        "import sys; from importlinter.cli import lint_imports as lint\n"
        "sys.exit(lint(no_cache=True))"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", [None, ["--help"]], ids=["import", "--help"])
def test_the_command_line_starts_without_torch(words):
    run = f"sys.argv[1:] = {words!r}; attributome.cli.main()" if words else "pass"
    done = python(
        f"import sys, attributome.cli\n"
        f"try: {run}\n"
        f"except SystemExit as end: assert not end.code, end.code\n"
        f"assert not (loaded := {{'torch', 'monai'}} & sys.modules.keys()), loaded"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_registry_and_no_path_of_one_machine_stands_in_the_tree():
    found, read = {}, 0
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        read += 1
        if inside := leaks(text):
            found[str(path.relative_to(ROOT))] = inside[:3]
    assert read > 0
    assert found == {}


@pytest.mark.parametrize("text", ["x = '/" + "work/main'", "https://" + "pypi" + ".org/simple"])
def test_a_leak_is_seen(text):
    assert leaks(text)


@pytest.mark.parametrize("text", ["../shared/data", "network/root/x", "a.b/tmp/x"])
def test_a_relative_path_is_no_leak(text):
    assert leaks(text) == []


def test_constraints_are_exact_and_name_no_place():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin)] == []
