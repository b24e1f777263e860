"""G9: what a scan leaves to a deletion of the log is what that deletion does here, and no more."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import cascade, relations, scan
from apps.integrity.cascade import verification
from apps.integrity.log import retry, suspects
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.scan import repair
from apps.shop.models import Order
from tests import log_rows
from tests.kinds.lite.models import Note
from tests.kinds.parents.models import Mixed

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

POST, COMMENT, ORDER = "blog.Post.author", "blog.Comment.author", "shop.Order.customer"


@pytest.fixture
def gone(converge: Converge) -> int:
    """A user who was deleted and cascaded everywhere; nothing is verified yet."""
    user = User.objects.create(username="ann")
    key = user.pk
    user.delete()
    converge()
    return int(key)


def order(key: int, number: str = "1") -> None:
    Order.objects.create(order_number=number, customer_id=key, total=1)


def post(key: int) -> Post:
    return Post.objects.create(title="t", content="c", author_id=key)


def state_in(where: str, state: str, **values: Any) -> None:
    if state in log_rows.ENDED:
        values |= {"due_at": None, "ended_at": timezone.now()}
    Cascade.objects.filter(database=where).update(state=state, claim=None, **values)


def scanned(label: str, database: str) -> scan.Scanned:
    found, unreachable = scan.scan(database, labels=[label], mode=scan.Mode(full=True))
    assert not unreachable
    [one] = found
    assert one.complete
    return one


def command(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = 0
    try:
        call_command("integrity", *words, "--json")
    except SystemExit as error:
        code = int(error.code or 0)
    return code, json.loads(capsys.readouterr().out)


class TestAnotherDatabase:
    def test_what_is_blocked_there_hides_nothing_here(self, gone: int) -> None:
        state_in("blog_db", "blocked", reason="DataError: no")
        state_in("shop_db", "verified", verified_at=timezone.now())
        for number in range(4):
            order(gone, str(number))
        seen = scanned(ORDER, "shop_db")
        assert (seen.suspects, seen.blocked, seen.orphans) == (1, 0, 4)

    @pytest.mark.parametrize("state", ["pending", "running", "waiting", "done"])
    def test_nor_does_what_is_under_way_there(self, gone: int, state: str) -> None:
        state_in("blog_db", state, due_at=timezone.now() + dt.timedelta(hours=1))
        state_in("shop_db", "verified", verified_at=timezone.now())
        order(gone)
        assert scanned(ORDER, "shop_db").suspects == 1

    def test_nor_does_a_database_that_nobody_knows_any_more(self, gone: int) -> None:
        state_in("shop_db", "pending", database="shop_of_old")
        order(gone)
        assert scanned(ORDER, "shop_db").suspects == 1

    def test_what_is_found_so_is_repaired(self, gone: int, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.000_001)
        User.objects.create(username="alive")
        state_in("blog_db", "blocked", reason="DataError: no")
        state_in("shop_db", "verified", verified_at=timezone.now())
        order(gone)
        scanned(ORDER, "shop_db")
        [done] = repair.repair([relations.catalogue().relation(ORDER)])
        assert len(done.confirmed) == 1
        assert converge() == {ORDER: 1}

    def test_sqlite_is_asked_the_same(self, converge: Converge) -> None:
        parent = Mixed.objects.create()
        key = parent.pk
        parent.delete()
        converge()
        [cascade_here] = Cascade.objects.filter(database="test_lite")
        Note.objects.create(mixed_id=key)
        assert scanned("lite.Note.mixed", "test_lite").suspects == 0  # verification sees it
        Cascade.objects.filter(pk=cascade_here.pk).update(database="lite_of_old")
        assert scanned("lite.Note.mixed", "test_lite").suspects == 1


class TestAnotherRelation:
    def test_a_deletion_along_one_relation_hides_no_rows_of_another(self, gone: int) -> None:
        state_in("blog_db", "pending")
        Deletion.objects.update(relation=POST)
        Cascade.objects.update(relation=POST)
        Comment.objects.create(post=post(gone), author_id=gone, content="c")
        assert scanned(COMMENT, "blog_db").suspects == 1
        assert scanned(POST, "blog_db").suspects == 0

    def test_one_that_waits_to_be_dispatched_hides_what_it_will_cascade_along(self) -> None:
        user = User.objects.create(username="ann")
        key = user.pk
        user.delete()
        order(key)
        assert scanned(ORDER, "shop_db").suspects == 0
        Deletion.objects.update(relation=POST)
        assert scanned(ORDER, "shop_db").suspects == 1


class TestTheSameRelation:
    def test_rows_of_what_is_blocked_are_orphans_and_no_suspects(
        self, gone: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state_in("blog_db", "blocked", reason="DataError: no")
        state_in("shop_db", "verified", verified_at=timezone.now())
        post(gone)
        post(gone)
        seen = scanned(POST, "blog_db")
        assert (seen.suspects, seen.blocked, seen.orphans) == (0, 1, 2)
        code, document = command("scan", "--relation", POST, "--full", capsys=capsys)
        [row] = document["relations"]
        assert (code, row["orphans"], row["blocked"], row["suspects"]) == (3, 2, 1, 0)
        assert log_rows.suspected() == []
        retry.retry_blocked(None, using="default")
        assert cascade.drain("blog_db").rows == {POST: 2}
        assert scanned(POST, "blog_db").orphans == 0

    @pytest.mark.parametrize("state", ["waiting", "blocked"])
    def test_what_fails_along_another_relation_hides_no_rows(self, gone: int, state: str) -> None:
        """The relations that did not fail were done: these rows came later."""
        state_in("blog_db", state, failing={COMMENT: "DataError: no"})
        Comment.objects.create(post=post(gone), author_id=gone, content="c")
        assert scanned(POST, "blog_db").suspects == 1
        seen = scanned(COMMENT, "blog_db")
        assert (seen.suspects, seen.blocked) == (0, int(state == "blocked"))

    def test_what_is_done_is_left_to_its_verification(self, gone: int, tune: Tune) -> None:
        post(gone)
        assert scanned(POST, "blog_db").suspects == 0
        tune(grace_seconds=0.000_001)
        Cascade.objects.update(due_at=timezone.now())
        assert verification.verify("blog_db").reopened == 1

    def test_but_not_for_ever(self, gone: int) -> None:
        """Whatever keeps it from being verified: the rows are seen."""
        post(gone)
        Cascade.objects.update(due_at=timezone.now() - dt.timedelta(hours=1))
        assert scanned(POST, "blog_db").suspects == 1

    def test_one_that_is_verified_hides_nothing(self, gone: int) -> None:
        state_in("blog_db", "verified", verified_at=timezone.now())
        post(gone)
        assert scanned(POST, "blog_db").suspects == 1

    def test_a_database_that_it_was_not_dispatched_to_is_scanned(self, gone: int) -> None:
        """A database that joined the catalogue after the deletion was dispatched."""
        Cascade.objects.filter(database="blog_db").delete()
        post(gone)
        assert scanned(POST, "blog_db").suspects == 1

    def test_of_two_deletions_of_a_key_the_one_that_works_counts(self, gone: int) -> None:
        state_in("blog_db", "blocked", reason="DataError: no")
        second = Deletion.objects.create(parent="auth.User", key=str(gone), source="api")
        dispatch.sweep("default")
        assert log_rows.cascade_of(second, "blog_db").state == "pending"
        post(gone)
        seen = scanned(POST, "blog_db")
        assert (seen.suspects, seen.blocked, seen.orphans) == (0, 0, 0)


@pytest.mark.postgresql
@pytest.mark.usefixtures("new_log")
def test_it_asks_by_key_alone_however_long_the_log_is(captured: Captured) -> None:
    """G8: two looks and an insert for many keys, each through an index of its own."""
    keys = [str(key) for key in range(1, 201)]
    Deletion.objects.bulk_create(
        Deletion(parent="auth.User", key=key, source="api") for key in keys[:100]
    )
    dispatch.sweep("default")
    relation = relations.catalogue().relation(ORDER)
    with captured:
        entered = suspects.suspect(relation, keys, {}, database="shop_db", using="default")
    assert len(entered.suspects) == 100
    asked = [sql for sql in captured["default"] if "integrity_" in sql]
    assert [sql.split()[0] for sql in asked] == ["SELECT", "SELECT", "INSERT"]
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO integrity_deletion (parent, key, source, batch)"
            " SELECT 'auth.User', n::text, 'api', 1000000 + n FROM generate_series(1000, 60000) n"
        )
        cursor.execute(
            "INSERT INTO integrity_cascade"
            " (batch, database, parent, deletions, size, recorded_at, state, due_at, ended_at)"
            " SELECT batch, 'shop_db', parent, ARRAY[id], 1, now(), 'verified', NULL, now()"
            " FROM integrity_deletion WHERE batch > 1000000"
        )
        cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
        plans = []
        for sql in asked[:2]:
            cursor.execute(f"EXPLAIN {sql}")
            plans.append("\n".join(line for (line,) in cursor.fetchall()))
    assert "integrity_deletion_key" in plans[0]
    assert "Index Scan using integrity_cascade_" in plans[1]
    assert "(batch = " in plans[1].partition("Filter:")[0]
