"""What became of a claim: done, verified, put back, waiting, or blocked until somebody looks."""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest, Now

from .. import backends, conf
from ..models import Cascade, Deletion
from . import entries, tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..backends.barriers import Barrier
    from .claiming import Claim


#: How long an unfinished cascade waits when somebody else holds its rows.
MOMENT_SECONDS = 1.0


def finish(
    claim: Claim, rows: Mapping[int, Mapping[str, int]], *, barrier: Barrier | None
) -> list[int]:
    """Mark cascades done, with the rows removed for each; then their deletions, where complete.

    `barrier` is behind every transaction of the child's database that was open when the last row
    was looked for. Gives the deletions' ids. What the claim no longer holds is left alone.
    """
    if not rows:
        return []
    finished = backends.log_backend(claim.using).finish_cascades(
        claim.token,
        rows,
        barrier=barrier,
        grace_seconds=conf.current().grace_seconds,
        using=claim.using,
    )
    entries.settle(using=claim.using, deletions=finished)
    return finished


def delay(claim: Claim, *, halved: bool = False) -> None:
    """Leave done cascades for a later probe; if `halved`, each at once with half its companions.

    So many attempts, as a claim counts them, leave no more than half: see `claiming`.
    """
    again = Now() if halved else Now() + dt.timedelta(seconds=MOMENT_SECONDS)
    half = max(1, len(claim.cascades) // 2)
    times = (conf.current().claim_keys // half).bit_length() + 1
    mine = held(claim, [each.id for each in claim.cascades])
    mine.update(claim=None, due_at=again, **({"attempts": times} if halved else {}))


def verify(claim: Claim, cascades: Sequence[int]) -> int:
    """Mark done cascades verified: no row was left. Gives their number."""
    changed = held(claim, cascades).update(
        state=Cascade.State.VERIFIED, verified_at=Now(), claim=None
    )
    ids = {each.deletion for each in claim.cascades if each.id in set(cascades)}
    entries.settle(using=claim.using, deletions=sorted(ids))
    return changed


def reopen(claim: Claim, cascades: Sequence[int], reason: str) -> int:
    """Send done cascades back to work, which `reason` explains. Gives their number.

    What the claim no longer holds is left alone, and so is its deletion: another verifier has it.
    """
    if not cascades:
        return 0
    wanted = set(cascades)
    ids = [each.deletion for each in claim.cascades if each.id in wanted]
    with transaction.atomic(using=claim.using):
        # First, as in `cancel`: who settles them has moved them by then, or sees what follows.
        rows = tables.deletions(claim.using).filter(tables.id_in("pk", ids, claim.using))
        locked = tables.locked(rows.order_by("pk"), claim.using, skip_locked=False)
        list(locked.values_list("pk"))
        mine = tables.locked(held(claim, cascades), claim.using, skip_locked=False)
        there = dict(mine.values_list("pk", "deletion_id"))
        changed = held(claim, list(there)).update(
            state=Cascade.State.PENDING,
            claim=None,
            attempts=0,
            due_at=Now(),
            reason=reason,
        )
        again = tables.deletions(claim.using).filter(
            tables.id_in("pk", [*there.values()], claim.using), state=Deletion.State.CASCADED
        )
        again.update(state=Deletion.State.DISPATCHED, cascaded_at=None)
    return changed


def with_rows(claim: Claim, removed: Mapping[int, Mapping[str, int]]) -> Claim:
    """The claim with what has been removed for each cascade so far. Writes nothing."""
    cascades = tuple(
        dataclasses.replace(each, rows=dict(removed.get(each.id, each.rows)))
        for each in claim.cascades
    )
    return dataclasses.replace(claim, cascades=cascades)


def release(
    claim: Claim,
    rows: Mapping[int, Mapping[str, int]],
    *,
    reason: str,
    failing: Mapping[str, str] | None = None,
    waits: bool = False,
) -> None:
    """Put unfinished cascades at the end of the queue, with the rows removed so far.

    No failure: the attempt is not counted. With a reason they wait for a moment first; where the
    cause `waits` for an operator, as long as a database that cannot be worked on. `failing` as for
    `postpone`.
    """
    if rows:
        _keep_rows(claim, rows)
        seconds = conf.current().probe_seconds if waits else MOMENT_SECONDS
        held(claim, list(rows)).update(**_uncounted(reason, seconds, failing))


def hand_back(claim: Claim) -> None:
    """Put back all that the claim still holds, uncounted: its database cannot be reached.

    Keeps the rows that the claim says were removed so far.
    """
    _keep_rows(claim, {each.id: each.rows for each in claim.cascades})
    held(claim, [each.id for each in claim.cascades]).update(**_uncounted(""))


def _keep_rows(claim: Claim, rows: Mapping[int, Mapping[str, int]]) -> None:
    if kept := {pk: removed for pk, removed in rows.items() if removed}:
        backends.log_backend(claim.using).save_progress(claim.token, kept, using=claim.using)


def _uncounted(
    reason: str, seconds: float = MOMENT_SECONDS, failing: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return {
        "state": Cascade.State.WAITING if reason else Cascade.State.PENDING,
        "claim": None,
        "attempts": Greatest(F("attempts") - 1, 0),
        "due_at": Now() + dt.timedelta(seconds=seconds) if reason else Now(),
        "reason": reason,
        "failing": dict(failing) if failing else None,
    }


def postpone(claim: Claim, reason: str, failing: Mapping[str, str] | None = None) -> None:
    """Let failed cascades wait, longer each time; block those that had their last attempt.

    `failing` is why, for each relation whose rows are left; the others' are gone.
    """
    settings = conf.current()
    _keep_rows(claim, {each.id: each.rows for each in claim.cascades})
    said = {"claim": None, "reason": reason, "failing": dict(failing) if failing else None}
    spent = [each.id for each in claim.cascades if each.attempts >= settings.attempts]
    again = [each for each in claim.cascades if each.attempts < settings.attempts]
    held(claim, spent).update(state=Cascade.State.BLOCKED, **said)
    for attempts in {each.attempts for each in again}:
        wait = dt.timedelta(seconds=backoff(attempts, settings))
        held(claim, [each.id for each in again if each.attempts == attempts]).update(
            state=Cascade.State.WAITING, due_at=Now() + wait, **said
        )


def renew(claim: Claim, *, lease_seconds: float) -> int:
    """Let what the claim still holds at work be held for longer; return the number."""
    mine = held(claim, [each.id for each in claim.cascades])
    return mine.update(due_at=Now() + dt.timedelta(seconds=lease_seconds))


def retry(deletions: Sequence[int] | None, *, using: str) -> int:
    """Put blocked cascades (of those deletions, or all) back to work; gives their number."""
    blocked = tables.cascades(using).filter(state=Cascade.State.BLOCKED)
    if deletions is not None:
        blocked = blocked.filter(deletion__in=deletions)
    return blocked.update(state=Cascade.State.PENDING, attempts=0, due_at=Now())


def hurry(*, using: str) -> int:
    """Make failed cascades due at once, whatever their backoff; gives their number."""
    waiting = Cascade.objects.using(using).filter(state=Cascade.State.WAITING)
    return waiting.update(due_at=Now())


def block_lost(*, using: str) -> int:
    """Block cascades whose worker died on each of their attempts; gives their number."""
    lost = tables.cascades(using).filter(
        state=Cascade.State.RUNNING,
        due_at__lte=Now(),
        attempts__gte=conf.current().attempts,
    )
    reason = "the worker was lost on every attempt"
    return lost.update(state=Cascade.State.BLOCKED, claim=None, reason=reason)


def backoff(attempts: int, settings: conf.Settings) -> float:
    """Seconds to wait after that many failures: doubling, capped, with a quarter of jitter."""
    wait: float = min(settings.backoff_seconds * 2 ** (attempts - 1), settings.backoff_seconds_max)
    return wait * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)


def held(claim: Claim, ids: Sequence[int]) -> QuerySet[Cascade]:
    """Return those cascades that the claim still holds, in the state that it claimed them in."""
    return tables.cascades(claim.using).filter(
        tables.id_in("pk", ids, claim.using), claim=claim.token, state=claim.state
    )
