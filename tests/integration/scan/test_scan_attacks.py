"""Everything that could make a scan condemn the living, miss an orphan or trust itself too much."""

from __future__ import annotations

import dataclasses
import uuid
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.integrity import cascade, models, relations, scan
from apps.integrity.backends.selection import key_reader
from apps.integrity.cascade import verification
from apps.integrity.models import Cascade, Deletion, Identity, Scan, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.relations import discovery
from apps.integrity.relations.keys import format_key
from apps.integrity.report import receipts
from apps.integrity.scan import repair, scan_pass
from apps.integrity.scan.parents import barriers_of
from sandbox.processes import eventually
from tests import log_rows
from tests.kinds.hostile.models import FAMILIES, LONG
from tests.kinds.left.models import (
    Badge,
    Book,
    Invoice,
    Optional,
    Profile,
    Quote,
    TokenUse,
    WordUse,
)
from tests.kinds.lite.models import Author, Note
from tests.kinds.parents.models import (
    Everywhere,
    Hidden,
    Library,
    Mixed,
    Owner,
    Person,
    Token,
    Word,
)
from tests.kinds.right.models import BookNote, Leaf
from tests.kinds.spread.models import Entry

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator

    from django.db.models import Model
    from pytest_django.fixtures import Settings

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

LEAF, OPTIONAL = "right.Leaf.owner", "left.Optional.owner"
#: MySQL gives a row with that key another one.
ZERO = [] if connections["default"].vendor == "mysql" else [0]
AGES_AGO = "2020-01-01T00:00Z"


@pytest.fixture(autouse=True)
def soon(tune: Tune, committed: None) -> None:
    """No grace period, and a parent that keeps its table from being empty."""
    tune(grace_seconds=0.001)
    Owner.objects.create()


def run(database: str = "test_right", **options: Any) -> dict[str, scan.Scanned]:
    """Scan what is in that database; what is seen of each relation."""
    mode = scan.Mode(full=options.pop("full", False), throttled=options.pop("throttled", False))
    found, unreachable = scan.scan(database, mode=mode, **{"seconds": 60, **options})
    assert not unreachable
    return {each.relation: each for each in found}


def one(label: str = LEAF, database: str = "test_right", **options: Any) -> scan.Scanned:
    """Scan one relation there; what is seen of it."""
    return run(database, labels=[label], **options)[label]


def relation(label: str = LEAF) -> relations.Relation:
    return relations.catalogue().relation(label)


def reader(label: str = LEAF) -> Any:
    """Return the class that reads the keys of that relation."""
    found = relation(label)
    child, parent = found.child_databases[0], found.parent_databases[0]
    return type(key_reader(found.field, child=child, parent=parent))


def recheck(label: str = LEAF, **options: Any) -> repair.Repaired:
    (done,) = repair.repair([relation(label)], **options)
    return done


def rechecks(label: str = LEAF, **options: Any) -> repair.Repaired:
    """Recheck until none waits: each transaction open on the server holds the barrier back."""
    total = repair.Repaired(relation=label)

    def over() -> bool:
        done = recheck(label, **options)
        total.confirmed += done.confirmed
        total.cancelled += done.cancelled
        total.waiting, total.brake = done.waiting, done.brake
        return bool(done.brake) or not done.waiting

    assert eventually(over, timeout=30)
    return total


def suspects(label: str = LEAF, using: str = "default") -> set[str]:
    """The suspects of a relation, as text."""
    return set(log_rows.suspected(label, using=using))


def raw_delete(*rows: Model) -> None:
    """Without a signal, as raw SQL does it."""
    for row in rows:
        model = type(row)
        QuerySet(model=model, using=row._state.db).filter(pk=row.pk)._raw_delete(row._state.db)


def orphaned(number: int = 3) -> list[int]:
    """A leaf each for owners that are gone without a trace; gives the owners' keys."""
    owners = Owner.objects.bulk_create(Owner() for _ in range(number))
    Leaf.objects.bulk_create(Leaf(owner=each) for each in owners)
    Owner.objects.filter(pk__in=[each.pk for each in owners])._raw_delete("default")
    return [each.pk for each in owners]


def barrier_of(alias: str) -> int:
    """What a suspect of now would wait for, with parents in that database."""
    one = dataclasses.replace(relation(), parent_databases=(alias,))
    return barriers_of(one)[alias].number


def keys_of_leaves() -> set[int]:
    return set(Leaf.objects.values_list("owner_id", flat=True))


@contextmanager
def another_session(alias: str) -> Iterator[Any]:
    """A cursor of a transaction beside ours; it is committed by `.connection.commit()`."""
    other = connections[alias].copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def insert_owner(cursor: Any, key: int | None = None) -> int:
    if key is None:
        cursor.execute("INSERT INTO parents_owner (name) VALUES ('x') RETURNING id")
    else:
        cursor.execute("INSERT INTO parents_owner (id, name) VALUES (%s, '') RETURNING id", [key])
    (found,) = cursor.fetchone()
    return int(found)


class TestInFlight:
    """Parents and children that come while the scan is under way."""

    @pytest.mark.parametrize("commit", [True, False])
    def test_a_parent_in_an_open_transaction_is_waited_for(
        self, converge: Converge, *, commit: bool
    ) -> None:
        with another_session("default") as cursor:
            key = insert_owner(cursor)
            Leaf.objects.create(owner_id=key)
            for _ in range(2):
                assert one().suspects == 1
                assert (recheck().confirmed, recheck().waiting) == ([], 1)
            assert converge() == {}
            cursor.db.commit() if commit else cursor.db.rollback()
        one()
        rechecks()
        assert converge() == ({} if commit else {LEAF: 1})
        assert keys_of_leaves() == ({key} if commit else set())
        assert suspects() == set()

    def test_each_suspect_has_the_barrier_of_when_it_was_last_seen(
        self, converge: Converge
    ) -> None:
        gone = orphaned(1)
        one()
        with another_session("default") as cursor:
            key = insert_owner(cursor)
            Leaf.objects.create(owner_id=key)
            fences = list(Suspect.objects.order_by("pk").values_list("fence", flat=True))
            assert one().suspects == 2
            Suspect.objects.filter(value=str(*gone)).update(fence=fences[0])
            assert eventually(lambda: len(recheck().confirmed) == 1, timeout=30)
            assert converge() == {LEAF: 1}
            assert keys_of_leaves() == {key} != set(gone)
            cursor.db.commit()
        assert rechecks().cancelled == 1

    def test_both_that_come_between_the_step_and_the_question_are_no_suspects(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Leaf.objects.create(owner=Owner.objects.create())
        asked = reader().missing

        def meanwhile(self: Any, *args: Any, **kwargs: Any) -> list[str]:
            Leaf.objects.create(owner=Owner.objects.create())
            return asked(self, *args, **kwargs)

        monkeypatch.setattr(reader(), "missing", meanwhile)
        assert one().suspects == 0
        assert Leaf.objects.count() > 1

    def test_a_child_of_the_step_whose_parent_comes_before_the_question_is_no_suspect(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = Owner.objects.latest("pk").pk + 1_000
        Leaf.objects.create(owner_id=key)
        looked = scan_pass.Pass._check

        def meanwhile(self: Any, step: Any) -> None:
            Owner.objects.get_or_create(pk=key)
            looked(self, step)

        monkeypatch.setattr(scan_pass.Pass, "_check", meanwhile)
        assert one().suspects == 0
        assert suspects() == set()

    def test_pairs_that_are_committed_child_first_while_it_scans_are_never_confirmed(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch, converge: Converge
    ) -> None:
        """The stress of nested `atomic` blocks, one pair for each step."""
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        Leaf.objects.bulk_create(Leaf(owner=Owner.objects.create()) for _ in range(8))
        looked, pairs = scan_pass.Pass._check, list[Any]()
        with ExitStack() as stack:

            def meanwhile(self: Any, step: Any) -> None:
                if self.relation.label == LEAF and len(pairs) < 8:
                    pairs.append(stack.enter_context(another_session("default")))
                    Leaf.objects.create(owner_id=insert_owner(pairs[-1]))
                looked(self, step)

            monkeypatch.setattr(scan_pass.Pass, "_check", meanwhile)
            assert one().suspects > 0
            for cursor in pairs:
                assert recheck().confirmed == []
                cursor.db.commit()
        assert rechecks().confirmed == []
        assert suspects() == set()
        assert converge() == {}
        assert Leaf.objects.count() == 16


@pytest.mark.postgresql
class TestFence:
    """PostgreSQL's `xmax` is one past the last *ended* transaction: younger ones are open, too."""

    @pytest.mark.parametrize("alias", ["default", "test_right"])
    def test_no_transaction_that_is_open_now_is_at_or_past_the_next_one(self, alias: str) -> None:
        table = (
            "parents_owner (name) VALUES ('')"
            if alias == "default"
            else "right_leaf (owner_id) VALUES (1)"
        )
        with another_session(alias) as older, another_session(alias) as younger:
            for each in (older, younger):
                each.execute(f"INSERT INTO {table}")
            younger.execute("SELECT pg_current_xact_id()::text::bigint")
            (number,) = younger.fetchone()
            assert barrier_of(alias) > number

    def test_a_proof_waits_for_the_youngest_transaction_of_the_children(
        self, converge: Converge
    ) -> None:
        owner = Owner.objects.create()
        key = owner.pk
        run()  # so that nothing else is written there, and theirs is the last number
        with another_session("test_right") as cursor:
            cursor.execute("INSERT INTO right_leaf (owner_id) VALUES (%s)", [key])
            owner.delete()
            assert converge() == {}
            for _ in range(3):
                assert verification.verify("test_right").verified == 0
            cursor.db.commit()
        assert eventually(lambda: verification.verify("test_right").reopened == 1, timeout=30)
        assert converge() == {LEAF: 1}


class Lying:
    """A replica that lags for ever: it has the table, and none of its rows."""

    def db_for_read(self, model: type, **_hints: Any) -> str | None:
        return "test_right" if model is Owner else None


def test_a_replica_that_lags_is_never_asked(settings: Settings, converge: Converge) -> None:
    living = Owner.objects.create()
    Leaf.objects.create(owner=living)
    gone = orphaned(1)
    settings.DATABASE_ROUTERS = [f"{__name__}.Lying", *settings.DATABASE_ROUTERS]
    assert not Owner.objects.exists()  # as the reader has it
    assert one().suspects == 1
    assert suspects() == {str(key) for key in gone}
    assert (rechecks().brake, converge()) == ("", {LEAF: 1})
    assert keys_of_leaves() == {living.pk}


def test_parents_that_managers_hide_are_alive_and_no_empty_table(converge: Converge) -> None:
    living, gone = (Hidden._base_manager.create() for _ in range(2))
    child = relation("left.HiddenUse.hidden").child
    for each in (living, gone):
        child._base_manager.create(hidden=each)
    raw_delete(gone)
    assert not Hidden._base_manager.exists()
    assert one("left.HiddenUse.hidden", "test_left").suspects == 1
    assert rechecks("left.HiddenUse.hidden").brake == ""
    assert converge() == {"left.HiddenUse.hidden": 1}
    assert child._base_manager.get().hidden_id == living.pk


class TestCameBack:
    """The parent is there again, at each point of a suspect's life."""

    def test_before_the_recheck(self, converge: Converge) -> None:
        back, gone = orphaned(2)
        one()
        Owner.objects.create(pk=back)
        done = rechecks()
        assert (len(done.confirmed), done.cancelled, done.waiting) == (1, 1, 0)
        assert converge() == {LEAF: 1}
        assert keys_of_leaves() == {back} != {gone}

    @pytest.mark.parametrize("dispatched", [True, False])
    def test_between_the_confirmation_and_the_cascade(
        self, converge: Converge, *, dispatched: bool
    ) -> None:
        back, _ = orphaned(2)
        one()
        assert len(rechecks().confirmed) == 2
        if dispatched:
            dispatch.sweep_all()
        Owner.objects.create(pk=back)
        assert converge() == {LEAF: 1}
        assert keys_of_leaves() == {back}
        assert Deletion.objects.get(key=str(back)).state == "kept"

    def test_between_the_confirmation_and_the_cascade_by_another_field(
        self, converge: Converge
    ) -> None:
        Badge.objects.create(person=(gone := Person.objects.create(code="it's")))
        Person.objects.create(code="x")
        raw_delete(gone)
        run("test_left")
        assert len(rechecks("left.Badge.person").confirmed) == 1
        Person.objects.create(code="it's")
        assert converge() == {}
        assert Badge.objects.count() == 1

    @pytest.mark.parametrize("label", [LEAF, "left.Badge.person"])
    def test_it_is_no_suspect_any_more_after_the_next_pass(self, label: str) -> None:
        """Under the policy "report" nobody ever rechecks."""
        Leaf.objects.create(owner_id=(owner := Owner.objects.create()).pk)
        Badge.objects.create(person=(person := Person.objects.create(code="a")))
        Person.objects.create(code="b")
        raw_delete(owner, person)
        database = "test_right" if label == LEAF else "test_left"
        run(database)
        assert len(suspects(label)) == 1
        Owner.objects.create(pk=owner.pk)
        Person.objects.create(code="a")
        run(database)
        assert suspects(label) == set()

    def test_a_later_delete_and_an_older_suspect_end_in_one_clean_log(
        self, converge: Converge
    ) -> None:
        (key,) = orphaned(1)
        one()
        Owner.objects.create(pk=key).delete()
        assert len(rechecks().confirmed) <= 1
        assert converge() == {LEAF: 1}
        one()
        assert suspects() == set()
        assert not Leaf.objects.exists()

    def test_what_was_found_by_another_field_has_a_receipt(self, converge: Converge) -> None:
        Badge.objects.create(person=(gone := Person.objects.create(code="a=b")))
        Person.objects.create(code="x")
        raw_delete(gone)
        run("test_left")
        rechecks("left.Badge.person")
        converge()
        (found,) = receipts.receipts_of("parents.Person", "code=a=b")
        assert found["deletion"]["relation"] == "left.Badge.person"
        assert found["deletion"]["targets"] == {"code": "a=b"}
        assert [each["rows"] for each in found["cascades"]] == [{"left.Badge.person": 1}]
        assert receipts.receipts_of("parents.Person", "code=x") == []

    def test_a_key_that_a_new_pair_takes_over_is_not_condemned_by_an_old_suspicion(
        self, converge: Converge
    ) -> None:
        """The old rows are gone, and the new parent is not committed yet."""
        (key,) = orphaned(1)
        one()
        Leaf.objects.all()._raw_delete("test_right")
        with another_session("default") as cursor:
            insert_owner(cursor, key)
            Leaf.objects.create(owner_id=key)
            one()
            recheck()
            converge()
            cursor.db.commit()
        one()
        recheck()
        converge()
        assert keys_of_leaves() == {key}


class TestKeys:
    """Whatever the key holds."""

    TEXTS = (
        "",
        " ",
        " a",
        "a ",
        "a",
        "A",
        "ä",
        "Ä",
        "a\u0308",
        "z",
        "Z",
        "NULL",
        "null",
        "{}",
        "{a,b}",
        "[1]",
        '"',
        "'",
        "\\",
        "\\\\",
        "a,b",
        "a\nb",
        "\t",
        "%s",
        "%",
        "1",
        "01",
        "1.0",
        "-",
        "🎉",
        "ß",
        "ss",
        "\u202e",
    )

    @pytest.mark.parametrize("size", [1, 3, 50])
    def test_texts(self, tune: Tune, converge: Converge, size: int) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=size)
        words = self.unlike_ones(Word, WordUse, "word")
        self.half_of_them_go("left.WordUse.word", words, [one.pk for one in words], converge)

    def unlike_ones(
        self, parent: Any, child: Any, name: str, texts: Iterable[str] = TEXTS
    ) -> list[Any]:
        """Create a parent and a child for each text that neither end takes for an earlier one."""
        rows, parents = child.objects.using(getattr(child, "home", None)), []
        for text in texts:
            alike = parent.objects.filter(pk=text), rows.filter(**{f"{name}_id": text})
            if not any(each.exists() for each in alike):
                parents.append(parent.objects.create(pk=text))
                rows.create(**{name: parents[-1]})
        return parents

    @pytest.mark.parametrize(
        ("label", "values", "bounded"),
        [
            ("left.WordUse.word", {"text": "a"}, False),
            ("left.Badge.person", {"code": "a"}, False),
            ("left.TokenUse.token", {}, True),
            ("left.Optional.owner", {}, True),
        ],
    )
    @pytest.mark.postgresql
    def test_only_what_every_database_sorts_alike_is_asked_for_within_bounds(
        self, captured: Captured, label: str, values: dict[str, Any], *, bounded: bool
    ) -> None:
        """A server with another collation would find no text between the first and the last."""
        found = relation(label)
        found.child.objects.create(**{found.field.name: found.parent.objects.create(**values)})
        with captured:
            run("test_left", labels=[label])
        (asked,) = [sql for sql in captured["default"] if "unnest" in sql]
        assert ("BETWEEN" in asked) is bounded

    @pytest.mark.parametrize("what", ["child", "litechild"])
    def test_texts_and_names_of_tables_that_break_what_does_not_quote_them(
        self, tune: Tune, converge: Converge, what: str
    ) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=4)
        family = FAMILIES[LONG]
        texts = [*self.TEXTS, "x" * 255, "\\x00 \x1b[31m", """it's "x"; DROP TABLE x; -- """]
        parents = self.unlike_ones(family["parent"], family[what], "parent", texts)
        label = f"{family[what]._meta.label}.parent"
        self.half_of_them_go(label, parents, [each.pk for each in parents], converge)

    def test_uuids_that_are_neighbours(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=3)
        keys = [uuid.UUID(int=number) for number in (0, 1, 2, 2**64, 2**127, 2**128 - 1)]
        tokens = [Token.objects.create(pk=key) for key in keys]
        TokenUse.objects.bulk_create(TokenUse(token=each) for each in tokens)
        self.half_of_them_go("left.TokenUse.token", tokens, keys, converge)

    def test_decimals(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=2)
        numbers = [Decimal(text) for text in ("-1.50", "0.00", "0.01", "1.50", "15.00", "9999.99")]
        people = [Person.objects.create(number=number) for number in numbers]
        Invoice.objects.bulk_create(Invoice(person=each) for each in people)
        Invoice.objects.create(person=None)
        self.half_of_them_go("left.Invoice.person", people, [*numbers, None], converge)

    def test_whole_numbers_of_any_size_and_sign(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=2)
        keys = [-(2**63), -5, *ZERO, 7, 2**31, 2**63 - 1]
        owners = [Owner.objects.create(pk=key) for key in keys]
        Leaf.objects.bulk_create(Leaf(owner=each) for each in owners)
        self.half_of_them_go(LEAF, owners, keys, converge)

    @pytest.fixture
    def counted_anew(self) -> Iterator[None]:
        """SQLite gives no key after the largest one: "database or disk is full"."""
        yield
        with connections["test_lite"].cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_sequence")

    @pytest.mark.usefixtures("counted_anew")
    @pytest.mark.parametrize("label", ["lite.Note.mixed", "left.Quote.author"])
    def test_whole_numbers_between_two_kinds_of_databases(
        self, tune: Tune, converge: Converge, label: str
    ) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=2)
        parent, child, name = (
            (Mixed, Note, "mixed") if label == "lite.Note.mixed" else (Author, Quote, "author")
        )
        keys = [-(2**63), -5, *ZERO, 7, 2**31, 2**63 - 1]
        parents = [parent.objects.create(pk=key) for key in keys]
        for each in parents:
            child.objects.create(**{name: each})
        self.half_of_them_go(label, parents, keys, converge)

    def half_of_them_go(
        self, label: str, parents: list[Any], keys: Iterable[Any], converge: Converge
    ) -> None:
        """Every other parent goes: their children are found and removed, and no other."""
        found = relation(label)
        home, (alias,) = found.parent_databases[0], found.child_databases
        gone = parents[::2]
        values = {getattr(each, found.target.attname) for each in gone}
        raw_delete(*gone)
        seen = one(label, alias)
        assert (seen.complete, seen.reason) == (True, "")
        assert seen.suspects == len(gone)
        assert suspects(label, home) == {format_key(found.target, one) for one in values}
        assert len(rechecks(label, override="half of them is right").confirmed) == len(gone)
        assert converge() == {label: len(gone)}
        rows = QuerySet(model=found.child, using=alias)
        assert set(rows.values_list(found.field.attname, flat=True)) == set(keys) - values


class TestMany:
    @pytest.mark.usefixtures("truncated")
    def test_all_rows_orphaned_and_more_of_them_than_a_statement_takes_parameters(
        self, tune: Tune, converge: Converge
    ) -> None:
        number, first = 33_000, 1_000_000
        Leaf.objects.bulk_create(Leaf(owner_id=first + n) for n in range(number))
        assert one().orphans == number
        assert "33,000 of 33,000 keys have no parent" in recheck().brake
        assert len(rechecks(override="all of them are gone").confirmed) == number
        assert converge() == {LEAF: number}
        assert not Leaf.objects.exists()

    @pytest.mark.parametrize("label", ["left.Badge.person", "left.Quote.author"])
    def test_in_a_log_that_holds_texts_or_lives_in_sqlite(self, label: str) -> None:
        number = 3_000
        found = relation(label)
        texts = label == "left.Badge.person"
        values = [f"a{n}" if texts else n + 1 for n in range(number)]
        found.child.objects.bulk_create(found.child(**{found.field.attname: v}) for v in values)
        home = found.parent_databases[0]
        found.parent.objects.using(home).create(**({"code": "b"} if texts else {"pk": 9_999_999}))
        assert one(label, "test_left").suspects == number
        assert one(label, "test_left").suspects == number
        assert len(suspects(label, home)) == number
        done = rechecks(label, override="all of them are gone")
        assert len(done.confirmed) == number


class TestTheLogKnows:
    """What a deletion is about already is left to it."""

    @pytest.mark.parametrize("state", ["recorded", "dispatched"])
    def test_no_suspects_while_a_cascade_is_pending_by_another_field(
        self, converge: Converge, state: str
    ) -> None:
        Badge.objects.create(person=(person := Person.objects.create(code="a")))
        Person.objects.create(code="b")
        person.delete()
        if state == "dispatched":
            dispatch.sweep_all()
        assert one("left.Badge.person", "test_left").suspects == 0
        assert suspects("left.Badge.person") == set()
        assert converge() == {"left.Badge.person": 1}

    def test_a_blocked_cascade_is_no_suspect_and_stays_blocked(self) -> None:
        Leaf.objects.create(owner=(owner := Owner.objects.create()))
        owner.delete()
        dispatch.sweep_all()
        Cascade.objects.update(state="blocked")
        assert one().suspects == 0
        assert set(Cascade.objects.values_list("state", flat=True)) == {"blocked"}

    def test_an_orphan_that_came_after_the_proof_is_found(self, converge: Converge) -> None:
        owner = Owner.objects.create()
        key = owner.pk
        owner.delete()
        converge()
        Cascade.objects.update(
            state="verified", due_at=None, verified_at=timezone.now(), ended_at=timezone.now()
        )
        assert Deletion.objects.get().state == "verified"
        Leaf.objects.create(owner_id=key)
        assert one().suspects == 1
        assert len(rechecks().confirmed) == 1
        assert converge() == {LEAF: 1}

    def test_a_chain_of_databases_goes_on_from_what_a_scan_found(self, converge: Converge) -> None:
        """`test_left` is a child database, and has a log of its own."""
        gone, kept = (Library.objects.create() for _ in range(2))
        for library in (gone, kept):
            BookNote.objects.create(book=Book.objects.create(library=library))
        raw_delete(gone)
        assert one("left.Book.library", "test_left").suspects == 1
        assert one("right.BookNote.book").suspects == 0
        assert len(rechecks("left.Book.library").confirmed) == 1
        assert converge() == {"left.Book.library": 1, "right.BookNote.book": 1}
        assert Book.objects.get().library == kept
        assert BookNote.objects.get().book.library == kept

    def test_the_middle_of_a_chain_that_is_gone_is_found_in_its_own_log(
        self, converge: Converge
    ) -> None:
        gone, kept = (Book.objects.create(library_id=1) for _ in range(2))
        for book in (gone, kept):
            BookNote.objects.create(book=book)
        raw_delete(gone)
        assert one("right.BookNote.book").suspects == 1
        assert suspects("right.BookNote.book", "test_left") == {str(gone.pk)}
        assert not Suspect.objects.using("default").exists()
        assert len(rechecks("right.BookNote.book").confirmed) == 1
        assert converge() == {"right.BookNote.book": 1}
        assert BookNote.objects.get().book == kept


class TestShardsOfChildren:
    """`spread.Entry` lives in `test_left` and in `test_right`."""

    LABEL = "spread.Entry.everywhere"

    def entries(self) -> tuple[Any, Any]:
        gone, kept = (Everywhere.objects.create() for _ in range(2))
        for alias in ("test_left", "test_right"):
            for each in (gone, kept):
                Entry.objects.using(alias).create(everywhere=each)
        raw_delete(gone)
        return gone, kept

    def left(self) -> list[int]:
        return [
            each.everywhere_id
            for alias in ("test_left", "test_right")
            for each in Entry.objects.using(alias)
        ]

    def test_each_shard_is_scanned_and_one_deletion_clears_both(self, converge: Converge) -> None:
        _, kept = self.entries()
        assert [one(self.LABEL, alias).suspects for alias in ("test_left", "test_right")] == [1, 1]
        assert len(suspects(self.LABEL)) == 1
        assert len(rechecks(self.LABEL).confirmed) == 1
        assert converge() == {self.LABEL: 2}
        assert self.left() == [kept.pk, kept.pk]

    def test_rows_in_the_other_shard_keep_a_suspect(self) -> None:
        gone, _ = self.entries()
        run("test_left")
        Entry.objects.using("test_left").filter(everywhere_id=gone.pk).delete()
        run("test_left")
        assert suspects(self.LABEL) == {str(gone.pk)}
        Entry.objects.using("test_right").filter(everywhere_id=gone.pk).delete()
        run("test_left")
        assert suspects(self.LABEL) == set()

    def test_a_shard_that_is_down_keeps_no_other_pass_from_its_end(
        self, refuse: Callable[[str], Any], converge: Converge
    ) -> None:
        gone, _ = self.entries()
        run("test_left")
        with refuse("test_right"):
            seen = one(self.LABEL, "test_left", full=True)
            assert (seen.complete, seen.reason) == (True, "")
            assert suspects(self.LABEL) == {str(gone.pk)}

    def test_two_shards_that_are_scanned_at_once_enter_a_suspect_once(
        self, at_once: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone, _ = self.entries()
        run("test_left")  # both have met their parents
        run("test_right")
        Suspect.objects.all().delete()
        at_once(lambda: run("test_left"), lambda: run("test_right"))
        assert len(rechecks(self.LABEL).confirmed) >= 1
        assert suspects(self.LABEL) == set()
        assert set(Deletion.objects.values_list("key", flat=True)) == {str(gone.pk)}


class TestShardsOfParents:
    """Owners live in `default` and in `test_left`."""

    @pytest.fixture(autouse=True)
    def two_homes(self, committed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        catalogue = relations.Catalogue(
            tuple(
                dataclasses.replace(each, parent_databases=("default", "test_left"))
                for each in relations.discover().relations
                if each.label == LEAF
            )
        )
        with connections["test_left"].schema_editor() as editor:
            editor.create_model(Owner)
        monkeypatch.setattr(discovery, "_known", [catalogue])
        yield
        connections["test_left"].close()
        with connections["test_left"].schema_editor() as editor:
            editor.delete_model(Owner)

    def owners(self) -> tuple[int, int, int]:
        """A leaf each for an owner in either shard, and for one that is gone."""
        here = Owner.objects.using("default").create(pk=1_001).pk
        there = Owner.objects.using("test_left").create(pk=1_002).pk
        for key in (here, there, 1_003):
            Leaf.objects.create(owner_id=key)
        return here, there, 1_003

    def test_who_lives_in_any_of_them_is_alive(self, converge: Converge) -> None:
        here, there, gone = self.owners()
        assert run()[LEAF].suspects == 1
        assert suspects() == {str(gone)}
        assert len(rechecks().confirmed) == 1
        assert converge() == {LEAF: 1}
        assert keys_of_leaves() == {here, there}

    @pytest.mark.parametrize("home", ["default", "test_left"])
    def test_a_transaction_that_is_open_in_any_of_them_is_waited_for(
        self, converge: Converge, home: str
    ) -> None:
        with another_session(home) as cursor:
            key = insert_owner(cursor, 2_000)
            Leaf.objects.create(owner_id=key)
            assert run()[LEAF].suspects == 1
            assert recheck().waiting == 1
            cursor.db.commit()
        assert rechecks().cancelled == 1
        assert converge() == {}

    def test_while_one_is_down_nobody_becomes_a_suspect(self, refuse: Callable[[str], Any]) -> None:
        self.owners()
        with refuse("test_left"):
            found, _ = scan.scan("test_right", seconds=60)
            assert [each.complete for each in found] in ([], [False])
            assert suspects() == set()
        assert run()[LEAF].complete

    def test_while_one_is_down_nobody_is_confirmed_and_its_name_is_told(
        self, refuse: Callable[[str], Any]
    ) -> None:
        _, there, gone = self.owners()
        raw_delete(Owner.objects.using("test_left").get(pk=there))
        run()
        Owner.objects.using("test_left").create(pk=there)
        with refuse("test_left"):
            done = recheck()
        assert (done.confirmed, done.unreachable) == ([], True)
        assert "test_left" in done.reason
        assert suspects() == {str(there), str(gone)}

    def test_one_that_is_not_the_known_one_condemns_nobody(self, converge: Converge) -> None:
        """G10: an alias that points to staging makes orphans of all that live in that shard."""
        here, there, gone = self.owners()
        run()
        Identity.objects.using("test_left").filter(alias="test_left").update(uuid=uuid.uuid4())
        raw_delete(Owner.objects.using("test_left").get(pk=there))
        found, _ = scan.scan("test_right", seconds=60)
        assert [each.complete for each in found] in ([], [False])
        assert suspects() == {str(gone)}
        recheck()
        converge()
        assert {here, there} <= keys_of_leaves()


class TestOneDatabaseForBoth:
    """A shard holds parents and children; so one connection reads both, and writes the log."""

    @pytest.fixture(autouse=True)
    def in_one(self, committed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        catalogue = relations.Catalogue(
            tuple(
                dataclasses.replace(each, parent_databases=("test_left", "default"))
                for each in relations.discover().relations
                if each.label == OPTIONAL
            )
        )
        with connections["test_left"].schema_editor() as editor:
            editor.create_model(Owner)
        monkeypatch.setattr(discovery, "_known", [catalogue])
        yield
        connections["test_left"].close()
        with connections["test_left"].schema_editor() as editor:
            editor.delete_model(Owner)

    def test_orphans_are_found_and_repaired_and_the_living_kept(
        self, tune: Tune, converge: Converge
    ) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        for key, home in ((1, "test_left"), (2, "default")):
            Owner.objects.using(home).create(pk=1_000 + key)
        Optional.objects.bulk_create(Optional(owner_id=1_000 + key) for key in (1, 2, 3, 4))
        seen = run("test_left")[OPTIONAL]
        assert (seen.suspects, seen.complete) == (2, True)
        assert suspects(OPTIONAL, "test_left") == {"1003", "1004"}
        assert len(rechecks(OPTIONAL).confirmed) == 2
        assert converge() == {OPTIONAL: 2}
        assert set(Optional.objects.values_list("owner_id", flat=True)) == {1_001, 1_002}

    def test_what_it_saved_survives_its_death(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        monkeypatch.setattr(scan_pass, "SAVE_SECONDS", 0.0)
        Optional.objects.bulk_create(Optional(owner_id=1_000 + key) for key in range(4))
        saved: list[str | None] = []
        with another_session("test_left") as cursor:
            cursor.db.set_autocommit(True)

            def look(_: Any) -> None:
                column = cursor.db.ops.quote_name("cursor")
                cursor.execute(
                    f"SELECT {column} FROM integrity_scan WHERE relation = %s",  # noqa: S608 (a quoted name)
                    [OPTIONAL],
                )
                saved.extend(cursor.fetchone())

            scan.scan("test_left", seconds=60, mode=scan.Mode(tell=look))
        assert saved == ["1000", "1001", "1002", "1003"]


class Gone(OperationalError):
    """As psycopg raises it when the server ends."""


class TestMisfortune:
    """Databases that go away, time limits and rivals, in the middle of a pass."""

    @pytest.fixture(autouse=True)
    def small(self, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        monkeypatch.setattr(scan_pass, "SAVE_SECONDS", 0.0)

    @contextmanager
    def at_step(
        self, number: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[None]:
        """Call `act` before the parents are asked in that step."""
        asked, steps = reader().missing, list[int]()

        def strike(form: Any, *args: Any, **kwargs: Any) -> list[str]:
            steps.append(1)
            if len(steps) == number:
                act()
            return asked(form, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(reader(), "missing", strike)
            yield

    def kick(self, alias: str) -> None:
        """The server ends our sessions, as it does when it is stopped."""
        with another_session(alias) as cursor:
            cursor.db.set_autocommit(True)
            if cursor.db.vendor == "mysql":
                cursor.execute(
                    "SELECT id FROM information_schema.processlist"
                    " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
                )
                for (number,) in cursor.fetchall():
                    cursor.execute("KILL %s", [number])
                return
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    def test_a_child_database_that_goes_away_is_told_and_its_pass_goes_on_later(
        self, monkeypatch: pytest.MonkeyPatch, refuse: Callable[[str], Any]
    ) -> None:
        keys = orphaned(5)
        with pytest.MonkeyPatch.context() as port:

            def stop() -> None:
                settings = connections["test_right"].settings_dict
                self.kick("test_right")
                port.setitem(settings, "PORT", "1")

            with self.at_step(3, stop, monkeypatch):
                found, unreachable = scan.scan("test_right", labels=[LEAF], seconds=60)
            assert unreachable
            assert not any(each.complete for each in found)
        Scan.objects.update(due_at=timezone.now())
        assert models.ChildDatabase.objects.update(probe_at=timezone.now())
        seen = run()[LEAF]
        assert seen.complete
        assert 0 < seen.keys_scanned < 5
        assert suspects() == {str(key) for key in keys}
        assert Scan.objects.get(relation=LEAF).last_keys == 5

    def test_a_child_database_that_was_away_can_be_scanned_as_soon_as_it_is_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        orphaned(5)
        with pytest.MonkeyPatch.context() as port:

            def stop() -> None:
                self.kick("test_right")
                port.setitem(connections["test_right"].settings_dict, "PORT", "1")

            with self.at_step(3, stop, monkeypatch):
                scan.scan("test_right", labels=[LEAF], seconds=60)
        models.ChildDatabase.objects.update(probe_at=timezone.now())
        assert run()[LEAF].reason == ""

    @pytest.mark.parametrize("strike", ["session", "server"])
    def test_a_log_that_goes_away_is_told_and_the_other_logs_are_scanned(
        self, monkeypatch: pytest.MonkeyPatch, strike: str
    ) -> None:
        """The parents of `right.BookNote` are in `test_left`, and so is their log."""
        BookNote.objects.create(book_id=1_000)
        keys = orphaned(2)
        asked = reader().missing
        with pytest.MonkeyPatch.context() as patch:

            def look(form: Any, target: Any, step: Any, *, parent: str) -> list[str]:
                if parent == "test_left":
                    self.kick("test_left")
                    if strike == "server":
                        patch.setitem(connections["test_left"].settings_dict, "PORT", "1")
                return asked(form, target, step, parent=parent)

            patch.setattr(reader(), "missing", look)
            try:
                found, _ = scan.scan("test_right", seconds=60)
            finally:
                connections["test_left"].close()
        seen = {each.relation: each for each in found}
        assert seen[LEAF].complete
        assert not seen["right.BookNote.book"].complete
        assert seen["right.BookNote.book"].reason
        assert suspects() == {str(key) for key in keys}

    def test_a_time_limit_in_the_middle_gives_the_scan_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = orphaned(5)

        def limit() -> None:
            raise SoftTimeLimitExceeded

        with self.at_step(3, limit, monkeypatch):
            _, unreachable = scan.scan(
                "test_right", labels=[LEAF], seconds=60, interruptions=(SoftTimeLimitExceeded,)
            )
        assert unreachable == ""  # it is slow, and not away
        assert Scan.objects.get(relation=LEAF).claim is None
        models.ChildDatabase.objects.update(probe_at=timezone.now())
        assert run()[LEAF].complete
        assert suspects() == {str(key) for key in keys}

    def test_two_scans_at_once_are_one(self, at_once: Callable[..., Any]) -> None:
        keys = orphaned(40)
        run()  # they have met, and no row of `Scan` is missing
        Suspect.objects.all().delete()
        seen = [each[LEAF] for each in at_once(run, run)]
        assert {each.reason for each in seen} <= {"", "another scan is at work on it"}
        assert any(each.complete for each in seen)
        assert Suspect.objects.count() == len(keys) == len(suspects())

    def test_a_rival_that_outlives_its_lease_saves_nothing_and_promises_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = orphaned(5)
        seen: list[scan.Scanned] = []

        def overtaken() -> None:
            Scan.objects.filter(relation=LEAF).update(due_at=AGES_AGO)
            other = ThreadOf(lambda: run()[LEAF])
            seen.append(other.result)

        with self.at_step(3, overtaken, monkeypatch):
            late = run(labels=[LEAF])[LEAF]
        (other,) = seen
        assert other.complete
        assert (late.complete, late.reason) == (False, "another scan took it over")
        assert suspects() == {str(key) for key in keys}
        assert Scan.objects.get(relation=LEAF).last_keys == 5

    def test_a_step_that_fails_is_taken_again_and_what_was_seen_before_is_kept(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = orphaned(5)

        def fail() -> None:
            raise DatabaseError("deadlock detected")

        with self.at_step(3, fail, monkeypatch):
            seen = run(labels=[LEAF])[LEAF]
        assert (seen.complete, seen.keys_scanned) == (False, 2)
        assert seen.reason == "DatabaseError"
        assert Scan.objects.get(relation=LEAF).finished_at is None
        assert run()[LEAF].keys_scanned == 3
        assert suspects() == {str(key) for key in keys}

    @pytest.mark.postgresql
    def test_the_server_s_own_code_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A statement of the pipeline fails later than it was sent."""
        orphaned(3)
        asked = reader().ask

        def slow(form: Any, field: Any, after: str | None, limit: int, *, child: str) -> Any:
            if after is not None:
                cursor = connections[child].cursor()
                cursor.execute("SET LOCAL statement_timeout = '1ms'")
                cursor.execute("SELECT pg_sleep(1)")
            return asked(form, field, after, limit, child=child)

        with monkeypatch.context() as patch:
            patch.setattr(reader(), "ask", slow)
            assert "57014" in run(labels=[LEAF])[LEAF].reason
        assert run()[LEAF].complete

    def test_a_step_that_is_too_slow_for_the_server_is_tried_with_fewer_keys(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a scan whose first step takes longer than `statement_timeout` never gets on."""
        tune(grace_seconds=0.001, scan_step_keys_max=50_000)
        orphaned(5)
        asked = reader().ask

        def slow(form: Any, field: Any, after: str | None, limit: int, *, child: str) -> Any:
            if limit > 100:
                raise OperationalError("canceling statement due to statement timeout")
            return asked(form, field, after, limit, child=child)

        monkeypatch.setattr(reader(), "ask", slow)
        assert any(run(labels=[LEAF])[LEAF].complete for _ in range(20))

    def test_a_relation_that_fails_keeps_no_other_from_its_turn(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A tick's time is up after the first relation; the next tick begins with another one."""
        orphaned(1)
        asked = reader().missing

        def fail(form: Any, field: Any, step: Any, *, parent: str) -> list[str]:
            if field.remote_field.model is Owner:
                raise OperationalError("canceling statement due to statement timeout")
            return asked(form, field, step, parent=parent)

        monkeypatch.setattr(reader(), "missing", fail)
        due = scan.due("test_right", using="default")
        for _ in range(2 * len(due)):
            run(throttled=True, seconds=0)
        assert scan.due("test_right", using="default") == (LEAF,)

    @pytest.mark.postgresql
    def test_a_long_scan_holds_no_lock_on_its_table_for_long(self, tune: Tune) -> None:
        """A migration of the table would wait for its end, and everybody behind the migration."""
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        orphaned(5)
        pid = backend("test_right")
        begun: list[Any] = []
        with another_session("test_right") as cursor:
            cursor.db.set_autocommit(True)

            def look(_: Any) -> None:
                cursor.execute("SELECT xact_start FROM pg_stat_activity WHERE pid = %s", [pid])
                begun.extend(cursor.fetchone())

            scan.scan("test_right", labels=[LEAF], seconds=60, mode=scan.Mode(tell=look))
        assert len(begun) == 5
        assert None in begun or len(set(begun)) > 1


def backend(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


class ThreadOf:
    """The result of a function that another thread ran, with connections of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        def one() -> Any:
            try:
                return function()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as threads:
            self.result = threads.submit(one).result()


class TestBrake:
    """Absurd figures repair nothing, whatever way they came about."""

    @pytest.fixture(autouse=True)
    def tight(self, tune: Tune) -> None:
        tune(grace_seconds=0.001, brake_keys=2, scan_step_keys_max=2)

    def test_it_holds_when_a_full_scan_begins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Leaf.objects.bulk_create(
            Leaf(owner=each) for each in Owner.objects.bulk_create(Owner() for _ in range(6))
        )
        run()  # a good pass
        Owner.objects.filter(pk__in=keys_of_leaves())._raw_delete("default")
        for _ in range(2):
            run(seconds=0, labels=[LEAF])  # a bad one, cut short
        assert recheck().brake
        begun = scan_pass.Pass._begin
        done: list[repair.Repaired] = []

        def repair_meanwhile(one: Any, last_rows: int) -> None:
            begun(one, last_rows)
            done.append(recheck())

        monkeypatch.setattr(scan_pass.Pass, "_begin", repair_meanwhile)
        run(full=True, labels=[LEAF])
        assert [each.confirmed for each in done] == [[]]
        assert done[0].brake

    def test_it_holds_while_the_next_pass_is_young(self) -> None:
        """Few keys of a bad pass are no better a sight than all keys of the one before."""
        Leaf.objects.bulk_create(
            Leaf(owner=each) for each in Owner.objects.bulk_create(Owner() for _ in range(12))
        )
        Owner.objects.filter(pk__in=sorted(keys_of_leaves())[:6])._raw_delete("default")
        run()
        assert "6 of 12 keys" in recheck().brake
        assert run(seconds=0, labels=[LEAF])[LEAF].suspects == 2
        done = recheck()
        assert (done.confirmed, done.waiting) == ([], 6)
        assert done.brake

    def test_a_recheck_that_disagrees_discredits_the_scan(self, tune: Tune) -> None:
        """Not even at the next tick: what is missing must be seen anew."""
        tune(grace_seconds=0.001, brake_keys=2, brake_share=1.0)
        *back, gone = orphaned(4)
        run()
        Owner.objects.bulk_create(Owner(pk=key) for key in back)
        assert eventually(lambda: "3 of 4 missing parents alive" in recheck().brake, timeout=30)
        assert (recheck().confirmed, suspects()) == ([], set())
        run()
        assert suspects() == {str(gone)}
        assert len(rechecks().confirmed) == 1

    def test_it_holds_for_the_rows_of_every_relation_to_the_same_parent(
        self, converge: Converge
    ) -> None:
        """A deletion takes the rows of all relations; so one relation's brake stops it."""
        keys = orphaned(6)
        Optional.objects.create(owner_id=keys[0])
        run("test_left")
        run("test_right")
        assert recheck(LEAF).brake
        rechecks(OPTIONAL)
        converge()
        assert Leaf.objects.count() == 6

    def test_an_empty_shard_is_no_excuse_for_an_empty_table(self) -> None:
        Owner.objects.all().delete()
        orphaned(1)
        run()
        assert recheck().brake == "the parent's table is empty"


class TestPolicy:
    def test_a_relation_that_is_only_reported_keeps_its_rows(
        self, tune: Tune, converge: Converge
    ) -> None:
        """Its rows are for somebody to look at, whatever else hung on the parent."""
        tune(grace_seconds=0.001, scan_policy={LEAF: "repair"})
        (key,) = orphaned(1)
        Optional.objects.create(owner_id=key)
        run("test_left")
        run("test_right")
        assert [each.label for each in repair.wanted()] == [LEAF]
        assert len(rechecks(LEAF).confirmed) == 1
        converge()
        assert not Leaf.objects.exists()
        assert Optional.objects.count() == 1

    def test_nor_does_another_relation_of_the_same_database_lose_any(
        self, converge: Converge
    ) -> None:
        (key,) = orphaned(1)
        Optional.objects.create(owner_id=key)
        Profile.objects.create(owner_id=key)
        run("test_left")
        assert len(rechecks(OPTIONAL).confirmed) == 1
        converge()
        assert not Optional.objects.exists()
        assert Profile.objects.count() == 1

    @pytest.mark.parametrize(
        "label", ["left.Protecting.guarded", "right.Restricting.guarded", "right.Untouched.giver"]
    )
    def test_what_no_policy_removes_is_never_touched(self, label: str, converge: Converge) -> None:
        found = relation(label)
        (alias,) = found.child_databases
        found.parent.objects.create()
        found.child.objects.create(**{found.field.attname: 999_999})
        assert run(alias)[label].orphans == 1
        assert repair.repair([found], override="all") == []
        assert converge() == {}
        assert found.child.objects.count() == 1


class TestOldSuspects:
    """The log outlives migrations, renames and restores."""

    @pytest.mark.postgresql
    def test_a_barrier_of_another_server_is_taken_anew(self, converge: Converge) -> None:
        """A dump that was restored elsewhere begins to count its transactions anew."""
        orphaned(1)
        run()
        Suspect.objects.update(fence={"default": 10**15})
        assert recheck().waiting == 1
        run()
        assert len(rechecks().confirmed) == 1
        assert converge() == {LEAF: 1}

    def test_one_that_names_a_field_of_yesterday_stops_no_other(self) -> None:
        Badge.objects.create(person_id="a")
        Person.objects.create(code="b")
        Suspect.objects.create(
            parent="parents.Person", relation="left.Badge.person", field="slug", value="x"
        )
        assert run("test_left")["left.Badge.person"].complete
        assert len(rechecks("left.Badge.person").confirmed) == 1

    def test_one_whose_key_the_field_cannot_hold_any_more_stops_no_other(self) -> None:
        orphaned(1)
        Suspect.objects.create(parent="parents.Owner", relation=LEAF, value="x-1")
        assert run()[LEAF].complete
        assert len(rechecks().confirmed) == 1


def test_the_drain_of_what_a_scan_confirmed_is_safe_to_repeat(converge: Converge) -> None:
    orphaned(2)
    run()
    rechecks()
    dispatch.sweep_all()
    first = cascade.drain("test_right").rows
    assert first == {LEAF: 2}
    with transaction.atomic(using="default"):
        Cascade.objects.update(state="pending", due_at=timezone.now())
    assert cascade.drain("test_right").rows == {}
