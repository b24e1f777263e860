"""The deletion log's only writer. Each transition is one function here, safe to repeat.

Takes keys and claims; gives rows of the log. Due times are by the clock of the log's database.

Note [One column says when]: `due_at` is when a cascade may be claimed: at once while pending,
after the backoff while waiting, after the lease while running. So one condition and one index
serve all three, and a worker that died gives its claim back by doing nothing.
"""

from __future__ import annotations

import datetime as dt
import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest, Now

from . import conf, relations, statements
from .models import Cascade, ChildDatabase, Deletion, Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .exceptions import DatabaseUnreachable
    from .relations import Model

#: How long an unfinished cascade waits when somebody else holds its rows.
MOMENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A cascade that this worker holds until its lease ends."""

    id: int
    deletion: int
    parent: str
    key: str
    targets: Mapping[str, str]
    attempts: int
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one worker claimed at once: cascades of one parent model into one database."""

    token: uuid.UUID
    using: str
    database: str
    cascades: tuple[Claimed, ...]


def record(
    parent: Model,
    keys: Sequence[Any],
    targets: Sequence[Mapping[str, str] | None],
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    """Log the deletion of `keys` in the caller's transaction; gives them back as text.

    A key whose parent still has a row is left out: the log never condemns the living.
    """
    return statements.on(using).insert_deletions(parent, keys, targets, source, using=using)


def dispatch(*, using: str, limit: int) -> int:
    """Give recorded deletions their cascades, one per child database.

    One transaction for at most `limit` deletions, whose number it gives; several dispatchers share
    the work.
    """
    with transaction.atomic(using=using):
        recorded = _deletions(using).filter(state=Deletion.State.RECORDED).order_by("pk")
        picked = list(_locked(recorded, using).values_list("pk", "parent")[:limit])
        for parent in {parent for _, parent in picked}:
            found = [pk for pk, each in picked if each == parent]
            databases = relations.catalogue().databases_of(parent)
            if databases:
                statements.on(using).insert_cascades(found, databases, using=using)
            _deletions(using).filter(pk__in=found).update(
                state=Deletion.State.DISPATCHED if databases else Deletion.State.CASCADED,
                reason="" if databases else "no relation of this project refers to it",
                dispatched_at=Now(),
                cascaded_at=None if databases else Now(),
            )
    return len(picked)


def due_databases(*, using: str) -> frozenset[str]:
    """Child databases with a cascade that may be claimed now."""
    due = Cascade.objects.using(using).filter(state__in=Cascade.CLAIMABLE, due_at__lte=Now())
    known = relations.catalogue().child_databases
    return frozenset(alias for alias in known if due.filter(database=alias).exists())


def claim(database: str, *, using: str, limit: int, lease_seconds: float) -> Claim | None:
    """Claim up to `limit` due cascades of `database`, of one parent model; None when none is due.

    The attempt is counted and committed before the work. A cascade that failed before is claimed
    in a smaller company, so that the one that kills its worker is found.
    """
    token = uuid.uuid4()
    with transaction.atomic(using=using):
        due = Cascade.objects.using(using).filter(
            database=database, state__in=Cascade.CLAIMABLE, due_at__lte=Now()
        )
        rows = list(_locked(due.select_related("deletion").order_by("due_at", "pk"), using)[:limit])
        picked = _of_one_kind(rows, limit)
        changed = due.filter(pk__in=[each.pk for each in picked]).update(
            state=Cascade.State.RUNNING,
            claim=token,
            attempts=F("attempts") + 1,
            due_at=Now() + dt.timedelta(seconds=lease_seconds),
        )
    if changed < len(picked):  # only where rows cannot be locked: somebody was faster
        mine = Cascade.objects.using(using).filter(claim=token).values_list("pk", flat=True)
        picked = [each for each in picked if each.pk in set(mine)]
    if not picked:
        return None
    held = tuple(_claimed(cascade) for cascade in picked)
    return Claim(token=token, using=using, database=database, cascades=held)


def _of_one_kind(rows: list[Cascade], limit: int) -> list[Cascade]:
    """The first row's companions: same parent model, and fewer the more often it failed."""
    if not rows:
        return []
    first = rows[0]
    same = [each for each in rows if each.deletion.parent == first.deletion.parent]
    return same[: max(1, limit >> first.attempts)]


def _claimed(cascade: Cascade) -> Claimed:
    return Claimed(
        id=cascade.pk,
        deletion=cascade.deletion_id,
        parent=cascade.deletion.parent,
        key=cascade.deletion.key,
        targets=cascade.deletion.targets or {},
        attempts=cascade.attempts + 1,
        rows=cascade.rows or {},
    )


def finish(claim: Claim, rows: Mapping[int, Mapping[str, int]]) -> list[int]:
    """Mark cascades done, with the rows removed for each; then their deletions, where complete.

    Gives the deletions' ids. A cascade that the claim no longer holds is left alone.
    """
    if not rows:
        return []
    finished = statements.on(claim.using).finish_cascades(claim.token, rows, using=claim.using)
    settle(using=claim.using, deletions=finished)
    return finished


def settle(*, using: str, deletions: Sequence[int] | None = None) -> int:
    """Mark dispatched deletions cascaded when none of their cascades is open.

    It runs after `finish` has committed, so the last database to finish sees all others done;
    without `deletions` it looks at every dispatched one, which mends a death in between.
    """
    if deletions is not None and not deletions:
        return 0
    open_ = Cascade.objects.using(using).filter(
        deletion=models.OuterRef("pk"), state__in=Cascade.OPEN
    )
    complete = _deletions(using).filter(~models.Exists(open_), state=Deletion.State.DISPATCHED)
    if deletions is not None:
        complete = complete.filter(pk__in=deletions)
    with transaction.atomic(using=using):
        pks = list(_locked(complete.order_by("pk"), using).values_list("pk", flat=True))
        return (
            _deletions(using)
            .filter(pk__in=pks)
            .update(state=Deletion.State.CASCADED, cascaded_at=Now())
        )


def release(claim: Claim, rows: Mapping[int, Mapping[str, int]], *, reason: str) -> None:
    """Put unfinished cascades at the end of the queue, with the rows removed so far.

    No failure: the attempt is not counted. With a reason they wait for a moment first.
    """
    again = _uncounted(reason)
    untouched = [pk for pk, removed in rows.items() if not removed]
    _held(claim, untouched).update(**again)
    for pk, removed in rows.items():
        if removed:
            _held(claim, [pk]).update(**again, rows=dict(removed))


def hand_back(claim: Claim) -> None:
    """Put back all that the claim still holds, uncounted: its database cannot be reached."""
    _held(claim, [each.id for each in claim.cascades]).update(**_uncounted(""))


def _uncounted(reason: str) -> dict[str, Any]:
    return {
        "state": Cascade.State.WAITING if reason else Cascade.State.PENDING,
        "claim": None,
        "attempts": Greatest(F("attempts") - 1, 0),
        "due_at": Now() + dt.timedelta(seconds=MOMENT_SECONDS) if reason else Now(),
        "reason": reason,
    }


def postpone(claim: Claim, reason: str) -> None:
    """Let failed cascades wait, longer each time; block those that had their last attempt."""
    settings = conf.current()
    spent = [each.id for each in claim.cascades if each.attempts >= settings.attempts]
    again = [each for each in claim.cascades if each.attempts < settings.attempts]
    _held(claim, spent).update(state=Cascade.State.BLOCKED, claim=None, reason=reason)
    for attempts in {each.attempts for each in again}:
        wait = dt.timedelta(seconds=backoff(attempts, settings))
        _held(claim, [each.id for each in again if each.attempts == attempts]).update(
            state=Cascade.State.WAITING, claim=None, due_at=Now() + wait, reason=reason
        )


def backoff(attempts: int, settings: conf.Settings) -> float:
    """Seconds to wait after that many failures: doubling, capped, with a quarter of jitter."""
    wait: float = min(settings.backoff_seconds * 2 ** (attempts - 1), settings.backoff_seconds_max)
    return wait * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)


def cancel(deletions: Iterable[int], reason: str, *, using: str) -> int:
    """Cancel deletions whose parent is alive, with all that is not finished of their cascades."""
    ids = list(deletions)
    with transaction.atomic(using=using):
        changed = (
            _deletions(using)
            .filter(pk__in=ids, state__in=Deletion.OPEN)
            .update(state=Deletion.State.CANCELLED, reason=reason)
        )
        Cascade.objects.using(using).filter(deletion__in=ids, state__in=Cascade.OPEN).update(
            state=Cascade.State.CANCELLED, claim=None, reason=reason
        )
    return changed


def admits(database: str, *, using: str) -> bool:
    """Whether work on `database` may start: it can be reached, or it is time to try again.

    While it cannot be reached, one caller per interval gets to probe.
    """
    rows = ChildDatabase.objects.using(using).filter(alias=database)
    if not rows.filter(unreachable_since__isnull=False).exists():
        return True
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    return bool(rows.filter(probe_at__lte=Now()).update(probe_at=again))


def unreachable(error: DatabaseUnreachable, *, using: str) -> None:
    """Note that a child database cannot be reached, and why; others are not concerned."""
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    rows = ChildDatabase.objects.using(using)
    rows.get_or_create(alias=error.database)
    rows.filter(alias=error.database).update(reason=error.reason, probe_at=again)
    rows.filter(alias=error.database, unreachable_since=None).update(unreachable_since=Now())


def reachable(database: str, *, using: str) -> None:
    """Note that a child database answers again."""
    ChildDatabase.objects.using(using).filter(
        alias=database, unreachable_since__isnull=False
    ).update(unreachable_since=None, probe_at=None, reason="")


def beat(name: str, *, using: str) -> None:
    """Note that the process `name` is alive and tends this log."""
    rows = Heartbeat.objects.using(using)
    if not rows.filter(name=name).update(seen_at=Now()):
        rows.bulk_create([Heartbeat(name=name)], ignore_conflicts=True)


def _deletions(using: str) -> QuerySet[Deletion]:
    return Deletion.objects.using(using)


def _held(claim: Claim, ids: Sequence[int]) -> QuerySet[Cascade]:
    return Cascade.objects.using(claim.using).filter(
        Q(pk__in=ids), claim=claim.token, state=Cascade.State.RUNNING
    )


def _locked(rows: QuerySet[Any], using: str) -> QuerySet[Any]:
    """The rows that nobody else works on, locked for this transaction."""
    features = connections[using].features
    if not features.has_select_for_update:
        return rows
    of = ("self",) if features.has_select_for_update_of else ()
    return rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked, of=of)
