"""What each error means: one row per code, and what has no code."""

from __future__ import annotations

import pytest
from django.db import (
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from django.db.models import ProtectedError, RestrictedError

from apps.integrity.backends import codes, errors
from apps.integrity.backends.errors import Trouble, trouble_of
from apps.integrity.exceptions import (
    DatabaseHindered,
    DatabaseUnreachable,
    FilteredRead,
    InvalidKey,
    MissingContentType,
    UnusablePolicy,
)

H, C, T, S, R, B = (
    Trouble.HINDERED,
    Trouble.CONTENTION,
    Trouble.TOO_LARGE,
    Trouble.SCHEMA,
    Trouble.REFUSED,
    Trouble.BUG,
)

#: Written anew here on purpose: the table of the code is what is tested.
POSTGRESQL = {
    H: "08000 08001 08003 08004 08006 08007 08P01 25006 28000 28P01 3D000 53000 53100 53200 53300"
    " 53400 57000 57P01 57P02 57P03 57P04 57P05 58000 58030 F0000 F0001 HV00N",
    C: "40000 40001 40003 40P01 55006 55P03 72000",
    T: "25P03 25P04 54000 54001 54023 57014",
    R: "21000 22001 22003 22P02 23000 23001 23502 23503 23505 23514 23P01 25P02 38000 40002 42501"
    " 42601 42703 42883 42P01 44000 55000 P0001 P0002 P0004 XX000 XX001 ZZ001",
}
MYSQL = {
    H: "1021 1030 1036 1037 1040 1041 1042 1043 1044 1045 1047 1049 1053 1077 1114 1129 1130 1152"
    " 1158 1159 1160 1161 1184 1203 1226 1290 1698 1792 1836 1862 1874 1927 2002 2003 2006 2012"
    " 2013 2026 2055 3100 3118 3159 4031",
    C: "1020 1205 1213 1412 3101 3572",
    T: "1038 1104 1119 1153 1197 1206 1317 1390 1436 1969 3024 3170",
    R: "1048 1054 1062 1142 1143 1146 1406 1451 1452 1644 3819 4025 9999",
}
SQLITE = {
    H: "SQLITE_CANTOPEN SQLITE_CANTOPEN_ISDIR SQLITE_CORRUPT SQLITE_CORRUPT_INDEX SQLITE_FULL"
    " SQLITE_IOERR SQLITE_IOERR_WRITE SQLITE_NOMEM SQLITE_NOTADB SQLITE_PERM SQLITE_READONLY"
    " SQLITE_READONLY_DBMOVED",
    C: "SQLITE_BUSY SQLITE_BUSY_SNAPSHOT SQLITE_LOCKED SQLITE_LOCKED_SHAREDCACHE SQLITE_PROTOCOL"
    " SQLITE_SCHEMA",
    T: "SQLITE_INTERRUPT SQLITE_TOOBIG",
    R: "SQLITE_CONSTRAINT SQLITE_CONSTRAINT_TRIGGER SQLITE_CONSTRAINT_FOREIGNKEY SQLITE_ERROR"
    " SQLITE_MISMATCH",
}
ROWS = [
    (vendor, code, trouble)
    for vendor, table in (("postgresql", POSTGRESQL), ("mysql", MYSQL), ("sqlite", SQLITE))
    for trouble, listed in table.items()
    for code in listed.split()
]


def raised(vendor: str, code: str, kind: type[Error] = OperationalError) -> Error:
    """Return Django's error as that vendor's driver causes it."""
    driver: Exception
    if vendor == "mysql":
        driver = type("OperationalError", (Exception,), {"__module__": "MySQLdb"})(int(code), "why")
    else:
        name = "sqlstate" if vendor == "postgresql" else "sqlite_errorname"
        driver = Exception("why")
        setattr(driver, name, code)
    error = kind("why")
    error.__cause__ = driver
    return error


@pytest.mark.parametrize(("vendor", "code", "trouble"), ROWS)
@pytest.mark.parametrize("kind", [OperationalError, ProgrammingError, IntegrityError])
def test_the_code_decides_whatever_the_class(
    vendor: str, code: str, trouble: Trouble, kind: type[Error]
) -> None:
    assert trouble_of(raised(vendor, code, kind), vendor) is trouble


@pytest.mark.parametrize("vendor", codes.OF_VENDOR)
def test_each_row_of_the_table_has_its_case_above(vendor: str) -> None:
    tried = {codes.meaning(code, which) for which, code, _ in ROWS if which == vendor}
    listed = {codes.meaning(code, vendor) for code in codes.OF_VENDOR[vendor]}
    assert listed <= tried


@pytest.mark.parametrize(
    ("error", "vendor", "trouble"),
    [
        (OperationalError("the connection is lost"), "postgresql", H),
        (InterfaceError("connection already closed"), "postgresql", H),
        (InterfaceError("(0, '')"), "mysql", H),
        (OperationalError("why"), "sqlite", B),
        (OperationalError("why"), "oracle", B),
        (IntegrityError("why"), "oracle", R),
        (DataError("why"), "oracle", R),
        (ProgrammingError("Cannot operate on a closed database."), "sqlite", B),
        (DatabaseHindered("blog_db", "it is read-only"), "postgresql", H),
        (DatabaseUnreachable("blog_db", OSError("refused")), "postgresql", H),
        (FilteredRead("blog_post", "blog_db"), "postgresql", S),
        (MissingContentType("a.B.c@d.E", "d.E", "default"), "postgresql", S),
        (UnusablePolicy("why"), "postgresql", R),
        (InvalidKey("why"), "postgresql", R),
        (ProtectedError("why", set()), "postgresql", R),
        (RestrictedError("why", set()), "postgresql", R),
        (MemoryError(), "postgresql", T),
        (ValueError("of a receiver"), "postgresql", B),
        (TimeoutError("of a receiver"), "postgresql", B),
        (OSError(28, "of a receiver"), "mysql", B),
        (KeyError(1205), "mysql", B),
    ],
)
def test_what_has_no_code(error: BaseException, vendor: str, trouble: Trouble) -> None:
    assert trouble_of(error, vendor) is trouble


def test_a_callers_time_limit_means_that_the_step_was_too_large() -> None:
    class SoftTimeLimit(Exception):
        pass

    assert trouble_of(SoftTimeLimit(), "postgresql") is B
    assert trouble_of(SoftTimeLimit(), "postgresql", interruptions=(SoftTimeLimit,)) is T


@pytest.mark.parametrize(
    ("vendor", "code", "trouble"),
    [
        ("postgresql", "42P01", S),
        ("postgresql", "42703", S),
        ("postgresql", "3F000", S),
        ("mysql", "1146", S),
        ("sqlite", "SQLITE_ERROR", S),
        ("postgresql", "42501", R),
        ("postgresql", "23503", R),
        ("postgresql", "25006", H),
        ("sqlite", "SQLITE_BUSY", C),
    ],
)
def test_a_table_that_is_missing_explains_only_what_it_can(
    vendor: str, code: str, trouble: Trouble
) -> None:
    assert trouble_of(raised(vendor, code), vendor, missing=True) is trouble


def test_psycopg2_names_its_code_otherwise() -> None:
    error = OperationalError("why")
    error.__cause__ = type("ReadOnly", (Exception,), {"pgcode": "25006"})("why")
    assert trouble_of(error, "postgresql") is H


def test_an_error_of_the_driver_itself_is_read_too() -> None:
    error = raised("postgresql", "40P01").__cause__
    assert error is not None
    assert trouble_of(error, "postgresql") is C


def test_a_reason_says_what_the_code_means_and_quotes_no_prose() -> None:
    assert errors.words_of(raised("postgresql", "25006"), "postgresql") == "it is read-only (25006)"
    assert errors.words_of(raised("postgresql", "ZZ001"), "postgresql") == "OperationalError ZZ001"
    assert errors.words_of(OperationalError("ann@example.com"), "sqlite") == "OperationalError"


def test_an_error_without_a_connection_names_no_database() -> None:
    with pytest.raises(ValueError, match="why") as caught:
        raise ValueError("why")
    assert errors.database_of(caught.value) == ""


@pytest.mark.parametrize(
    ("text", "crowded"),
    [
        ("connection failed: FATAL:  sorry, too many clients already", True),
        (
            "FATAL:  remaining connection slots are reserved for superusers",
            True,
        ),
        ('FATAL:  too many connections for role "integrity_worker"', True),
        ("connection failed: Connection refused", False),
    ],
)
def test_a_refused_connection_says_in_its_text_that_there_are_too_many(
    text: str, *, crowded: bool
) -> None:
    assert errors.is_crowded(OperationalError(text)) is crowded
    assert not errors.is_crowded(DataError(text))
