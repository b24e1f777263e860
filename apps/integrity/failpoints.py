"""The moments at which a death would be worst, by name.

Nothing happens at any of them: `reached` is here to be replaced by the tests that die there
(tests/chaos/matrix), and costs a call of an empty function.
"""

from __future__ import annotations

from enum import StrEnum


class Failpoint(StrEnum):
    """Where a deletion stands; each is between two steps that no transaction holds together."""

    RECORDED = "recorded"
    """The deletion is in the log, and neither it nor the delete is committed."""
    COMMITTED = "committed"
    """Both are committed; nobody has been woken."""
    RECEIVED = "received"
    """A worker took the message off the queue and has done nothing yet."""
    DISPATCHED = "dispatched"
    """The cascades are committed; no child database has been woken."""
    CLAIMED = "claimed"
    """The claim and the attempt are committed; nothing has been removed."""
    REMOVED = "removed"
    """Child rows are removed, and that is not committed."""
    REMOVAL_COMMITTED = "removal committed"
    """Child rows are gone for good; the log does not know."""
    FINISHED = "finished"
    """The log knows; the message is not acknowledged."""
    PROBED = "probed"
    """No row is left, and the log does not know."""


def hit(phase: Failpoint) -> None:
    """Does nothing."""
