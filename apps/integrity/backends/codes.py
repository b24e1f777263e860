"""What each error code of the engines means for the work. Data only; see errors.py.

A code stands for all that begin with it, unless a longer one is listed. The remedy decides the
meaning: hindered heals with time, contention in a moment, and too large with fewer rows at once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Trouble(enum.StrEnum):
    """What an error means for the work that met it."""

    #: The database cannot be worked on now, by anybody. It waits, and no attempt is counted.
    HINDERED = "hindered"
    #: Another transaction was in the way. Soon again, and no attempt is counted.
    CONTENTION = "contention"
    #: One step did too much. Half as many rows next time; counted where it was a single row.
    TOO_LARGE = "too large"
    #: A table, a column or a right to see rows is missing. It waits for an operator, uncounted.
    SCHEMA = "schema"
    #: The database refused these rows. Halved until the row is found, counted, in the end blocked.
    REFUSED = "refused"
    #: A mistake in code, of this app or of a receiver. Handled like a refusal.
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one code means. `words` complete a sentence whose subject is the database."""

    trouble: Trouble
    words: str


def _all(trouble: Trouble, rows: Mapping[str, str]) -> dict[str, Meaning]:
    return {
        code: Meaning(trouble, words) for codes, words in rows.items() for code in codes.split()
    }


#: A server takes no more connections.
CROWDED = frozenset({"53300", "1040", "1203", "1226"})
#: PostgreSQL's words for that. Its driver passes on no code of a connection that was refused.
CROWDED_WORDS = (
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for ",
)

#: SQLSTATE, or its class (the first two characters).
POSTGRESQL: Mapping[str, Meaning] = {
    **_all(
        Trouble.HINDERED,
        {
            "08": "its connection failed",
            "25006": "it is read-only",
            "28": "it refuses the role or the password",
            "3D000": "there is no database of that name",
            "53": "it lacks a resource",
            "53100": "its disk is full",
            "53200": "it is out of memory",
            "53300": "it takes no more connections: max_connections is reached",
            "53400": "a limit of its configuration is reached",
            "57": "an operator intervened",
            "57P01": "it is shutting down, or ended the connection",
            "57P02": "it crashed",
            "57P03": "it is starting up or shutting down",
            "57P04": "the database was dropped",
            "57P05": "it ended an idle connection",
            "58": "its operating system or storage failed",
            "F0": "its configuration is broken",
            "HV00N": "a foreign server cannot be reached",
        },
    ),
    **_all(
        Trouble.CONTENTION,
        {
            "40": "its transaction was rolled back",
            "40001": "concurrent transactions cannot be serialized",
            "40003": "it does not know whether the statement was done",
            "40P01": "a deadlock was broken",
            "55006": "an object is in use",
            "55P03": "a row is locked by another transaction",
            "72000": "its snapshot is too old",
        },
    ),
    **_all(
        Trouble.TOO_LARGE,
        {
            "25P03": "it ended a transaction that was idle for too long",
            "25P04": "it ended a transaction that took too long",
            "54": "a limit of the program is reached",
            "57014": "it cancelled a statement that took too long",
        },
    ),
    **_all(
        Trouble.REFUSED,
        {
            "22": "a value is not accepted",
            "23": "a constraint is violated",
            "40002": "a constraint is violated",
            "42": "a trigger's or a rule's own code failed",
            "42501": "a privilege is missing",
            "42P01": "a trigger's or a rule's own code names a table that does not exist",
            "P0": "a function raised an error",
            "P0001": "a trigger raised an error",
        },
    ),
}

#: Numbers of MySQL and MariaDB.
MYSQL: Mapping[str, Meaning] = {
    **_all(
        Trouble.HINDERED,
        {
            "1021 1030 1114": "its disk is full",
            "1036 1290 1792 1836 1874": "it is read-only",
            "1037 1041": "it is out of memory",
            "1040 1203 1226": "it takes no more connections: max_connections is reached",
            "1042 1043 1129 1130 1152 1158 1159 1160 1161 1184": "its connection failed",
            "1044 1045 1698 1820 1862 3118 3159": "it refuses the role or the password",
            "1047 3100": "its cluster does not take work now",
            "1049": "there is no database of that name",
            "1053 1077 1078 1079": "it is shutting down",
            "1927 4031": "it ended the connection",
            "2002 2003 2004 2005 2006 2012 2013 2026 2055": "its connection failed",
        },
    ),
    **_all(
        Trouble.CONTENTION,
        {
            "1020 1412": "a row or a table changed meanwhile",
            "1205 3572": "a row is locked by another transaction",
            "1213": "a deadlock was broken",
            "3101": "its transaction was rolled back",
        },
    ),
    **_all(
        Trouble.TOO_LARGE,
        {
            "1038 1104 1119 1153 1197 1206 1390 1436 3170": "a limit of the server is reached",
            "1317 1969 3024": "it cancelled a statement that took too long",
        },
    ),
    **_all(
        Trouble.REFUSED,
        {
            "1054 1146": "a trigger's own code names what is not there",
            "1142 1143": "a privilege is missing",
            "1062 1451 1452 3819 4025": "a constraint is violated",
            "1644": "a trigger raised an error",
        },
    ),
}

#: Names of SQLite's result codes; an extended one begins with its primary one.
SQLITE: Mapping[str, Meaning] = {
    **_all(
        Trouble.HINDERED,
        {
            "SQLITE_CANTOPEN": "its file cannot be opened",
            "SQLITE_CORRUPT SQLITE_NOTADB": "its file is damaged",
            "SQLITE_FULL": "its disk is full",
            "SQLITE_IOERR": "its storage failed",
            "SQLITE_NOMEM": "it is out of memory",
            "SQLITE_PERM SQLITE_READONLY": "it is read-only",
        },
    ),
    **_all(
        Trouble.CONTENTION,
        {
            "SQLITE_BUSY SQLITE_LOCKED SQLITE_PROTOCOL": "it is locked by another connection",
            "SQLITE_SCHEMA": "its schema changed meanwhile",
        },
    ),
    **_all(
        Trouble.TOO_LARGE,
        {
            "SQLITE_INTERRUPT": "a statement was interrupted",
            "SQLITE_TOOBIG": "a limit of the library is reached",
        },
    ),
    **_all(
        Trouble.REFUSED,
        {
            "SQLITE_CONSTRAINT": "a constraint or a trigger refused it",
            "SQLITE_ERROR": "a trigger's own code failed",
        },
    ),
}

OF_VENDOR = {"postgresql": POSTGRESQL, "mysql": MYSQL, "sqlite": SQLITE}


def meaning(code: str, vendor: str) -> Meaning | None:
    """Return what `code` means on that engine, by the longest listed prefix. Pure."""
    known = OF_VENDOR.get(vendor, {})
    has_classes = vendor != "mysql"
    ends: Iterable[int] = range(len(code), 1, -1) if has_classes else [len(code)]
    return next((known[code[:end]] for end in ends if code[:end] in known), None)
