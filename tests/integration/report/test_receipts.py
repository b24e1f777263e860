"""A receipt says what it covers, and its sentences say no more than its lines."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from apps.blog.models import Post
from apps.integrity import cascade, relations
from apps.integrity.cascade import verification
from apps.integrity.log import deletions
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report import receipt_table, receipt_text, receipts
from apps.integrity.report.receipt_lines import NOT_COVERED
from tests.integration.management.test_command import integrity
from tests.kinds.left.models import Book, Nulled
from tests.kinds.parents.models import Giver, Library
from tests.kinds.right.models import BookNote, Untouched

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from apps.integrity.report.receipts import Receipt
    from tests.conftest import Tune
    from tests.integration.management.test_command import Run

    Converge = Callable[[], Counter[str]]

__all__ = ["integrity"]  # a fixture
pytestmark = pytest.mark.usefixtures("committed")


def of(model: Any, key: Any) -> Receipt:
    [receipt] = receipts.receipts_of(model._meta.label, str(key))
    return receipt


def outcomes(receipt: Receipt) -> dict[str, str]:
    return {line["relation"]: line["outcome"] for line in receipt["scope"]}


def found(key: int) -> None:
    """A scan finds that user missing along one relation."""
    Deletion.objects.create(
        parent="auth.User",
        key=str(key),
        relation="blog.Post.author",
        source=Deletion.Source.SCAN,
    )


@pytest.fixture
def verified(converge: Converge, tune: Tune) -> Callable[[], None]:
    """Cascade what is due, and verify it."""

    def run() -> None:
        converge()
        for database in relations.catalogue().child_databases:
            verification.verify(database)

    tune(grace_seconds=1e-6)
    return run


class TestScope:
    def test_every_relation_of_the_parent_is_in_it(self, verified: Callable[[], None]) -> None:
        giver = Giver.objects.create()
        Nulled.objects.create(giver=giver)
        Untouched.objects.create(giver=giver)
        key = giver.pk
        giver.delete()
        verified()
        receipt = of(Giver, key)
        pointing = {
            (relation.label, database): relation.policy
            for relation in relations.catalogue().relations
            if relation.parent is Giver
            for database in relation.child_databases
        }
        lines = {(line["relation"], line["database"]): line for line in receipt["scope"]}
        assert lines.keys() == pointing.keys()
        for place, policy in pointing.items():
            covered = lines[place]["outcome"] != NOT_COVERED
            assert covered == policy.cascades, place
            assert bool(lines[place]["reason"]) != covered
        assert (lines["left.Nulled.giver", "test_left"]["rows"]) == 1
        assert Untouched.objects.filter(giver_id=key).exists()

    def test_the_conclusion_speaks_for_what_was_followed_alone(
        self, verified: Callable[[], None]
    ) -> None:
        giver = Giver.objects.create()
        key = giver.pk
        giver.delete()
        verified()
        receipt = of(Giver, key)
        followed = {o for o in outcomes(receipt) if outcomes(receipt)[o] != NOT_COVERED}
        said = receipt_text.conclusion(receipt)
        assert f"along {len(followed)} relations in test_left" in said
        assert said.startswith("Counted again by ")
        (left,) = receipt_text.not_covered(receipt)
        assert left.startswith("right.Untouched.giver in test_right is not covered: DO_NOTHING")

    @pytest.mark.parametrize("state", ["recorded", "dispatched", "cascaded", "kept", "cancelled"])
    def test_nothing_is_proven_in_another_state(self, converge: Converge, state: str) -> None:
        giver = Giver.objects.create()
        key = giver.pk
        giver.delete()
        receipt = of(Giver, key)
        receipt["deletion"]["state"] = state
        assert "no proof" in (said := receipt_text.conclusion(receipt)) or "not proof" in said

    def test_a_deletion_that_a_scan_found_covers_its_relation_alone(
        self, verified: Callable[[], None]
    ) -> None:
        found(77)
        Post.objects.create(title="orphan", content="", author_id=77)
        verified()
        receipt = of(User, 77)
        assert "along blog.Post.author in blog_db" in receipt_text.conclusion(receipt)
        assert outcomes(receipt) == {
            "blog.Post.author": "deleted",
            "blog.Comment.author": NOT_COVERED,
            "shop.Order.customer": NOT_COVERED,
        }
        assert all("blog.Post.author" in said for said in receipt_text.not_covered(receipt))


class TestWhatIsLeft:
    def test_rows_that_do_nothing_left_are_counted_when_it_is_shown(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        giver, other = Giver.objects.create(), Giver.objects.create()
        for each in (giver, giver, other):
            Untouched.objects.create(giver=each)
        key = str(giver.pk)
        giver.delete()
        verified()
        outcome = integrity("receipt", "parents.Giver", key)
        assert outcome.code == 0
        assert "leaves its rows as they are; 2 rows refer to the value now" in outcome.text
        Untouched.objects.filter(giver_id=key)[0].delete()
        assert "; 1 row refers to the value now" in integrity("receipt", "parents.Giver", key).text
        Untouched.objects.filter(giver_id=key).delete()
        assert "; no row refers to the value now" in integrity("receipt", "parents.Giver", key).text

    def test_what_cannot_be_counted_is_not_zero(
        self, integrity: Run, verified: Callable[[], None], refuse: Callable[[str], Any]
    ) -> None:
        giver = Giver.objects.create()
        key = str(giver.pk)
        giver.delete()
        verified()
        with refuse("test_right"):
            document = integrity("receipt", "parents.Giver", key, "--json").document
        (line,) = [each for each in document["scope"] if each["database"] == "test_right"]
        assert line["rows_now"] is None
        assert line["not_counted"].startswith("not counted: ")


class TestCommand:
    def test_one_that_a_scan_found_later_hides_no_other(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(title="t", content="", author=user)
        key = user.pk
        user.delete()
        verified()
        Post.objects.create(title="late", content="", author_id=key)
        Deletion.objects.create(
            parent="auth.User",
            key=str(key),
            relation="blog.Post.author",
            source=Deletion.Source.SCAN,
        )
        verified()
        outcome = integrity("receipt", "auth.User", str(key))
        assert outcome.code == 0
        assert outcome.out.count(f"auth.User {key}: verified") == 2
        assert "by scan" in outcome.text
        assert "by signal" in outcome.text
        assert "  shop.Order.customer in shop_db: deleted 0 (CASCADE)" in outcome.lines

    def test_what_is_not_verified_is_incomplete(self, integrity: Run, converge: Converge) -> None:
        user = User.objects.create(username="ann")
        key = str(user.pk)
        user.delete()
        for _ in ("recorded", "cascaded"):
            outcome = integrity("receipt", "auth.User", key)
            assert outcome.code == 4
            assert "This is not proof yet" in outcome.text
            assert "verified not yet" in outcome.text
            converge()

    def test_it_says_who_made_it_and_what_no_receipt_covers(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        user = User.objects.create(username="ann")
        key = str(user.pk)
        user.delete()
        verified()
        outcome = integrity("receipt", "auth.User", key)
        assert receipt_text.OUTSIDE in outcome.text
        assert "Issued by django-crossdb-integrity" in outcome.text
        assert outcome.out.count(" UTC") >= 4
        document = integrity("receipt", "auth.User", key, "--json").document
        assert document["issued"]["by"] == "django-crossdb-integrity"
        assert document["issued"]["at"].endswith("+00:00")


class TestWhatRemains:
    """No sentence lets a reader take rows for gone that are there."""

    def test_rows_that_were_changed_are_said_not_to_be_deleted(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        giver = Giver.objects.create()
        row = Nulled.objects.create(giver=giver)
        key = str(giver.pk)
        giver.delete()
        verified()
        row.refresh_from_db()
        said = "1 row of left.Nulled.giver in test_left was not deleted: its key was set to null."
        document = integrity("receipt", "parents.Giver", key, "--json").document
        assert said in document["statement"]
        assert not [each for each in document["statement"] if "left.Valued" in each]
        assert said in integrity("receipt", "parents.Giver", key).text

    def test_what_refers_to_a_deleted_row_from_a_further_database_has_its_own_receipt(
        self, tune: Tune
    ) -> None:
        tune(grace_seconds=1e-6)
        library = Library.objects.create()
        book = Book.objects.create(library=library)
        BookNote.objects.create(book=book)
        keys = library.pk, book.pk
        library.delete()
        dispatch.sweep_all()
        cascade.drain("test_left")
        verification.verify("test_left")
        receipt = of(Library, keys[0])
        assert receipt_text.is_proven(receipt)
        assert BookNote.objects.exists()
        assert not receipt_text.is_proven(own := of(Book, keys[1]))
        assert own["log"] == "test_left"
        last = receipt_text.document(receipt)["statement"][-1]
        assert "Rows of further databases that refer to a row deleted here are not covered" in last
        assert "tables of the parent's own database" in last

    def test_rows_done_before_it_was_given_up_are_not_called_given_up(
        self, integrity: Run, converge: Converge
    ) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(title="t", content="", author=user)
        key = str(user.pk)
        user.delete()
        converge()
        ids = Deletion.objects.values_list("pk", flat=True)
        deletions.cancel(ids, "asked to stop", using="default")
        said = "blog.Post.author in blog_db: given up, after 1 had been deleted or changed"
        assert said in integrity("receipt", "auth.User", key).text
        line = receipt_table.csv_lines(of(User, key)).splitlines()[0]
        assert line.endswith(",asked to stop,,,,")  # actor, reference, why and deadline

    def test_kept_rows_are_counted_apart_from_deleted_ones(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(title="t", content="", author=user)
        key = user.pk
        user.delete()
        User.objects.create(pk=key, username="eve")
        verified()
        text = integrity("receipt", "auth.User", str(key)).text
        assert "blog.Post.author in blog_db: kept 1 row, after 0 had been" in text
        assert "1 row of blog.Post.author in blog_db was kept: the value has belonged" in text

    def test_each_database_has_the_times_of_its_own(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        user = User.objects.create(username="ann")
        key = str(user.pk)
        user.delete()
        verified()
        at = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
        days = {"blog_db": 1, "shop_db": 2}
        for database, later in days.items():
            moments = at, at + dt.timedelta(days=later)
            Cascade.objects.filter(database=database).update(
                done_at=moments[0], verified_at=moments[1]
            )
        text = integrity("receipt", "auth.User", key).text
        assert "Counted again by 2026-02-02 12:00:00 UTC" in text
        for database, day in (("blog_db", "01"), ("shop_db", "02")):
            done = f"{database}: verified, cascaded at 2026-01-31 12:00:00 UTC"
            assert f"{done}, counted again by 2026-02-{day} 12:00:00 UTC" in text

    def test_it_names_the_log_and_the_deletion(
        self, integrity: Run, verified: Callable[[], None]
    ) -> None:
        user = User.objects.create(username="ann")
        key = str(user.pk)
        user.delete()
        row = Deletion.objects.get()
        outcome = integrity("receipt", "auth.User", key)
        assert f"recorded (deletion {row.pk} in the log of default)" in outcome.text
        assert integrity("receipt", "auth.User", key, "--json").document["log"] == "default"
