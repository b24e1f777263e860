"""Claims of due cascades. One worker holds a claim until its lease ends.

Note [One column says when]: `due_at` is when a cascade may be claimed: at once if pending, after
the backoff if waiting, after the lease if running. One condition and one index serve all three, and
the claim of a dead worker expires by itself.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from .. import backends, conf, relations
from ..models import Cascade
from . import parts, retry, tables
from .candidates import Candidate, Size, apart, chosen, read_candidates, set_aside
from .values import Claim, ClaimedDeletion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Rounds of a claim in which all candidates are unknown here, or taken by others.
ROUNDS = 10
#: The columns of a cascade that a claim reads.
READ = ("batch", "deletions", "attempts", "rows", "failing", "kept", "tally")


def due_databases(*, using: str) -> frozenset[str]:
    """Return the child databases with a cascade that may be claimed now."""
    states = Cascade.CLAIMABLE
    return frozenset(
        alias
        for alias in relations.catalogue().child_databases
        # Ordered by an index: `exists()` alone may read all rows that are not due.
        if _due(alias, using).filter(state__in=states).order_by("due_at", "pk").values("pk")[:1]
    )


def claim(
    database: str,
    *,
    using: str,
    limit: int,
    lease_seconds: float,
    owner: str = "",
    log: uuid.UUID | None = None,
) -> Claim | None:
    """Claim up to `limit` deletions in due cascades of `database`; None when none is due.

    All are of one parent model and relation. See Note [Only what is known] in candidates.py.

    The attempt is counted and committed before the work. Cascades that failed before are split into
    smaller ones, so that a deletion that kills its worker is isolated (`retry.claim_size`). `owner`
    is the id of the claiming task, for `take_over`. `log` is the log's identity; without it, the
    database does not count the rows of these cascades from now on.
    """
    # `retry.block_lost` blocks those whose worker died on the last attempt.
    last = conf.current().attempts
    due = (
        _due(database, using)
        .filter(state__in=Cascade.CLAIMABLE)
        .exclude(state=Cascade.State.RUNNING, attempts__gte=last)
    )
    size = partial(retry.claim_size, limit, last)
    claim = Claim(token=uuid.uuid4(), using=using, database=database, log=log)
    return _claim(due, claim, limit, size, lease_seconds, owner)


def take_over(database: str, *, owner: str, using: str) -> int:
    """Make the cascades that the task `owner` claimed due now; return their number.

    Used when the broker redelivers the task's message. If the first run is still alive, both work,
    and only one of them finishes each cascade.
    """
    running = tables.cascades(using).filter(
        database=database, state=Cascade.State.RUNNING, due_at__gt=Now(), owner=owner
    )
    return running.update(due_at=Now())


def _due(database: str, using: str) -> QuerySet[Cascade]:
    return tables.cascades(using).filter(database=database, due_at__lte=Now())


def _claim(
    due: QuerySet[Cascade],
    claim: Claim,
    limit: int,
    size: Size,
    lease_seconds: float,
    owner: str,
) -> Claim | None:
    passed = set[int]()
    for _ in range(ROUNDS):
        candidates = read_candidates(due.exclude(pk__in=passed), limit)
        if not candidates:
            return None
        known, unknown = apart(candidates, claim.database)
        set_aside(due, unknown, claim)
        if known:
            picked = chosen(known, size)
            held = _hold(due, picked, size, claim, lease_seconds, owner)
            if held is not None:
                return held
            passed |= {candidate.pk for candidate in picked}  # other workers have them
    return None


def _hold(
    due: QuerySet[Cascade],
    picked: list[Candidate],
    size: Size,
    claim: Claim,
    lease_seconds: float,
    owner: str,
) -> Claim | None:
    """Claim those of the picked cascades that no other worker has; None where all are taken."""
    using, first = claim.using, picked[0]
    claim = dataclasses.replace(claim, parent=first.parent, relation=first.relation)
    named = due.filter(tables.id_in("pk", [candidate.pk for candidate in picked], using))
    if first.size <= size(first.attempts):
        held = backends.log_backend(using).hold_cascades(
            named, claim.token, lease_seconds, owner, counted=claim.log is not None, using=using
        )
        if held is not None:
            return _with_deletions(claim, *held) if held[0] else None
    with transaction.atomic(using=using):
        mine = list(tables.locked(named.order_by("pk"), using).values_list("pk", flat=True))
        if mine == [first.pk] and first.size > (most := size(first.attempts)):
            mine = _cut(due.filter(pk=first.pk), most, using)
        # Rows that could not be locked (SQLite) are taken only if they are still due.
        changed = (
            due.filter(tables.id_in("pk", mine, using)).update(
                state=claim.state,
                claim=claim.token,
                due_at=Now() + dt.timedelta(seconds=lease_seconds),
                attempts=F("attempts") + 1,
                owner=owner,
                **({} if claim.log else {"tally": None}),
            )
            if mine
            else 0
        )
        if not changed:
            return None
        return read_claim(claim, mine)


def _cut(cascade: QuerySet[Cascade], size: int, using: str) -> list[int]:
    """Split off the first deletions of a due cascade; return the id of the part that has them."""
    cascade.update(claim=None)  # else a worker whose lease is over would still have the other part
    (deletions,) = cascade.values_list("deletions", flat=True) or [[]]
    return [*parts.separate(cascade, deletions[:size], using=using, holder=True)]


def read_claim(claim: Claim, cascades: list[int]) -> Claim:
    """Return the claim with the deletions of those cascades, unless others have them by now."""
    using = claim.using
    rows = tables.cascades(using).filter(
        tables.id_in("pk", cascades, using), claim=claim.token, state=claim.state
    )
    held = list(rows.only(*READ).order_by("pk"))
    ids = [pk for cascade in held for pk in cascade.deletions]
    keys = {
        pk: (key, targets or {})
        for pk, key, targets in tables.deletions(using)
        .filter(tables.id_in("pk", ids, using))
        .values_list("pk", "key", "targets")
    }
    return _with_deletions(claim, held, keys)


def _with_deletions(
    claim: Claim, held: Sequence[Cascade], keys: Mapping[int, tuple[str | None, Any]]
) -> Claim:
    """Return the claim with the deletions of those cascades; `keys` are keys and targets."""
    deletions = tuple(
        ClaimedDeletion(
            id=pk,
            batch=cascade.batch,
            key=keys[pk][0],
            targets=keys[pk][1],
            attempts=cascade.attempts,
            tally=cascade.tally,
            rows=(cascade.rows or {}).get(str(pk), {}),
            failing=cascade.failing or {},
            kept=(cascade.kept or {}).get(str(pk), {}),
        )
        for cascade in held
        for pk in cascade.deletions
        if pk in keys  # who removes rows of the log by hand holds up no other deletion
    )
    return dataclasses.replace(claim, deletions=deletions)
