"""The cascades of a step, and those of the same deletions in databases, which remove the rows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..conf.steps import PREFIX
from ..models import Cascade
from ..models.moments import ServerNow
from . import parts, tables

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping

    from .values import Claim

#: The shortest and the longest wait for rows that are not gone yet, in seconds.
WAIT_SECONDS, WAIT_SECONDS_MAX = 1.0, 60.0
#: A wait lasts for this share of the time that the rows have taken so far.
WAIT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Wait:
    """For which databases a deletion has to wait, and for how long it is not looked at again."""

    databases: Mapping[str, str]
    seconds: float

    @property
    def reason(self) -> str:
        """Return why it waits, in a line. Pure."""
        states = (f"{database} ({state})" for database, state in sorted(self.databases.items()))
        return f"waits until rows are gone and verified in {', '.join(states)}"


def unended(claim: Claim) -> dict[int, Wait]:
    """Return the deletions whose rows are not all gone, and verified, in every database.

    What a step finds later of these is not in the child databases yet. One statement.
    """
    rows = tables.cascades(claim.using).filter(
        tables.id_in("batch", claim.batches, claim.using), ended_at__isnull=True
    )
    beside = rows.exclude(database__startswith=PREFIX).annotate(now=ServerNow())
    columns = ("database", "state", "deletions", "due_at", "dispatched_at", "now")
    ids, waits = {*claim.ids}, dict[int, Wait]()
    for database, state, deletions, due_at, dispatched_at, now in beside.values_list(*columns):
        seconds = _seconds(state, due_at, dispatched_at, now)
        for pk in ids.intersection(deletions):
            before = waits.get(pk, Wait({}, 0.0))
            databases = {**before.databases, database: state}
            waits[pk] = dataclasses.replace(
                before, databases=databases, seconds=max(before.seconds, seconds)
            )
    return waits


def _seconds(
    state: str, due_at: dt.datetime | None, dispatched_at: dt.datetime, now: dt.datetime
) -> float:
    """Return how long to wait for a cascade: until it is verified, or longer each time. Pure."""
    wait = WAIT_SHARE * (now - dispatched_at).total_seconds()
    if state == Cascade.State.DONE and due_at is not None and due_at > now:
        return (due_at - now).total_seconds() + WAIT_SECONDS / 4
    return min(max(wait, WAIT_SECONDS), WAIT_SECONDS_MAX)


def reopen_steps(deletions: Collection[int], *, using: str) -> list[int]:
    """Let steps go on with those deletions: more of their rows may go, in some database.

    Return those with which a step was done, once for each step.
    """
    states = (Cascade.State.DONE, Cascade.State.VERIFIED, Cascade.State.KEPT)
    ended = tables.cascades(using).filter(database__startswith=PREFIX, state__in=states)
    changes = {
        "state": Cascade.State.PENDING,
        "attempts": 0,
        "due_at": ServerNow(),
        "reason": "",
        **dict.fromkeys(["done_at", "verified_at", "ended_at", "scope"]),
    }
    return parts.change_those(ended, deletions, changes, using)
