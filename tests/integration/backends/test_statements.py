"""The contract of the statements, in PostgreSQL's form and in the ORM's, on either database."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.transaction import Atomic
from django.test.utils import CaptureQueriesContext

from apps.integrity import backends
from apps.integrity.backends.base import LogBackend, RowBackend
from apps.integrity.backends.mysql.rows import MySQLRows
from apps.integrity.backends.mysql.session import ReadCommitted
from apps.integrity.backends.portable.chunks import PARAMETERS
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.backends.portable.rows import ROWS_SEEN, PortableRows
from apps.integrity.backends.postgresql.log import PostgreSQLLog
from apps.integrity.backends.postgresql.rows import PostgreSQLRows
from apps.integrity.backends.selection import transaction_class
from apps.integrity.backends.transactions import atomic
from apps.integrity.models import Cascade, Deletion, Suspect
from tests.kinds.left.models import Box, Invoice, Optional, Shelf, TokenUse, WordUse
from tests.kinds.lite.models import Author, Line, Note
from tests.kinds.parents.models import Word
from tests.log_rows import make

if TYPE_CHECKING:
    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")


class Statements(LogBackend, RowBackend, Protocol):
    """All statements of one form."""


class PostgreSQL(PostgreSQLLog, PostgreSQLRows):
    """PostgreSQL's form."""


class Portable(PortableLog, PortableRows):
    """The ORM's form."""


@dataclass(frozen=True)
class Form:
    """A form of the statements, a database to try it on, and two models of it."""

    on: Statements
    alias: str
    log: str
    parent: Any
    above: Any
    below: Any

    @property
    def key(self) -> Any:
        return next(each for each in self.above._meta.fields if each.is_relation)

    @property
    def inner(self) -> Any:
        return next(each for each in self.below._meta.fields if each.is_relation)

    def rows(self, **wanted: int) -> None:
        """So many rows for each key, as in `k1=3`."""
        for key, number in wanted.items():
            made = [self.above(**{self.key.attname: int(key[1:])}) for _ in range(number)]
            self.above.objects.using(self.alias).bulk_create(made)

    def left(self) -> Counter[int]:
        found = QuerySet(model=self.above, using=self.alias)
        return Counter(found.values_list(self.key.attname, flat=True))


FORMS = {
    "PostgreSQL": Form(PostgreSQL(), "test_left", "default", Word, Shelf, Box),
    "portable on PostgreSQL": Form(Portable(), "test_left", "default", Word, Shelf, Box),
    "portable on SQLite": Form(Portable(), "test_lite", "test_lite", Author, Note, Line),
}
ON_POSTGRESQL = [name for name, form in FORMS.items() if form.alias == "test_left"]


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return FORMS[request.param]


@pytest.fixture(params=ON_POSTGRESQL)
def on(request: pytest.FixtureRequest) -> Statements:
    return FORMS[request.param].on


def test_each_database_gets_its_form() -> None:
    assert isinstance(backends.row_backend("default"), PostgreSQLRows)
    assert isinstance(backends.log_backend("default"), PostgreSQLLog)
    assert isinstance(backends.row_backend("test_lite"), PortableRows)
    assert isinstance(backends.log_backend("test_lite"), PortableLog)
    assert backends.row_backend("default") is backends.row_backend("default")


def test_mysql_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(connections["test_lite"], "vendor", "mysql")
        assert isinstance(backends.row_backend.__wrapped__("test_lite"), MySQLRows)
        assert transaction_class.__wrapped__("test_lite") is ReadCommitted


def test_a_transaction_of_the_log_costs_postgresql_nothing() -> None:
    assert type(atomic("default")) is Atomic


def test_one_of_sqlite_begins_as_a_writer() -> None:
    """Else it fails at once where another process has written since it began to read."""
    queries = CaptureQueriesContext(connections["test_lite"])
    with queries, atomic("test_lite"), atomic("test_lite"):
        pass
    begun = [query["sql"] for query in queries if query["sql"].startswith("BEGIN")]
    assert begun == ["BEGIN IMMEDIATE"]


class TestDeleteRows:
    def delete(self, form: Form, keys: list[Any], limit: int = 100) -> Counter[Any]:
        return form.on.delete_rows(form.key, keys, limit, using=form.alias, skip_locked=False)

    def test_it_deletes_the_rows_of_the_keys_and_counts_them_by_key(self, form: Form) -> None:
        form.rows(k1=3, k2=1, k3=2)
        assert self.delete(form, [1, 2, 99]) == {1: 3, 2: 1}
        assert form.left() == {3: 2}

    def test_it_touches_at_most_the_limit(self, form: Form) -> None:
        form.rows(k1=3, k2=3)
        found = [self.delete(form, [1, 2], limit=4), self.delete(form, [1, 2], limit=4)]
        assert [each.total() for each in found] == [4, 2]
        assert found[0] + found[1] == {1: 3, 2: 3}

    def test_of_one_key_as_well(self, form: Form) -> None:
        form.rows(k1=5, k2=1)
        found = [self.delete(form, [1], limit=2) for _ in range(4)]
        assert found == [{1: 2}, {1: 2}, {1: 1}, {}]
        assert form.left() == {2: 1}

    def test_where_all_fit_one_more_does_not(self, form: Form) -> None:
        form.rows(k1=2, k2=2)
        assert self.delete(form, [1, 2], limit=4) == {1: 2, 2: 2}
        form.rows(k1=2, k2=3)
        assert self.delete(form, [1, 2], limit=4).total() == 4
        assert form.left().total() == 1

    def test_it_finds_nothing_the_second_time(self, form: Form) -> None:
        form.rows(k1=2)
        assert self.delete(form, [1]) == {1: 2}
        assert self.delete(form, [1]) == {}

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        form.rows(k1=2)
        with pytest.raises(ValueError, match="without keys"):
            self.delete(form, [])
        assert form.left() == {1: 2}

    def test_more_keys_than_fit_into_one_list(self, form: Form) -> None:
        form.rows(**{f"k{n}": 1 for n in range(1, 1001)}, k2000=1)
        keys = list(range(1, 1001))
        assert len(keys) > 2 * PARAMETERS
        assert self.delete(form, keys, limit=5_000) == dict.fromkeys(keys, 1)
        assert form.left() == {2000: 1}

    def test_it_is_one_transaction_of_its_own(self, form: Form, captured: Captured) -> None:
        form.rows(k1=1)
        with captured:
            self.delete(form, [1])
        assert not connections[form.alias].in_atomic_block
        assert captured[form.alias].count("COMMIT") <= 1

    def test_it_joins_the_transaction_of_its_caller(self, form: Form) -> None:
        form.rows(k1=2)
        with transaction.atomic(using=form.alias):
            assert self.delete(form, [1]) == {1: 2}
            transaction.set_rollback(True, using=form.alias)
        assert form.left() == {1: 2}


class TestDeleteNumber:
    def delete(self, form: Form, keys: list[Any], limit: int = 100) -> int:
        return form.on.delete_total(form.key, keys, limit, using=form.alias, skip_locked=False)

    def test_it_deletes_the_rows_of_the_keys_and_gives_their_sum(self, form: Form) -> None:
        form.rows(k1=3, k2=1, k3=2)
        assert [self.delete(form, [1, 2, 99]), self.delete(form, [1, 2])] == [4, 0]
        assert form.left() == {3: 2}

    @pytest.mark.parametrize("keys", [[1], [1, 2]])
    def test_it_touches_at_most_the_limit(self, form: Form, keys: list[int]) -> None:
        form.rows(k1=5)
        assert [self.delete(form, keys, limit=2) for _ in range(4)] == [2, 2, 1, 0]

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        form.rows(k1=2)
        with pytest.raises(ValueError, match="without keys"):
            self.delete(form, [])
        assert form.left() == {1: 2}

    def test_of_keys_that_are_text(self, on: Statements) -> None:
        WordUse.objects.bulk_create(WordUse(word_id=each) for each in ("a", "a", "b"))
        field = WordUse._meta.get_field("word")
        assert on.delete_total(field, ["a", "c"], 9, using="test_left", skip_locked=False) == 2
        assert WordUse.objects.count() == 1


class TestTheKeyIsCheckedTwice:
    """A row that moved to another parent between being found and being changed is left alone."""

    @pytest.mark.parametrize("what", ["delete", "update"])
    def test_where_rows_cannot_be_locked(self, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
        form = FORMS["portable on SQLite"]
        form.rows(k1=2)
        rows = QuerySet(model=form.above, using=form.alias)
        moved = rows.order_by("pk")[0].pk
        find = PortableRows.lock_rows

        def find_then_move(*args: Any, **kwargs: Any) -> Any:
            found = find(*args, **kwargs)
            rows.filter(pk=moved).update(**{form.key.attname: 2})
            return found

        monkeypatch.setattr(PortableRows, "lock_rows", find_then_move)
        options = {"using": form.alias, "skip_locked": False}
        if what == "delete":
            form.on.delete_rows(form.key, [1], 9, **options)
        else:
            form.on.update_rows(form.key, [1], 5, 9, **options)
        assert rows.get(pk=moved).mixed_id == 2
        assert 1 not in form.left()


class TestUpdateRows:
    def update(self, form: Form, keys: list[Any], value: Any, limit: int = 100) -> Counter[Any]:
        return form.on.update_rows(
            form.key, keys, value, limit, using=form.alias, skip_locked=False
        )

    def test_it_sets_the_value_and_counts_by_the_old_key(self, form: Form) -> None:
        form.rows(k1=3, k2=1, k3=2)
        assert self.update(form, [1, 2], 7) == {1: 3, 2: 1}
        assert form.left() == {7: 4, 3: 2}

    def test_it_touches_at_most_the_limit(self, form: Form) -> None:
        form.rows(k1=5)
        assert [self.update(form, [1], 7, limit=2).total() for _ in range(4)] == [2, 2, 1, 0]

    def test_of_several_keys_as_well(self, form: Form) -> None:
        form.rows(k1=3, k2=3)
        found = [self.update(form, [1, 2], 7, limit=4) for _ in range(2)]
        assert [each.total() for each in found] == [4, 2]

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        form.rows(k1=1)
        with pytest.raises(ValueError, match="without keys"):
            self.update(form, [], 7)
        assert form.left() == {1: 1}

    def test_it_sets_null(self, on: Statements) -> None:
        Optional.objects.bulk_create(Optional(owner_id=each) for each in (1, 1, 2, None))
        field = Optional._meta.get_field("owner")
        found = on.update_rows(field, [1], None, 9, using="test_left", skip_locked=False)
        assert found == {1: 2}
        assert Counter(Optional.objects.values_list("owner", flat=True)) == {None: 3, 2: 1}


class TestLockRows:
    def test_it_gives_rows_with_their_keys_up_to_the_limit(self, form: Form) -> None:
        form.rows(k1=2, k2=2, k3=1)
        with transaction.atomic(using=form.alias):
            found = form.on.lock_rows(form.key, [1, 2], 100, using=form.alias)
            few = form.on.lock_rows(form.key, [1, 2], 3, using=form.alias)
        assert Counter(found.values()) == {1: 2, 2: 2}
        assert len(few) == 3
        assert few.items() <= found.items()

    def test_so_it_does_for_one_key(self, form: Form) -> None:
        form.rows(k1=3, k2=1)
        with transaction.atomic(using=form.alias):
            found = form.on.lock_rows(form.key, [1], 2, using=form.alias)
            all_of_it = form.on.lock_rows(form.key, [1], 9, using=form.alias)
        assert [*found.values()] == [1, 1]
        assert [*all_of_it.values()] == [1, 1, 1]
        assert found.keys() < all_of_it.keys()

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        with pytest.raises(ValueError, match="without keys"), transaction.atomic(form.alias):
            form.on.lock_rows(form.key, [], 9, using=form.alias)

    def test_rows_that_somebody_else_holds_are_passed_over(
        self, on: Statements, locked: type
    ) -> None:
        one, two = (Shelf.objects.create(root_id=1) for _ in range(2))
        field = Shelf._meta.get_field("root")
        with locked(Shelf.objects.filter(pk=one.pk)), transaction.atomic("test_left"):
            assert on.lock_rows(field, [1], 9, using="test_left") == {two.pk: 1}

    @pytest.mark.parametrize("what", ["delete", "update"])
    def test_rows_that_somebody_else_holds_are_passed_over_when_in_a_hurry(
        self, on: Statements, locked: type, what: str
    ) -> None:
        one, _ = (Shelf.objects.create(root_id=1) for _ in range(2))
        field = Shelf._meta.get_field("root")
        with locked(Shelf.objects.filter(pk=one.pk)):
            if what == "delete":
                done = on.delete_rows(field, [1], 9, using="test_left", skip_locked=True)
            else:
                done = on.update_rows(field, [1], 5, 9, using="test_left", skip_locked=True)
        assert done == {1: 1}


class TestKeysWithRows:
    def test_it_gives_the_keys_that_some_row_holds(self, form: Form) -> None:
        form.rows(k1=3, k3=1)
        assert form.on.keys_with_rows(form.key, [1, 2, 3], using=form.alias) == {1, 3}

    def test_one_that_has_very_many_hides_no_other(self, form: Form) -> None:
        form.rows(k1=ROWS_SEEN + 1, k2=1)
        assert form.on.keys_with_rows(form.key, [1, 2, 3], using=form.alias) == {1, 2}

    def test_it_is_no_query_for_each_key(self, form: Form, captured: Captured) -> None:
        form.rows(k1=3, k3=1)
        with captured:
            form.on.keys_with_rows(form.key, list(range(2 * PARAMETERS)), using=form.alias)
        table = form.above._meta.db_table
        asked = [sql for sql in captured[form.alias] if f'FROM "{table}"' in sql]
        assert 1 <= len(asked) <= 2

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        with pytest.raises(ValueError, match="without keys"):
            form.on.keys_with_rows(form.key, [], using=form.alias)


class TestKeysOfEveryType:
    @pytest.mark.parametrize(
        "text", ["it's", 'a "b"', "50%", "%s", "a,{b}", "\\", "ß→", "", "NULL"]
    )
    def test_text_of_odd_characters(self, on: Statements, text: str) -> None:
        WordUse.objects.bulk_create(WordUse(word_id=each) for each in (text, text, "other"))
        field = WordUse._meta.get_field("word")
        assert on.keys_with_rows(field, [text, "none"], using="test_left") == {text}
        found = on.delete_rows(field, [text], 9, using="test_left", skip_locked=False)
        assert found == {text: 2}
        assert WordUse.objects.get().word_id == "other"

    def test_a_text_longer_than_the_column_is_not_taken_for_its_beginning(
        self, on: Statements
    ) -> None:
        WordUse.objects.create(word_id="a" * 12)
        field, longer = WordUse._meta.get_field("word"), "a" * 13
        assert on.keys_with_rows(field, [longer], using="test_left") == set()
        assert on.delete_rows(field, [longer], 9, using="test_left", skip_locked=False) == {}
        assert WordUse.objects.count() == 1

    def test_uuid(self, on: Statements) -> None:
        one, two = uuid.uuid4(), uuid.uuid4()
        TokenUse.objects.bulk_create(TokenUse(token_id=each) for each in (one, two, two))
        field = TokenUse._meta.get_field("token")
        assert on.keys_with_rows(field, [one, uuid.uuid4()], using="test_left") == {one}
        found = on.delete_rows(field, [two], 9, using="test_left", skip_locked=False)
        assert found == {two: 2}

    def test_decimal(self, on: Statements) -> None:
        Invoice.objects.bulk_create(
            Invoice(person_id=each) for each in (Decimal("1.50"), Decimal("1.51"), None)
        )
        field = Invoice._meta.get_field("person")
        found = on.delete_rows(field, [Decimal("1.5")], 9, using="test_left", skip_locked=False)
        assert found == {Decimal("1.50"): 1}
        assert set(Invoice.objects.values_list("person_id", flat=True)) == {Decimal("1.51"), None}


class TestInsertDeletions:
    def insert(self, form: Form, keys: list[Any], targets: list[Any] | None = None) -> list[str]:
        with transaction.atomic(using=form.log):
            return form.on.insert_deletions(
                form.parent, keys, targets or [None] * len(keys), "signal", using=form.log
            )

    def keys(self, form: Form) -> tuple[Any, Any, Any]:
        return ("a", "it's", "c") if form.parent is Word else (1, 2, 3)

    def test_it_logs_the_gone_and_leaves_out_the_living(self, form: Form) -> None:
        one, two, alive = self.keys(form)
        form.parent(pk=alive).save(force_insert=True)
        given = self.insert(form, [one, alive, two], [None, None, {"code": 'a "b"'}])
        assert sorted(given) == sorted([str(one), str(two)])
        rows = Deletion.objects.using(form.log).order_by("pk")
        assert list(rows.values_list("parent", "key", "targets", "source", "batch")) == [
            (form.parent._meta.label, str(one), None, "signal", None),
            (form.parent._meta.label, str(two), {"code": 'a "b"'}, "signal", None),
        ]
        assert all(row.recorded_at for row in rows)

    def test_so_it_does_with_one_alone(self, form: Form) -> None:
        one, two, alive = self.keys(form)
        form.parent(pk=alive).save(force_insert=True)
        given = [
            self.insert(form, [one]),
            self.insert(form, [alive]),
            self.insert(form, [two], [{"code": 'a "b"'}]),
        ]
        assert given == [[str(one)], [], [str(two)]]
        rows = Deletion.objects.using(form.log).order_by("pk")
        assert list(rows.values_list("key", "targets", "source", "batch")) == [
            (str(one), None, "signal", None),
            (str(two), {"code": 'a "b"'}, "signal", None),
        ]

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        with pytest.raises(ValueError, match="without keys"):
            self.insert(form, [])


class TestInsertConfirmed:
    """Suspects become deletions: their values are not read by the caller."""

    def suspects(self, form: Form) -> list[int]:
        columns = {"parent": "x.A", "relation": "x.B.a"}
        made = [
            Suspect(**columns, value="it's"),
            Suspect(**columns, field="code", value='a "b"'),
            Suspect(**columns, value="2"),
        ]
        Suspect.objects.using(form.log).bulk_create(made)
        return [suspect.pk for suspect in made]

    @pytest.mark.parametrize("returning", [True, False])
    def test_it_logs_them_in_their_order(
        self, form: Form, monkeypatch: pytest.MonkeyPatch, *, returning: bool
    ) -> None:
        """Not every database tells the ids of rows that were inserted together."""
        first, *others = self.suspects(form)
        features = type(connections[form.log].features)
        monkeypatch.setattr(features, "can_return_rows_from_bulk_insert", returning)
        given = form.on.insert_confirmed(others, using=form.log)
        rows = Deletion.objects.using(form.log).order_by("pk")
        assert given == [row.pk for row in rows]
        columns = ("parent", "key", "targets", "relation", "source", "batch", "cancelled_at")
        assert list(rows.values_list(*columns, "reason")) == [
            ("x.A", None, {"code": 'a "b"'}, "x.B.a", "scan", None, None, ""),
            ("x.A", "2", None, "x.B.a", "scan", None, None, ""),
        ]
        assert all(row.recorded_at for row in rows)
        assert Suspect.objects.using(form.log).filter(pk=first).exists()

    def test_it_refuses_to_run_without_suspects(self, form: Form) -> None:
        with pytest.raises(ValueError, match="without keys"):
            form.on.insert_confirmed([], using=form.log)


class TestFinishCascades:
    def cascade(self, form: Form, state: str, claim: uuid.UUID | None) -> Cascade:
        """Make a cascade of two deletions."""
        made = make("x.A", [1, 2], ["one"], state=state, claim=claim, using=form.log)
        return Cascade.objects.using(form.log).get(batch=made[0].pk)

    def finish(self, form: Form, claim: uuid.UUID, rows: dict[int, Any]) -> list[int]:
        sizes = dict.fromkeys(rows, 2)
        return form.on.finish_cascades(
            claim, rows, sizes, barrier=None, grace_seconds=1.0, using=form.log
        )

    def test_it_marks_what_the_claim_holds_and_nothing_else(self, form: Form) -> None:
        mine, other = uuid.uuid4(), uuid.uuid4()
        held = self.cascade(form, "running", mine)
        lost = self.cascade(form, "running", other)
        back = self.cascade(form, "pending", None)
        cancelled = self.cascade(form, "cancelled", mine)
        document = {str(held.deletions[0]): {"x.B.a": 3}}
        rows = {each.pk: document for each in (held, lost, back, cancelled)}
        assert self.finish(form, mine, rows) == [held.pk]
        found = Cascade.objects.using(form.log).get(pk=held.pk)
        assert (found.state, found.rows, found.claim) == ("done", document, None)
        assert found.done_at is not None
        states = Cascade.objects.using(form.log).order_by("pk").values_list("state", flat=True)
        assert list(states) == ["done", "running", "pending", "cancelled"]

    def test_the_second_time_it_does_nothing(self, form: Form) -> None:
        claim = uuid.uuid4()
        held = self.cascade(form, "running", claim)
        document = {str(held.deletions[1]): {"x.B.a": 3}}
        assert self.finish(form, claim, {held.pk: document}) == [held.pk]
        assert self.finish(form, claim, {held.pk: None}) == []
        assert Cascade.objects.using(form.log).get().rows == document

    def test_what_was_split_meanwhile_stays(self, form: Form) -> None:
        claim = uuid.uuid4()
        held = self.cascade(form, "running", claim)
        Cascade.objects.using(form.log).filter(pk=held.pk).update(size=1)
        assert self.finish(form, claim, {held.pk: None}) == []
        assert Cascade.objects.using(form.log).get().state == "running"

    def test_no_rows_are_none(self, form: Form) -> None:
        claim = uuid.uuid4()
        held = self.cascade(form, "running", claim)
        self.finish(form, claim, {held.pk: None})
        assert not Cascade.objects.using(form.log).filter(rows__isnull=False).exists()

    def test_it_refuses_to_run_without_keys(self, form: Form) -> None:
        with pytest.raises(ValueError, match="without keys"):
            self.finish(form, uuid.uuid4(), {})


class TestSaveProgress:
    def test_only_what_the_claim_holds_at_work_is_noted(self, form: Form) -> None:
        mine, held = uuid.uuid4(), []
        for state, claim in (("running", mine), ("running", uuid.uuid4()), ("done", mine)):
            (one,) = make("x.X", [1], ["x"], state=state, claim=claim, using=form.log)
            held.append(Cascade.objects.using(form.log).get(batch=one.pk))
        document = {"1": {"x.B.a": 2}}
        form.on.save_progress(mine, {each.pk: document for each in held}, using=form.log)
        found = Cascade.objects.using(form.log).order_by("pk").values_list("rows", flat=True)
        assert list(found) == [document, None, None]


def planned(captured: Captured, keys: list[int], *, walking: bool = True) -> str:
    """How PostgreSQL would delete the rows of those keys now, as a step asks it to."""
    field, form = Shelf._meta.get_field("root"), PostgreSQL()
    with transaction.atomic(using="test_left"):
        if walking:
            form.begin_step(lock_seconds=2.0, using="test_left")
        with captured:
            form.delete_rows(field, keys, 900, using="test_left", skip_locked=False)
        plan = list[str]()
        for sql in captured["test_left"]:
            if sql.startswith(("WITH", "DELETE")):
                with connections["test_left"].cursor() as cursor:
                    cursor.execute(f"EXPLAIN {sql}")
                    plan += (line for (line,) in cursor.fetchall())
        transaction.set_rollback(True, using="test_left")
    assert plan
    return "\n".join(plan)


@pytest.mark.parametrize("keys", [[2, 3], list(range(2, 502))], ids=["two", "five hundred"])
@pytest.mark.parametrize("analyzed", [False, True])
def test_the_index_leads_to_the_rows_of_each_key(
    captured: Captured, keys: list[int], *, analyzed: bool
) -> None:
    """Stale statistics must not turn a statement into a scan of the table."""
    Shelf.objects.bulk_create(Shelf(root_id=n // 10) for n in range(5_000))
    if analyzed:
        with connections["test_left"].cursor() as cursor:
            cursor.execute("ANALYZE left_shelf")
    assert "Seq Scan" not in planned(captured, keys)


def test_so_it_does_where_most_of_the_table_holds_one_key(captured: Captured) -> None:
    """From the table's start, each step would read again what the steps before have deleted."""
    Shelf.objects.bulk_create(Shelf(root_id=1) for _ in range(5_000))
    with connections["test_left"].cursor() as cursor:
        cursor.execute("ANALYZE left_shelf")
    assert "Seq Scan" in planned(captured, [1], walking=False)
    plan = planned(captured, [1])
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan


def test_a_giant_that_nobody_has_counted_is_not_walked_for_each_step(captured: Captured) -> None:
    """Where few rows of a key are known, its index looks cheaper than the rows that were picked."""
    Shelf.objects.bulk_create(Shelf(root_id=n) for n in range(5_000))
    with connections["test_left"].cursor() as cursor:
        cursor.execute("ANALYZE left_shelf")
    Shelf.objects.bulk_create(Shelf(root_id=1) for _ in range(5_000))
    assert "Tid Scan" in planned(captured, [1])


@pytest.mark.parametrize("keys", [[1], list(range(2, 502))], ids=["the one", "five hundred"])
@pytest.mark.parametrize("look", ["keys_with_rows", "lock_rows"])
def test_so_does_a_look_which_forbids_its_transaction_nothing(
    captured: Captured, keys: list[int], look: str
) -> None:
    """To see that nothing is left must not mean to read all that was deleted."""
    Shelf.objects.bulk_create(Shelf(root_id=1) for _ in range(5_000))
    field, form = Shelf._meta.get_field("root"), PostgreSQL()
    with transaction.atomic(using="test_left"), connections["test_left"].cursor() as cursor:
        cursor.execute("ANALYZE left_shelf")
        cursor.execute("EXPLAIN SELECT 1 FROM left_shelf WHERE root_id = 1 LIMIT 1")
        assert "Seq Scan" in str(cursor.fetchall())
        with captured:
            if look == "lock_rows":
                form.lock_rows(field, keys, 100, using="test_left")
            else:
                form.keys_with_rows(field, keys, using="test_left")
        (sql,) = [sql for sql in captured["test_left"] if "wanted" in sql]
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "left_shelf_root" in plan
    assert "Seq Scan" not in plan
    assert "Bitmap" not in plan


@pytest.mark.parametrize("keys", [[1], list(range(1, 5_000, 2))], ids=["one", "thousands"])
def test_so_does_a_look_for_parents(captured: Captured, keys: list[int]) -> None:
    Shelf.objects.bulk_create(Shelf(root_id=1) for _ in range(5_000))
    pk, form = Shelf._meta.pk, PostgreSQL()
    with transaction.atomic(using="test_left"), connections["test_left"].cursor() as cursor:
        cursor.execute("ANALYZE left_shelf")
        with captured:
            form.keys_with_rows(pk, keys, using="test_left")
        (sql,) = captured["test_left"]
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "left_shelf_pkey" in plan
    assert "Seq Scan" not in plan
