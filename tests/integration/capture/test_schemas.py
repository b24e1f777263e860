"""G2: one alias, several schemas: only the rows of the table beside the log are the parents'."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.core import checks
from django.db import connections, transaction

from apps.integrity import capture
from apps.integrity.capture import recording
from apps.integrity.exceptions import NotTheParents
from apps.integrity.models import Deletion
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

TABLE = Owner._meta.db_table


@pytest.fixture
def tenant() -> Iterator[str]:
    """A schema with a table of the parents' name, as a tenant's."""
    recording._warned.clear()
    with connections["default"].cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA t1; CREATE TABLE t1.{TABLE} (LIKE public.{TABLE})")
    yield "t1"
    connections["default"].close()
    with connections["default"].cursor() as cursor:
        cursor.execute("DROP SCHEMA t1 CASCADE")


@contextmanager
def inside(schema: str) -> Iterator[None]:
    """As a backend that switches schemas does it for each request."""
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SET search_path = {schema}, public")
        try:
            yield
        finally:
            cursor.execute("SET search_path = public")


def living_with_a_leaf() -> Owner:
    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    return owner


def of_tenant(key: int) -> Owner:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"INSERT INTO t1.{TABLE} (id, name) VALUES (%s, '')", [key])  # noqa: S608
    return Owner.objects.get(pk=key)


@pytest.mark.parametrize("many", [False, True])
def test_a_tenants_own_row_is_no_parent(
    tenant: str, converge: Converge, caplog: pytest.LogCaptureFixture, *, many: bool
) -> None:
    shared = [living_with_a_leaf() for _ in range(3)]
    caplog.set_level(logging.WARNING, "integrity.capture")
    with inside(tenant):
        for owner in shared:
            of_tenant(owner.pk)
        if many:
            Owner.objects.all().delete()
        else:
            Owner.objects.get(pk=shared[0].pk).delete()
    assert not Deletion.objects.exists()
    assert converge() == Counter()
    assert Leaf.objects.count() == 3
    assert len(caplog.records) == 1
    assert "'t1'" in caplog.text


def test_the_shared_row_is_one_in_whatever_schema_the_request_is(
    tenant: str, converge: Converge
) -> None:
    """The tenant has no such table: the name leads to the shared one."""
    owner = living_with_a_leaf()
    with connections["default"].cursor() as cursor:
        cursor.execute(f"DROP TABLE t1.{TABLE}")
    with inside(tenant):
        owner.delete()
    assert converge() == {"right.Leaf.owner": 1}


def test_a_temporary_table_of_that_name_is_none(converge: Converge) -> None:
    owner = living_with_a_leaf()
    with connections["default"].cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {TABLE} (LIKE public.{TABLE})")
    try:
        owner.delete()
        assert not Deletion.objects.exists()
    finally:
        connections["default"].close()
    assert Leaf.objects.count() == 1


def test_who_records_by_hand_is_told(tenant: str) -> None:
    owner = living_with_a_leaf()
    with (
        inside(tenant),
        pytest.raises(NotTheParents, match="schema 't1', and the deletion log in 'public'"),
        transaction.atomic(using="default"),
    ):
        capture.record((Owner, [owner.pk + 1]), using="default")
    assert not Deletion.objects.exists()


def test_parents_in_another_schema_than_the_log_are_an_error_of_the_checks(tenant: str) -> None:
    with inside(tenant):
        found = checks.run_checks(databases=["default"])
    [error] = [each for each in found if each.id == "integrity.E017"]
    assert error.obj is Owner
    assert "SET SCHEMA t1" in str(error.hint)
    assert not [e for e in checks.run_checks(databases=["default"]) if e.id == "integrity.E017"]


@pytest.mark.parametrize("name", ["set_tenant", "set_schema"])
def test_a_backend_that_switches_schemas_is_an_error(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of django-tenants and its like; it needs no connection."""
    monkeypatch.setattr(connections["blog_db"], name, lambda *_: None, raising=False)
    found = [each for each in checks.run_checks() if each.id == "integrity.E018"]
    assert [each.obj for each in found] == ["blog_db"]
    assert "SHARED_APPS" in str(found[0].hint)
