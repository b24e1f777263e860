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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.db.models import Case, CharField, Exists, F, Q, QuerySet, Value, When

from .. import backends, conf, relations
from ..backends import deadlines
from ..backends.barriers import Barrier
from ..backends.base import Lease
from ..backends.first_rows import first_rows
from ..backends.transactions import atomic, retried
from ..exceptions.redaction import plain
from ..models import Cascade, CascadeState, ChildDatabase
from ..models.moments import ServerNow
from . import parts, retry, tables
from .candidates import Candidate, Size, apart, chosen, read_candidates, set_aside
from .values import NOTHING, Claim, ClaimedDeletion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Rounds of a claim in which all candidates are unknown here, or taken by others.
ROUNDS = 10
#: The longest owner that the table holds.
OWNER_CHARS = 100
#: The columns of a cascade that a claim reads.
READ = ("batch", "deletions", "attempts", "rows", "failing", "kept", "tally")


def due_databases(*databases: str, using: str) -> frozenset[str]:
    """Return those child databases, or all, with a cascade that may be claimed now."""
    due = first_due(Cascade.CLAIMABLE, databases, using=using)
    return frozenset(due.values_list("database", flat=True))


def unverified_databases(*databases: str, using: str) -> frozenset[str]:
    """Return those child databases, or all, with a done cascade whose grace period is over."""
    due = first_due([Cascade.State.DONE], databases, using=using)
    return frozenset(due.values_list("database", flat=True))


def first_due(
    states: Sequence[CascadeState], databases: Sequence[str] = (), *, using: str
) -> QuerySet[Cascade]:
    """Return the first due cascade in those states of each of those child databases, or of all."""
    due = tables.cascades(using).filter(state__in=states, due_at__lte=ServerNow())
    among = databases or relations.catalogue().places
    return first_rows(due.order_by("due_at", "pk"), among, 1)


@retried
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

    None is due in a database that is paused. All are of one parent model and relation. See Note
    [Only what is known] in candidates.py.

    The attempt is counted and committed before the work. Cascades that failed before are split into
    smaller ones, so that a deletion that kills its worker is isolated (`retry.claim_size`). `owner`
    is the id of the claiming task, for `take_over`. `log` is the log's identity; without it, the
    database does not count the rows of these cascades from now on.

    Which come first: see Note [Nearest first] in backends/deadlines.py.
    """
    # `retry.block_lost` blocks those whose worker died on the last attempt.
    last = conf.current().attempts
    size = partial(retry.claim_size, limit, last)
    claim = Claim(token=uuid.uuid4(), using=using, database=database, log=log)
    lease = Lease(claim=claim.token, owner=owner, seconds=lease_seconds, counted=log is not None)
    known = relations.catalogue().names_into.get(database, frozenset())
    oldest_first = conf.current().deadline_days is None
    for nearest in (False,) if oldest_first else orders(claim.token):
        new = backends.log_backend(using).claim_new(
            database, known, size(0), lease, using=using, nearest=nearest
        )
        if new is None:
            if found := _claim(claim, limit, size, lease, last, nearest=nearest):
                return found
        elif new[0]:
            held, keys = new
            claim = dataclasses.replace(claim, parent=held[0].parent, relation=held[0].relation)
            return _with_deletions(claim, held, keys)
    return None


def orders(token: uuid.UUID | None) -> Sequence[bool]:
    """Return whether a claim takes what is nearest its deadline, or what is due longest. Pure.

    What comes second is tried where the first finds nothing.
    """
    if token is None or not conf.current().uses_deadlines or not deadlines.in_order(token):
        return (False,)
    return (True, False)


def owned_by(task: str, worker: str) -> str:
    """Return the owner of claims: the task, and the worker that runs it, by its heartbeat. Pure."""
    return f"{task} {worker}"[:OWNER_CHARS]


def take_over(database: str, *, owner: str, using: str) -> int:
    """Make the cascades that the task of `owner` claimed due now; return their number.

    Used when the broker redelivers the task's message. If the first run is still alive, both work,
    and only one of them finishes each cascade.
    """
    task = plain(owner, OWNER_CHARS).partition(" ")[0]
    running = tables.cascades(using).filter(
        Q(owner=task) | Q(owner__startswith=f"{task} "),
        database=database,
        state=Cascade.State.RUNNING,
        due_at__gt=ServerNow(),
    )
    return running.update(due_at=ServerNow())


def _due(database: str, using: str) -> QuerySet[Cascade]:
    return tables.cascades(using).filter(database=database, due_at__lte=ServerNow())


def _claim(
    claim: Claim, limit: int, size: Size, lease: Lease, last: int, *, nearest: bool
) -> Claim | None:
    paused = ChildDatabase.objects.filter(alias=claim.database, paused_at__isnull=False)
    due = (
        _due(claim.database, claim.using)
        .filter(~Exists(paused), state__in=Cascade.CLAIMABLE)
        .exclude(state=Cascade.State.RUNNING, attempts__gte=last)
    )
    passed = set[int]()
    for _ in range(ROUNDS):
        candidates = read_candidates(due.exclude(pk__in=passed), limit, nearest=nearest)
        if not candidates:
            return None
        known, unknown = apart(candidates, claim.database)
        set_aside(due, unknown, claim)
        if known:
            picked = chosen(known, size)
            held = _hold(due, picked, size, claim, lease)
            if held is not None:
                return held
            passed |= {candidate.pk for candidate in picked}  # other workers have them
    return None


def _hold(
    due: QuerySet[Cascade], picked: list[Candidate], size: Size, claim: Claim, lease: Lease
) -> Claim | None:
    """Claim those of the picked cascades that no other worker has; None where all are taken."""
    using, first = claim.using, picked[0]
    claim = dataclasses.replace(claim, parent=first.parent, relation=first.relation)
    named = due.filter(tables.id_in("pk", [candidate.pk for candidate in picked], using))
    with atomic(using):
        mine = list(tables.locked(named.order_by("pk"), using).values_list("pk", flat=True))
        if mine == [first.pk] and first.size > (most := size(first.attempts)):
            mine = _cut(due.filter(pk=first.pk), most, using)
        # Rows that could not be locked (SQLite) are taken only if they are still due.
        changed = (
            due.filter(tables.id_in("pk", mine, using)).update(
                state=claim.state,
                claim=claim.token,
                due_at=ServerNow() + dt.timedelta(seconds=lease.seconds),
                attempts=F("attempts") + 1,
                owner=lease.owner,
                **({} if lease.counted else {"tally": None}),
            )
            if mine
            else 0
        )
        if not changed:
            return None
        return read_parts(claim, mine).get(claim.database, claim)


def _cut(cascade: QuerySet[Cascade], size: int, using: str) -> list[int]:
    """Split off the first deletions of a due cascade; return the id of the part that has them."""
    # Else a worker whose lease is over would still have the other part.
    running = When(state=Cascade.State.RUNNING, then=Value(Cascade.State.PENDING))
    state = Case(running, default=F("state"), output_field=CharField())
    cascade.update(claim=None, state=state)
    (deletions,) = cascade.values_list("deletions", flat=True) or [[]]
    return [*parts.separate(cascade, deletions[:size], using=using, holder=True)]


def read_parts(claim: Claim, cascades: list[int]) -> dict[str, Claim]:
    """Return child database → the claim's part there, with its deletions and their barriers."""
    using = claim.using
    rows = tables.cascades(using).filter(
        tables.id_in("pk", cascades, using), claim=claim.token, state=claim.state
    )
    held = dict[str, list[Cascade]]()
    for cascade in rows.only(*READ, "database", "barrier", "barrier_server").order_by("pk"):
        held.setdefault(cascade.database, []).append(cascade)
    ids = sorted({pk for group in held.values() for one in group for pk in one.deletions})
    keys = {
        pk: (key, targets)
        for pk, key, targets in tables.deletions(using)
        .filter(tables.id_in("pk", ids, using))
        .values_list("pk", "key", "targets")
    }
    barriers = {
        one.pk: Barrier(number=one.barrier, server=one.barrier_server)
        for group in held.values()
        for one in group
        if one.barrier is not None
    }
    return {
        alias: _with_deletions(dataclasses.replace(claim, database=alias), group, keys, barriers)
        for alias, group in held.items()
    }


def _with_deletions(
    claim: Claim,
    held: Sequence[Cascade],
    keys: Mapping[int, tuple[str | None, Any]],
    barriers: Mapping[int, Barrier] = MappingProxyType({}),
) -> Claim:
    """Return the claim with the deletions of those cascades; `keys` are keys and targets."""
    deletions = list[ClaimedDeletion]()
    for cascade in held:
        rows, kept = cascade.rows or NOTHING, cascade.kept or NOTHING
        failing, barrier = cascade.failing or NOTHING, barriers.get(cascade.pk)
        deletions += (
            ClaimedDeletion(
                id=pk,
                batch=cascade.batch,
                key=known[0],
                targets=known[1] or NOTHING,
                attempts=cascade.attempts,
                tally=cascade.tally,
                rows=rows.get(str(pk), NOTHING),
                failing=failing,
                kept=kept.get(str(pk), NOTHING),
                barrier=barrier,
            )
            for pk in cascade.deletions
            if (known := keys.get(pk))  # who removes rows of the log by hand holds up no other one
        )
    cascades = {cascade.pk: cascade.deletions for cascade in held}
    return dataclasses.replace(claim, deletions=tuple(deletions), cascades=cascades)
