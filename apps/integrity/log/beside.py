"""The cascades of a step, and those of the same deletions in databases, which remove the rows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q

from ..backends.transactions import atomic, retried
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
#: How the reason begins of a step's cascade that waits for its rows.
WAITS = "waits until rows are gone and verified in"
#: A wait lasts for this share of the time that the rows have taken so far.
WAIT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Wait:
    """For which databases a deletion has to wait, and for how long it is not looked at again.

    Or what else it waits for, if `why` says that.
    """

    databases: Mapping[str, str]
    seconds: float
    why: str = ""

    @property
    def reason(self) -> str:
        """Return why it waits, in a line. Pure."""
        if self.why:
            return self.why
        states = (f"{database} ({state})" for database, state in sorted(self.databases.items()))
        return f"{WAITS} {', '.join(states)}"


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


def waiting(places: Collection[str], *, using: str) -> int:
    """Return how many deletions wait in steps for nothing but the proof that their rows are gone.

    Cascades whose rows are held up by anything else are not counted.
    """
    rows = tables.cascades(using).filter(
        database__in=sorted(places), state=Cascade.State.PENDING, reason__startswith=WAITS
    )
    held_up = Q(reason__contains="(blocked)") | Q(reason__contains="(waiting)")
    return sum(rows.exclude(held_up).values_list("size", flat=True))


@retried
def add_missing(claim: Claim, places: Collection[str]) -> int:
    """Add cascades of steps that the claim's batches lack; return deletions times places.

    A process that did not know the step yet, during a deploy, may have made the batches. Call it
    before the claim removes rows: what is found of them needs somebody who erases it. One
    statement, unless some are missing.
    """
    if not (lacking := _lacking(claim, places)):
        return 0
    with atomic(claim.using):
        of_batches = tables.cascades(claim.using).filter(
            tables.id_in("batch", claim.batches, claim.using)
        )
        # Two databases of a batch may find it missing at the same time.
        beside = [*tables.locked(of_batches.order_by("pk"), claim.using, skip_locked=False)]
        lacking = _lacking(claim, places)
        recorded = {one.batch: (one.recorded_at, one.dispatched_at) for one in beside}
        tables.cascades(claim.using).bulk_create(
            Cascade(
                batch=batch,
                database=place,
                parent=claim.parent,
                relation=claim.relation,
                deletions=ids,
                size=len(ids),
                due_at=ServerNow(),
                recorded_at=recorded[batch][0],
                dispatched_at=recorded[batch][1],
            )
            for (batch, place), ids in lacking.items()
            if batch in recorded
        )
    return sum(map(len, lacking.values()))


def _lacking(claim: Claim, places: Collection[str]) -> dict[tuple[int, str], list[int]]:
    """Return batch and place → the claim's deletions that no cascade there holds."""
    rows = tables.cascades(claim.using).filter(
        tables.id_in("batch", claim.batches, claim.using), database__in=sorted(places)
    )
    held: dict[str, set[int]] = {place: set() for place in places}
    for place, deletions in rows.values_list("database", "deletions"):
        held[place].update(deletions)
    lacking: dict[tuple[int, str], list[int]] = {}
    for one in claim.deletions:
        for place in places:
            if one.id not in held[place]:
                lacking.setdefault((one.batch, place), []).append(one.id)
    return {key: sorted(ids) for key, ids in lacking.items()}


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
