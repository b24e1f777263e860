"""W038: the two ends of a relation take different texts for equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import relations
from apps.integrity.backends import collations
from apps.integrity.backends.comparisons import Comparison, comparison
from apps.integrity.backends.postgresql import sql
from apps.integrity.checks import comparisons, databases
from tests.collated import collated
from tests.kinds.left.models import WordUse
from tests.kinds.lite.models import Reading
from tests.kinds.parents.models import Word

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from django.core.checks import CheckMessage

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

ENDS = ("default", "test_left", "test_right", "test_lite")
USE = "left.WordUse.word"


def found(label: str) -> list[CheckMessage]:
    """Return what is said of that relation."""
    relation = relations.catalogue().relation(label)
    return [each for each in comparisons.unlike(ENDS) if each.obj is relation.field]


@pytest.fixture
def ignoring_case(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The children's column ignores case. (These servers have no nondeterministic collations.)"""
    target = Word._meta.get_field("text")
    exact = target.rel_db_type

    def kind(connection: Any) -> Any:
        return "citext" if connection.alias == "test_left" else exact(connection)

    monkeypatch.setattr(target, "rel_db_type", kind)
    sql.type_of.cache_clear()
    with connections["test_left"].cursor() as cursor:
        cursor.execute("CREATE EXTENSION citext")
        cursor.execute("ALTER TABLE left_worduse ALTER word_id TYPE citext")
        yield
        cursor.execute("ALTER TABLE left_worduse ALTER word_id TYPE varchar(12)")
        cursor.execute("DROP EXTENSION citext")
    sql.type_of.cache_clear()


@pytest.mark.postgresql
def test_w038_a_type_that_ignores_case_and_what_it_does(
    ignoring_case: None, converge: Callable[[], Counter[str]]
) -> None:
    [warning] = found(USE)
    assert warning.id == "integrity.W038"
    assert warning.msg.startswith(
        "left.WordUse.word in 'test_left' (PostgreSQL, citext) and parents.Word.text in"
        " 'default' (PostgreSQL) do not take the same texts for equal: rows whose key is equal by"
    )
    assert (
        str(warning.hint)
        == f"In 'test_left': let {USE} be a CharField or a TextField, and migrate."
    )
    Word.objects.create(text="Ada")
    Word.objects.create(text="ada")
    WordUse.objects.bulk_create([WordUse(word_id="Ada"), WordUse(word_id="ada")])
    Word.objects.get(text="Ada").delete()
    assert converge() == {USE: 2}  # as the warning says, and guarantees.md


@pytest.mark.postgresql
def test_w038_says_how_to_change_a_column_s_collation(monkeypatch: pytest.MonkeyPatch) -> None:
    with connections["test_left"].cursor() as cursor:
        cursor.execute('ALTER TABLE left_worduse ALTER word_id TYPE varchar(12) COLLATE "C"')
    of_column = comparison(relations.catalogue().relation(USE).field, "test_left")
    assert of_column == Comparison("postgresql", "C", exact=True)
    assert found(USE) == []  # the order of texts is another, but none equals another
    ignoring = Comparison("postgresql", "ignoring_case", exact=False)
    monkeypatch.setattr(
        comparisons,
        "comparison",
        lambda field, using: ignoring if using == "test_left" else comparison(field, using),
    )
    [warning] = found(USE)
    place, _, statement = str(warning.hint).rstrip(".").partition(": ")
    assert place == "In 'test_left'"
    with connections["test_left"].cursor() as cursor:
        cursor.execute(statement)
    of_column = comparison(relations.catalogue().relation(USE).field, "test_left")
    assert of_column == Comparison("postgresql", "", exact=True)


@pytest.mark.postgresql
def test_w038_a_parent_that_compares_by_another_engine_s_collation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with the parents in MariaDB and the children in PostgreSQL, which `parents` tests."""
    ci = Comparison("mysql", "utf8mb4_general_ci", exact=False)
    monkeypatch.setattr(comparisons, "_of_parent", lambda *_: ci)
    [warning] = found(USE)
    assert "stay, although the parent's column takes them for its own" in warning.msg
    assert "with the columns there that refer to it" in str(warning.hint)
    monkeypatch.setattr(
        comparisons, "comparison", lambda *_: Comparison("sqlite", "NOCASE", exact=False)
    )
    [warning] = found(USE)
    assert "none of its rows go" in warning.msg
    assert str(warning.hint).count("In '") == 2


def test_w038_sqlite_s_nocase_and_the_text_of_a_uuid() -> None:
    label = "lite.Reading.beacon_text"
    assert found(label) == []
    with collated(Reading, "beacon_text", "NOCASE", using="test_lite"):
        [warning] = found(label)
    assert warning.msg.startswith(
        f"{label} in 'test_lite' (SQLite, NOCASE) and parents.Beacon.id in 'default' (canonical"
        " text) do not take the same texts for equal: while rows are equal"
    )
    assert str(warning.hint) == f"In 'test_lite': take db_collation off {label}, and migrate."


def test_w038_asks_only_for_texts_and_for_ends_that_are_both_named(captured: Captured) -> None:
    with captured:
        assert comparisons.unlike(None) == []
        assert comparisons.unlike(["default", "blog_db", "shop_db"]) == []  # keys are numbers
        assert comparisons.unlike(["default"]) == []
        assert comparisons.unlike(["test_left"]) == []
    assert not any(captured[alias] for alias in connections)


def test_w038_is_silent_about_a_database_that_does_not_answer(
    refuse: Callable[[str], Any],
) -> None:
    collations._known.clear()
    with refuse("test_left"):
        assert found(USE) == []
        ids = {each.id for each in databases.asked(["default", "test_left"])}
        assert "integrity.E012" in ids
        assert "integrity.W038" not in ids


def test_a_comparison_is_unknown_without_a_column(renamed: Callable[[str, str], Any]) -> None:
    field = relations.catalogue().relation(USE).field
    assert comparison(field, "test_left") is not None
    collations._known.clear()
    with renamed("test_left", "left_worduse"):
        assert comparison(field, "test_left") is None
        assert found(USE) == []


def test_texts_that_are_compared_alike() -> None:
    one = Comparison("mysql", "utf8mb4_general_ci", exact=False)
    other = Comparison("mysql", "utf8mb4_unicode_ci", exact=False)
    bytewise = Comparison("mysql", "utf8mb4_nopad_bin", exact=True)
    letters = Comparison("postgresql", "", exact=True)
    assert one.is_like(one)
    assert bytewise.is_like(letters)
    assert not one.is_like(other)
    assert not one.is_like(bytewise)
