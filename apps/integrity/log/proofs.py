"""Done cascades that are due to be verified, and their barriers.

Note [No claim]: whoever verifies claims nothing, because a claim would cost the log as much as the
verdict. Two workers may probe the same cascades at the same time. The verdict of the second one
changes nothing: it is written only where a cascade is still done, and was done and due when it was
read here. If it was reopened and done again meanwhile, it was done later. If its barrier was taken
anew, it is due later. Nor is another part of the batch touched, whose grace period goes on.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from functools import partial
from typing import TYPE_CHECKING

from django.db.models import Value

from .. import conf, relations
from ..backends.barriers import Barrier
from ..backends.first_rows import first_rows
from ..models import Cascade
from ..models.moments import ServerNow
from . import candidates, claims, retry, tables
from .values import Claim

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from ..backends.barriers import Horizon


def done_databases(*, using: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the child databases in which some cascade is done, verified or not.

    With them come those in which one has to be verified now. One statement.
    """
    done = tables.cascades(using).filter(done_at__isnull=False).order_by("done_at")
    first = first_rows(done, relations.catalogue().places, 1)
    due = claims.first_due([Cascade.State.DONE], using=using)
    columns = first.values_list("database", Value(0)), due.values_list("database", Value(1))
    found = list(columns[0].union(columns[1], all=True))
    return frozenset(alias for alias, _ in found), frozenset(
        alias for alias, is_due in found if is_due
    )


def has_done(database: str, *, using: str) -> bool:
    """Return whether some cascade there is done and not verified."""
    return tables.cascades(using).filter(database=database, state=Cascade.State.DONE).exists()


def due_done(
    database: str,
    *,
    now: Horizon | None,
    using: str,
    limit: int,
    log: UUID | None = None,
    besides: Collection[int] = (),
) -> Claim | None:
    """Return up to `limit` deletions of done cascades whose grace period is over, or None.

    All are of one parent model and relation. `now` tells which transactions of the child's database
    have ended. A cascade whose barrier has not passed, or belongs to another server, is skipped
    (see Note [The barrier] in cascade/verification.py). `log` is as for `claims.claim`.
    The cascades `besides` are left out. See Note [No claim].
    """
    rows = _due(database, using)
    if besides:
        rows = rows.exclude(pk__in=besides)
    if now is not None:
        rows = rows.filter(barrier_server=now.server, barrier__lte=now.oldest)
    state, size = Cascade.State.DONE, partial(retry.probe_size, limit)
    claim = Claim(token=None, using=using, database=database, log=log, state=state)
    for _ in range(claims.ROUNDS):
        found = candidates.read_candidates(rows, limit)
        if not found:
            return None
        known, unknown = candidates.apart(found, database)
        candidates.set_aside(rows, unknown, claim)
        picked = candidates.chosen(known, size) if known else []
        if picked and (read := _read(claim, picked, size)).deletions:
            return read
        _pass_over(rows, picked, using)
    return None


def _read(claim: Claim, picked: Sequence[candidates.Candidate], size: candidates.Size) -> Claim:
    """Return the picked cascades as a claim, fewer of the deletions where probes took too long."""
    first = picked[0]
    named = dataclasses.replace(
        claim, parent=first.parent, relation=first.relation, seen_at=first.seen_at
    )
    there = claims.read_parts(named, [candidate.pk for candidate in picked])
    whole = there.get(claim.database, named)
    return whole.only(whole.ids[: size(first.attempts)])


def _pass_over(rows: QuerySet[Cascade], picked: Sequence[candidates.Candidate], using: str) -> None:
    """Let cascades wait whose deletions somebody has removed from the log by hand."""
    mine = rows.filter(tables.id_in("pk", [candidate.pk for candidate in picked], using))
    mine.update(due_at=ServerNow() + dt.timedelta(seconds=max(candidates.ASIDE_SECONDS)))


def due_barriers(database: str, *, using: str, limit: int) -> dict[int, Barrier | None]:
    """Return the barriers of done cascades whose grace period is over, the longest due first."""
    rows = _due(database, using).order_by("due_at", "pk")
    barriers = rows.values_list("pk", "barrier", "barrier_server")[:limit]
    return {
        pk: None if number is None else Barrier(number=number, server=server)
        for pk, number, server in barriers
    }


def renew_barriers(database: str, cascades: Sequence[int], barrier: Barrier, *, using: str) -> int:
    """Replace the barrier of done cascades and restart their grace period; return their number."""
    mine = _due(database, using).filter(tables.id_in("pk", cascades, using))
    return mine.update(
        barrier=barrier.number,
        barrier_server=barrier.server,
        due_at=ServerNow() + dt.timedelta(seconds=conf.current().grace_seconds),
    )


def _due(database: str, using: str) -> QuerySet[Cascade]:
    return tables.cascades(using).filter(
        database=database, state=Cascade.State.DONE, due_at__lte=ServerNow()
    )
