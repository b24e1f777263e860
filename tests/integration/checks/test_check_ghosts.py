"""W002 and W004: what `check --database` finds in the databases themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection, connections

from apps.blog.models import Post
from apps.integrity.checks import databases
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from tests.conftest import Captured

pytestmark = pytest.mark.django_db(databases="__all__")
PROJECT = ("default", "blog_db", "shop_db")


def test_w002_a_parent_s_database_without_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert databases.logged(["default"]) == []
    monkeypatch.setattr(databases.Deletion._meta, "db_table", "nowhere")
    assert databases.logged(None) == []
    [found] = databases.logged(["default"])
    assert (found.id, found.obj) == ("integrity.W002", "default")
    assert "'nowhere'" in found.msg


def test_w004_a_parent_s_table_beside_its_children() -> None:
    [found] = databases.haunted(["test_right"])
    assert (found.id, found.obj) == ("integrity.W004", Owner)
    assert "parents.Owner is in 'default', but 'test_right' has a table 'parents_owner'" in (
        found.msg
    )
    assert "if app_label == 'parents': return db == 'default'" in str(found.hint)


def test_w004_a_child_s_table_beside_its_parents() -> None:
    assert databases.haunted(PROJECT) == []
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE blog_post (id int)")
    [found] = databases.haunted(["default"])
    assert (found.id, found.obj) == ("integrity.W004", Post)
    assert "blog.Post is in 'blog_db', but 'default' has" in found.msg


def test_w004_asks_each_database_that_is_named_once_and_no_other(captured: Captured) -> None:
    with captured:
        databases.haunted(["default"])
        assert databases.haunted(None) == []
    assert [alias for alias in connections if captured[alias]] == ["default"]
    assert len(captured["default"]) == 1


def test_w004_two_aliases_of_one_database_are_no_ghosts(monkeypatch: pytest.MonkeyPatch) -> None:
    place = connections["default"].settings_dict
    same = {name: place[name] for name in ("NAME", "HOST", "PORT", "OPTIONS")}
    settings = connections["test_right"].settings_dict
    monkeypatch.setattr(connections["test_right"], "settings_dict", {**settings, **same})
    assert databases.haunted(["test_right"]) == []
