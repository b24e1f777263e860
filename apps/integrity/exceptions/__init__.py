"""The errors of this app. All have the base `CrossDatabaseError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import IntegrityError, ProgrammingError

from .redaction import code_of, plain, reason_of_error, receiver_of
from .suggestions import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Longer names are truncated: they may come from a forged message.
NAME_CHARS = 100


class CrossDatabaseError(Exception):
    """Base of the app's errors; do not raise it directly."""

    #: Whether logs and reasons may quote its text: it has names and ids, and no data of rows.
    safe_to_quote: ClassVar[bool] = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle without `__init__`, whose arguments may differ from the message."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[CrossDatabaseError], args: tuple[Any, ...]) -> CrossDatabaseError:
    return kind.__new__(kind, *args)


class InvalidSetting(CrossDatabaseError, ImproperlyConfigured):
    """A setting has an unusable value."""


class RouterFailed(CrossDatabaseError, ImproperlyConfigured):
    """A router of the project raised an error."""

    def __init__(self, router: object, method: str, model: str, error: BaseException) -> None:
        kind = type(router)
        self.router, self.method = f"{kind.__module__}.{kind.__qualname__}", method
        self.model, self.cause, self.text = model, type(error).__name__, plain(error)
        super().__init__(
            f"DATABASE_ROUTERS: {self.router}.{method}() raises {self.cause} for {model}"
            f" ({self.text}): it has to return an alias for each model of the project, or None"
        )


class UnknownName(CrossDatabaseError, LookupError):
    """A model, relation or database that the catalogue does not know."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, plain(name, NAME_CHARS), tuple(known)
        super().__init__(unknown(kind, self.name, self.known))


class InvalidName(CrossDatabaseError, ValueError):
    """A model or alias cannot be renamed like this. The message lists the known names."""


class InvalidRole(CrossDatabaseError, ValueError):
    """No privileges are granted to a role of that name. The message states why."""

    def __init__(self, role: str, why: str) -> None:
        self.role = role
        super().__init__(
            f"no privileges are granted to {role[:NAME_CHARS]!r}: {why}. Name a separate role,"
            " with which one kind of process logs in"
        )


class InvalidKey(CrossDatabaseError, ValueError):
    """A parent's field cannot hold that key. The message names the field and never the key.

    Keys are ids, and may be shown and logged. Text that the field cannot hold may be anything, so
    it is never quoted.
    """


class KeyTooLong(InvalidKey):
    """A deleted parent has a key, or a value of a `to_field`, that is too long for the log."""

    def __init__(self, parent: str, most: int) -> None:
        self.parent, self.most = parent, most
        super().__init__(
            f"{parent}: a key, or a value that other rows refer to, has more than {most}"
            " characters: the deletion log cannot hold it. Nothing was deleted. Shorten it in this"
            " row and in those that refer to it, or set INTEGRITY['capture'] to 'off' for"
            f" {parent} and delete the rows that refer to it yourself"
        )


class ParentStillExists(CrossDatabaseError):
    """`record` was called for parents that still exist."""


class NotTheParents(CrossDatabaseError):
    """The connection led to a table in another schema than the parents' own."""

    def __init__(self, parent: str, database: str, schema: str, log: str) -> None:
        self.parent, self.database, self.schema = parent, database, schema
        super().__init__(
            f"{parent} in {database!r}: the table is in the schema {schema!r}, and the deletion log"
            f" in {log!r}. Nothing was recorded, and nothing will be cascaded: parents are the rows"
            " of the table beside the log"
        )


class ChildDatabaseUnavailable(CrossDatabaseError):
    """PROTECT or RESTRICT could not be checked in a child database, so the delete is refused."""


class TooManyKeys(ChildDatabaseUnavailable):
    """A PROTECT or RESTRICT check would need more keys than the setting `protect_keys`."""

    def __init__(self, relation: str, database: str, most: int) -> None:
        self.relation, self.database, self.most = relation, database, most
        super().__init__(
            f"{relation}: more than {most:,} keys in {database!r} would have to be checked for"
            " rows that refer to what is being deleted. Nothing was deleted; delete fewer rows at"
            " once, or raise INTEGRITY['protect_keys']."
        )


class TriggersRefused(CrossDatabaseError, CommandError):
    """Triggers were not installed: they would give privileges to other roles, or replace theirs.

    The message states the remedy.
    """


class TablesHeld(CrossDatabaseError, CommandError):
    """Triggers could not be changed: other transactions locked their tables at each attempt."""

    def __init__(self, database: str, held: Iterable[object]) -> None:
        self.database = database
        super().__init__(
            f"the triggers in {database!r} are not as the settings ask: "
            + "; ".join(map(str, held))
        )


class LogNeeded(CrossDatabaseError, CommandError):
    """The app's tables were not dropped: work would be lost, or deletes would fail."""

    def __init__(self, database: str, reasons: Iterable[str]) -> None:
        self.database = database
        super().__init__(
            f"nothing was dropped in {database!r}: "
            + "; ".join(reasons)
            + '. Then migrate again. To drop it all the same: INTEGRITY = {"drop_log": True}'
        )


class UnusablePolicy(CrossDatabaseError):
    """An `on_delete` that cannot be carried out in the child's database."""


class RowsKept(CrossDatabaseError):
    """Rows of a deleted parent are unchanged after the statement that should have changed them.

    They were not locked, and the statement raised no error: a trigger or a rule skips the change.
    """

    def __init__(self, relation: str, database: str) -> None:
        self.relation, self.database = relation, database
        super().__init__(
            f"{database!r} keeps rows of {relation} although nothing has locked them: look for a"
            " trigger or a rule on the table that skips the change"
        )


class ReceiverExits(CrossDatabaseError):
    """A receiver of a signal raised an exception that ends a process, such as SystemExit."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: a receiver must not end the process that deletes rows")


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


class TaskFailed(CrossDatabaseError):
    """A task failed in a Celery worker. The message names task and reason, and quotes no rows."""


class FiguresUnavailable(CrossDatabaseError):
    """Figures that another thread was computing were not ready in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the deletion log did not answer within {seconds:.0f} s; look at the database's load"
        )


class NotDrained(CrossDatabaseError):
    """Cascades that a test waits for are not done. `reasons` maps child databases to reasons."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in self.reasons.items()))


class MissingParent(CrossDatabaseError, IntegrityError):
    """The row to be saved has the key of a parent that does not exist."""

    #: The key may be an e-mail address: a form may show it, a log may not.
    safe_to_quote: ClassVar[bool] = False

    def __init__(self, relation: str, key: str) -> None:
        self.relation, self.key = relation, key
        super().__init__(
            f"{relation}: there is no parent {key}. Save the parent first, in its own database;"
            " if it was deleted meanwhile, choose another one"
        )
