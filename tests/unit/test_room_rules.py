"""Rules of the rooms that import-linter cannot express: who runs SQL, and who asks the routers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PRODUCT = Path(__file__).resolve().parents[2] / "apps" / "integrity"
#: Attribute → the folders and modules that may use it.
ALLOWED = {
    "cursor": ("backends/", "capture/triggers.py"),
    "db_for_write": ("relations/",),
    "raw": (),
    "RawSQL": ("backends/",),
}


def _users(name: str) -> set[str]:
    """Return the product's modules that call an attribute of that name, or import it."""
    users = set()
    for path in PRODUCT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
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
