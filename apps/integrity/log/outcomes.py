"""The outcomes of a claim: done, verified, released, waiting, or blocked until an operator acts."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from .. import backends, conf
from ..models import Cascade, Deletion
from . import deletions, retry, tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..backends.barriers import Barrier
    from .values import Claim


#: How long an unfinished cascade waits when another transaction holds its rows.
MOMENT_SECONDS = 1.0


def finish(
    claim: Claim, rows: Mapping[int, Mapping[str, int]], *, barrier: Barrier | None
) -> list[int]:
    """Mark cascades done with the rows removed for each, and advance their deletions.

    `barrier` passes once every transaction has ended that was open in the child's database at the
    last search for rows. Cascades that the claim no longer holds are skipped. Return the ids of the
    deletions.
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
    deletions.advance(using=claim.using, deletions=finished)
    return finished


def delay(claim: Claim, *, halved: bool = False) -> None:
    """Postpone the verification of done cascades; if `halved`, retry at once in smaller claims.

    The attempts are set so that the next claim takes no more than half: `retry.claim_size`.
    """
    again = Now() if halved else Now() + dt.timedelta(seconds=MOMENT_SECONDS)
    half = max(1, len(claim.cascades) // 2)
    attempts = retry.attempts_before(conf.current().claim_keys, half)
    mine = tables.claimed(claim, [cascade.id for cascade in claim.cascades])
    mine.update(claim=None, due_at=again, **({"attempts": attempts} if halved else {}))


def verify(claim: Claim, cascades: Sequence[int]) -> int:
    """Mark done cascades verified: no rows were left. Return their number."""
    changed = tables.claimed(claim, cascades).update(
        state=Cascade.State.VERIFIED, verified_at=Now(), claim=None
    )
    ids = {cascade.deletion for cascade in claim.cascades if cascade.id in set(cascades)}
    deletions.advance(using=claim.using, deletions=sorted(ids))
    return changed


def reopen(claim: Claim, cascades: Sequence[int], reason: str) -> int:
    """Make done cascades pending again because of `reason`; return their number.

    Cascades that the claim no longer holds are skipped with their deletions: another verifier has
    them.
    """
    if not cascades:
        return 0
    wanted = set(cascades)
    ids = [cascade.deletion for cascade in claim.cascades if cascade.id in wanted]
    with transaction.atomic(using=claim.using):
        # Deletions are locked first, as in `cancel`, so that `advance` runs before or after this.
        rows = tables.deletions(claim.using).filter(tables.id_in("pk", ids, claim.using))
        locked = tables.locked(rows.order_by("pk"), claim.using, skip_locked=False)
        list(locked.values_list("pk"))
        mine = tables.locked(tables.claimed(claim, cascades), claim.using, skip_locked=False)
        deletion_of = dict(mine.values_list("pk", "deletion_id"))
        changed = tables.claimed(claim, list(deletion_of)).update(
            state=Cascade.State.PENDING,
            claim=None,
            attempts=0,
            due_at=Now(),
            reason=reason,
        )
        again = tables.deletions(claim.using).filter(
            tables.id_in("pk", [*deletion_of.values()], claim.using), state=Deletion.State.CASCADED
        )
        again.update(state=Deletion.State.DISPATCHED, cascaded_at=None)
    return changed


def with_removed(claim: Claim, removed: Mapping[int, Mapping[str, int]]) -> Claim:
    """Return the claim with the rows that were removed for each cascade so far. Pure."""
    cascades = tuple(
        dataclasses.replace(cascade, rows=dict(removed.get(cascade.id, cascade.rows)))
        for cascade in claim.cascades
    )
    return dataclasses.replace(claim, cascades=cascades)


def release(
    claim: Claim,
    rows: Mapping[int, Mapping[str, int]] | None = None,
    *,
    reason: str = "",
    failing: Mapping[str, str] | None = None,
    waits: bool = False,
) -> None:
    """Put unfinished cascades back in the queue, with the rows removed so far.

    `rows` names the cascades and what was removed for each; without it, all of the claim are put
    back, with the rows that the claim has. The attempt is not counted. With a `reason` they wait
    for `MOMENT_SECONDS` first; if the cause `waits` for an operator, for `probe_seconds`.
    `failing` is the reason for each relation whose rows are left.
    """
    released = {cascade.id: cascade.rows for cascade in claim.cascades} if rows is None else rows
    if released:
        _keep_rows(claim, released)
        seconds = conf.current().probe_seconds if waits else MOMENT_SECONDS
        tables.claimed(claim, list(released)).update(**_uncounted(reason, seconds, failing))


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
    """Make failed cascades wait for their backoff; block those that had their last attempt.

    `failing` is the reason for each relation whose rows are left. Rows of the others are removed.
    """
    settings = conf.current()
    _keep_rows(claim, {cascade.id: cascade.rows for cascade in claim.cascades})
    changes: dict[str, Any] = {
        "claim": None,
        "reason": reason,
        "failing": dict(failing) if failing else None,
    }
    spent = [cascade.id for cascade in claim.cascades if cascade.attempts >= settings.attempts]
    again = [cascade for cascade in claim.cascades if cascade.attempts < settings.attempts]
    tables.claimed(claim, spent).update(state=Cascade.State.BLOCKED, **changes)
    for attempts in {cascade.attempts for cascade in again}:
        wait = dt.timedelta(seconds=retry.backoff(attempts, settings))
        ids = [cascade.id for cascade in again if cascade.attempts == attempts]
        tables.claimed(claim, ids).update(
            state=Cascade.State.WAITING, due_at=Now() + wait, **changes
        )


def renew(claim: Claim, *, lease_seconds: float) -> int:
    """Extend the lease of the cascades that the claim still holds; return their number."""
    mine = tables.claimed(claim, [cascade.id for cascade in claim.cascades])
    return mine.update(due_at=Now() + dt.timedelta(seconds=lease_seconds))
