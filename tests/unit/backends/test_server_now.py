"""The log's clock is the server's, in UTC: no module asks for the time in another way."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from apps.integrity.relations import relation

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCT = Path(relation.__file__).parents[1]
#: The module that has them, and the words in SQL for a time that may be local.
OURS = PRODUCT / "models" / "moments.py"
LOCAL = ("now(6)", "current_timestamp", "localtime", "sysdate")


def _modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(PRODUCT.rglob("*.py")):
        if path != OURS:
            yield path, path.read_text()


def test_only_one_module_imports_the_function_of_django() -> None:
    found = [
        path.relative_to(PRODUCT).as_posix()
        for path, text in _modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and any(name.name == "Now" for name in node.names)
    ]
    assert found == []


def test_only_one_module_names_the_function_of_django() -> None:
    found = [
        path.relative_to(PRODUCT).as_posix()
        for path, text in _modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) == "Now"
    ]
    assert found == []


def test_every_time_of_a_table_is_kept_in_utc() -> None:
    found = [path.name for path, text in _modules() if "models.DateTimeField(" in text]
    assert found == ["0001_initial.py"]


@pytest.mark.parametrize("local", LOCAL)
def test_no_statement_asks_for_a_time_that_may_be_local(local: str) -> None:
    found = [
        path.name
        for path, text in _modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if local in node.value.lower() and "SELECT" in node.value
    ]
    assert found == []
