"""What a command ends with."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections

from ..backends.errors import Trouble, database_of, trouble_of
from ..checks import doctor
from ..exceptions import (
    DatabaseHindered,
    DatabaseUnreachable,
    FilteredRead,
    IdentityMismatch,
    InvalidKey,
    InvalidName,
    InvalidRole,
    UnknownName,
)
from ..isolation.redaction import reason_of_error
from . import denied
from .voice import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .. import report
    from ..exceptions import CrossDatabaseError


class Exit(enum.IntEnum):
    """Exit codes; the worst wins. 1 and 2 are Django's own (CommandError, argparse)."""

    CLEAN = 0
    ERROR = 1
    USAGE = 2
    FINDINGS = 3
    INCOMPLETE = 4
    UNREACHABLE = 5
    BRAKE = 6


def failure(error: CrossDatabaseError | Error) -> CommandError:
    """What the command ends with: one line that says what to do, and the exit code.

    An error of a database may come of tables that are not there, or of a server that is away:
    SQLite calls both an `OperationalError`. So look.
    """
    said, code = _failure(error)
    return CommandError(shown(said), returncode=code)


def _failure(error: CrossDatabaseError | Error) -> tuple[str, Exit]:
    if isinstance(error, UnknownName | InvalidKey | InvalidName | InvalidRole | IdentityMismatch):
        refused = isinstance(error, IdentityMismatch)
        return str(error), Exit.BRAKE if refused else Exit.USAGE
    if isinstance(error, DatabaseUnreachable):
        return f"unreachable: {error}", Exit.UNREACHABLE
    said = str(error) if isinstance(error, FilteredRead) else denied.sentence(error)
    if said:
        return said, Exit.ERROR
    if isinstance(error, DatabaseHindered):
        return f"{error.database} {error.sentence}", Exit.UNREACHABLE
    if isinstance(error, Error) and (broken := doctor.broken()):
        code = Exit.UNREACHABLE if broken.kind == "database" else Exit.ERROR
        return f"{broken.name}: {broken.detail}", code
    hindered = isinstance(error, Error) and hinders(error)
    return reason_of_error(error), Exit.UNREACHABLE if hindered else Exit.ERROR


def hinders(error: Error) -> bool:
    """Return whether the error says that a database cannot be worked on now."""
    vendor = connections[database_of(error) or DEFAULT_DB_ALIAS].vendor
    return trouble_of(error, vendor) is Trouble.HINDERED


def diagnosis(checks: Iterable[doctor.Check]) -> Exit:
    """The exit code of what was found wrong. Pure."""
    codes = {"database": Exit.UNREACHABLE, "brake": Exit.BRAKE, "identity": Exit.BRAKE}
    wrong = (codes.get(each.kind, Exit.FINDINGS) for each in checks if not each.ok)
    return max(wrong, default=Exit.CLEAN)


def proven(receipt: report.Receipt) -> Exit:
    """The exit code of a receipt: rows that were kept are a finding. Pure."""
    return Exit.FINDINGS if receipt["deletion"]["state"] == "kept" else Exit.CLEAN


def standing(status: report.Status) -> Exit:
    """The exit code of that status. Pure."""
    rows = status["databases"]
    if status["unreachable_logs"] or any(row["unreachable"] for row in rows):
        return Exit.UNREACHABLE
    if any(row["backlog"] > row["blocked"] + row["unknown"] for row in rows):
        return Exit.INCOMPLETE
    found = status["unknown"] or any(
        row["blocked"] or row["overdue"] or row["kept"] for row in rows
    )
    return Exit.FINDINGS if found else Exit.CLEAN
