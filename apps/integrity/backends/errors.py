"""An error met while working on a database → what it means for the work. Pure.

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
from .codes import Meaning, Trouble, meaning

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Trouble",
    "code_of",
    "database_of",
    "described",
    "is_row_security",
    "may_be_missing",
    "trouble_of",
    "words_of",
]

#: Codes that a table or a column of our own gives when it is missing, or when it is a view; a
#: trigger's code gives them too, so somebody has to look.
MISSING = frozenset({"42P01", "42703", "42809", "3F000", "1146", "1054", "SQLITE_ERROR"})
#: Engines whose drivers give no code when the connection is gone.
SILENT_WHEN_GONE = frozenset({"postgresql", "mysql"})


def trouble_of(
    error: BaseException,
    vendor: str,
    *,
    missing: bool = False,
    interruptions: tuple[type[BaseException], ...] = (),
) -> Trouble:
    """Return what `error`, met in a database of that vendor, means for the work.

    `missing` says that a table or a column of the relations at work is not there; look where
    `may_be_missing` is true. `interruptions` are the exceptions of the caller's time limit.
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
        known = meaning(code, vendor)
        # A code that is not listed, such as a trigger's own, is the server's answer all the same.
        return known.trouble if known else Trouble.REFUSED
    if isinstance(error, IntegrityError | DataError):
        return Trouble.REFUSED
    if isinstance(error, OperationalError | InterfaceError) and vendor in SILENT_WHEN_GONE:
        return Trouble.HINDERED
    return Trouble.BUG


def may_be_missing(error: BaseException, vendor: str) -> bool:
    """Return whether a missing table or column of our own may be the cause: worth a look."""
    code = code_of(error)
    unknown = not code and vendor not in SILENT_WHEN_GONE and isinstance(error, Error)
    return code in MISSING or unknown


def is_row_security(error: BaseException) -> bool:
    """Return whether PostgreSQL refused a statement of whose rows it would have hidden some.

    That is what `row_security = off` asks for. The code alone means any missing right, and the
    text is in the server's language; the function that raised it has one name.
    """
    diagnosis = getattr(error.__cause__, "diag", None)
    raised_by = getattr(diagnosis, "source_function", None)
    return code_of(error) == "42501" and raised_by == "check_enable_rls"


def words_of(error: BaseException, vendor: str) -> str:
    """Return what a reason says of `error`: words and code, and none of the server's prose.

    That prose may quote rows.
    """
    code = code_of(error)
    known: Meaning | None = meaning(code, vendor) if code else None
    if known is None and not code and trouble_of(error, vendor) is Trouble.HINDERED:
        return "its connection was lost"
    if known is None:
        return f"{type(error).__name__} {code}".rstrip()
    return f"{known.words} ({code})"


def described(error: BaseException, vendor: str) -> str:
    """Return what may be said of `error`, with what its code means on that engine."""
    code = code_of(error)
    known = meaning(code, vendor) if code else None
    said = reason_of_error(error)
    return f"{said}: {known.words}" if known else said


def database_of(error: BaseException) -> str:
    """Return the alias of the connection that raised `error`, or "".

    One piece of work talks to several databases (children, parents, the log), and an error does
    not carry its alias. Its traceback does: the innermost frame of a connection or a cursor.
    """
    found = ""
    step: TracebackType | None = error.__traceback__
    while step is not None:
        found = _alias(step.tb_frame.f_locals.get("self")) or found
        step = step.tb_next
    return found


def _alias(owner: object) -> str:
    if isinstance(owner, CursorWrapper):
        owner = owner.db
    elif isinstance(owner, DatabaseErrorWrapper):
        owner = getattr(owner, "wrapper", None)
    return str(owner.alias) if isinstance(owner, BaseDatabaseWrapper) else ""
