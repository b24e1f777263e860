"""The app's tables on MariaDB: made whole in any character set, with exact text, without W037."""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.test import override_settings

from apps.integrity.backends.mysql.distinct import distinct
from apps.integrity.log import names, pending
from apps.integrity.models import Deletion, Suspect

if TYPE_CHECKING:
    from collections.abc import Iterator

CHARSETS = ("utf8mb4", "utf8mb3", "latin1")
#: Each is another key. A default collation would take most of them for one.
KEYS = ("a", "A", "ä", "Ä", "a ", "a  ", " a", "á", "\uff41", "ß", "ss", "\U0001d4b6", "")
OURS = "integrity"
#: It does not fit into an old character set.
TEXT = "→ é \U0001d4b6"


@pytest.fixture
def log_here() -> None:
    if connections["default"].vendor != "mysql":
        pytest.skip("the log is on another engine")


@pytest.fixture(params=CHARSETS)
def empty(request: pytest.FixtureRequest, log_here: None, committed: None) -> Iterator[str]:
    """Point `default` at a new database whose character set is an old one; give its name."""
    connection, name = connections["default"], f"test_{secrets.token_hex(4)}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET {request.param}")
    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield name
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


def tables() -> set[str]:
    return {name for name in connections["default"].introspection.table_names() if OURS in name}


def test_all_tables_are_made_and_removed(empty: str) -> None:
    first = [(OURS, "0001_initial")]
    MigrationExecutor(connections["default"]).migrate(first)
    models = {model._meta.db_table for model in apps.get_app_config(OURS).get_models()}
    assert tables() >= models >= {"integrity_deletion", "integrity_cascade"}
    for key in KEYS:
        Deletion.objects.create(parent="auth.User", key=key, source="signal", reason=TEXT)
        Suspect.objects.create(parent="a", relation="r", value=key)
    for key in KEYS:
        assert Deletion.objects.get(key=key).key == key
        assert Suspect.objects.filter(value__in=[key]).count() == 1
        assert Suspect.objects.get_or_create(parent="a", relation="r", value=key)[1] is False
    Deletion.objects.all().delete()
    with override_settings(INTEGRITY={**settings.INTEGRITY, "drop_log": True}):
        MigrationExecutor(connections["default"]).migrate([(OURS, None)])
    assert tables() == set()


@pytest.mark.usefixtures("committed")
def test_no_receipt_speaks_for_another_key() -> None:
    Deletion.objects.create(parent="auth.User", key="a", source="signal")
    for key in KEYS:
        assert pending.is_open("auth.User", [key], field=None, using="default") is (key == "a")


@pytest.mark.usefixtures("committed")
def test_no_project_is_warned_of_our_models() -> None:
    found = checks.run_checks(databases=[*connections])
    ours = [each for each in found if getattr(each.obj, "_meta", None) is not None
            and each.obj._meta.app_label == OURS]  # fmt: skip
    assert [(each.id, each.msg) for each in ours] == []


@pytest.mark.usefixtures("log_here", "committed")
def test_names_differ_by_case_and_are_found_one_by_one() -> None:
    for parent in ("a.B", "a.b", "c.D"):
        for relation in ("", "x", "X"):
            Deletion.objects.create(parent=parent, relation=relation, key="1", source="scan")
    pairs = itertools.product(("a.B", "a.b", "c.D"), ("", "X", "x"))
    wanted = sorted(pairs)
    assert names.recorded_names(using="default") == wanted
    assert distinct(names.NAMES, (Deletion, "batch IS NULL"), using="default", most=2) == wanted[:2]
