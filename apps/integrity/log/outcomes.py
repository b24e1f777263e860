"""The outcomes of a claim: done, verified, released, waiting, or blocked until an operator acts.

Each takes ids of the claim's deletions, and splits cascades of which only a part has that outcome
(parts.py). Cascades that the claim no longer holds are skipped.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django.db import Error
from django.db.models import F
from django.db.models.functions import Greatest

from .. import backends, conf
from ..backends.transactions import atomic, require_whole, retried
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..models import Cascade
from ..models.moments import ServerNow
from . import failures, parts, retry, scopes, tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.db.models import QuerySet

    from ..backends.barriers import Barrier
    from .values import Claim

logger = logger_of("integrity.cascade")

#: The columns of a cascade that was verified, besides its scope.
AS_VERIFIED = {
    "state": Cascade.State.VERIFIED,
    "due_at": None,
    "verified_at": ServerNow(),
    "ended_at": ServerNow(),
}
#: How long an unfinished cascade waits when another transaction holds its rows.
MOMENT_SECONDS = 1.0


def held(claim: Claim, deletions: Collection[int]) -> dict[int, list[int]]:
    """Split the claim's cascades until some hold nothing but those deletions; return these.

    Returns cascade → its deletions. Call it in a transaction.
    """
    holder = claim.token is not None
    return parts.separate(claimed(claim), deletions, using=claim.using, holder=holder)


def claimed(claim: Claim) -> QuerySet[Cascade]:
    """Return the cascades that the claim still holds, in the state that it found them in.

    Who verifies holds none: it acts on cascades that were done and due when it read them, and still
    are. See Note [No claim] in proofs.py.
    """
    rows = tables.cascades(claim.using).filter(
        tables.id_in("batch", claim.batches, claim.using),
        database=claim.database,
        claim=claim.token,
        state=claim.state,
    )
    if claim.seen_at is None:
        return rows
    return rows.filter(done_at__lte=claim.seen_at, due_at__lte=claim.seen_at)


@retried
def change(claim: Claim, deletions: Collection[int], changes: Mapping[str, Any]) -> list[int]:
    """Change the cascades of those deletions; return the deletions. One transaction."""
    with atomic(claim.using):
        whole = held(claim, deletions)
        _of(claim, whole).update(**changes)
    return sorted(pk for group in whole.values() for pk in group)


def _of(claim: Claim, cascades: Collection[int]) -> QuerySet[Cascade]:
    """Return cascades that this transaction has locked."""
    return tables.cascades(claim.using).filter(
        tables.id_in("pk", sorted(cascades), claim.using), claim=claim.token
    )


def finish(
    claim: Claim, rows: Mapping[int, Mapping[str, int]], *, barrier: Barrier | None
) -> list[int]:
    """Mark deletions done in the claim's database; return those that are.

    `rows` are the rows changed for each of them. `barrier` passes once every transaction has ended
    that was open in the child's database at the last search for rows. Most often, all deletions of
    the claim's cascades are done, and one statement is enough; the rest is split first.
    """
    whole = {
        cascade: deletions
        for cascade, deletions in claim.cascades.items()
        if rows.keys() >= {*deletions}
    }
    finished = _finish(claim, whole, rows, barrier)
    if split := rows.keys() - {*finished}:
        finished += _finish_parts(claim, split, rows, barrier)
    return sorted(finished)


@retried
def _finish_parts(
    claim: Claim,
    deletions: Collection[int],
    rows: Mapping[int, Mapping[str, int]],
    barrier: Barrier | None,
) -> list[int]:
    """Split those deletions off, and mark them done; return these."""
    with atomic(claim.using):
        return _finish(claim, held(claim, deletions), rows, barrier)


@retried
def _finish(
    claim: Claim,
    whole: Mapping[int, Sequence[int]],
    rows: Mapping[int, Mapping[str, int]],
    barrier: Barrier | None,
) -> list[int]:
    """Mark those cascades done that hold nothing but these deletions; return the deletions."""
    if not whole:
        return []
    finished = backends.log_backend(claim.using).finish_cascades(
        claim.token,
        {cascade: document(rows, deletions) for cascade, deletions in whole.items()},
        {cascade: len(deletions) for cascade, deletions in whole.items()},
        barrier=barrier,
        grace_seconds=conf.current().grace_seconds,
        using=claim.using,
    )
    return [deletion for cascade in finished for deletion in whole[cascade]]


def document(
    rows: Mapping[int, Mapping[str, int]], deletions: Collection[int]
) -> dict[str, dict[str, int]] | None:
    """Return deletion → relation → rows, as a cascade holds it; None where no row is. Pure."""
    return {str(pk): dict(rows[pk]) for pk in deletions if any(rows[pk].values())} or None


@retried
def delay(claim: Claim, *, halved: bool = False) -> None:
    """Postpone the verification of done cascades; if `halved`, retry at once in smaller claims.

    The attempts are set so that the next probe takes no more than half: `retry.probe_size`.
    """
    again = ServerNow() if halved else ServerNow() + dt.timedelta(seconds=MOMENT_SECONDS)
    half = max(1, len(claim.deletions) // 2)
    attempts = retry.attempts_before(conf.current().claim_keys, half)
    claimed(claim).update(due_at=again, **({"attempts": attempts} if halved else {}))


def hold(claim: Claim, deletions: Collection[int], *, seconds: float = MOMENT_SECONDS) -> int:
    """Postpone the verification of done deletions for a moment; return their number."""
    again = ServerNow() + dt.timedelta(seconds=seconds)
    return len(change(claim, deletions, {"due_at": again}))


def verify(claim: Claim, deletions: Collection[int]) -> int:
    """Mark done deletions verified: no rows were left. Return their number."""
    scope = scopes.current(claim.parent, claim.relation, using=claim.using)
    return len(change(claim, deletions, AS_VERIFIED | {"scope": scope}))


def reopen(claim: Claim, deletions: Collection[int], reason: str) -> int:
    """Make done deletions pending again because of `reason`; return their number."""
    changes = {"state": Cascade.State.PENDING, "attempts": 0, "due_at": ServerNow()}
    return len(change(claim, deletions, {**changes, "reason": reason, "done_at": None}))


@retried
def release(
    claim: Claim,
    rows: Mapping[int, Mapping[str, int]] | None = None,
    *,
    reason: str = "",
    failing: Mapping[str, str] | None = None,
    waits: bool = False,
    planned: bool = False,
    seconds: float = MOMENT_SECONDS,
) -> None:
    """Put unfinished deletions back in the queue, with the rows changed so far.

    `rows` names the deletions and what was changed for each; without it, all of the claim are put
    back, with the rows that the claim has. The attempt is not counted. With a `reason` they wait
    for so many `seconds` first; if the cause `waits` for an operator, for `probe_seconds`. A wait
    that is `planned` is no fault: they stay pending, and are not shown as failing.
    `failing` is the reason for each relation whose rows are left.
    """
    if rows is None:
        rows = {deletion.id: deletion.rows for deletion in claim.deletions}
    if not rows:
        return
    seconds = conf.current().probe_seconds if waits else seconds
    with atomic(claim.using):
        whole = _with_progress(claim, rows)
        if not reason and conf.current().uses_deadlines:
            _move_to_end(claim, [pk for pk, ids in whole.items() if document(rows, ids)])
        changes = _uncounted(reason, seconds, failing)
        if planned:
            changes["state"] = Cascade.State.PENDING
        _of(claim, whole).update(**changes)


def _move_to_end(claim: Claim, cascades: Collection[int]) -> None:
    """Move cascades with many rows behind all that is due now in their database.

    So they hold up no other one, whatever their deadlines: each gets a time slice before.
    """
    due = tables.cascades(claim.using).filter(
        database=claim.database,
        state__in=Cascade.CLAIMABLE,
        due_at__lte=ServerNow(),
        order_at__isnull=False,
    )
    last = due.order_by("-order_at", "-pk").values_list("order_at", flat=True).first()
    if last is not None and cascades:
        behind = last + dt.timedelta(microseconds=1)  # not before one with a greater id
        _of(claim, cascades).filter(order_at__lt=behind).update(order_at=behind)


def _with_progress(claim: Claim, rows: Mapping[int, Mapping[str, int]]) -> dict[int, list[int]]:
    """Save the rows changed so far; return the cascades that hold nothing but those deletions.

    Returns cascade → its deletions.
    """
    whole = held(claim, rows)
    documents = {cascade: document(rows, deletions) for cascade, deletions in whole.items()}
    if progress := {cascade: found for cascade, found in documents.items() if found}:
        backends.log_backend(claim.using).save_progress(claim.token, progress, using=claim.using)
    return whole


def _uncounted(
    reason: str, seconds: float = MOMENT_SECONDS, failing: Mapping[str, str] | None = None
) -> dict[str, Any]:
    return {
        "state": Cascade.State.WAITING if reason else Cascade.State.PENDING,
        "claim": None,
        "attempts": Greatest(F("attempts") - 1, 0),
        "due_at": ServerNow() + dt.timedelta(seconds=seconds) if reason else ServerNow(),
        "reason": reason,
        "failing": dict(failing) if failing else None,
    }


@retried
def postpone(claim: Claim, reason: str, failing: Mapping[str, str] | None = None) -> None:
    """Make failed deletions wait for their backoff; block those that had their last attempt.

    `failing` is the reason for each relation whose rows are left. Rows of the others are removed.
    """
    settings = conf.current()
    changes: dict[str, Any] = {
        "claim": None,
        "reason": reason,
        "failing": dict(failing) if failing else None,
    }
    failed = list[int]()
    with atomic(claim.using):
        for attempts in {deletion.attempts for deletion in claim.deletions}:
            rows = {one.id: one.rows for one in claim.deletions if one.attempts == attempts}
            if attempts >= settings.attempts:
                changes |= {"state": Cascade.State.BLOCKED, "due_at": None}
            else:
                wait = dt.timedelta(seconds=retry.backoff(attempts, settings))
                changes |= {"state": Cascade.State.WAITING, "due_at": ServerNow() + wait}
            whole = _with_progress(claim, rows)
            _of(claim, whole).update(**changes)
            failed += [pk for deletions in whole.values() for pk in deletions]
        try:
            with atomic(claim.using):  # that of the attempt outlives a failure
                failures.note(claim.only(failed), reason)
        except Error as error:
            require_whole(claim.using, error)
            told = "a failed attempt in %s is not in its history: %s"
            # Not `exception`: see Note [Tracebacks] in exceptions/loggers.py.
            logger.error(told, claim.database, reason_of_error(error))  # noqa: TRY400 (quotes rows)


def renew(claim: Claim, *, lease_seconds: float) -> int:
    """Extend the lease of the cascades that the claim still holds; return their number."""
    return claimed(claim).update(due_at=ServerNow() + dt.timedelta(seconds=lease_seconds))
