"""Rules of the rooms that import-linter cannot express: who may use what, and sizes."""

from __future__ import annotations

import ast
import graphlib
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCT = Path(__file__).resolve().parents[2] / "apps" / "integrity"
#: Attribute → the folders and modules that may use it.
ALLOWED = {
    "cursor": ("backends/", "capture/triggers.py"),
    "db_for_write": ("relations/",),
    "raw": ("backends/",),
    "RawSQL": ("backends/",),
}


@cache
def _nodes(path: Path) -> list[ast.AST]:
    """Return the calls, imports and functions of a module."""
    kinds = (ast.Call, ast.ImportFrom, ast.FunctionDef)
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


@pytest.fixture(scope="module", autouse=True)
def _forget_nodes() -> Iterator[None]:
    yield
    _nodes.cache_clear()


def _users(name: str) -> set[str]:
    """Return the product's modules that call an attribute of that name, or import it."""
    users = set()
    for path in PRODUCT.rglob("*.py"):
        for node in _nodes(path):
            calls = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == name
            imports = isinstance(node, ast.ImportFrom) and name in {
                each.name for each in node.names
            }
            if calls or imports:
                users.add(path.relative_to(PRODUCT).as_posix())
    return users


@pytest.mark.parametrize("name", ALLOWED)
def test_it_is_used_in_its_room_alone(name: str) -> None:
    assert not {user for user in _users(name) if not user.startswith(ALLOWED[name])}


def test_the_rule_sees_uses() -> None:
    assert "relations/homes.py" in _users("db_for_write")
    assert "backends/postgresql/sql.py" in _users("cursor")


PACKAGE = "apps.integrity"
#: What Django wants beside the code.
NO_CODE = {"__init__.py", "__pycache__", "py.typed", "migrations", "static", "templates"}
ENTRIES_MAX, MODULE_LINES_MAX, FUNCTION_LINES_MAX = 31, 300, 50


def _modules() -> dict[str, Path]:
    """Return the product's modules by their dotted names."""
    names = {}
    for path in PRODUCT.rglob("*.py"):
        parts = path.relative_to(PRODUCT).with_suffix("").parts
        names[".".join((PACKAGE, *(part for part in parts if part != "__init__")))] = path
    return names


def _imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return what a module imports from the product, also for types only."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imported = set()
    for node in _nodes(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                member = f"{base}.{alias.name}"
                imported.add(member if member in known else base)
    return imported - {name}


def test_the_top_level_is_read_at_a_glance() -> None:
    assert len({path.name for path in PRODUCT.iterdir()} - NO_CODE) <= ENTRIES_MAX


def test_modules_and_functions_are_short() -> None:
    too_long = []
    for name, path in _modules().items():
        if "migrations" in path.parts:
            continue
        if (lines := path.read_text().count("\n")) > MODULE_LINES_MAX:
            too_long.append(f"{name}: {lines} lines")
        for node in _nodes(path):
            if not isinstance(node, ast.FunctionDef):
                continue
            lines = node.body[-1].end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                too_long.append(f"{name}.{node.name}: {lines} lines")
    assert not too_long


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = _modules()
    graph = {name: _imports(name, path, known) for name, path in known.items()}
    graphlib.TopologicalSorter(graph).prepare()
