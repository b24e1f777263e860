"""What came of a deletion, derived from the cascades that hold it. Pure.

Pages, commands, metrics and receipts all read it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence


class CascadeState(models.TextChoices):
    """pending → running → done → verified; waiting (retry later); blocked; kept; cancelled."""

    PENDING = "pending", _("pending")
    RUNNING = "running", _("running")
    WAITING = "waiting", _("waiting")
    BLOCKED = "blocked", _("blocked")
    DONE = "done", _("done")
    VERIFIED = "verified", _("verified")
    KEPT = "kept", _("kept")
    CANCELLED = "cancelled", _("cancelled")


class DeletionState(models.TextChoices):
    """recorded → dispatched → cascaded → verified; or kept; or cancelled.

    For kept, see Note [Keys that come back] in cascade/live_check.py.
    """

    RECORDED = "recorded", _("recorded")
    DISPATCHED = "dispatched", _("dispatched")
    CASCADED = "cascaded", _("cascaded")
    VERIFIED = "verified", _("verified")
    KEPT = "kept", _("kept")
    CANCELLED = "cancelled", _("cancelled")


#: Final states of a cascade: only the purge follows.
ENDED = (CascadeState.VERIFIED, CascadeState.KEPT, CascadeState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class InDatabase:
    """What the cascade that holds a deletion did for it in one child database."""

    database: str
    state: str
    reason: str
    #: Once it is done, the number may be of its verification: see `work_attempts`.
    attempts: int
    #: Whether its database counts the rows itself; else `rows` may lack those of a killed worker.
    counted: bool
    #: Relation → rows changed.
    rows: Mapping[str, int]
    #: Relation → rows that were left alone because a living row has their key.
    kept: Mapping[str, int]
    kept_at: dt.datetime | None
    acknowledged_at: dt.datetime | None
    #: When it may be claimed; None if it has ended or is blocked.
    due_at: dt.datetime | None
    dispatched_at: dt.datetime
    done_at: dt.datetime | None
    verified_at: dt.datetime | None
    #: Whether its last attempt left rows of some relation, and ended without an outcome.
    left_rows: bool = False
    #: When it reached a final state.
    ended_at: dt.datetime | None = None
    #: The `Scope` that it ended with; None before.
    scope: int | None = None
    #: What restores of its database have undone: log/undone.py.
    undone: Sequence[Mapping[str, Any]] = ()

    @property
    def work_attempts(self) -> int | None:
        """Return the attempts at its rows; None once it is done, for nothing holds them then."""
        return self.attempts if self.done_at is None else None

    @property
    def is_blocked(self) -> bool:
        """Return whether it waits for an operator."""
        return self.state == CascadeState.BLOCKED

    @property
    def is_unacknowledged(self) -> bool:
        """Return whether rows were kept and nobody has acknowledged that."""
        return self.kept_at is not None and self.acknowledged_at is None


def state_of_batch(cascades: Iterable[str]) -> DeletionState:
    """Return the state of dispatched deletions, whose cascades have those states.

    A state that this process does not know, from a newer release, does not count as over.
    """
    states = set(cascades)
    if not states <= {CascadeState.DONE, *ENDED}:
        return DeletionState.DISPATCHED
    if CascadeState.DONE in states:
        return DeletionState.CASCADED
    if CascadeState.KEPT in states:
        return DeletionState.KEPT
    if CascadeState.CANCELLED in states or not states:
        return DeletionState.CANCELLED
    return DeletionState.VERIFIED


def last(moments: Iterable[dt.datetime | None]) -> dt.datetime | None:
    """Return the last of the moments; None if one is None, or there is none."""
    known = list(moments)
    return None if None in known else max((at for at in known if at is not None), default=None)
