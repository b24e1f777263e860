# ruff: noqa: S608 (names come from Model._meta)
"""Triggers on tables that are partitioned, inherited from, renamed, restored; and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.management.color import no_style
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.integrity.capture import triggers
from apps.integrity.models import Deletion
from tests import superuser
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("undone")

TABLE = Owner._meta.db_table
NAMES = "tgname LIKE 'integrity%'"


@pytest.fixture
def undone(committed: None, tune: Tune) -> Iterator[None]:
    """Triggers are asked for; whatever a test does is one transaction, and rolled back."""
    tune(capture={"parents.Owner": "both"})
    with superuser.logged_in("default"), transaction.atomic():
        yield
        transaction.set_rollback(True)


def sql(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def recorded() -> list[str]:
    return sorted(key for (key,) in sql("SELECT key FROM integrity_deletion"))


def test_a_partitioned_parent() -> None:
    sql(f"ALTER TABLE {TABLE} RENAME TO aside")
    sql(f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY) PARTITION BY HASH (id)")
    for number in range(2):
        sql(
            f"CREATE TABLE part_{number} PARTITION OF {TABLE}"
            f" FOR VALUES WITH (MODULUS 2, REMAINDER {number})"
        )
    assert triggers.install("default").installed == ("parents.Owner",)
    assert triggers.faults("default") == []
    sql(f"INSERT INTO {TABLE} SELECT generate_series(1, 4)")
    sql(f"DELETE FROM {TABLE} WHERE id < 4")
    assert recorded() == ["1", "2", "3"]
    with pytest.raises(IntegrityError, match="is refused"), transaction.atomic():
        sql(f"TRUNCATE {TABLE}")


def test_a_parent_that_others_inherit_from() -> None:
    triggers.install("default")
    sql(f"CREATE TABLE heir () INHERITS ({TABLE})")
    sql(f"INSERT INTO {TABLE} VALUES (1, 'n'); INSERT INTO heir VALUES (2, 'n')")
    sql(f"DELETE FROM {TABLE}")
    assert recorded() == ["1", "2"]


def test_a_renamed_one_refuses_deletes_until_it_is_put_right() -> None:
    triggers.install("default")
    sql(f"INSERT INTO {TABLE} VALUES (1, 'n')")
    sql(f"ALTER TABLE {TABLE} RENAME TO another")
    with pytest.raises(DatabaseError, match=r"(?s)alone.*install-triggers"), transaction.atomic():
        sql("DELETE FROM another")
    sql(f"ALTER TABLE another RENAME TO {TABLE}")
    sql(f"DELETE FROM {TABLE}")
    assert recorded() == ["1"]


def test_one_that_is_restored_from_a_dump() -> None:
    """As pg_dump writes it: the same names, and other numbers."""
    triggers.install("default")
    before = f"SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = '{TABLE}'::regclass"
    definitions = sql(f"{before} AND {NAMES} ORDER BY tgname")
    sql(f"INSERT INTO {TABLE} VALUES (1, 'n'); DELETE FROM {TABLE}")  # its plan is known by now
    sql(f"CREATE TABLE copy (LIKE {TABLE} INCLUDING ALL); DROP TABLE {TABLE} CASCADE")
    sql(f"ALTER TABLE copy RENAME TO {TABLE}")
    assert triggers.missing("default") == ("parents.Owner",)
    for (definition,) in definitions:
        sql(definition)
    assert triggers.faults("default") == []
    sql(f"INSERT INTO {TABLE} VALUES (2, 'n'); DELETE FROM {TABLE}")
    assert recorded() == ["1", "2"]


def test_privileges_that_each_new_function_is_given_are_taken_back() -> None:
    sql("CREATE ROLE integrity_nobody")
    sql("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO integrity_nobody")
    triggers.install("default")
    assert triggers.faults("default") == []
    assert triggers.change("default").sql == ()


def test_a_name_with_quotes_and_backslashes() -> None:
    odd = 'it\'s \\ "odd" %s'
    quoted = connection.ops.quote_name(odd.replace('"', '""'))
    sql(f"ALTER TABLE {TABLE} RENAME TO {quoted}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Owner._meta, "db_table", odd.replace('"', '""'))
        triggers.install("default")
        assert triggers.faults("default") == []
    sql(f"INSERT INTO {quoted} VALUES (1, 'n'); DELETE FROM {quoted}")
    assert recorded() == ["1"]


@pytest.mark.parametrize(("one", "other"), [("a_b.C", "a.b_C"), ("a.B", "a.C"), ("x.y_Z", "x_y.Z")])
def test_two_parents_never_share_a_function(one: str, other: str) -> None:
    assert triggers._function("integrity_capture", one) != triggers._function(
        "integrity_capture", other
    )


def test_the_log_is_emptied_with_its_parents() -> None:
    triggers.install("default")
    sql(f"INSERT INTO {TABLE} VALUES (1, 'n'); DELETE FROM {TABLE}")
    tables = connection.introspection.table_names()
    (statement,) = connection.ops.sql_flush(
        no_style(),
        [each for each in tables if each in {TABLE, Deletion._meta.db_table}],
        allow_cascade=True,
    )
    sql(statement)
    assert recorded() == []
