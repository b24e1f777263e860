"""Everything this app raises, under one base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import IntegrityError, ProgrammingError

from .redaction import code_of, plain, reason_of_error, receiver_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Longer names are cut: they may come from a forged message.
NAME_CHARS = 100


class CrossDatabaseError(Exception):
    """Base of the app's errors; do not raise it directly."""

    #: Its text is this app's own: names and ids, and no rows. So a reason may quote it: plain.py.
    own_words: ClassVar[bool] = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as it is: `__init__` may take something else than the message."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[CrossDatabaseError], args: tuple[Any, ...]) -> CrossDatabaseError:
    return kind.__new__(kind, *args)


class InvalidSetting(CrossDatabaseError, ImproperlyConfigured):
    """A value of the settings that cannot be used."""


class RouterFailed(CrossDatabaseError, ImproperlyConfigured):
    """A router of the project raised when it was asked for a model."""

    def __init__(self, router: object, method: str, model: str, error: BaseException) -> None:
        kind = type(router)
        self.router, self.method = f"{kind.__module__}.{kind.__qualname__}", method
        self.model, self.cause, self.text = model, type(error).__name__, plain(error)
        super().__init__(
            f"DATABASE_ROUTERS: {self.router}.{method}() raises {self.cause} for {model}"
            f" ({self.text}): let it answer for each model of the project, or None where it has no"
            " answer"
        )


class UnknownName(CrossDatabaseError, LookupError):
    """A model, relation or database that the catalogue does not know."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, plain(name, NAME_CHARS), tuple(known)
        listed = ", ".join(self.known) or "none"
        super().__init__(f"unknown {kind} {self.name!r}; known: {listed}")


class InvalidName(CrossDatabaseError, ValueError):
    """A name that cannot be renamed so. Says what the catalogue knows."""


class InvalidRole(CrossDatabaseError, ValueError):
    """A name that no privileges are granted to. Says why."""

    def __init__(self, role: str, why: str) -> None:
        self.role = role
        super().__init__(
            f"no privileges are granted to {role[:NAME_CHARS]!r}: {why}. Name a role of its own,"
            " which one kind of process logs in with"
        )


class InvalidKey(CrossDatabaseError, ValueError):
    """A parent key that its field cannot hold. Names the field and never the key: see Note [Text].

    Note [Text]: keys are ids, and may be shown and logged. What no field can hold is arbitrary
    text, and is not.
    """


class ParentStillExists(CrossDatabaseError):
    """A deletion was to be recorded for parents that are still there."""


class NotTheParents(CrossDatabaseError):
    """A deletion was to be recorded for rows of a table that is not the parents' own."""

    def __init__(self, parent: str, database: str, schema: str, log: str) -> None:
        self.parent, self.database, self.schema = parent, database, schema
        super().__init__(
            f"{parent} in {database!r}: the table is in the schema {schema!r}, and the deletion log"
            f" in {log!r}. Nothing was recorded, and nothing will be cascaded: parents are the rows"
            " of the table beside the log"
        )


class ChildDatabaseUnavailable(CrossDatabaseError):
    """A child database could not be asked, and its policy needs an answer before the delete."""


class TooManyKeys(ChildDatabaseUnavailable):
    """PROTECT or RESTRICT below a delete would need more keys than `protect_keys`."""

    def __init__(self, relation: str, database: str, most: int) -> None:
        self.relation, self.database, self.most = relation, database, most
        super().__init__(
            f"{relation}: more than {most:,} keys in {database!r} would have to be looked at, to"
            " tell whether rows refer to what is being deleted. Nothing was deleted; delete fewer"
            " rows at once, or raise INTEGRITY['protect_keys']."
        )


class TriggersRefused(CrossDatabaseError, CommandError):
    """Triggers would give others rights, or belong to others, so they are not installed.

    Says what to do about it.
    """


class TablesHeld(CrossDatabaseError, CommandError):
    """Triggers could not be changed, for other transactions held their tables at each try."""

    def __init__(self, database: str, held: Iterable[object]) -> None:
        self.database = database
        super().__init__(
            f"the triggers in {database!r} are not as the settings ask: "
            + "; ".join(map(str, held))
        )


class LogNeeded(CrossDatabaseError, CommandError):
    """The app's tables are not dropped: work would be lost, or deletes would fail."""

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
    """Rows of a gone parent are still there after the statement that should have changed them.

    Nobody had locked them, and no error was raised: something in the database keeps them.
    """

    def __init__(self, relation: str, database: str) -> None:
        self.relation, self.database = relation, database
        super().__init__(
            f"{database!r} keeps rows of {relation} although nothing has locked them: look for a"
            " trigger or a rule on the table that skips the change"
        )


class ReceiverExits(CrossDatabaseError):
    """A receiver of signals raised what is meant to end a process, such as SystemExit."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: a receiver must not end the process that deletes rows")


class MissingContentType(CrossDatabaseError, ProgrammingError):
    """The database that a declared GenericForeignKey names does not know the parent's content type.

    As with a missing table: each `migrate` makes it, so that nothing can be told without it.
    """

    def __init__(self, relation: str, model: str, database: str) -> None:
        self.relation, self.model, self.database = relation, model, database
        super().__init__(
            f"{relation}: {database!r} has no content type of {model}. Nothing was changed; run"
            f" `manage.py migrate --database {database}`, or name the database whose ids the rows"
            " hold as content_types"
        )


class FilteredRead(CrossDatabaseError, ProgrammingError):
    """Rows may be hidden from this role, so "not there" would prove nothing. Nothing was changed.

    As with a missing table, an operator has to act: no row can be told from any other until then.
    """

    #: For a reason that nobody has looked up.
    UNKNOWN = (
        "row level security hides rows from this role, or it is a view. Give the role BYPASSRLS,"
        " and let the model name a table"
    )

    def __init__(self, table: str, database: str, why: str = UNKNOWN) -> None:
        self.table, self.database = table, database
        super().__init__(f"{table!r} in {database!r}: {why}")


class IdentityMismatch(CrossDatabaseError):
    """A child database belongs to other parents, and nobody has accepted these."""

    def __init__(self, database: str, mismatches: Iterable[object]) -> None:
        self.database = database
        reasons = "; ".join(map(str, mismatches))
        super().__init__(f"{database} is not resumed: {reasons}")


class DatabaseHindered(CrossDatabaseError):
    """A database cannot be worked on now, and heals without us: read-only, full, shutting down."""

    #: How a sentence about the database goes on before the reason.
    PREDICATE = "cannot be worked on"

    def __init__(self, database: str, error: BaseException | str) -> None:
        self.database = database
        self.reason = _reason(error)
        super().__init__(f"{database}: {self.reason}")

    @property
    def sentence(self) -> str:
        """What is said of the database after its name, with the reason."""
        return f"{self.PREDICATE}: {self.reason}"


def _reason(error: BaseException | str) -> str:
    """Return why a database is hindered. What a refused connection says quotes no row.

    A receiver, such as one of `connection_created`, may have said anything.
    """
    if isinstance(error, BaseException) and (code_of(error) or receiver_of(error)):
        return reason_of_error(error)
    return plain(error) or type(error).__name__


class DatabaseUnreachable(DatabaseHindered):
    """A database refused, lost or never answered the connection."""

    PREDICATE = "cannot be reached"


class TaskFailed(CrossDatabaseError):
    """A task of this app failed when Celery ran it. Names task and reason, and quotes no row."""


class FiguresUnavailable(CrossDatabaseError):
    """Figures that another caller computes were not there in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the deletion log did not answer within {seconds:.0f} s; look at the database's load"
        )


class NotDrained(CrossDatabaseError):
    """Cascades that a test waits for are not done; `reasons` says why, for each child database."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in self.reasons.items()))


class MissingParent(CrossDatabaseError, IntegrityError):
    """A row was to be saved with the key of a parent that does not exist."""

    #: The key may be an e-mail address: the form that saves it is told, and no log.
    own_words: ClassVar[bool] = False

    def __init__(self, relation: str, key: str) -> None:
        self.relation, self.key = relation, key
        super().__init__(
            f"{relation}: there is no parent {key}. Save the parent first, in its own database;"
            " if it was deleted meanwhile, choose another one"
        )
