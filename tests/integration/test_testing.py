"""What a project tests its cascades with: real test classes, under unittest and under pytest."""

from __future__ import annotations

import io
import re
import unittest
from typing import TYPE_CHECKING, Any, ClassVar
from unittest import mock
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.models.signals import pre_delete
from django.test import TestCase, TransactionTestCase
from django.test.utils import CaptureQueriesContext

from apps.blog.models import Post
from apps.integrity import capture, conf, relations, testing
from apps.integrity.capture import protection
from apps.integrity.control import actions
from apps.integrity.exceptions import DatabaseUnreachable, NotDrained, UnknownName
from apps.integrity.models import Cascade, Deletion, Identity
from apps.integrity.testing import CrossDatabaseTestMixin
from apps.shop.models import Order
from tests.kinds.left.models import (
    CALLED,
    CUSTOM,
    DEFAULT,
    INSTANCE,
    VALUE,
    Badge,
    Book,
    Collected,
    Event,
    Quote,
)
from tests.kinds.lite.models import Author, Note
from tests.kinds.parents.models import (
    Beacon,
    Giver,
    Library,
    Mixed,
    Person,
    Station,
    Stubborn,
)
from tests.kinds.right.models import BookNote

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured

MISSING = 987_654
#: What begins a statement that writes nothing.
READS = r"\(?(SELECT|EXPLAIN SELECT|BEGIN|COMMIT|SET LOCAL|SET SESSION|WITH|SAVEPOINT|RELEASE)"
EVERY = {DEFAULT_DB_ALIAS, "blog_db", "shop_db", "test_left", "test_right", "test_lite"}


def write(name: str, count: int = 1) -> User:
    user = User.objects.create(username=name)
    for n in range(count):
        Post.objects.create(title=f"{name} {n}", content="text", author=user)
    return user


def refuse_to_go(sender: object, **_: object) -> None:
    raise ValueError("this row stays")


class Basics(CrossDatabaseTestMixin):
    """The same cases in both kinds of test classes."""

    def test_a_delete_reaches_every_database(self) -> None:
        ann, bob = write("ann", 2), write("bob")
        Order.objects.create(order_number="1", customer=ann, total=1)
        ann.delete()
        assert Post.objects.count() == 3
        assert self.drain() == {"blog.Post.author": 2, "shop.Order.customer": 1}
        assert [post.author_id for post in Post.objects.all()] == [bob.pk]
        self.assert_no_orphans()
        assert self.drain() == {}

    def test_a_rolled_back_delete_leaves_nothing(self) -> None:
        ann = write("ann")
        with transaction.atomic():
            ann.delete()
            transaction.set_rollback(True)
        assert self.drain() == {}
        assert Deletion.objects.count() == 0
        assert Post.objects.count() == 1
        self.assert_no_orphans()

    def test_an_orphan_is_found_and_named(self) -> None:
        ann = write("ann")
        for n in range(7):
            Post.objects.create(title="t", content="c", author_id=MISSING + n % 6)
        Badge.objects.create(person_id="nobody")
        # Of two keys each, the steps are several.
        with mock.patch.object(testing, "STEP_KEYS", 2), pytest.raises(AssertionError) as caught:
            self.assert_no_orphans()
        first = ", ".join(str(MISSING + n) for n in range(5))
        assert str(caught.value).splitlines() == [
            f"blog.Post.author in blog_db: 7 orphans of 6 missing auth.User: {first}, …",
            "left.Badge.person in test_left: 1 orphan of 1 missing parents.Person: nobody",
        ]
        self.assert_no_orphans("blog.Comment.author", "shop.Order.customer")
        ann.delete()
        with pytest.raises(AssertionError, match=r"8 orphans of 7(?s:.+)call drain\(\) first"):
            self.assert_no_orphans("blog.Post.author")

    def test_a_cascade_that_fails_is_an_error_that_says_why_and_can_be_tried_again(self) -> None:
        owner = Library.objects.create()
        Book.objects.create(library=owner)
        owner.delete()
        pre_delete.connect(refuse_to_go, sender=Book)
        self.addCleanup(pre_delete.disconnect, refuse_to_go, sender=Book)
        for _ in range(2):
            with self.assertLogs("integrity.cascade"), pytest.raises(NotDrained) as caught:
                self.drain()
            why = "1 waiting, left.Book.library: ValueError in receiver test_testing.refuse_to_go"
            assert caught.value.reasons == {"test_left": why}
            assert str(caught.value) == f"test_left: {why}"
        assert Book.objects.count() == 1
        pre_delete.disconnect(refuse_to_go, sender=Book)
        assert self.drain() == {"left.Book.library": 1}

    def test_databases_and_settings(self) -> None:
        assert self.databases == EVERY == testing.databases()
        assert not conf.current().wakeups


def of(parent: type[models.Model], child: type[models.Model], name: str) -> dict[str, Any]:
    return {
        "parent": parent._default_manager.create,
        "child": lambda each: child._default_manager.create(**{name: each}),
    }


def policies() -> dict[str, dict[str, Any]]:
    """Factories for relations whose parent and child need nothing but each other."""
    known = relations.catalogue()
    labels = [
        *("left.Protecting.guarded", "right.Restricting.guarded", "right.Untouched.giver"),
        *("left.Nulled.giver", "left.Defaulted.giver", "left.Valued.giver", "left.Called.giver"),
        *("left.Instanced.giver", "left.Customised.giver", "left.Optional.owner"),
        *("left.Profile.owner", "left.Quote.author", "lite.Note.mixed", "spread.Entry.everywhere"),
        *("left.TokenUse.token", "left.Base.lineage"),
    ]
    found = [known.relation(label) for label in labels]
    return {each.label: of(each.parent, each.child, each.field.name) for each in found}


POLICIES = policies()


class InTestCase(Basics, TestCase):
    """Nothing is committed here: each database has one transaction, rolled back in the end."""

    ann: ClassVar[User]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ann = write("from setUpTestData", 0)

    def test_chains_mixed_engines_and_to_field(self) -> None:
        library = Library.objects.create()
        book = Book.objects.create(library=library)
        BookNote.objects.create(book=book)
        author, mixed = Author.objects.create(), Mixed.objects.create()
        Quote.objects.create(author=author)
        Note.objects.create(mixed=mixed)
        person = Person.objects.create(code="x", number=1)
        Badge.objects.create(person=person)
        for each in (library, author, mixed, person):
            each.delete()
        assert self.drain() == dict.fromkeys(
            [
                *("left.Book.library", "right.BookNote.book", "left.Quote.author"),
                *("lite.Note.mixed", "left.Badge.person"),
            ],
            1,
        )
        self.assert_no_orphans()

    def test_a_blocked_cascade_is_an_error_that_says_why(self) -> None:
        stubborn = Stubborn.objects.create()
        Collected.objects.create(stubborn=stubborn)
        Stubborn.objects.filter(pk=stubborn.pk)._raw_delete("default")  # `delete()` is refused
        capture.record((Stubborn, [stubborn.pk]), using="default")
        with self.settings(INTEGRITY={"attempts": 1}):
            with self.assertLogs("integrity.cascade"), pytest.raises(NotDrained) as caught:
                self.drain()
            assert str(caught.value).startswith("test_left: 1 blocked, UnusablePolicy: ")
            with pytest.raises(NotDrained, match="blocked"):
                self.drain()

    def test_a_paused_database_is_an_error_that_says_why(self) -> None:
        ann = write("ann")
        actions.pause("blog_db", actor="ann", reason="index build", using="default")
        ann.delete()
        with pytest.raises(NotDrained, match=r"^blog_db: 1 pending, paused: index build$"):
            self.drain(seconds=3_600)  # a round that changes nothing is the last one
        actions.resume("blog_db", actor="ann", reason="", using="default")
        assert self.drain() == {"blog.Post.author": 1}

    def test_what_is_not_done_in_time_is_an_error(self) -> None:
        for name in ("ann", "bob"):
            write(name).delete()
        with pytest.raises(NotDrained, match=r"^default: 2 deletions not dispatched$"):
            self.drain(seconds=0)

    def test_each_policy(self) -> None:
        Giver.objects.create(pk=VALUE)
        for name in ("left.Protecting.guarded", "left.Valued.giver", "right.Untouched.giver"):
            with self.subTest(name):
                self.assert_cascades(name, **POLICIES[name])

    def test_nothing_is_committed_and_no_connection_was_closed(self) -> None:
        before = {each: connections[each].connection for each in EVERY}
        self.ann.delete()
        self.drain()
        for alias, connection in before.items():
            assert connections[alias].connection is connection
            assert connections[alias].in_atomic_block
            assert not connections[alias].needs_rollback

    def test_the_log_s_clock_goes_on_inside_the_test_s_transaction(self) -> None:
        write("bob").delete()
        self.drain()
        [cascade] = Cascade.objects.filter(database="blog_db")
        assert cascade.done_at is not None
        assert cascade.due_at > cascade.done_at > cascade.recorded_at


class InTransactionTestCase(Basics, TransactionTestCase):
    """Everything is committed here, and flushed afterwards."""

    def test_what_is_committed_is_in_other_sessions_too(self) -> None:
        write("ann").delete()
        self.drain()
        for each in EVERY:
            connections[each].close()
        assert Post.objects.count() == 0


@pytest.mark.parametrize("case", [InTestCase, InTransactionTestCase])
def test_under_unittest(case: type[TransactionTestCase], committed: None) -> None:
    """pytest runs these classes its own way; here they run as `manage.py test` does it."""
    names = ["test_a_delete_reaches_every_database", "test_databases_and_settings"]
    suite = unittest.TestSuite(case(each) for each in names)
    told = io.StringIO()
    result = unittest.TextTestRunner(told).run(suite)
    assert result.testsRun == len(names)
    assert result.wasSuccessful(), told.getvalue()


class TestUnderPytest:
    def test_databases_are_there_and_wake_ups_off(
        self, integrity_databases: frozenset[str]
    ) -> None:
        assert integrity_databases == EVERY
        assert not conf.current().wakeups
        assert all(connections[each].in_atomic_block for each in EVERY)

    def test_a_default_database_that_is_left_empty_is_not_needed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "vendor", "unknown")
        assert testing.databases() == EVERY - {DEFAULT_DB_ALIAS}

    def test_drain_and_orphans(
        self, integrity_drain: Callable[..., Counter[str]], assert_no_orphans: Callable[..., None]
    ) -> None:
        write("ann", 2).delete()
        with pytest.raises(AssertionError, match=r"blog\.Post\.author in blog_db: 2 orphans"):
            assert_no_orphans()
        assert integrity_drain() == {"blog.Post.author": 2}
        assert_no_orphans()

    @pytest.mark.django_db(transaction=True)
    def test_in_real_transactions(self, integrity_drain: Callable[..., Counter[str]]) -> None:
        assert not connections["default"].in_atomic_block
        write("ann").delete()
        assert integrity_drain() == {"blog.Post.author": 1}

    @pytest.mark.django_db(databases=["default"])
    def test_the_test_s_own_databases_count(
        self, integrity_drain: Callable[..., Counter[str]]
    ) -> None:
        with pytest.raises(AssertionError, match=r"not allowed in this test\. Add '"):
            integrity_drain()

    @pytest.mark.parametrize("label", POLICIES)
    def test_policies(self, label: str, assert_cascades: Callable[..., None]) -> None:
        for pk in (DEFAULT, VALUE, CALLED, INSTANCE, CUSTOM):
            Giver.objects.create(pk=pk)
        assert_cascades(label, **POLICIES[label])


@pytest.mark.usefixtures("integrity_databases")
class TestAssertCascades:
    """It fails where the rows do anything but what the policy says."""

    POST: ClassVar[dict[str, Any]] = {
        "parent": lambda: User.objects.create(username=str(uuid4())),
        "child": lambda user: Post.objects.create(title="t", content="c", author=user),
    }

    def test_rows_that_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(testing, "drain", lambda: None)
        with pytest.raises(
            AssertionError, match=r"is CASCADE; .+ auth\.User \d+: 1 still there \(\d+ in blog_db"
        ):
            testing.assert_cascades("blog.Post.author", **self.POST)

    def test_rows_of_others_that_go_or_change(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drain = testing.drain

        def too_much() -> None:
            drain()
            Post.objects.all().delete()

        monkeypatch.setattr(testing, "drain", too_much)
        with pytest.raises(AssertionError, match=r"1 gone \(\d+ in blog_db\)"):
            testing.assert_cascades("blog.Post.author", **self.POST)
        monkeypatch.setattr(testing, "drain", lambda: Post.objects.update(author=MISSING))
        with pytest.raises(AssertionError, match=r"1 still there .+; 1 with another key"):
            testing.assert_cascades("blog.Post.author", **self.POST)

    def test_a_parent_that_stays_or_goes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(testing, "drain", lambda: User.objects.all().delete())
        with pytest.raises(AssertionError, match=r"parents left after deleting auth\.User"):
            testing.assert_cascades("blog.Post.author", **self.POST)

    def test_a_protected_parent_that_can_be_deleted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        name = "left.Protecting.guarded"
        monkeypatch.setattr(protection, "ask", lambda _: None)
        with pytest.raises(AssertionError, match=r"is PROTECT, and parents\.Guarded \d+ was del"):
            testing.assert_cascades(name, **POLICIES[name])

    def test_a_parent_that_something_else_protects(self) -> None:
        name, factories = "left.Protecting.guarded", POLICIES["right.Restricting.guarded"]
        both = {**POLICIES[name]}
        both["child"] = lambda each: [POLICIES[name]["child"](each), factories["child"](each)]
        testing.assert_cascades(name, **both)

    def test_factories_that_do_not_do_what_they_should(self) -> None:
        user = User.objects.create(username="ann")
        twice = rf"parent\(\) returned auth\.User {user.pk} twice"
        with pytest.raises(AssertionError, match=twice):
            testing.assert_cascades("blog.Post.author", **{**self.POST, "parent": lambda: user})
        with pytest.raises(AssertionError, match=r"child\(\) saved no blog\.Post\.author with"):
            testing.assert_cascades("blog.Post.author", **{**self.POST, "child": lambda _: None})

    def test_columns_that_hold_keys_as_text(self) -> None:
        for label, model in (("station_text", Station), ("beacon_text", Beacon)):
            testing.assert_cascades(
                f"left.Event.{label}",
                parent=model.objects.create,
                child=lambda each, label=label: Event.objects.create(**{label: each.pk}),
            )

    def test_an_unknown_relation(self) -> None:
        with pytest.raises(UnknownName, match=r"blog\.Post\.writer"):
            testing.assert_cascades("blog.Post.writer", **self.POST)
        with pytest.raises(UnknownName, match=r"blog\.Post\.writer"):
            testing.assert_no_orphans("blog.Post.writer")


@pytest.mark.usefixtures("committed")
class TestOutages:
    def test_a_database_that_is_away_is_an_error_and_is_asked_again_at_once(
        self, refuse: Callable[[str], Any]
    ) -> None:
        write("ann").delete()
        with refuse("blog_db"):
            with pytest.raises(NotDrained, match=r"^blog_db: cannot be reached: ") as caught:
                testing.drain()
            assert set(caught.value.reasons) == {"blog_db"}
            with pytest.raises(DatabaseUnreachable, match="blog_db"):
                testing.assert_no_orphans()
        assert testing.drain() == {"blog.Post.author": 1}

    def test_a_log_that_is_away_is_an_error(self, refuse: Callable[[str], Any]) -> None:
        with refuse("default"), pytest.raises(NotDrained, match="default: the log cannot be"):
            testing.drain()


def test_looking_for_orphans_writes_nothing_anywhere(committed: None, captured: Captured) -> None:
    write("ann").delete()
    with captured, pytest.raises(AssertionError, match="1 orphan "):
        testing.assert_no_orphans()
    for alias in EVERY:
        for sql in captured[alias]:
            assert re.match(READS, sql), sql
    assert Identity.objects.using("blog_db").count() == 0


def test_rows_that_are_meant_to_stay_count_only_when_they_are_named(committed: None) -> None:
    factories = POLICIES["right.Untouched.giver"]
    giver = factories["parent"]()
    factories["child"](giver)
    giver.delete()
    testing.drain()
    testing.assert_no_orphans()
    with pytest.raises(AssertionError, match=r"right\.Untouched\.giver in test_right: 1 orphan "):
        testing.assert_no_orphans("right.Untouched.giver")


def queries_of_a_delete() -> list[str]:
    """What deleting a row to which nothing elsewhere points asks the database for."""
    group = Group.objects.create(name="unrelated")
    with CaptureQueriesContext(connections[DEFAULT_DB_ALIAS]) as captured:
        group.delete()
    return [re.sub(r"\d+", "N", each["sql"]) for each in captured.captured_queries]


class TestUnrelatedModels:
    @pytest.mark.django_db
    def test_plainly(self) -> None:
        plain = queries_of_a_delete()
        assert not any("integrity" in sql for sql in plain)

    def test_with_the_fixtures(self, integrity_databases: frozenset[str]) -> None:
        assert queries_of_a_delete() == queries_of_a_delete()
        assert not any("integrity" in sql for sql in queries_of_a_delete())
