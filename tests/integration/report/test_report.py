"""Figures: read-only, and what they say is what is."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import capture
from apps.integrity.control import circuit_breaker, heartbeats
from apps.integrity.exceptions import DatabaseUnreachable, InvalidKey, UnknownName
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.report import backlog, catalogue, preview, receipts, rows
from apps.integrity.report.deletion_counts import SUSPECT
from apps.integrity.report.overview import collect_overview
from apps.integrity.report.status import collect_status
from apps.shop.models import Order
from tests.kinds.left.models import Badge, Book
from tests.kinds.parents.models import Guarded, Owner, Person

if TYPE_CHECKING:
    from collections.abc import Callable, Counter

    from tests.conftest import Captured

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


def database(alias: str) -> rows.DatabaseRow:
    [row] = [each for each in collect_status()["databases"] if each["database"] == alias]
    return row


class TestCatalogue:
    def test_one_row_for_each_relation_and_child_database(self, captured: Captured) -> None:
        with captured:
            rows = catalogue.relation_rows()
        assert not any(captured[alias] for alias in connections)
        [post] = [row for row in rows if row["relation"] == "blog.Post.author"]
        expected: dict[str, Any] = {
            "relation": "blog.Post.author",
            "child_database": "blog_db",
            "parent": "auth.User",
            "parent_database": "default",
            "policy": "CASCADE",
            "indexed": True,
            "plan": "set-based",
            "why": "",
        }
        assert post.items() >= expected.items()
        shards = [row for row in rows if row["relation"] == "spread.Entry.everywhere"]
        assert [row["child_database"] for row in shards] == ["test_left", "test_right"]

    def test_it_says_why_a_plan_is_no_faster_and_nothing_where_there_is_none(self) -> None:
        rows = {row["relation"]: row for row in catalogue.relation_rows()}
        assert rows["left.Vault.safe"]["why"] == "left.Seal.vault is PROTECT"
        assert rows["left.Protecting.guarded"]["plan"] == ""


class TestPreview:
    def test_it_counts_rows_by_relation_in_the_childs_database(self) -> None:
        ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
        post = Post.objects.create(title="t", content="c", author=ann)
        for author in (ann, bob, bob):
            post.comments.create(author=author, content="c")
        effects = {
            each["relation"]: (each["database"], each["policy"], each["rows"])
            for each in preview.preview_of("auth.User", str(ann.pk))
        }
        assert effects == {
            "blog.Comment.author": ("blog_db", "CASCADE", 1),
            "blog.Post.author": ("blog_db", "CASCADE", 1),
            "blog.Comment.post": ("blog_db", "CASCADE", 2),
            "shop.Order.customer": ("shop_db", "CASCADE", 0),
        }
        assert Deletion.objects.count() == 0

    def test_it_follows_another_target_field(self) -> None:
        person = Person.objects.create(code="ann")
        Badge.objects.create(person=person)
        effects = preview.preview_of("parents.Person", str(person.pk))
        assert {each["relation"]: each["rows"] for each in effects} == {
            "left.Badge.person": 1,
            "right.Locker.person": 0,
        }

    def test_it_shows_what_would_refuse_the_delete(self) -> None:
        guarded = Guarded.objects.create()
        guarded_rows = [
            ("left.Protecting.guarded", "PROTECT"),
            ("right.Restricting.guarded", "RESTRICT"),
        ]
        effects = preview.preview_of("parents.Guarded", str(guarded.pk))
        assert [(each["relation"], each["policy"]) for each in effects] == guarded_rows

    def test_it_follows_every_level_that_django_would_delete(self, converge: Converge) -> None:
        from tests.kinds.parents.models import Library

        library = Library.objects.create()
        Book.objects.create(library=library).page_set.create()
        promised = sum(
            each["rows"] for each in preview.preview_of("parents.Library", str(library.pk))
        )
        library.delete()
        assert converge().total() == promised

    @pytest.mark.parametrize("name", ["nope", "blog.Comment", "auth"])
    def test_an_unknown_parent_is_refused_with_the_known_ones(self, name: str) -> None:
        with pytest.raises(UnknownName, match=r"known: .*auth\.User"):
            preview.preview_of(name, "1")

    def test_a_key_that_is_none_is_refused(self) -> None:
        with pytest.raises(InvalidKey, match=r"^not a key that auth\.User\.id can hold$"):
            preview.preview_of("auth.User", "abc")


class TestStatus:
    def test_an_idle_project(self) -> None:
        status = collect_status()
        assert {row["state"] for row in status["databases"]} == {"idle"}
        assert {row["backlog"] for row in status["databases"]} == {0}
        assert {row["lag_seconds"] for row in status["databases"]} == {None}
        assert set(status["deletions"].values()) == {0}
        assert set(status["deletions"]) == {SUSPECT, *Deletion.State.values}
        assert (status["workers"], status["beat"]) == ([], None)
        json.dumps(status)

    def test_what_is_recorded_is_backlog_before_it_is_dispatched(self) -> None:
        capture.record((User, [1, 2]), using="default")
        for alias in ("blog_db", "shop_db"):
            row = database(alias)
            assert (row["backlog"], row["state"]) == (2, "working")
            assert row["lag_seconds"] is not None
        assert database("test_left")["backlog"] == 0
        dispatch.sweep_all()
        assert database("blog_db")["backlog"] == 2

    def test_the_lag_is_the_age_of_the_oldest_that_is_not_done(self, converge: Converge) -> None:
        capture.record((User, [1]), using="default")
        Deletion.objects.update(recorded_at=timezone.now() - dt.timedelta(seconds=100))
        assert database("blog_db")["lag_seconds"] == pytest.approx(100, abs=10)
        dispatch.sweep_all()
        capture.record((User, [2]), using="default")
        assert database("blog_db")["lag_seconds"] == pytest.approx(100, abs=10)
        converge()
        assert database("blog_db")["lag_seconds"] is None

    def test_the_logs_are_summed(self) -> None:
        from tests.kinds.lite.models import Author

        capture.record((Owner, [1]), using="default")
        capture.record((Author, [1]), using="test_lite")
        assert database("test_left")["backlog"] == 2
        assert collect_status()["deletions"]["recorded"] == 2

    def test_rate_and_time_to_go(self, converge: Converge) -> None:
        capture.record((User, range(1, 31)), using="default")
        converge()
        row = database("blog_db")
        assert row["rate"] == pytest.approx(30 / backlog.RATE_SECONDS)
        assert row["eta_seconds"] is None
        capture.record((User, [31]), using="default")
        assert database("blog_db")["eta_seconds"] == pytest.approx(backlog.RATE_SECONDS / 30)

    @pytest.mark.parametrize("state", ["waiting", "blocked"])
    def test_nobody_can_tell_when_what_fails_will_be_done(
        self, converge: Converge, state: str
    ) -> None:
        capture.record((User, range(1, 31)), using="default")
        converge()
        capture.record((User, [31]), using="default")
        dispatch.sweep_all()
        failing = Cascade.objects.filter(database="blog_db").order_by("-pk")[:1]
        Cascade.objects.filter(pk__in=[row.pk for row in failing]).update(state=state)
        card = next(each for each in collect_overview().cards if each["database"] == "blog_db")
        assert (card["backlog"], card["eta_seconds"]) == (1, None)
        assert database("blog_db")["eta_seconds"] is None
        capture.record((User, [32]), using="default")
        wanted = pytest.approx(backlog.RATE_SECONDS / 30)
        card = next(each for each in collect_overview().cards if each["database"] == "blog_db")
        assert (card["backlog"], database("blog_db")["eta_seconds"]) == (2, wanted)
        assert card["eta_seconds"] is not None

    def test_a_parent_that_several_relations_miss_is_missing_once(self) -> None:
        for relation in ("blog.Post.author", "blog.Comment.author"):
            for value in ("7", "8"):
                Suspect.objects.create(parent="auth.User", relation=relation, value=value)
        assert collect_overview().missing_parents == 2

    def test_a_blocked_cascade_shows(self) -> None:
        capture.record((User, [1]), using="default")
        dispatch.sweep_all()
        Cascade.objects.filter(database="blog_db").update(state="blocked")
        row = database("blog_db")
        assert (row["state"], row["blocked"], row["backlog"]) == ("blocked", 1, 1)
        assert database("shop_db")["blocked"] == 0

    def test_an_unreachable_database_shows_with_its_reason(self) -> None:
        capture.record((User, [1]), using="default")
        error = DatabaseUnreachable("blog_db", OSError("no route"))
        circuit_breaker.write_outage(error, using="default")
        row = database("blog_db")
        assert (row["state"], row["unreachable"], row["eta_seconds"]) == ("hindered", True, None)
        assert row["reason"] == "cannot be reached: no route"
        assert database("shop_db")["state"] == "working"

    def test_signs_of_life(self) -> None:
        heartbeats.record("beat", using="default")
        heartbeats.record("worker@here", using="default")
        status = collect_status()
        assert status["beat"] is not None
        assert 0 <= status["beat"]["seconds_ago"] < 60
        assert [each["name"] for each in status["workers"]] == ["worker@here"]


class TestReceipts:
    def test_a_receipt_says_what_was_removed_where_and_when(self, converge: Converge) -> None:
        user = User.objects.create(username="ann")
        for n in range(3):
            Order.objects.create(order_number=f"{n}", customer=user, total=1)
        key = str(user.pk)
        user.delete()
        converge()
        [receipt] = receipts.receipts_of("AUTH.user", key)
        deletion = receipt["deletion"]
        assert (deletion["parent"], deletion["key"]) == ("auth.User", key)
        assert (deletion["state"], deletion["source"]) == ("cascaded", "signal")
        assert deletion["recorded_at"] <= deletion["cascaded_at"]
        assert [(each["database"], each["rows"]) for each in receipt["cascades"]] == [
            ("blog_db", {}),
            ("shop_db", {"shop.Order.customer": 3}),
        ]
        assert all(each["done_at"] for each in receipt["cascades"])
        json.dumps(receipt)

    def test_the_newest_comes_first(self) -> None:
        for _ in range(2):
            capture.record((User, [1]), using="default")
        newest, oldest = receipts.receipts_of("auth.User", "1")
        assert newest["deletion"]["recorded_at"] > oldest["deletion"]["recorded_at"]

    def test_a_key_is_found_in_any_form(self) -> None:
        capture.record((User, [7]), using="default")
        assert len(receipts.receipts_of("auth.User", " 7")) == 1

    def test_there_is_none_for_what_was_never_deleted(self) -> None:
        assert receipts.receipts_of("auth.User", "1") == []

    def test_names_and_keys_are_checked(self) -> None:
        with pytest.raises(UnknownName):
            receipts.receipts_of("nope", "1")
        with pytest.raises(InvalidKey):
            receipts.receipts_of("auth.User", "abc")


def test_reports_write_nothing(captured: Captured) -> None:
    capture.record((User, [1]), using="default")
    dispatch.sweep_all()
    with captured:
        collect_status()
        preview.preview_of("auth.User", "1")
        receipts.receipts_of("auth.User", "1")
    for alias in connections:
        words = {sql.lstrip("(").split()[0] for sql in captured[alias]}
        assert words <= {"SELECT", "WITH", "BEGIN", "COMMIT"}
