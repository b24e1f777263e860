"""G2, G9, G13: keys that a column of MariaDB takes for equal although their texts differ."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity import relations, scan
from apps.integrity.backends import collations
from apps.integrity.cascade import verification
from apps.integrity.checks import comparisons
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.scan import repair
from tests.kinds.left.models import Badge, WordUse
from tests.kinds.parents.models import Person, Word

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

LEFT = "test_left"
USE, BADGE = "left.WordUse.word", "left.Badge.person"


def on_mysql(alias: str) -> bool:
    return connections[alias].vendor == "mysql"


def uses(*words: str) -> None:
    WordUse.objects.bulk_create(WordUse(word_id=word) for word in words)


def left() -> list[str]:
    return sorted(WordUse.objects.values_list("word_id", flat=True))


def verified() -> int:
    Cascade.objects.filter(state="done").update(due_at=timezone.now())
    return verification.verify(LEFT).verified


def scanned(label: str = USE) -> Any:
    (done,), _ = scan.scan(LEFT, labels=[label], seconds=60)
    assert done.complete
    return done


class TestBothEndsCompareAlike:
    """As with Django on one database: each spelling refers to the same parent."""

    @pytest.fixture(autouse=True)
    def _here(self) -> None:
        if not (on_mysql("default") and on_mysql(LEFT)):
            pytest.skip("parents or children are on another engine")

    def test_rows_of_each_spelling_go_and_are_counted(self, converge: Converge) -> None:
        Word.objects.create(text="Ada")
        Word.objects.create(text="bob")
        uses("Ada", "ada", "ADA", "ada ", "BOB")
        Word.objects.get(text="ada").delete()
        assert converge() == {USE: 4}
        assert left() == ["BOB"]
        assert verified() == 1
        assert Deletion.objects.get().verified_at is not None

    def test_by_another_field_of_the_parent(self, converge: Converge) -> None:
        person = Person.objects.create(code="Ada")
        Badge.objects.bulk_create(Badge(person_id=code) for code in ("Ada", "ada", "ADA"))
        person.delete()
        assert converge() == {BADGE: 3}
        assert verified() == 1

    def test_two_deleted_parents_keep_their_counts_apart(self, converge: Converge) -> None:
        Word.objects.bulk_create([Word(text="Ada"), Word(text="bob")])
        uses("ada", "ADA", "Bob")
        Word.objects.all().delete()
        assert converge() == {USE: 3}
        rows = {one.key: 0 for one in Deletion.objects.all()}
        for cascade in Cascade.objects.filter(database=LEFT):
            for pk, counts in (cascade.rows or {}).items():
                rows[Deletion.objects.get(pk=pk).key] += counts[USE]
        assert rows == {"Ada": 2, "bob": 1}

    def test_a_parent_that_is_back_in_other_letters_keeps_its_rows(
        self, converge: Converge
    ) -> None:
        Word.objects.create(text="Ada")
        uses("Ada", "ada")
        Word.objects.get().delete()
        Word.objects.create(text="ADA")
        assert converge() == {}
        assert left() == ["Ada", "ada"]
        assert Cascade.objects.get(database=LEFT).state == "kept"

    def test_a_row_in_other_letters_is_no_orphan(self) -> None:
        Word.objects.create(text="ADA")
        uses("ada", "Ada", "ada ")
        assert scanned().orphans == 0
        assert not Suspect.objects.exists()

    def test_orphans_of_each_spelling_are_repaired(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001)
        Word.objects.create(text="Ada")
        uses("ada", "bob", "BOB", "Bob")
        scanned()
        time.sleep(0.01)
        [done] = repair.repair([relations.catalogue().relation(USE)])
        assert len(done.confirmed) == 1
        assert converge() == {USE: 3}
        assert left() == ["ada"]


class TestTheParentsCompareExactly:
    """Children in MariaDB, parents in PostgreSQL: only the very text of the key goes."""

    @pytest.fixture(autouse=True)
    def _here(self) -> None:
        if on_mysql("default") or not on_mysql(LEFT):
            pytest.skip("the parents compare as the children do")

    def test_exact_rows_go_and_others_are_reported(self, tune: Tune, converge: Converge) -> None:
        tune(attempts=1)
        Word.objects.create(text="Ada")
        Word.objects.create(text="bob")
        uses("Ada", "Ada", "ada", "Ada ", "bob")
        Word.objects.filter(text__in=["Ada", "bob"]).delete()
        for _ in range(5):
            converge()
            Cascade.objects.filter(state="waiting").update(due_at=timezone.now())
        assert left() == ["Ada ", "ada"]
        assert verified() == 1  # that of bob
        stuck = Cascade.objects.get(database=LEFT, state="blocked")
        assert "only by the column's collation" in stuck.reason
        WordUse.objects.all().delete()
        stuck.state, stuck.due_at, stuck.attempts = "pending", timezone.now(), 0
        stuck.save()
        converge()
        assert verified() == 1

    @pytest.mark.parametrize(
        ("rows", "living"),
        [
            (("Ada", "ada"), "ada"),  # the living parent has rows
            (("Ada",), "ADA"),  # and where it has none
            (("Jose", "José"), "José"),  # equal but for an accent
        ],
    )
    def test_rows_that_the_child_takes_for_a_living_parents_stay(
        self, rows: tuple[str, ...], living: str, converge: Converge
    ) -> None:
        Word.objects.create(text=rows[0])
        Word.objects.create(text=living)
        uses(*rows)
        Word.objects.get(text=rows[0]).delete()
        assert converge() == {}
        assert left() == sorted(rows)
        assert Cascade.objects.get(database=LEFT).state == "kept"

    def test_a_scan_sees_each_spelling(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001)
        Word.objects.create(text="Ada")
        Word.objects.create(text="zoe")
        uses("Ada", "ada", "bob", "BOB", "bob ", "zoe")
        done = scanned()  # the end of the pass drops `ada`, whose parent may be Ada
        assert {one.value for one in Suspect.objects.all()} == {"bob", "BOB", "bob "}
        assert done.orphans == 4
        time.sleep(0.01)
        [repaired] = repair.repair([relations.catalogue().relation(USE)])
        assert (len(repaired.confirmed), repaired.cancelled) == (3, 0)
        for _ in range(5):
            converge()
            Cascade.objects.filter(state="waiting").update(due_at=timezone.now())
        assert left() == ["Ada", "ada", "zoe"]

    def test_a_row_that_is_not_committed_is_waited_for_in_its_own_spelling(
        self, converge: Converge
    ) -> None:
        Word.objects.create(text="Ada")
        uses("Ada")
        Word.objects.get().delete()
        converge()
        with transaction.atomic(using=LEFT):
            uses("Zoe")
            assert WordUse.objects.count() == 1
        assert verified() == 1


def warned() -> list[Any]:
    """Return what W038 says of the relation of words."""
    field = relations.catalogue().relation(USE).field
    return [one for one in comparisons.unlike(["default", LEFT]) if one.obj is field]


def changed_as_told(hint: str) -> str:
    """Execute the hint's first statement; return the alias that it is for."""
    alias, statement = re.findall(r"In '(\w+)'.*?: (ALTER TABLE [^.]+)\.", hint)[0]
    with connections[alias].cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute(statement)
        cursor.execute("SET foreign_key_checks = 1")
    return str(alias)


@pytest.fixture
def restored(committed: None) -> Iterator[None]:
    """The columns as migrations make them."""
    places = [("default", "parents_word", "text"), (LEFT, "left_worduse", "word_id")]
    before = [(*each, column_of(*each)) for each in places if on_mysql(each[0])]
    yield
    collations._known.clear()
    for alias, table, column, collation in before:
        with connections[alias].cursor() as cursor:
            change = f"MODIFY {column} varchar(12) COLLATE {collation} NOT NULL"
            cursor.execute(f"ALTER TABLE {table} {change}")


def column_of(alias: str, table: str, column: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT collation_name FROM information_schema.columns WHERE table_schema = DATABASE()"
            " AND table_name = %s AND column_name = %s",
            [table, column],
        )
        return str(cursor.fetchone()[0])


class TestW038:
    """`check` names relations whose ends compare differently, and how to mend them."""

    def test_ends_on_different_engines_until_the_hint_is_followed(self, restored: None) -> None:
        if on_mysql("default") == on_mysql(LEFT):
            pytest.skip("both ends are on one engine")
        [warning] = warned()
        assert warning.id == "integrity.W038"
        assert "MariaDB, utf8mb4_" in warning.msg
        assert "(PostgreSQL)" in warning.msg
        says = "Those that are equal by the collation alone are left, and the cascade ends blocked"
        other = "rows that spell a deleted key otherwise stay"
        assert (says if on_mysql(LEFT) else other) in warning.msg
        assert changed_as_told(warning.hint) == (LEFT if on_mysql(LEFT) else "default")
        collations._known.clear()
        assert warned() == []

    def test_two_collations_of_one_engine_until_the_hint_is_followed(self, restored: None) -> None:
        if not (on_mysql("default") and on_mysql(LEFT)):
            pytest.skip("parents or children are on another engine")
        assert warned() == []
        changed_as_told(
            f"In '{LEFT}': ALTER TABLE left_worduse MODIFY word_id varchar(12)"
            " COLLATE utf8mb4_swedish_ci NOT NULL."
        )
        collations._known.clear()
        [warning] = warned()
        assert "MariaDB, utf8mb4_swedish_ci" in warning.msg
        assert changed_as_told(warning.hint) == LEFT
        collations._known.clear()
        assert warned() == []

    def test_rows_in_other_letters_stay_below_parents_that_ignore_case(
        self, tune: Tune, converge: Converge
    ) -> None:
        if not on_mysql("default") or on_mysql(LEFT):
            pytest.skip("the parents compare as the children do")
        tune(grace_seconds=0.001)
        Word.objects.create(text="Ada")
        uses("Ada", "ada")
        scanned()
        assert not Suspect.objects.exists()  # the parent's column takes `ada` for Ada
        Word.objects.get().delete()
        assert converge() == {USE: 1}
        assert left() == ["ada"]
        scanned()
        assert Suspect.objects.get().value == "ada"
