"""Docstrings, comments and pages name files and Notes that exist."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "apps" / "integrity"
FILE = re.compile(r"(?<![\w./-])(?:[\w-]+/)*[a-z_]\w*\.py\b")
NOTE = re.compile(r"Note \[([^]]+)\](:?)(?:,? \(?(?:in )?((?:[\w-]+/)*\w+\.py))?")
#: Files of other projects, and of the project that installs the app.
FOREIGN = ("django/", "manage.py", "conftest.py")


@cache
def prose(path: Path) -> tuple[str, ...]:
    """Return the docstrings of a module, and its comments, each in one line.

    Nothing is returned, and no time is taken, if the module names no file and no Note.
    """
    source = path.read_text()
    if not FILE.search(source) and "Note" not in source:
        return ()
    texts = [
        " ".join(str(node.value.value).split())
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return (*texts, " ".join(comment.lstrip("#: ") for comment in comments))


def located(name: str, folder: Path) -> Path | None:
    """Return the file of that name: beside the module, in the app, or in the repository."""
    paths = (base / name for base in (folder, APP, ROOT))
    return next((path for path in paths if path.is_file()), None)


def modules() -> list[Path]:
    return sorted(APP.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(APP)))
def test_a_module_names_files_that_exist(path: Path) -> None:
    names = {name for text in prose(path) for name in FILE.findall(text)}
    names = {name for name in names if not name.startswith(FOREIGN)}
    assert {name for name in names if not located(name, path.parent)} == set()


def test_a_note_is_where_its_reference_says() -> None:
    defined: dict[str, set[Path]] = {}
    references = []
    for path in modules():
        for text in prose(path):
            for title, colon, file in NOTE.findall(text):
                if colon:
                    defined.setdefault(title, set()).add(path)
                else:
                    references.append((path, title, file))
    assert defined
    for path, title, file in references:
        places = defined.get(title, set())
        exists = located(file, path.parent) in places if file else bool(places)
        assert exists, f"{path.relative_to(ROOT)}: Note [{title}]"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_a_page_names_files_that_exist(page: Path) -> None:
    paths = re.findall(r"\b(?:apps|config|docs|tests|workers)/[\w/]+\.py\b", page.read_text())
    assert [path for path in paths if not (ROOT / path).is_file()] == []
