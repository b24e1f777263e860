"""Foreign text becomes one printable, bounded line; an error says what it is and quotes nothing."""

from __future__ import annotations

import sqlite3
import unicodedata
from types import SimpleNamespace

import pytest
from django.db import Error, IntegrityError, OperationalError
from django.db.models import TextChoices
from django.dispatch import Signal
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from apps.integrity.exceptions import FilteredRead, InvalidKey, MissingParent
from apps.integrity.exceptions.redaction import ELLIPSIS, LIMIT, code_of, plain, reason_of_error

PERSONAL = "ann@example.com"
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates included
HOSTILE = {
    "an escape code": "\x1b[31mred\x1b]0;title\x07",
    "a C1 control": "\x9b31m\x85",
    "a NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "an override": "a\u202eb\u2066c\u2069",
    "zero width": "a\u200bb\ufeffc\u2060d\u034fe\ufe0ff",
    "lines": "a\r\nb\u2028c\u2029d\vb\fe",
    "a tag": "\U000e0041",
    "a filler": "\u3164\uffa0",
}


class Mute:
    """What raises whatever is asked of it."""

    def __init__(self, raises: BaseException):
        self.raises = raises

    def __str__(self):
        raise self.raises

    __repr__ = __str__


class Endless:
    def __str__(self):
        return str(self)


class Imposter:
    @property
    def __class__(self):
        raise ValueError(PERSONAL)


class Loud(str):
    __slots__ = ()

    def __str__(self):
        raise ValueError(PERSONAL)

    __getitem__ = __len__ = __iter__ = isprintable = __str__


class Kinds(TextChoices):
    ONE = "one", "One"


class MuteError(Exception):
    def __str__(self):
        raise ValueError(PERSONAL)

    __repr__ = __str__


class Liar(Exception):
    """Nothing that it is asked for can be had."""

    @property
    def __cause__(self):
        raise SystemExit(PERSONAL)


def assert_plain(line: str, limit: int = LIMIT) -> None:
    assert type(line) is str
    assert len(line) <= max(limit, 0)
    assert line.isprintable()
    assert {unicodedata.category(each) for each in line if each != " "}.isdisjoint(
        {"Cc", "Cf", "Cs", "Co", "Zl", "Zp", "Zs"}
    )
    line.encode()  # no lone surrogate


@given(ANY_TEXT, st.integers(-1, 60))
def test_any_text_is_printable_and_bounded(text, limit):
    assert_plain(plain(text, limit), limit)


@given(ANY_TEXT, st.integers(1, 60))
def test_what_is_plain_stays_as_it_is(text, limit):
    once = plain(text, limit)
    assert plain(once, limit) == once


@given(st.text("abc äß漢 ", max_size=40))
def test_ordinary_text_keeps_all_its_words(text):
    assert plain(text).split() == text.split()


@given(st.binary())
def test_bytes_too(data):
    assert_plain(plain(data))
    assert_plain(plain(bytearray(data)))
    assert_plain(plain(memoryview(data)))


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | ANY_TEXT | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    )
)
def test_any_value_too(value):
    assert_plain(plain(value))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_characters_are_shown_as_escapes(text):
    assert_plain(plain(text))
    assert plain(text)


def test_escapes_say_what_was_there():
    assert plain("\x1b[31m\0\ud800\u202e\u200b") == r"\x1b[31m\x00\ud800\u202e\u200b"


def test_the_whole_text_is_never_looked_at():
    assert plain("x" * 50_000_000) == "x" * (LIMIT - 1) + ELLIPSIS
    assert plain(" " * 50_000_000 + "x") == ELLIPSIS
    assert_plain(plain("\x1b" * 50_000_000))
    assert_plain(plain(b"\xff" * 50_000_000))
    assert_plain(plain([["x" * 1_000_000] * 1_000] * 1_000))


UNSAYABLE = {  # made in the test: pytest itself asks its parameters
    "a ValueError": lambda: Mute(ValueError(PERSONAL)),
    "a SystemExit": lambda: Mute(SystemExit(PERSONAL)),
    "a GeneratorExit": lambda: Mute(GeneratorExit(PERSONAL)),
    "endless": Endless,
    "no class": Imposter,
    "in a list": lambda: [Mute(SystemExit())],
    "too many digits": lambda: 10**5_000,
    "an error": MuteError,
    "a liar": Liar,
}


@pytest.mark.parametrize("make", UNSAYABLE.values(), ids=UNSAYABLE)
def test_what_cannot_be_said_is_called_by_its_class(make):
    assert_plain(plain(make()))
    assert PERSONAL not in plain(make())


def test_a_value_with_methods_of_its_own_is_only_text():
    assert plain(Loud("a\0b")) == r"a\x00b"
    assert plain(Kinds.ONE) == "one"
    assert plain(gettext_lazy("Yes")) == "Yes"
    assert type(plain(mark_safe("<b>"))) is str  # Django's templates escape it


class TestErrors:
    @given(ANY_TEXT)
    def test_no_word_of_a_foreign_text(self, text):
        for kind in (ValueError, OSError, OperationalError, MuteError):
            assert reason_of_error(kind(text)) == reason_of_error(kind())

    def test_a_class_of_a_project_with_its_module(self):
        assert reason_of_error(MuteError(PERSONAL)) == f"{__name__}.MuteError"
        assert reason_of_error(ValueError(PERSONAL)) == "ValueError"

    def test_postgresql_says_code_table_and_constraint(self):
        names = {"table_name": "shop\x1b_order", "constraint_name": "one", "column_name": None}
        error = raised(sqlstate="23505", diag=SimpleNamespace(**names, message_detail=PERSONAL))
        assert reason_of_error(error) == (
            r"IntegrityError 23505 (table shop\x1b_order, constraint one)"
        )

    def test_sqlite_says_its_name(self):
        with sqlite3.connect(":memory:") as database:
            database.execute("CREATE TABLE a (b UNIQUE)")
            database.execute("INSERT INTO a VALUES (1)")
            with pytest.raises(sqlite3.IntegrityError) as caught:
                database.execute("INSERT INTO a VALUES (1)")
        database.close()
        assert reason_of_error(caught.value) == "IntegrityError SQLITE_CONSTRAINT_UNIQUE"

    def test_mysql_says_its_number(self):
        driver = type("IntegrityError", (Exception,), {"__module__": "MySQLdb"})
        error = IntegrityError(1062, PERSONAL)
        error.__cause__ = driver(1062, f"Duplicate entry '{PERSONAL}'")
        assert (code_of(error), reason_of_error(error)) == ("1062", "IntegrityError 1062")

    def test_an_operating_systems_number_and_a_cause(self):
        error = MuteError(PERSONAL)
        error.__cause__ = ConnectionRefusedError(111, PERSONAL)
        assert reason_of_error(error) == (
            f"{__name__}.MuteError, from ConnectionRefusedError ECONNREFUSED"
        )

    def test_causes_in_a_circle(self):
        error = ValueError()
        error.__cause__ = error
        assert reason_of_error(error) == "ValueError, from ValueError, from ValueError"

    def test_a_group_says_what_is_in_it(self):
        group = BaseExceptionGroup(PERSONAL, [ValueError(), SystemExit(PERSONAL), KeyError()])
        assert reason_of_error(group) == "BaseExceptionGroup of 3: ValueError, SystemExit, KeyError"

    def test_a_receiver_is_named(self):
        def refuse(**_):
            raise LookupError(PERSONAL)

        signal = Signal()
        signal.connect(refuse)
        [(_, error)] = signal.send_robust(sender=None)
        where = f"{__name__}.TestErrors.test_a_receiver_is_named.<locals>.refuse"
        assert reason_of_error(error) == f"LookupError in receiver {where}"

    def test_a_missing_parent_s_key_is_not_quoted(self):
        told = reason_of_error(MissingParent("blog.Post.author", "ann@example.org"))
        assert "MissingParent" in told
        assert "ann" not in told

    def test_the_text_of_this_apps_own_errors(self):
        assert reason_of_error(InvalidKey("a.B: no \x1b key")) == r"InvalidKey: a.B: no \x1b key"
        assert reason_of_error(FilteredRead("a", "b")) == f"FilteredRead: {FilteredRead('a', 'b')}"

    @pytest.mark.parametrize(
        "make", [Liar, MuteError, SystemExit, GeneratorExit, lambda: Error(Mute(Error()))]
    )
    def test_never_raises(self, make):
        assert_plain(reason_of_error(make()))
        assert reason_of_error(make())
        assert PERSONAL not in reason_of_error(make())

    def test_a_class_that_lies_about_its_name(self):
        kind = type("Kind", (Exception,), {"__module__": "\x1b" * 1_000})
        assert_plain(reason_of_error(kind()))
        kind = type("Kind", (Exception,), {"__module__": Mute(SystemExit(PERSONAL))})
        assert reason_of_error(kind()) == "object"


def raised(**of_driver: object) -> IntegrityError:
    error = IntegrityError(f"DETAIL: Key (email)=({PERSONAL}) already exists.")
    error.__cause__ = type("Driver", (Exception,), of_driver)(PERSONAL)
    return error
