"""Errors of the work that follows a delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import CrossDatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


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


class NotErased(CrossDatabaseError):
    """An erasure step could not erase all of its items now. The message quotes none of them."""


class NotYet(CrossDatabaseError):
    """An erasure step will erase some of its items later, and nothing has failed.

    It is no attempt: the deletions wait for so many `seconds` (1 s to a day) without a backoff, and
    are not shown as failing. `items` are those that are left; the others that the step was asked
    for have been erased. Without it, all of them are left. `reason` is shown and quotes no items.
    """

    def __init__(
        self, reason: str, *, seconds: float = 60.0, items: Sequence[Any] | None = None
    ) -> None:
        self.seconds, self.items = seconds, items
        super().__init__(reason)


class TaskFailed(CrossDatabaseError):
    """A task failed in a Celery worker. The message names task and reason, and quotes no rows."""


class NotDrained(CrossDatabaseError):
    """Cascades that a test waits for are not done. `reasons` maps child databases to reasons."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in self.reasons.items()))
