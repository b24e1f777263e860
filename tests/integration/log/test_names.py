"""Names age: work under an alias or a label that nobody knows is a finding, and never "nothing"."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.checks import doctor
from apps.integrity.control import heartbeats, retention
from apps.integrity.log import claims
from apps.integrity.models import Alarm, Cascade, ChildDatabase, Deletion, Scan, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.report import alarms, metrics, overview
from apps.integrity.report.names import unknown
from apps.integrity.report.work import work_of
from apps.shop.models import Order
from tests.log_rows import make

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

    Run = Callable[..., "Outcome"]

pytestmark = pytest.mark.usefixtures("committed")

POST, COMMENT, ORDER = "blog.Post.author", "blog.Comment.author", "shop.Order.customer"
#: Names that a rename left behind, and what they stood for.
OLD_ALIAS, OLD_PARENT, OLD_CHILD, OLD_FIELD = (
    "posts_of_old",
    "auth.Customer",
    "blog.Article.author",
    "blog.Post.writer",
)


@pytest.fixture(autouse=True)
def _quick(tune: Tune) -> None:
    tune(grace_seconds=0.000_001, stalled_seconds=1_000.0)


def rows() -> int:
    """Orphans, by SQL."""
    users, found = [0, *User.objects.values_list("pk", flat=True)], 0
    for alias, sql in (
        ("blog_db", "SELECT count(*) FROM blog_post WHERE author_id NOT IN"),
        ("blog_db", "SELECT count(*) FROM blog_comment WHERE author_id NOT IN"),
        ("shop_db", "SELECT count(*) FROM shop_order WHERE customer_id NOT IN"),
    ):
        with connections[alias].cursor() as cursor:
            cursor.execute(f"{sql} ({', '.join(['%s'] * len(users))})", users)
            found += cursor.fetchone()[0]
    return found


def deleted(name: str = "ann") -> int:
    """A user with a post, a comment and an order, who was deleted; nothing is dispatched yet."""
    User.objects.get_or_create(username="alive")
    user = User.objects.create(username=name)
    post = Post.objects.create(title="t", content="c", author=user)
    Comment.objects.create(post=post, author=user, content="c")
    Order.objects.create(order_number=name, customer=user, total=1)
    key = user.pk
    user.delete()
    return int(key)


@dataclass(frozen=True)
class Outcome:
    code: int
    document: dict[str, Any]
    told: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            call_command("integrity", *words, "--json")
        except SystemExit as error:
            code = int(error.code or 0)
        out, err = capsys.readouterr()
        return Outcome(code, json.loads(out), err)

    return command


def recorded() -> None:
    deleted()


def dispatched() -> None:
    deleted()
    dispatch.sweep_all()


def lost() -> None:
    dispatched()
    Cascade.objects.update(state="running", attempts=1, due_at=timezone.now())


def waiting() -> None:
    dispatched()
    Cascade.objects.update(state="waiting", attempts=3, reason="DataError: no")


def blocked() -> None:
    dispatched()
    Cascade.objects.update(state="blocked", reason="DataError: no")


def unproven() -> None:
    """Done; what came since is found by nobody but the verification."""
    key = deleted()
    for _ in range(3):
        _, due = dispatch.sweep_all()
        for alias in due:
            cascade.drain(alias)
    Post.objects.create(title="late", content="c", author_id=key)
    Order.objects.create(order_number="late", customer_id=key, total=1)


STATES = [recorded, dispatched, lost, waiting, blocked, unproven]


def of_old_alias() -> None:
    Cascade.objects.filter(database="blog_db").update(database=OLD_ALIAS)


def named(**names: str) -> None:
    """Give all deletions and cascades those names."""
    Deletion.objects.update(**names)
    Cascade.objects.update(**names)


def of_old_parent() -> None:
    named(parent=OLD_PARENT)


def of_old_child() -> None:
    named(relation=OLD_CHILD)


def of_old_field() -> None:
    named(relation=OLD_FIELD)


AGED = [of_old_parent, of_old_child, of_old_field]


class TestNothingIsDone:
    """Not finished, verified or cancelled, and no attempt burnt, by who does not know it."""

    @pytest.mark.parametrize("state", STATES)
    @pytest.mark.parametrize("aged", AGED)
    def test_under_a_name_that_nobody_knows(
        self, run: Run, state: Callable[[], None], aged: Callable[[], None]
    ) -> None:
        state()
        aged()
        before = rows()
        attempts = dict(Cascade.objects.values_list("pk", "attempts"))
        states = {row.pk: row.state for row in Deletion.objects.all()}
        Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
        assert run("drain", "--verify", "--timeout", "20").code == 3
        assert rows() == before > 0
        assert dict(Cascade.objects.values_list("pk", "attempts")) == attempts
        assert {row.pk: row.state for row in Deletion.objects.all()} == states
        assert not Cascade.objects.filter(state__in=["verified", "cancelled"]).exists()

    def test_it_is_set_aside_with_the_reason(self) -> None:
        dispatched()
        of_old_parent()
        assert cascade.drain("blog_db").finished == 0
        assert Cascade.objects.get(database="blog_db").reason == (
            "no parent model is named auth.Customer here"
        )
        named(parent="auth.User", relation=OLD_FIELD)
        assert cascade.drain("shop_db").finished == 0
        assert Cascade.objects.get(database="shop_db").reason == (
            "no relation to auth.User is named blog.Post.writer here"
        )

    def test_it_keeps_nobody_waiting(self) -> None:
        """However much of it is due first."""
        for number in range(30):
            deleted(f"old {number}")
        dispatch.sweep_all()
        of_old_parent()
        deleted("new")
        dispatch.sweep_all()
        claim = claims.claim("blog_db", using="default", limit=5, lease_seconds=60)
        assert claim is not None
        assert len(claim.deletions) == 1
        assert cascade.drain("shop_db").rows == {ORDER: 1}

    def test_it_is_due_again_before_long(self) -> None:
        """For the release that knows it, beside one that does not."""
        dispatched()
        of_old_parent()
        cascade.drain("blog_db")
        of_today = Cascade.objects.filter(database="blog_db")
        due_at = of_today.get().due_at
        assert due_at is not None
        assert due_at < timezone.now() + dt.timedelta(seconds=6)
        named(parent="auth.User")
        of_today.update(due_at=timezone.now())
        assert cascade.drain("blog_db").rows == {POST: 1, COMMENT: 1}
        assert of_today.get().attempts == 1

    def test_a_relation_that_leads_elsewhere_today_is_not_done_here(self, run: Run) -> None:
        """The child model moved to another database, and its work stayed."""
        dispatched()
        Cascade.objects.filter(database="blog_db").update(database="test_lite")
        assert cascade.drain("test_lite").finished == 0
        found = run("status")
        assert found.code == 4  # the orders
        [told] = found.document["unknown"]
        assert (told["kind"], told["name"]) == ("alias", "test_lite")
        run("drain", "--timeout", "5")
        assert run("status").code == 3

    def test_a_relation_that_points_to_another_model_today_is_not_dispatched(self) -> None:
        recorded()
        Deletion.objects.update(relation="right.Leaf.owner")  # a relation, of other parents
        assert dispatch.sweep("default")[0] == 0
        assert Deletion.objects.get().state == "recorded"


class TestItIsAFinding:
    @pytest.mark.parametrize("state", [dispatched, lost, waiting, blocked, unproven])
    def test_an_alias_of_the_past(
        self, run: Run, state: Callable[[], None], captured: Captured
    ) -> None:
        state()
        of_old_alias()
        Cascade.objects.exclude(database=OLD_ALIAS).delete()
        found = run("status")
        assert found.code == 3
        row = next(each for each in found.document["databases"] if each["database"] == OLD_ALIAS)
        assert row["state"] == "unknown"
        assert "manage.py integrity rename posts_of_old" in row["reason"]
        assert [each["name"] for each in found.document["unknown"]] == [OLD_ALIAS]
        assert run("drain", "--verify", "--timeout", "5").code == 3
        told = run("drain").told
        assert "posts_of_old: no child database has this alias" in told

    @pytest.mark.parametrize(
        ("aged", "kind", "name"),
        [
            (of_old_parent, "model", OLD_PARENT),
            (of_old_child, "model", "blog.Article"),
            (of_old_field, "relation", OLD_FIELD),
        ],
    )
    def test_in_every_place(self, run: Run, aged: Callable[[], None], kind: str, name: str) -> None:
        recorded()
        aged()
        assert run("status").code == 3
        [told] = run("status").document["unknown"]
        assert (told["kind"], told["name"], told["work"]) == (kind, name, 1)
        assert run("drain").code == 3
        assert run("scan", "--relation", "right.Leaf.owner").code == 3
        assert run("repair").code == 3
        assert f'integrity_unknown_work{{kind="{kind}"}} 1.0' in metrics.exposition().decode()
        alarms.watch("default")
        alarm = Alarm.objects.get()
        assert (alarm.kind, alarm.subject) == ("unknown", name)
        assert f"integrity rename {name}" in alarm.reason
        check = next(each for each in doctor.examine(None) if each.name == f"name {name}")
        assert not check.ok
        assert [each["name"] for each in overview.collect_overview().unknown] == [name]
        Deletion.objects.update(parent="auth.User", relation="")
        alarms.watch("default")
        assert not Alarm.objects.exists()
        assert 'integrity_unknown_work{kind="model"} 0.0' in metrics.exposition().decode()
        assert next(each for each in doctor.examine(None) if each.name == "names").ok

    def test_a_suspect_of_a_relation_that_is_gone(self, run: Run) -> None:
        Suspect.objects.create(parent="auth.User", relation=OLD_FIELD, value="1")
        assert [each["name"] for each in run("status").document["unknown"]] == [OLD_FIELD]

    def test_a_scan_that_nobody_ends_and_a_pause_that_nobody_lifts(self, run: Run) -> None:
        Scan.objects.create(relation=OLD_FIELD, database=OLD_ALIAS, began_at=timezone.now())
        ChildDatabase.objects.create(alias="shop_of_old", paused_at=timezone.now())
        found = run("status")
        assert found.code == 3
        names = {each["name"] for each in found.document["unknown"]}
        assert names == {OLD_FIELD, OLD_ALIAS, "shop_of_old"}

    def test_what_is_over_is_history(self, run: Run) -> None:
        """A relation that the project dropped keeps nobody awake."""
        make(OLD_PARENT, [1], [OLD_ALIAS], state="verified")
        Scan.objects.create(relation=OLD_FIELD, database=OLD_ALIAS, finished_at=timezone.now())
        ChildDatabase.objects.create(alias=OLD_ALIAS)
        heartbeats.record("beat", using="default")
        found = run("status")
        assert (found.code, found.document["unknown"]) == (0, [])

    def test_what_others_wait_for_is_no_excuse(self, run: Run) -> None:
        """Work that a worker could do is more than a finding."""
        dispatched()
        of_old_alias()
        assert run("status").code == 4
        assert run("drain").code == 3


@pytest.mark.usefixtures("new_log")
def test_to_ask_costs_the_same_however_long_the_log_is(captured: Captured) -> None:
    make("auth.Customer", range(60_000), ["posts_of_old"], apart=True, state="verified")
    # Where a table or an index is all but empty, the planner may as well read and sort all of it.
    for state in ("pending", "done"):
        make("auth.User", range(5_000), ["blog_db"], apart=True, state=state)
    make("auth.User", range(20_000), [], source="api")
    Suspect.objects.bulk_create(
        Suspect(parent="auth.User", relation=POST, value=str(key)) for key in range(20_000)
    )
    with captured:
        assert unknown(["default"]) == []
    asked = captured["default"]
    assert len(asked) == 4
    of_the_log = [sql for sql in asked if sql.startswith("WITH RECURSIVE")]
    assert len(of_the_log) == 2  # the others read the small tables
    with connections["default"].cursor() as cursor:
        for analyzed in (False, True):
            if analyzed:
                cursor.execute("ANALYZE integrity_cascade, integrity_deletion, integrity_suspect")
            for sql in of_the_log:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert "Seq Scan on integrity_" not in plan, plan
                assert "Sort" not in plan, plan


@pytest.mark.usefixtures("new_log")
def test_work_is_counted_over_indexes_however_long_the_log_is(captured: Captured) -> None:
    """So status, metrics and alarms do not slow down with what ended, nor does the purge."""
    yesterday = timezone.now() - dt.timedelta(days=1)
    make(
        "auth.User",
        range(20_000),
        ["blog_db"],
        apart=True,
        state="verified",
        recorded_at=yesterday,
    )
    for state in ("pending", "blocked", "done"):
        make("auth.User", range(50), ["blog_db"], apart=True, state=state)
    make("auth.User", range(50), [], source="api")
    Suspect.objects.create(parent="auth.User", relation=POST, value="7")
    with connections["default"].cursor() as cursor:
        cursor.execute("ANALYZE integrity_cascade, integrity_deletion")
        with captured:
            work = work_of("default")
            retention.purge_due(using="default")
        numbers = {group.kind: group.number for group in work.groups}
        assert numbers == {
            **dict.fromkeys(["pending", "blocked", "done", "lately", "recorded"], 50),
            "suspect": 1,
        }
        counted, _, old = captured["default"]
        for sql in (counted, old):
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in (Cascade, Deletion):
                assert f"Seq Scan on {table._meta.db_table}" not in plan, plan
