"""Errors about a database that cannot be worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import ProgrammingError

from .base import CrossDatabaseError
from .redaction import code_of, plain, reason_of_error, receiver_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class DatabaseHindered(CrossDatabaseError):
    """A database is temporarily unusable: read-only, full or shutting down. It is tried again."""

    #: The part of a sentence between the database's name and the reason.
    PREDICATE = "cannot be worked on"

    def __init__(self, database: str, error: BaseException | str) -> None:
        self.database = database
        self.reason = _reason(error)
        super().__init__(f"{database}: {self.reason}")

    @property
    def sentence(self) -> str:
        """A predicate to follow the database's name, with the reason."""
        return f"{self.PREDICATE}: {self.reason}"


def _reason(error: BaseException | str) -> str:
    """Return why a database is hindered. The message of a refused connection is safe to quote.

    That of a receiver, such as one of `connection_created`, is not.
    """
    if isinstance(error, BaseException) and (code_of(error) or receiver_of(error)):
        return reason_of_error(error)
    return plain(error) or type(error).__name__


class DatabaseUnreachable(DatabaseHindered):
    """A connection to a database was refused or lost, or it timed out."""

    PREDICATE = "cannot be reached"


class MissingContentType(CrossDatabaseError, ProgrammingError):
    """The database in `content_types` has no content type of a GenericForeignKey's parent.

    `migrate` creates it. Until then, as with a missing table, nothing can be read or changed.
    """

    def __init__(self, relation: str, model: str, database: str) -> None:
        self.relation, self.model, self.database = relation, model, database
        super().__init__(
            f"{relation}: {database!r} has no content type of {model}. Nothing was changed; run"
            f" `manage.py migrate --database {database}`, or name the database whose ids the rows"
            " hold as content_types"
        )


class FilteredRead(CrossDatabaseError, ProgrammingError):
    """Rows may be hidden from this role, so a missing row would prove nothing. Nothing was changed.

    An operator has to act before the relation can be processed.
    """

    #: The reason if no specific one is known.
    UNKNOWN = (
        "row level security hides rows from this role, or it is a view. Give the role BYPASSRLS,"
        " and let the model name a table"
    )

    def __init__(self, table: str, database: str, why: str = UNKNOWN) -> None:
        self.table, self.database = table, database
        super().__init__(f"{table!r} in {database!r}: {why}")


class IdentityMismatch(CrossDatabaseError):
    """A child database's identity does not match its parents, and no operator has accepted that."""

    def __init__(self, database: str, mismatches: Iterable[object]) -> None:
        self.database = database
        reasons = "; ".join(map(str, mismatches))
        super().__init__(f"{database} is not resumed: {reasons}")


class RestoredDatabase(CrossDatabaseError):
    """A child database or its log was restored from a backup, and no operator has accepted that."""

    def __init__(self, database: str, reason: str) -> None:
        self.database = database
        super().__init__(f"{database} is not resumed: {reason}")


class FiguresUnavailable(CrossDatabaseError):
    """Figures that another thread was computing were not ready in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the deletion log did not answer within {seconds:.0f} s; look at the database's load"
        )
