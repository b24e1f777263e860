"""A receipt covers what was covered when the deletion ended, whatever the models say now."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, transaction
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import relations
from apps.integrity.cascade import verification
from apps.integrity.log import deletions, kept, renames, scopes
from apps.integrity.log.renaming import Kind, Renaming
from apps.integrity.models import Cascade, Deletion, Scope, Tally
from apps.integrity.relations import Catalogue, discovery
from apps.integrity.relations.policies import Policy
from apps.integrity.report import receipt_text, receipts, unfollowed
from apps.integrity.report.receipt_lines import CHANGED, NOT_COVERED
from apps.shop.models import Order
from tests import log_rows
from tests.integration.management.test_command import integrity
from tests.kinds.left.models import Nulled
from tests.kinds.parents.models import Giver
from tests.kinds.right.models import Untouched

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable

    from apps.integrity.relations import Relation
    from apps.integrity.report.receipts import Receipt
    from tests.conftest import Captured, Tune
    from tests.integration.management.test_command import Run

__all__ = ["integrity"]  # a fixture
pytestmark = pytest.mark.usefixtures("committed")

GIVER = "parents.Giver"
NULLED = "left.Nulled.giver"


@pytest.fixture(autouse=True)
def unwritten(committed: None) -> None:
    """Begin as a new process does, with a log that has no scope."""
    Scope.objects.all().delete()
    relations.catalogue().derived.clear()


@pytest.fixture
def verified(converge: Callable[[], Counter[str]], tune: Tune) -> Callable[[], None]:
    """Cascade what is due, and verify it."""

    def run() -> None:
        converge()
        for database in relations.catalogue().child_databases:
            verification.verify(database)

    tune(grace_seconds=1e-6)
    return run


@pytest.fixture
def know(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[Relation]], None]:
    """Let the catalogue of this process have other relations, as after a new release."""

    def run(known: Iterable[Relation]) -> None:
        monkeypatch.setattr(discovery, "_known", [Catalogue(relations=tuple(known))])

    return run


def of(key: Any, model: str = GIVER) -> Receipt:
    [receipt] = receipts.receipts_of(model, str(key))
    return receipt


def erased(verified: Callable[[], None]) -> int:
    """Return the key of a giver that was deleted and verified, with a row of each policy."""
    giver = Giver.objects.create()
    Nulled.objects.create(giver=giver)
    Untouched.objects.create(giver=giver)
    key: int = giver.pk
    giver.delete()
    verified()
    return key


def text_of(receipt: Receipt) -> str:
    """Return the receipt as it is exported, except for when it was made and what is left now."""
    document = json.loads(json.dumps(receipt_text.document(unfollowed.count(receipt))))
    del document["issued"], document["statement"]
    for line in document["scope"]:
        del line["rows_now"], line["not_counted"]
    return json.dumps(document)


def changed(label: str, **to: Any) -> list[Relation]:
    """Return the catalogue's relations, with one of them changed."""
    return [
        dataclasses.replace(each, **to) if each.label == label else each
        for each in relations.catalogue().relations
    ]


class TestFrozen:
    @pytest.mark.parametrize("edit", ["policy", "more databases", "removed", "added", "all gone"])
    def test_a_later_change_of_the_models_changes_no_receipt(
        self, verified: Callable[[], None], know: Callable[..., None], edit: str
    ) -> None:
        every = relations.catalogue().relations
        if edit == "added":
            know([each for each in every if each.label != NULLED])
        key = erased(verified)
        before = text_of(of(key))
        assert ("set to null" in before) is (NULLED in before) is (edit != "added")
        know(
            {
                "policy": changed(NULLED, policy=Policy.CASCADE),
                "more databases": changed(NULLED, child_databases=("test_left", "test_right")),
                "removed": [each for each in every if each.label != NULLED],
                "added": every,
                "all gone": [each for each in every if each.label == "left.Defaulted.giver"],
            }[edit]
        )
        assert text_of(of(key)) == before

    def test_an_open_deletion_is_described_by_todays_models(
        self, know: Callable[..., None], converge: Callable[[], Counter[str]]
    ) -> None:
        giver = Giver.objects.create()
        key = giver.pk
        giver.delete()
        converge()
        know(changed(NULLED, policy=Policy.CASCADE))
        (line,) = [line for line in of(key)["scope"] if line["relation"] == NULLED]
        assert (line["policy"], line["outcome"]) == ("CASCADE", "deleted")

    def test_what_cannot_be_counted_any_more_says_why(
        self, verified: Callable[[], None], know: Callable[..., None]
    ) -> None:
        key, every = erased(verified), relations.catalogue().relations
        know([each for each in every if each.child is not Untouched])
        said = " ".join(receipt_text.not_covered(unfollowed.count(of(key))))
        assert "not counted: no relation of that name leads into test_right now" in said

    def test_parts_of_a_batch_may_end_with_different_scopes(
        self, verified: Callable[[], None], know: Callable[..., None], tune: Tune
    ) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(title="t", content="", author=user)
        Order.objects.create(customer=user, total=1)
        key = user.pk
        user.delete()
        verified()
        Cascade.objects.filter(database="shop_db").update(
            state="done", ended_at=None, verified_at=None, scope=None
        )
        know(changed("shop.Order.customer", policy=Policy.SET_NULL))
        deletions.end(Cascade.objects.filter(database="shop_db"), "given up")
        know(changed("shop.Order.customer", policy=Policy.SET_DEFAULT))
        policies = {line["relation"]: line["policy"] for line in of(key, "auth.User")["scope"]}
        assert policies["blog.Post.author"] == "CASCADE"
        assert policies["shop.Order.customer"] == "SET_NULL"
        assert Scope.objects.count() == 2

    def test_a_relation_that_came_while_a_database_had_ended_is_not_covered_there(
        self, verified: Callable[[], None], know: Callable[..., None]
    ) -> None:
        every = relations.catalogue().relations
        know([each for each in every if each.label != "blog.Comment.author"])
        user = User.objects.create(username="ann")
        key = user.pk
        user.delete()
        verified()
        know(every)
        Cascade.objects.filter(database="shop_db").update(
            scope=scopes.current("auth.User", "", using="default")
        )
        (line,) = [line for line in of(key, "auth.User")["scope"] if "Comment" in line["relation"]]
        assert (line["outcome"], line["database"]) == (NOT_COVERED, "blog_db")
        assert line["reason"] == "the relation was not known when the deletion ended there"

    def test_rows_below_were_deleted_and_those_under_an_unknown_name_were_changed(
        self, verified: Callable[[], None]
    ) -> None:
        user = User.objects.create(username="ann")
        Post.objects.create(title="t", content="", author=user)
        key = user.pk
        user.delete()
        verified()
        (row,) = Cascade.objects.filter(database="blog_db")
        (rows,) = (row.rows or {}).values()
        of_names = {**rows, "blog.Comment.post": 3, "blog.Comment": 2, "blog.Renamed.author": 1}
        Cascade.objects.filter(pk=row.pk).update(rows={str(row.deletions[0]): of_names})
        outcomes = {line["relation"]: line["outcome"] for line in of(key, "auth.User")["scope"]}
        assert outcomes["blog.Comment.post"] == outcomes["blog.Comment"] == "deleted"
        assert outcomes["blog.Renamed.author"] == CHANGED


class TestRenamed:
    def test_what_has_ended_keeps_the_names_of_its_day(self, verified: Callable[[], None]) -> None:
        key = erased(verified)
        before = text_of(of(key))
        change = Renaming(kind=Kind.MODEL, old=GIVER, new="parents.Donor")
        assert renames.rename_history(change, using="default", apply=True) == 1
        [row] = Deletion.objects.filter(parent="parents.Donor")
        after = text_of(receipts.receipt_of(row))
        assert after == before.replace(f'"{GIVER}"', '"parents.Donor"')
        assert receipt_text.is_proven(receipts.receipt_of(row))

    def test_rows_of_an_open_one_are_counted_under_both_names(
        self, converge: Callable[[], Counter[str]], verified: Callable[[], None]
    ) -> None:
        giver = Giver.objects.create()
        Nulled.objects.create(giver=giver)
        key = giver.pk
        giver.delete()
        converge()
        Cascade.objects.update(state="pending", done_at=None, due_at=timezone.now(), barrier=None)
        Cascade.objects.update(rows={str(Deletion.objects.get().pk): {"left.Old.giver": 1}})
        Tally.objects.using("test_left").update(label="left.Old.giver")
        Nulled.objects.create(giver_id=key)
        verified()
        receipt = of(key)
        [each] = receipt["cascades"]
        assert each["rows"] == {"left.Old.giver": 1, NULLED: 1}
        lines = {line["relation"]: line for line in receipt["scope"]}
        assert {label: lines[label]["rows"] for label in each["rows"]} == each["rows"]
        assert (lines[NULLED]["outcome"], lines[NULLED]["policy"]) == ("set to null", "SET_NULL")
        assert (lines["left.Old.giver"]["outcome"], lines["left.Old.giver"]["policy"]) == (
            CHANGED,
            "",
        )


class TestUnknown:
    def test_without_its_row_the_scope_is_not_guessed(
        self, verified: Callable[[], None], know: Callable[..., None], integrity: Run
    ) -> None:
        key = erased(verified)
        Scope.objects.all().delete()
        # Today's catalogue has the same hash, so it is what was covered.
        assert "Counted again by" in receipt_text.conclusion(of(key))
        know(changed(NULLED, policy=Policy.CASCADE))
        receipt = of(key)
        assert [each["scope_known"] for each in receipt["cascades"]] == [False]
        said = receipt_text.conclusion(receipt)
        assert "not recorded which relations were followed in test_left" in said
        assert {line["outcome"] for line in receipt["scope"]} == {CHANGED}
        assert {line["policy"] for line in receipt["scope"]} == {""}
        assert integrity("receipt", GIVER, str(key)).code == 4

    def test_a_row_whose_id_is_not_of_its_hash_is_not_believed(
        self, verified: Callable[[], None], know: Callable[..., None]
    ) -> None:
        key = erased(verified)
        Scope.objects.update(digest="0" * 64)
        know(changed(NULLED, policy=Policy.CASCADE))
        assert not receipt_text.is_proven(of(key))

    def test_a_failure_to_write_it_holds_up_no_verification(
        self, verified: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Scope._meta, "db_table", "missing")
            key = erased(verified)
        assert of(key)["deletion"]["state"] == "verified"
        assert not Scope.objects.exists()
        assert receipt_text.is_proven(of(key))  # today's is the same


class TestWritten:
    def test_each_ending_has_it(self, verified: Callable[[], None]) -> None:
        erased(verified)
        today = scopes.current(GIVER, "", using="default")
        assert {*Cascade.objects.values_list("scope", flat=True)} == {today}
        (one,) = log_rows.make(GIVER, [7], ["test_left"])
        deletions.cancel([one.pk], "given up", using="default")
        assert log_rows.cascade_of(one, "test_left").scope == today

    def test_one_that_goes_on_has_none(self, verified: Callable[[], None]) -> None:
        erased(verified)
        Cascade.objects.update(state="kept")
        ids = [row.pk for row in Deletion.objects.all()]
        assert len(kept.reopen_kept(ids, using="default")) == 1
        assert Cascade.objects.get().scope is None

    def test_it_costs_a_statement_once(
        self, verified: Callable[[], None], captured: Captured
    ) -> None:
        erased(verified)
        with captured:
            erased(verified)
        assert not [sql for sql in captured["default"] if "integrity_scope" in sql]
        assert Scope.objects.count() == 1

    def test_a_receipt_of_todays_scope_costs_none(
        self, verified: Callable[[], None], captured: Captured
    ) -> None:
        key = erased(verified)
        with captured:
            of(key)
        assert not [sql for sql in captured["default"] if "integrity_scope" in sql]

    def test_several_workers_write_it_once(self, at_once: Callable[..., list[Any]]) -> None:
        def one() -> int | None:
            return scopes.current(GIVER, "", using="default")

        assert len({*at_once(*[one] * 4)}) == 1
        assert Scope.objects.count() == 1

    def test_it_is_written_again_after_a_rollback(self) -> None:
        with transaction.atomic():
            scopes.current(GIVER, "", using="default")
            transaction.set_rollback(True)
        assert not Scope.objects.exists()
        scopes.current(GIVER, "", using="default")
        assert Scope.objects.exists()

    def test_a_transaction_outlives_its_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Scope._meta, "db_table", "missing")
        with transaction.atomic():
            scopes.current(GIVER, "", using="default")
            assert Cascade.objects.count() == 0  # raises where the transaction is broken
        with pytest.raises(DatabaseError):
            Scope.objects.count()

    def test_names_that_nobody_knows_have_none(self) -> None:
        assert scopes.current("auth.Nobody", "", using="default") is None
        assert not Scope.objects.exists()
