"""By what a list of deletions is filtered: their state, in some database or in one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..models import Cascade, CascadeState, Deletion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..models.outcome import InDatabase


class Shown(models.TextChoices):
    """What a list may be restricted to. Most mean that it is so in at least one child database."""

    RECORDED = "recorded", _("recorded, not dispatched")
    PENDING = "pending", _("pending")
    WORKING = "working", _("working")
    FAILING = "failing", _("failing: tried again later")
    WAITING = "waiting", _("set aside: no attempt counted")
    BLOCKED = "blocked", _("blocked: needs a retry")
    UNPROVEN = "unproven", _("done, not verified")
    LATE = "late", _("late: not done after a minute")
    KEPT = "kept", _("kept rows")
    CANCELLED = "cancelled", _("cancelled")
    VERIFIED = "verified", _("verified")


class InOne(Protocol):
    """What is asked of a cascade: the row itself, or what it did for one deletion."""

    @property
    def state(self) -> str:
        """Its state."""

    @property
    def attempts(self) -> int:
        """Its attempts, of its verification once it is done."""

    @property
    def left_rows(self) -> bool:
        """Whether its last attempt left rows of some relation."""

    @property
    def is_unacknowledged(self) -> bool:
        """Whether it kept rows, and nobody has acknowledged that."""


def _is_retried(one: InOne) -> bool:
    """Return whether a worker tries it again: `work.IS_RETRIED`."""
    return one.state == CascadeState.RUNNING and (one.attempts > 1 or one.left_rows)


#: Filter → whether a cascade is of it.
_IN_ONE: dict[str, Callable[[InOne], bool]] = {
    Shown.PENDING: lambda one: one.state == CascadeState.PENDING,
    Shown.WORKING: lambda one: one.state == CascadeState.RUNNING,
    Shown.FAILING: lambda one: one.state == CascadeState.WAITING or _is_retried(one),
    Shown.WAITING: lambda one: one.state == CascadeState.WAITING and not one.attempts,
    Shown.BLOCKED: lambda one: one.state == CascadeState.BLOCKED,
    Shown.UNPROVEN: lambda one: one.state == CascadeState.DONE,
    Shown.LATE: lambda one: one.state in Cascade.OPEN,
    Shown.KEPT: lambda one: one.state == CascadeState.KEPT or one.is_unacknowledged,
    Shown.CANCELLED: lambda one: one.state == CascadeState.CANCELLED,
    Shown.VERIFIED: lambda one: one.state == CascadeState.VERIFIED,
}


def fits_in_one(one: InOne, shown: str) -> bool:
    """Return whether a cascade alone makes its deletions fit."""
    return _IN_ONE[shown](one)


def word(one: InOne) -> str:
    """Return the state of a cascade, or "failing" where it waits after a failed attempt."""
    has_failed = one.state == CascadeState.WAITING and bool(one.attempts)
    return str(Shown.FAILING) if has_failed else one.state


def fits(deletion: Deletion, shown: str, database: str) -> bool:
    """Return whether a deletion is of that filter: in that database, or in any for ""."""
    outcomes = list(_in(deletion, database))
    if not shown:
        return bool(outcomes) or not database
    if shown == Shown.RECORDED or (shown == Shown.LATE and deletion.batch is None):
        return deletion.state == Deletion.State.RECORDED and not database
    if shown == Shown.CANCELLED and deletion.cancelled_at is not None and not database:
        return True
    if shown == Shown.VERIFIED and not database:
        return deletion.state == Deletion.State.VERIFIED
    return any(fits_in_one(one, shown) for one in outcomes)


def _in(deletion: Deletion, database: str) -> Iterator[InDatabase]:
    return (one for one in deletion.databases if not database or one.database == database)
