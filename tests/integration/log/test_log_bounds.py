"""G8: what a claim reads and locks does not grow with the backlog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.models.functions import Now

from apps.integrity import capture
from apps.integrity.log import claims, outcomes
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")


def test_a_claim_reads_and_locks_at_most_its_limit(captured: Captured) -> None:
    capture.record((User, range(1, 8)), using="default")
    dispatch.sweep("default")
    with captured:
        claim = claims.claim("shop_db", using="default", limit=3, lease_seconds=60)
    assert claim is not None
    assert len(claim.cascades) == 3
    [locks] = [sql for sql in captured["default"] if "SKIP LOCKED" in sql]
    assert "LIMIT 3" in locks
    # With the statistics of an empty log, a join reads all deletions once for each cascade.
    assert not [sql for sql in captured["default"] if "JOIN" in sql]


@pytest.fixture
def _no_autovacuum(committed: None) -> Iterator[None]:
    """It counts rows at any moment, and not those that are not committed yet."""
    tables = ("integrity_deletion", "integrity_cascade")
    with connections["default"].cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        yield
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")


@pytest.mark.usefixtures("_no_autovacuum")
def test_no_statement_of_a_claim_reads_the_whole_log(captured: Captured) -> None:
    """To read it all looks cheap where thousands are named, until the log has grown."""
    capture.record((User, range(1, 10_001)), using="default")
    with captured:
        dispatch.sweep("default")
        for database in ("blog_db", "shop_db"):
            claim = claims.claim(database, using="default", limit=5_000, lease_seconds=60)
            assert claim is not None
            outcomes.finish(claim, {each.id: {} for each in claim.cascades}, barrier=None)
    assert Deletion.objects.filter(state="cascaded").count() == 5_000
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
        for sql in captured["default"]:
            if "integrity_" in sql:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert "Seq Scan on integrity_" not in plan, sql[:200]


@pytest.mark.usefixtures("_no_autovacuum")
def test_what_is_due_comes_in_the_order_of_an_index_whatever_was_counted(
    captured: Captured,
) -> None:
    """To read and sort all that is open looks as cheap where the statistics know of none."""
    capture.record((User, range(1, 2_001)), using="default")
    dispatch.sweep("default")
    for _ in range(10):  # what claims leave in the index until it is vacuumed
        Cascade.objects.update(due_at=Now())
    Cascade.objects.update(state="verified", done_at=Now(), verified_at=Now())
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
    capture.record((User, range(2_001, 4_001)), using="default")
    dispatch.sweep("default")
    with captured:
        assert claims.due_databases(using="default") >= {"blog_db", "shop_db"}
        assert claims.claim("shop_db", using="default", limit=3, lease_seconds=60)
    asked = [sql for sql in captured["default"] if "ORDER BY" in sql]
    assert any("SKIP LOCKED" in sql for sql in asked)
    with connections["default"].cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "integrity_cascade_due" in plan, plan
            assert "Sort" not in plan, plan
