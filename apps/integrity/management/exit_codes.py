"""The exit codes of the commands, and the exit code for an error."""

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
    RestoredDatabase,
    UnknownName,
)
from ..exceptions.redaction import reason_of_error
from . import missing_privilege
from .terminal import printable

if TYPE_CHECKING:
    from ..exceptions import CrossDatabaseError


class ExitCode(enum.IntEnum):
    """The worst wins. 1 and 2 are Django's own (CommandError, argparse)."""

    CLEAN = 0
    ERROR = 1
    USAGE = 2
    FINDINGS = 3
    INCOMPLETE = 4
    UNREACHABLE = 5
    BRAKE = 6


#: The meaning of each, as the reference documents it.
MEANINGS = {
    ExitCode.CLEAN: "clean and complete",
    ExitCode.ERROR: "an error",
    ExitCode.USAGE: "wrong arguments",
    ExitCode.FINDINGS: "there are findings",
    ExitCode.INCOMPLETE: "not complete yet",
    ExitCode.UNREACHABLE: "a database cannot be reached or cannot be worked on",
    ExitCode.BRAKE: "the brake refused a repair",
}

#: Errors whose text says what to do.
SELF_EXPLANATORY: dict[type[Exception], ExitCode] = {
    UnknownName: ExitCode.USAGE,
    InvalidKey: ExitCode.USAGE,
    InvalidName: ExitCode.USAGE,
    InvalidRole: ExitCode.USAGE,
    IdentityMismatch: ExitCode.BRAKE,
    RestoredDatabase: ExitCode.BRAKE,
    FilteredRead: ExitCode.ERROR,
}


def usage_error(message: str) -> CommandError:
    """Return the error that ends a command that was called with wrong arguments."""
    return CommandError(message, returncode=ExitCode.USAGE)


def error_exit(error: CrossDatabaseError | Error) -> CommandError:
    """Return the error that ends the command: one line that says what to do, and the exit code.

    SQLite raises an `OperationalError` both for a missing table and for a file that cannot be
    opened. So the databases are examined where the error does not say enough.
    """
    message, code = _message_and_code(error)
    return CommandError(printable(message), returncode=code)


def _message_and_code(error: CrossDatabaseError | Error) -> tuple[str, ExitCode]:
    for kind, code in SELF_EXPLANATORY.items():
        if isinstance(error, kind):
            return str(error), code
    if isinstance(error, DatabaseUnreachable):
        return f"unreachable: {error}", ExitCode.UNREACHABLE
    if message := missing_privilege.explain(error):
        return message, ExitCode.ERROR
    if isinstance(error, DatabaseHindered):
        return f"{error.database} {error.sentence}", ExitCode.UNREACHABLE
    if isinstance(error, Error) and (broken := doctor.broken()):
        code = ExitCode.UNREACHABLE if broken.kind == "database" else ExitCode.ERROR
        return f"{broken.name}: {broken.detail}", code
    hindered = isinstance(error, Error) and _is_hindered(error)
    return reason_of_error(error), ExitCode.UNREACHABLE if hindered else ExitCode.ERROR


def _is_hindered(error: Error) -> bool:
    vendor = connections[database_of(error) or DEFAULT_DB_ALIAS].vendor
    return trouble_of(error, vendor) is Trouble.HINDERED
