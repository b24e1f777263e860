"""G8: what a claim reads and locks does not grow with the backlog."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

from apps.integrity import capture
from apps.integrity.log import claims, deletions, outcomes
from apps.integrity.models import Cascade, Deletion
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from tests.log_rows import make

if TYPE_CHECKING:
    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")


@pytest.mark.postgresql  # MySQL's statements are others
def test_a_claim_reads_and_locks_at_most_its_limit(captured: Captured) -> None:
    make("auth.User", range(1, 8), ["shop_db"], apart=True)
    Cascade.objects.update(rows={}, reason="locked")  # others have worked on them
    with captured:
        claim = claims.claim("shop_db", using="default", limit=3, lease_seconds=60)
    assert claim is not None
    assert len(claim.deletions) == 3
    new, looks = [sql for sql in captured["default"] if "ORDER BY" in sql and "due_at" in sql][:2]
    assert "LIMIT 3" in new
    assert "LIMIT 3" in looks
    _, locks = [sql for sql in captured["default"] if "SKIP LOCKED" in sql]
    named = locks[locks.index("{") + 1 : locks.index("}")]
    assert len(named.split(",")) == 3
    # With the statistics of an empty log, a join reads all deletions once for each cascade.
    assert not [sql for sql in captured["default"] if "JOIN integrity_" in sql.replace('"', "")]


def test_a_claim_of_new_cascades_locks_only_what_it_claims() -> None:
    make("auth.User", range(1, 8), ["shop_db"], apart=True)
    with transaction.atomic():
        first = claims.claim("shop_db", using="default", limit=3, lease_seconds=60)
        assert first is not None
        other = connections["default"].copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT deletions FROM integrity_cascade FOR UPDATE SKIP LOCKED")
            found = [json.loads(ids) if isinstance(ids, str) else ids for (ids,) in cursor]
            free = {pk for ids in found for pk in ids}
        other.close()
    assert len(first.ids) == 3
    assert free == {*Deletion.objects.values_list("pk", flat=True)}.difference(first.ids)


@pytest.mark.postgresql  # by its plans; MariaDB: tests/engines/mariadb/test_log_plans.py
@pytest.mark.usefixtures("new_log")
def test_no_statement_of_a_claim_reads_the_whole_log(captured: Captured) -> None:
    """To read it all looks cheap where thousands are named, until the log has grown."""
    make("auth.User", range(6_000), ["blog_db", "shop_db"], apart=True, state="verified")
    capture.record((User, range(1, 10_001)), using="default")
    with captured:
        dispatch.sweep("default")
        for database in ("blog_db", "shop_db"):
            claim = claims.claim(database, using="default", limit=5_000, lease_seconds=60)
            assert claim is not None
            outcomes.finish(claim, {pk: {} for pk in claim.ids}, barrier=None)
    assert sum(Cascade.objects.filter(state="done").values_list("size", flat=True)) == 10_000
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
        for sql in captured["default"]:
            if "integrity_" in sql:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                for table in ("integrity_cascade", "integrity_deletion"):  # the others are small
                    assert f"Seq Scan on {table}" not in plan, sql[:200]


@pytest.mark.postgresql  # by its plans; MariaDB: tests/engines/mariadb/test_log_plans.py
@pytest.mark.usefixtures("new_log")
def test_what_is_recorded_comes_in_the_order_of_an_index_whatever_was_counted(
    captured: Captured,
) -> None:
    """In the order of ids, all that ended long ago would be read first."""
    capture.record((User, range(1, 5_001)), using="default")
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE integrity_deletion")  # it knows of nothing that has ended
        with captured:
            assert deletions.dispatch(using="default", limit=10)[0] == 10
        [makes] = [sql for sql in captured["default"] if "SKIP LOCKED" in sql]
        cursor.execute(f"EXPLAIN {makes}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    picked = re.compile(r"LockRows .*\n +->  Index Scan using integrity_deletion_recorded on")
    assert picked.search(plan), plan


@pytest.mark.postgresql  # by its plans; MariaDB: tests/engines/mariadb/test_log_plans.py
@pytest.mark.usefixtures("new_log")
def test_what_is_due_comes_in_the_order_of_an_index_whatever_was_counted(
    captured: Captured,
) -> None:
    """To read and sort all that is open looks as cheap where the statistics know of none."""
    make("auth.User", range(2_000), ["blog_db", "shop_db"], apart=True)
    for _ in range(10):  # what claims leave in the index until it is vacuumed
        Cascade.objects.update(due_at=ServerNow())
    Cascade.objects.update(state="verified", due_at=None, done_at=ServerNow(), ended_at=ServerNow())
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
    make("auth.User", range(2_000, 4_000), ["blog_db", "shop_db"], apart=True)
    with captured:
        assert claims.due_databases(using="default") >= {"blog_db", "shop_db"}
        assert claims.claim("shop_db", using="default", limit=3, lease_seconds=60)
    asked = [sql for sql in captured["default"] if "LIMIT" in sql]
    assert len(asked) == 2
    by_index = re.compile(r"Limit .*\n +->  Index (Only )?Scan using integrity_cascade_due on")
    with connections["default"].cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            scans = plan.count("integrity_cascade_due on")
            assert len(by_index.findall(plan)) == scans > 0, plan
