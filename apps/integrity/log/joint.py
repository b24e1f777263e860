"""Claims of fresh cascades into many child databases at once, and their outcomes.

One statement of the log serves all databases. The same claim token stands in all of the cascades,
so the part of each database is an ordinary `Claim`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db.models import BigIntegerField, Case, F, Q, TextField, Value, When

from .. import conf, relations
from ..backends.first_rows import first_rows
from ..backends.transactions import atomic, retried
from ..models import Cascade
from ..models.moments import ServerNow
from . import candidates, claims, scopes, tables
from .outcomes import AS_VERIFIED
from .values import Claim

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.models import QuerySet

    from ..backends.barriers import Barrier

#: Child database → its part of a claim.
Parts = dict[str, Claim]
#: Cascades of each database that one claim takes.
EACH_MAX = 100
#: No row was changed or kept, and no attempt has failed.
UNTOUCHED = Q(rows__isnull=True, kept__isnull=True, reason="")


@retried
def claim(databases: Collection[str], *, using: str, lease_seconds: float) -> Parts:
    """Claim due cascades into those databases that nothing has happened to yet.

    All are of one parent model and relation. The attempt is counted.
    """
    fresh = UNTOUCHED & Q(state=Cascade.State.PENDING, attempts=0)
    due = tables.cascades(using).filter(fresh, due_at__lte=ServerNow())
    token = uuid.uuid4()
    for nearest in claims.orders(token):
        wanted, pks = _picked(due, databases, nearest=nearest)
        if pks:
            break
    else:
        return {}
    with atomic(using):
        named = due.filter(tables.id_in("pk", pks, using)).order_by("pk")
        mine = list(tables.locked(named, using).values_list("pk", flat=True))
        # Rows that could not be locked (SQLite) are taken only if they are still due.
        due.filter(tables.id_in("pk", mine, using)).update(
            state=wanted.state,
            claim=token,
            due_at=ServerNow() + dt.timedelta(seconds=lease_seconds),
            attempts=F("attempts") + 1,
            owner="",
        )
        return claims.read_parts(dataclasses.replace(wanted, token=token), mine)


def due_done(databases: Collection[str], *, using: str) -> Parts:
    """Return done cascades that are due to be verified and never had a row, as one claim.

    Only the worker that finished them ever had them, so no other one has counted rows since. See
    Note [No claim] in proofs.py. Their barriers may not have passed.
    """
    done = UNTOUCHED & Q(state=Cascade.State.DONE, attempts=1)
    due = tables.cascades(using).filter(done, due_at__lte=ServerNow())
    wanted, pks = _picked(due, databases)
    return claims.read_parts(wanted, pks) if pks else {}


def _picked(
    due: QuerySet[Cascade], databases: Collection[str], *, nearest: bool = False
) -> tuple[Claim, list[int]]:
    """Return the names that most of the due cascades have, as a claim, and which of them fit.

    Those that no relation of the catalogue cascades are left to `claims.claim`: nothing would be
    looked at.
    """
    columns = ("id", "database", "parent", "relation", "size", "state")
    due = candidates.nearest_first(due) if nearest else due.order_by("due_at", "pk")
    first = first_rows(due, sorted(databases), EACH_MAX, *columns)
    children_of, limit = relations.catalogue().children_of, conf.current().claim_keys
    rows = [
        row
        for row in first.annotate(seen_at=ServerNow()).values_list(*columns, "seen_at")
        if children_of(row[2], row[1], row[3])
    ]
    counts = Counter((row[2], row[3]) for row in rows)
    names, _ = counts.most_common(1)[0] if rows else (("", ""), 0)
    sizes, pks = Counter[str](), list[int]()
    for pk, database, parent, relation, size, _, _ in rows:
        if (parent, relation) == names and sizes[database] + size <= limit:
            sizes[database] += size
            pks.append(pk)
    done = {row[6] for row in rows if row[5] == Cascade.State.DONE}
    state = Cascade.State.DONE if done else Cascade.State.RUNNING
    seen_at = min(done, default=None)
    parent, relation = names
    return Claim(
        token=None,
        using=due.db,
        database="",
        parent=parent,
        relation=relation,
        state=state,
        seen_at=seen_at,
    ), pks


def finish(parts: Parts, barriers: Mapping[str, Barrier | None]) -> dict[str, list[int]]:
    """Mark the parts of those databases done, without a row; return database → deletions.

    Each has a barrier, which is None where its server has none. One transaction.
    """
    known = {alias: barrier for alias, barrier in barriers.items() if barrier}
    numbers = [When(database=alias, then=Value(known[alias].number)) for alias in known]
    servers = [When(database=alias, then=Value(known[alias].server)) for alias in known]
    grace = dt.timedelta(seconds=conf.current().grace_seconds)
    return _ended(
        {alias: parts[alias] for alias in barriers},
        state=Cascade.State.DONE,
        claim=None,
        failing=None,
        done_at=ServerNow(),
        due_at=ServerNow() + grace,
        barrier=Case(*numbers, default=None, output_field=BigIntegerField()),
        barrier_server=Case(*servers, default=Value(""), output_field=TextField()),
    )


def verify(parts: Parts) -> int:
    """Mark all of the parts verified; return deletions times databases. One transaction."""
    if not parts:
        return 0
    one = next(iter(parts.values()))  # all are of the same names
    scope = scopes.current(one.parent, one.relation, using=one.using)
    return sum(map(len, _ended(parts, **AS_VERIFIED, scope=scope).values()))


@retried
def _ended(parts: Parts, **changes: Any) -> dict[str, list[int]]:
    """Change the cascades that hold deletions of the parts alone; return database → deletions."""
    ended = dict[str, list[int]]()
    if not parts:
        return ended
    using = next(iter(parts.values())).using
    looked_at = {alias: {*part.ids} for alias, part in parts.items()}
    with atomic(using):
        rows = tables.locked(_held(parts).order_by("pk"), using, skip_locked=False)
        # Another part of a batch, which was split before, has not been looked at.
        held = [
            (pk, database, deletions)
            for pk, database, deletions in rows.values_list("pk", "database", "deletions")
            if looked_at[database].issuperset(deletions)
        ]
        pks = [pk for pk, _, _ in held]
        _held(parts).filter(tables.id_in("pk", pks, using)).update(**changes)
    for _, database, deletions in held:
        ended.setdefault(database, []).extend(deletions)
    return ended


@retried
def put_back(parts: Parts) -> None:
    """Make claimed cascades due again, as they were. One statement."""
    if parts:
        _held(parts).update(
            state=Cascade.State.PENDING, claim=None, attempts=F("attempts") - 1, due_at=ServerNow()
        )


def _held(parts: Parts) -> QuerySet[Cascade]:
    """Return the cascades that the claim still holds, or that are done and due as they were."""
    one = next(iter(parts.values()))
    batches = sorted({batch for part in parts.values() for batch in part.batches})
    rows = tables.cascades(one.using).filter(
        tables.id_in("batch", batches, one.using),
        database__in=[*parts],
        claim=one.token,
        state=one.state,
    )
    if one.seen_at is None:
        return rows
    return rows.filter(done_at__lte=one.seen_at, due_at__lte=one.seen_at)
