"""Named points between two commits at which tests let a process die (tests/chaos/matrix).

In production `hit` is an empty function. The tests replace it.
"""

from __future__ import annotations

from enum import StrEnum


class Failpoint(StrEnum):
    """The point that a deletion has reached. Each lies between two transactions."""

    RECORDED = "recorded"
    """The deletion is in the log, and neither it nor the delete is committed."""
    COMMITTED = "committed"
    """Both are committed; no worker has been notified."""
    RECEIVED = "received"
    """A worker took the message off the queue and has done nothing yet."""
    DISPATCHED = "dispatched"
    """The cascades are committed; no worker has been notified."""
    CLAIMED = "claimed"
    """The claim and the attempt are committed; nothing has been removed."""
    REMOVED = "removed"
    """Child rows are removed, and that is not committed."""
    REMOVAL_COMMITTED = "removal committed"
    """The removal of child rows is committed; the log does not know."""
    FINISHED = "finished"
    """The log knows; the message is not acknowledged."""
    PROBED = "probed"
    """No row is left, and the log does not know."""


def hit(failpoint: Failpoint) -> None:
    """Do nothing."""
