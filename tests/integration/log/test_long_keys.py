"""Keys of up to `KEY_CHARS` characters are recorded, and found by an index of every engine."""

from __future__ import annotations

import random
import re
import sqlite3
import string
from typing import TYPE_CHECKING

import pytest
from django.db import DataError, connection, connections, transaction

from apps.integrity import backends, capture, relations
from apps.integrity.capture import triggers
from apps.integrity.exceptions import KeyTooLong
from apps.integrity.log import suspects
from apps.integrity.models import KEY_CHARS, Deletion
from apps.integrity.relations import relation as relations_relation
from apps.integrity.report import lists, receipts
from tests.kinds.coded.models import FAMILIES
from tests.kinds.left.models import WordUse
from tests.kinds.lite.models import Author
from tests.kinds.parents.models import Person, Word
from tests.log_rows import make

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from django.db.models import Model

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

INDEX = "integrity_deletion_key"
WORDS = relations_relation.label(WordUse._meta.get_field("word"))
LABEL = Word._meta.label


def _letters(seed: int, letters: str) -> str:
    return "".join(random.Random(seed).choices(letters, k=KEY_CHARS))  # noqa: S311


LONG = {
    "ascii": _letters(1, string.printable[:90]),
    "four bytes each": _letters(2, "".join(map(chr, range(0x1F300, 0x1F5FF)))),
}
#: Parents with a text as their key, beside their log on SQLite.
SQLITE = FAMILIES["Strict, parents on SQLite"]
ALIKE = [f"{'x' * (KEY_CHARS - 1)}{end}" for end in ("1", "2")]


@pytest.fixture(params=["signal", "both"])
def long_keys(
    request: pytest.FixtureRequest, committed: None, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Parents with text of any length as their key, and children that hold it; gives the way."""
    _unbounded(monkeypatch, Word, "text")
    tables = [
        ("default", Word._meta.db_table, "text"),
        ("test_left", WordUse._meta.db_table, "word_id"),
    ]
    tune(capture={LABEL: request.param})
    for alias, table, column in tables:
        _execute(alias, f"ALTER TABLE {table} ALTER COLUMN {column} TYPE text")
    triggers.install("default")
    yield request.param
    tune(capture="signal")
    triggers.install("default")
    for alias, table, column in tables:
        _execute(alias, f"DELETE FROM {table}")  # noqa: S608
        _execute(alias, f"ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar(12)")


def _execute(alias: str, statement: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.usefixtures("long_keys")
class TestTheLongest:
    @pytest.mark.parametrize("kind", LONG)
    def test_it_is_deleted_and_cascaded(
        self, kind: str, converge: Callable[[], Counter[str]]
    ) -> None:
        key = LONG[kind]
        word, kept = Word.objects.bulk_create([Word(text=key), Word(text=key[:-1] + "~")])
        WordUse.objects.create(word=word)
        WordUse.objects.create(word=kept)
        word.delete()
        assert list(Deletion.objects.values_list("key", flat=True)) == [key]
        assert converge() == {WORDS: 1}
        assert WordUse.objects.get().word_id == kept.pk
        (receipt,) = receipts.receipts_of(LABEL, key)
        assert receipt["deletion"]["key"] == key
        assert receipts.receipts_of(LABEL, kept.pk) == []

    def test_keys_that_begin_alike_are_told_apart(self) -> None:
        one, other = Word.objects.bulk_create(Word(text=key) for key in ALIKE)
        one.delete()
        assert len(receipts.receipts_of(LABEL, ALIKE[0])) == 1
        assert receipts.receipts_of(LABEL, ALIKE[1]) == []
        assert [each.key for each in receipts.newest(Word, ALIKE, using="default")] == ALIKE[:1]
        relation = relations.catalogue().relation(WORDS)
        entered = suspects.suspect(relation, ALIKE, {}, database="test_left", using="default")
        assert entered.suspects == ALIKE[1:]
        with transaction.atomic():
            other.delete()
            assert capture.record((Word, ALIKE[1:]), using="default") == ALIKE[1:]


def _unbounded(monkeypatch: pytest.MonkeyPatch, model: type[Model], name: str) -> None:
    monkeypatch.setattr(model._meta.get_field(name), "max_length", None)


class TestTooLong:
    """The delete is refused, says what to do, and leaves the row and the log as they were."""

    KEY = "x" * (KEY_CHARS + 1)
    REFUSED = f"has more than {KEY_CHARS} characters.*Nothing was deleted.*'off'"

    def test_it_is_refused_by_signal_and_by_trigger(self, long_keys: str) -> None:
        Word.objects.bulk_create([Word(text=self.KEY), Word(text="short")])
        deletes = [Word.objects.get(text=self.KEY).delete, Word.objects.all().delete]
        if long_keys != "signal":
            deletes.append(lambda: Word.objects.all()._raw_delete("default"))
        for delete in deletes:
            with pytest.raises((KeyTooLong, DataError), match=self.REFUSED):
                delete()
            assert Word.objects.count() == 2
            assert not Deletion.objects.exists()

    @pytest.mark.parametrize("how", ["signal", "trigger"])
    def test_so_is_a_value_that_other_rows_refer_to(
        self, how: str, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = Person._meta.db_table
        _unbounded(monkeypatch, Person, "code")
        tune(capture={Person._meta.label: how})
        _execute("default", f"ALTER TABLE {table} ALTER COLUMN code TYPE text")
        try:
            triggers.install("default")
            Person.objects.create(code=self.KEY)
            short = Person.objects.create(code="short")
            with pytest.raises((KeyTooLong, DataError), match=self.REFUSED):
                Person.objects.all().delete()
            assert Person.objects.count() == 2
            assert not Deletion.objects.exists()
            short.delete()
            assert Deletion.objects.get().targets == {"code": "short", "number": None}
        finally:
            tune(capture="signal")
            triggers.install("default")
            _execute("default", f"DELETE FROM {table}")  # noqa: S608
            _execute("default", f"ALTER TABLE {table} ALTER COLUMN code TYPE varchar(20)")

    @pytest.mark.parametrize("alias", ["default", "test_lite"])
    def test_so_is_one_that_is_recorded_by_hand(self, alias: str) -> None:
        parent = Word if alias == "default" else SQLITE.parent
        with pytest.raises(KeyTooLong, match=self.REFUSED):
            capture.record((parent, [f"s-{self.KEY}"]), using=alias)
        assert not Deletion.objects.using(alias).exists()

    def test_sqlite_bounds_no_column_and_the_log_beside_it_takes_none_either(self) -> None:
        parents = SQLITE.parent.objects
        for number, key in enumerate((f"s-{self.KEY}", "s-1")):
            parents.create(id=key, code=f"s-{number}", n=number)
        for delete in (parents.get(n=0).delete, parents.all().delete):
            with pytest.raises(KeyTooLong, match=self.REFUSED):
                delete()
            assert parents.count() == 2
            assert not Deletion.objects.using("test_lite").exists()
        parents.get(n=1).delete()
        assert Deletion.objects.using("test_lite").get().key == "s-1"


def _filled(alias: str, label: str) -> None:
    keys = [f"k{number}" for number in range(5_000)]
    make(label, keys, ["test_left"], state="verified", source="api", using=alias)


def _looks(parent: type[Model], keys: list[str], alias: str) -> None:
    """Every way in which the log is asked for deletions by their keys."""
    label = parent._meta.label
    receipts.receipts_of(label, keys[0])
    receipts.newest(parent, keys, using=alias)
    list(lists.deletions(lists.Wanted(using=alias, model=label, key=keys[0])).rows)
    backends.log_backend(alias).triggered_deletions(parent, keys, using=alias)
    relation = next(e for e in relations.catalogue().relations if e.parent is parent)
    suspects.suspect(relation, keys, {}, database=relation.child_databases[0], using=alias)


def _by_key(asked: list[str]) -> list[str]:
    """The statements that look for deletions, other than all of a database's."""
    pattern = r"select .*integrity_deletion.* where .*\bkey\"? (=|in) "
    return [each for each in asked if re.match(pattern, each, re.IGNORECASE)]


class TestThePlan:
    def test_postgresql_looks_into_the_index(self, captured: Captured) -> None:
        _filled("default", LABEL)
        _execute("default", "ANALYZE integrity_deletion")
        with captured:
            _looks(Word, ["k77", "k78"], "default")
        asked = _by_key(captured["default"])
        assert len(asked) == 5
        with connection.cursor() as cursor:
            for each in asked:
                cursor.execute(f"EXPLAIN {each}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert INDEX in plan, plan
                assert "key" in plan.partition("Index Cond")[2], plan

    def test_sqlite_does_as_well(self, captured: Captured) -> None:
        _filled("test_lite", "lite.Author")
        with captured:
            _looks(Author, ["77", "78"], "test_lite")
        asked = _by_key(captured["test_lite"])
        assert len(asked) == 4  # there are no triggers to ask for
        with connections["test_lite"].cursor() as cursor:
            for each in asked:
                cursor.execute(f"EXPLAIN QUERY PLAN {each}")
                plan = " ".join(str(row[-1]) for row in cursor.fetchall())
                assert f"{INDEX} (parent=? AND key=?)" in plan, each + plan

    def test_sqlite_without_django_writes_and_looks(self) -> None:
        """The index needs no function that Django adds to its connections."""
        with sqlite3.connect(connections["test_lite"].settings_dict["NAME"]) as bare:
            bare.execute(
                "INSERT INTO integrity_deletion (parent, key, source)"
                " VALUES ('lite.Author', '1', 'api')"
            )
            bare.commit()
            ((key,),) = bare.execute(
                f"SELECT key FROM integrity_deletion INDEXED BY {INDEX}"  # noqa: S608
                " WHERE parent = 'lite.Author' AND key = '1'"
            )
        bare.close()
        assert key == "1"
