"""Claims of due cascades. One worker holds a claim until its lease ends.

Note [One column says when]: `due_at` is when a cascade may be claimed: at once if pending, after
the backoff if waiting, after the lease if running. One condition and one index serve all three, and
the claim of a dead worker expires by itself.

Note [Only what is known]: this process's catalogue may not know the parent or the relation of a
cascade, because another release wrote it or a name changed. Such a cascade is postponed by a
quarter of the time that it has waited, and no attempt is counted. It blocks no other cascade, and a
process that knows it can claim it soon.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from .. import conf, relations
from ..models import Cascade, Deletion
from . import retry, tables
from .values import Claim, Claimed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..backends.barriers import Horizon


#: The shortest and the longest time that a cascade is set aside, in seconds.
ASIDE_SECONDS = (5.0, 300.0)
#: Batches that one claim sets aside at most. The next claim continues.
ASIDE_ROUNDS = 10


def due_databases(*, using: str) -> frozenset[str]:
    """Return the child databases with a cascade that may be claimed now."""
    return _with_due(using, Cascade.CLAIMABLE)


def unverified_databases(*, using: str) -> frozenset[str]:
    """Return the child databases with a done cascade whose grace period is over."""
    return _with_due(using, [Cascade.State.DONE])


def _with_due(using: str, states: Sequence[Cascade.State]) -> frozenset[str]:
    return frozenset(
        alias
        for alias in relations.catalogue().child_databases
        # Ordered by an index: `exists()` alone may read all rows that are not due.
        if _due(alias, using).filter(state__in=states).order_by("due_at", "pk").values("pk")[:1]
    )


def claim(
    database: str, *, using: str, limit: int, lease_seconds: float, owner: str = ""
) -> Claim | None:
    """Claim up to `limit` due cascades of `database`, of one parent model; None when none is due.

    See Note [Only what is known].

    The attempt is counted and committed before the work. Cascades that failed before are claimed in
    smaller groups, so that one that kills its worker is isolated (`retry.claim_size`). `owner` is
    the id of the claiming task, for `take_over`.
    """
    # `retry.block_lost` blocks those whose worker died on the last attempt.
    due = (
        _due(database, using)
        .filter(state__in=Cascade.CLAIMABLE)
        .exclude(state=Cascade.State.RUNNING, attempts__gte=conf.current().attempts)
    )
    return _claim(
        due,
        Claim(token=uuid.uuid4(), using=using, database=database, cascades=()),
        limit,
        lease_seconds,
        attempts=F("attempts") + 1,
        owner=owner,
    )


def take_over(database: str, *, owner: str, using: str) -> int:
    """Make the cascades that the task `owner` claimed due now; return their number.

    Used when the broker redelivers the task's message. If the first run is still alive, both work,
    and only one of them finishes each cascade.
    """
    running = Cascade.objects.using(using).filter(
        database=database, state=Cascade.State.RUNNING, due_at__gt=Now(), owner=owner
    )
    return running.update(due_at=Now())


def claim_done(
    database: str, *, now: Horizon | None, using: str, limit: int, lease_seconds: float
) -> Claim | None:
    """Claim done cascades whose grace period is over, to verify them; None when there is none.

    `now` tells which transactions of the child's database have ended. A cascade whose barrier has
    not passed, or belongs to another server, is skipped (see Note [The barrier] in
    cascade/verification.py).
    """
    due = _due(database, using).filter(state=Cascade.State.DONE)
    if now is not None:
        due = due.filter(barrier_server=now.server, barrier__lte=now.oldest)
    held = Claim(
        token=uuid.uuid4(), using=using, database=database, cascades=(), state=Cascade.State.DONE
    )
    return _claim(due, held, limit, lease_seconds)


def _due(database: str, using: str) -> QuerySet[Cascade]:
    return Cascade.objects.using(using).filter(database=database, due_at__lte=Now())


def _claim(
    due: QuerySet[Cascade], claim: Claim, limit: int, lease_seconds: float, **changes: Any
) -> Claim | None:
    for _ in range(ASIDE_ROUNDS):
        with transaction.atomic(using=claim.using):
            candidates = _candidates(due, limit, claim.using, 1 if changes else 0)
            if not candidates:
                return None
            known, unknown = _apart(candidates, claim.database)
            if unknown:
                _set_aside(unknown, claim)
            if known:
                return _hold(_of_one_kind(known, limit), due, claim, lease_seconds, **changes)
    return None


def _hold(
    picked: list[Claimed],
    due: QuerySet[Cascade],
    claim: Claim,
    lease_seconds: float,
    **changes: Any,
) -> Claim | None:
    using = claim.using
    # Locked rows are still due, so the key suffices: Note [By key alone] in deletions.py.
    locks = connections[using].features.has_select_for_update
    mine = Cascade.objects.using(using) if locks else due
    changed = mine.filter(tables.id_in("pk", [cascade.id for cascade in picked], using)).update(
        state=claim.state,
        claim=claim.token,
        due_at=Now() + dt.timedelta(seconds=lease_seconds),
        **changes,
    )
    if changed < len(picked):  # only where rows cannot be locked: another worker was faster
        won = set(
            Cascade.objects.using(using).filter(claim=claim.token).values_list("pk", flat=True)
        )
        picked = [cascade for cascade in picked if cascade.id in won]
    return dataclasses.replace(claim, cascades=tuple(picked)) if picked else None


def _apart(candidates: list[Claimed], database: str) -> tuple[list[Claimed], list[Claimed]]:
    """Return the candidates that the catalogue knows, and those that it does not."""
    knows = relations.catalogue().knows
    kinds = {(cascade.parent, cascade.relation) for cascade in candidates}
    known = {kind for kind in kinds if knows(kind[0], database, kind[1])}
    return (
        [cascade for cascade in candidates if (cascade.parent, cascade.relation) in known],
        [cascade for cascade in candidates if (cascade.parent, cascade.relation) not in known],
    )


def _set_aside(unknown: list[Claimed], claim: Claim) -> None:
    """Postpone unknown cascades; keep their attempts and rows. See Note [Only what is known]."""
    waiting = {"state": Cascade.State.WAITING} if claim.state == Cascade.State.RUNNING else {}
    for reason in sorted({_unknown(cascade, claim.database) for cascade in unknown}):
        these = [cascade for cascade in unknown if _unknown(cascade, claim.database) == reason]
        wait = min(cascade.waited for cascade in these) / 4
        least, most = (dt.timedelta(seconds=seconds) for seconds in ASIDE_SECONDS)
        rows = Cascade.objects.using(claim.using).filter(
            tables.id_in("pk", [cascade.id for cascade in these], claim.using)
        )
        if not connections[claim.using].features.has_select_for_update:
            rows = rows.filter(due_at__lte=Now())  # another worker may have been faster
        rows.update(
            **waiting, claim=None, due_at=Now() + min(max(wait, least), most), reason=reason
        )


def _unknown(cascade: Claimed, database: str) -> str:
    """Return what the catalogue does not know about the cascade."""
    catalogue = relations.catalogue()
    if not catalogue.knows(cascade.parent):
        return f"no parent model is named {cascade.parent} here"
    if not catalogue.knows(cascade.parent, None, cascade.relation):
        return f"no relation to {cascade.parent} is named {cascade.relation} here"
    if cascade.relation:
        return f"{cascade.relation} does not lead into {database} here"
    return f"no relation to {cascade.parent} leads into {database} here"


def _candidates(due: QuerySet[Cascade], limit: int, using: str, begun: int) -> list[Claimed]:
    """Lock and return the cascades that are due longest, with `begun` added to their attempts.

    Their deletions are read by key alone, not joined: Note [By key alone] in deletions.py.
    """
    columns = ("pk", "deletion_id", "attempts", "rows", "failing", "kept", "due_at", "recorded_at")
    rows = due.order_by("due_at", "pk").values_list(*columns)
    locked = list(tables.locked(rows, using)[:limit])
    if not locked:
        return []
    named = tables.id_in("pk", list({deletion for _, deletion, *_ in locked}), using)
    of_deletion = ("pk", "parent", "relation", "key", "targets")
    recorded = {
        pk: {"parent": parent, "relation": relation, "key": key, "targets": targets or {}}
        for pk, parent, relation, key, targets in Deletion.objects.using(using)
        .filter(named)
        .values_list(*of_deletion)
    }
    return [
        Claimed(
            id=pk,
            deletion=deletion,
            attempts=attempts + begun,
            rows=done or {},
            failing=failing or {},
            kept=kept or {},
            waited=due_at - recorded_at,
            **recorded[deletion],
        )
        for pk, deletion, attempts, done, failing, kept, due_at, recorded_at in locked
    ]


def _of_one_kind(candidates: list[Claimed], limit: int) -> list[Claimed]:
    """Return the first candidate and others of its kind, fewer the more often it failed.

    A cascade that already removed rows is not mixed with new ones, because it has many rows.
    """
    first = candidates[0]
    kind = first.parent, first.relation, bool(first.rows)
    same = [
        other for other in candidates if (other.parent, other.relation, bool(other.rows)) == kind
    ]
    return same[: retry.claim_size(limit, first.attempts)]
