"""What an error of a database means for the work that met it. Pure.

Note [Class and meaning]: an exception's class says little. psycopg raises a ProgrammingError for
a trigger's RAISE and an OperationalError for a full disk; SQLite raises an OperationalError for a
missing table and for a locked file. So the server's code decides, and the class only where there
is no code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DataError, Error, IntegrityError, InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.utils import DatabaseErrorWrapper

from ..exceptions import (
    DatabaseHindered,
    FilteredRead,
    InvalidKey,
    MissingContentType,
    UnusablePolicy,
)
from ..exceptions.redaction import code_of, reason_of_error
from .codes import CROWDED, CROWDED_WORDS, Meaning, Trouble, meaning

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Trouble",
    "code_of",
    "database_of",
    "described",
    "is_crowded",
    "is_row_security",
    "may_be_missing",
    "trouble_of",
    "words_of",
]

#: Codes for a missing table or column, and for a view in place of a table. A trigger's code may
#: raise them as well, so the tables have to be looked up.
MISSING = frozenset({"42P01", "42703", "42809", "3F000", "1146", "1054", "SQLITE_ERROR"})
#: MySQL's code for a savepoint that is gone, because the server has rolled back the transaction: it
#: does so after a deadlock. It is also the code for a procedure that a trigger lacks.
NO_SAVEPOINT = "1305"
ROLLED_BACK = Meaning(
    Trouble.CONTENTION, "its transaction was rolled back, by a deadlock or a wait for a lock"
)
#: Engines whose drivers raise errors without a code when the connection is lost.
SILENT_WHEN_GONE = frozenset({"postgresql", "mysql"})


def trouble_of(
    error: BaseException,
    vendor: str,
    *,
    missing: bool = False,
    interruptions: tuple[type[BaseException], ...] = (),
) -> Trouble:
    """Return what `error`, raised by a database of that vendor, means for the work.

    `missing` says that a table or a column of the relations at work is missing; where
    `may_be_missing` is true, the caller has to find out. `interruptions` are the exceptions of the
    caller's time limit.
    """
    if isinstance(error, DatabaseHindered):
        return Trouble.HINDERED
    if isinstance(error, FilteredRead | MissingContentType) or is_row_security(error):
        return Trouble.SCHEMA
    if isinstance(error, (*interruptions, MemoryError)):
        return Trouble.TOO_LARGE
    if isinstance(error, UnusablePolicy | InvalidKey):
        return Trouble.REFUSED
    if missing and may_be_missing(error, vendor):
        return Trouble.SCHEMA
    return _of_driver(error, vendor)


def _of_driver(error: BaseException, vendor: str) -> Trouble:
    code = code_of(error)
    if code:
        known = _meaning(error, code, vendor)
        # A code that is not listed, such as a trigger's own, is the server's answer all the same.
        return known.trouble if known else Trouble.REFUSED
    if isinstance(error, IntegrityError | DataError):
        return Trouble.REFUSED
    if isinstance(error, OperationalError | InterfaceError) and vendor in SILENT_WHEN_GONE:
        return Trouble.HINDERED
    return Trouble.BUG


def _meaning(error: BaseException, code: str, vendor: str) -> Meaning | None:
    if vendor == "mysql" and code == NO_SAVEPOINT and "SAVEPOINT" in str(error):
        return ROLLED_BACK
    return meaning(code, vendor)


def may_be_missing(error: BaseException, vendor: str) -> bool:
    """Return whether a missing table or column may be the cause, so that it should be looked up."""
    code = code_of(error)
    unknown = not code and vendor not in SILENT_WHEN_GONE and isinstance(error, Error)
    return code in MISSING or unknown


def is_crowded(error: BaseException) -> bool:
    """Return whether a server refused a connection because it has too many."""
    if code := code_of(error):
        return code in CROWDED
    refused = isinstance(error, OperationalError)
    return refused and any(words in str(error) for words in CROWDED_WORDS)


def is_row_security(error: BaseException) -> bool:
    """Return whether PostgreSQL refused a statement because it would have hidden rows from it.

    `row_security = off` asks for that. The code alone means any missing privilege, and the text is
    in the server's language, but the server's function that raises it has one name.
    """
    diagnosis = getattr(error.__cause__, "diag", None)
    raised_by = getattr(diagnosis, "source_function", None)
    return code_of(error) == "42501" and raised_by == "check_enable_rls"


def words_of(error: BaseException, vendor: str) -> str:
    """Return our words for `error`, with its code. The server's own text may quote rows."""
    code = code_of(error)
    known: Meaning | None = _meaning(error, code, vendor) if code else None
    if known is None and not code and trouble_of(error, vendor) is Trouble.HINDERED:
        return "its connection was lost"
    if known is None:
        return f"{type(error).__name__} {code}".rstrip()
    return f"{known.words} ({code})"


def described(error: BaseException, vendor: str) -> str:
    """Return a description of `error` that quotes no row, with the meaning of its code."""
    code = code_of(error)
    known = _meaning(error, code, vendor) if code else None
    reason = reason_of_error(error)
    return f"{reason}: {known.words}" if known else reason


def database_of(error: BaseException) -> str:
    """Return the alias of the connection that raised `error`, or "".

    Work talks to several databases (children, parents, the log), and an error has no alias. But
    its traceback has: the innermost frame of a connection or a cursor knows it.
    """
    alias = ""
    entry: TracebackType | None = error.__traceback__
    while entry is not None:
        alias = _alias(entry.tb_frame.f_locals.get("self")) or alias
        entry = entry.tb_next
    return alias


def _alias(owner: object) -> str:
    if isinstance(owner, CursorWrapper):
        owner = owner.db
    elif isinstance(owner, DatabaseErrorWrapper):
        owner = getattr(owner, "wrapper", None)
    return str(owner.alias) if isinstance(owner, BaseDatabaseWrapper) else ""
