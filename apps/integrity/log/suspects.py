"""Missing parents that scans found: entered as suspects, checked again, confirmed or dropped."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, models
from django.db.models import BooleanField, ExpressionWrapper, Q

from .. import backends, conf, relations
from ..backends.barriers import barriers_to_json
from ..backends.transactions import atomic, retried
from ..exceptions.loggers import logger_of
from ..models import KEY_CHARS, Cascade, Deletion, Suspect
from ..models.moments import ServerNow
from ..relations.relation import primary_key
from . import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.db.models import QuerySet

    from ..backends.barriers import Barrier
    from ..relations import Relation


logger = logger_of("integrity.scan")

#: Suspects of one batch.
SUSPECTS = 2_000
#: Batches, or cascades, whose deletions are read at once: each has up to `deletions.BATCH`. SQLite
#: takes 32,766 parameters.
BATCHES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """How the log entered keys, as text, for which a scan found no parent."""

    suspects: list[str]
    #: Keys whose cascade into the scanned database is blocked, or that are too long for the log.
    #: They are no suspects, but orphans: nothing removes their rows before an operator acts.
    blocked: list[str]


class _Standing(enum.Enum):
    """What an open deletion does about rows of one relation in one database."""

    REMOVES = enum.auto()
    BLOCKED = enum.auto()
    NOTHING = enum.auto()


def suspect(
    relation: Relation,
    keys: Sequence[str],
    fence: Mapping[str, Barrier],
    *,
    database: str,
    using: str,
) -> Entered:
    """Enter keys (as text) that a scan of `relation` in `database` found no parent for.

    A key is no suspect if an open deletion is going to cascade it into this database along this
    relation. A known suspect gets the new fence: a new parent with that key may not be committed
    yet. Call this in the transaction that saves the scan's cursor.
    """
    size = min(SUSPECTS, connections[using].features.max_query_params or SUSPECTS) // 2
    entered = Entered(suspects=[], blocked=[key for key in keys if len(key) > KEY_CHARS])
    if entered.blocked:
        logger.warning(
            "%s in %s: %d missing keys have more than %d characters: remove their rows by hand",
            relation.label,
            database,
            len(entered.blocked),
            KEY_CHARS,
        )
    fitting = [key for key in keys if len(key) <= KEY_CHARS]
    for start in range(0, len(fitting), size):
        part = _suspect(relation, fitting[start : start + size], fence, database, using)
        entered.suspects.extend(part.suspects)
        entered.blocked.extend(part.blocked)
    return entered


def _suspect(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, Barrier], database: str, using: str
) -> Entered:
    """Do what `suspect` does, for as many keys as one statement takes."""
    standings = _standings(relation, keys, database, using)
    removed, blocked = (
        {text for text, standing in standings if standing is wanted}
        for wanted in (_Standing.REMOVES, _Standing.BLOCKED)
    )
    # Without repetitions: a statement can update no row twice.
    new = [key for key in dict.fromkeys(keys) if key not in removed | blocked]
    _enter(relation, new, fence, using)
    stuck = [key for key in keys if key in blocked - removed]
    return Entered(suspects=new, blocked=stuck)


def _enter(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, Barrier], using: str
) -> None:
    """Insert suspects; those that are known get the new fence."""
    by_target = connections[using].features.supports_update_conflicts_with_target
    tables.suspects(using).bulk_create(
        (
            Suspect(
                parent=relation.parent._meta.label,
                relation=relation.label,
                field=field_of(relation),
                value=key,
                fence=barriers_to_json(fence),
                recorded_at=ServerNow(),
            )
            for key in keys
        ),
        update_conflicts=True,
        unique_fields=["relation", "field", "value"] if by_target else None,
        update_fields=["fence"],
    )


def field_of(relation: Relation) -> str:
    """Return the name of the parent's field that the relation refers to; "" for its key."""
    return "" if relation.target == primary_key(relation.parent) else relation.target.name


def _standings(
    relation: Relation, keys: Sequence[str], database: str, using: str
) -> list[tuple[str, _Standing]]:
    """Return key and standing of each open deletion along a relation in `database`."""
    late = Q(due_at__lt=ServerNow() - dt.timedelta(seconds=conf.current().stalled_seconds))
    columns = ("deletions", "state", "failing", "late")
    goes_on = tables.cascades(using).filter(
        database=database,
        parent=relation.parent._meta.label,
        relation__in=["", relation.label],
        ended_at__isnull=True,
    )
    named = _deletions(relation, keys, using, goes_on)
    batches = sorted({batch for _, batch in named.values() if batch is not None})
    rows = goes_on.annotate(late=ExpressionWrapper(late, BooleanField())).values_list(*columns)
    standings = [(text, _Standing.REMOVES) for text, batch in named.values() if batch is None]
    for start in range(0, len(batches), BATCHES):
        some = tables.id_in("batch", batches[start : start + BATCHES], using)
        for deletions, state, failing, overdue in rows.filter(some):
            standing = _standing(state, not failing or relation.label in failing, overdue)
            standings += [(named[pk][0], standing) for pk in deletions if pk in named]
    return standings


def _deletions(
    relation: Relation, keys: Sequence[str], using: str, goes_on: models.QuerySet[Cascade]
) -> dict[int, tuple[str, int | None]]:
    """Return id → key and batch of the deletions of those keys that may not be over.

    Values of other fields than the key have no index for many of them: there, the deletions of
    open cascades are read, and the recorded ones.
    """
    rows = tables.deletions(using).filter(
        parent=relation.parent._meta.label,
        relation__in=["", relation.label],
        cancelled_at__isnull=True,
    )
    if not (name := field_of(relation)):
        of_keys = rows.filter(key__in=keys).values_list("pk", "key", "batch")
        return {pk: (str(key), batch) for pk, key, batch in of_keys}
    wanted = {f"targets__{name}__in": keys}
    found = list(rows.filter(Deletion.IS_RECORDED, **wanted).only("targets", "batch"))
    held = goes_on.order_by().values_list("deletions", flat=True).iterator(chunk_size=BATCHES)
    while cascades := list(itertools.islice(held, BATCHES)):
        ids = sorted({pk for deletions in cascades for pk in deletions})
        dispatched = rows.filter(tables.id_in("pk", ids, using), **wanted)
        found += dispatched.only("targets", "batch")
    return {row.pk: (str((row.targets or {})[name]), row.batch) for row in found}


def _standing(state: str, concerned: bool, late: bool) -> _Standing:  # noqa: FBT001 (of a row)
    """Return what a cascade in that state does about the rows of a relation. Pure.

    A failed cascade has finished the relations that are not `concerned`: their rows came later. The
    verification of a done cascade is going to find rows that came later. If it is `late`, the scan
    handles them.
    """
    if state in {Cascade.State.WAITING, Cascade.State.BLOCKED} and not concerned:
        return _Standing.NOTHING
    if state in Cascade.CLAIMABLE:
        return _Standing.REMOVES
    if state == Cascade.State.DONE and not late:
        return _Standing.REMOVES
    return _Standing.BLOCKED if state == Cascade.State.BLOCKED else _Standing.NOTHING


def in_batches(
    relation: Relation, *, older_than_seconds: float, using: str
) -> Iterator[list[Suspect]]:
    """Yield the suspects of a relation that are at least that old, in batches."""
    after, seen_by = 0, ServerNow() - dt.timedelta(seconds=older_than_seconds)
    rows = tables.suspects(using).filter(relation=relation.label, recorded_at__lte=seen_by)
    while batch := list(rows.filter(pk__gt=after).order_by("pk")[:SUSPECTS]):
        yield batch
        after = batch[-1].pk


def number_of_suspects(relation: str, *, using: str, most: int | None = None) -> int:
    """Return how many suspects a relation has, by its label; with `most`, counting stops there."""
    return tables.suspects(using).filter(relation=relation).order_by()[:most].count()


def suspects_by_relation(*, using: str, most: int | None = None) -> dict[str, int]:
    """Return how many suspects each relation has; those without any are left out.

    With `most`, only so many suspects are counted, of whatever relations.
    """
    rows = _counted(using)
    if most is not None:
        return dict(Counter(rows.order_by("relation").values_list("relation", flat=True)[:most]))
    return dict(rows.values_list("relation").annotate(models.Count("pk")).order_by())


def missing_parents(*, using: str) -> int:
    """Return how many parents the suspects are: one may be missing along several relations."""
    rows = _counted(using).order_by().values("parent", "field", "value")
    return rows.distinct().count()


def _counted(using: str) -> QuerySet[Suspect]:
    """Return the suspects without those of relations that the settings ignore."""
    rows, ignored = tables.suspects(using), relations.catalogue().reasons
    return rows.exclude(relation__in=list(ignored)) if ignored else rows


def renew_barriers(ids: Sequence[int], fence: Mapping[str, Barrier], *, using: str) -> int:
    """Replace the fence of suspects that is of another server; return their number."""
    rows = tables.suspects(using).filter(tables.id_in("pk", ids, using))
    return rows.update(fence=barriers_to_json(fence))


@retried
def confirm(ids: Sequence[int], *, using: str) -> list[int]:
    """Turn suspects into recorded deletions; return the ids of these."""
    with atomic(using):
        rows = tables.suspects(using).filter(tables.id_in("pk", ids, using)).order_by("pk")
        locked = tables.locked(rows, using, skip_locked=False)
        confirmed = list(locked.values_list("pk", flat=True))
        if not confirmed:
            return []
        made = backends.log_backend(using).insert_confirmed(confirmed, using=using)
        drop(confirmed, using=using)
    return made


@retried
def drop(ids: Sequence[int], *, using: str) -> int:
    """Forget suspects that are none: their parent is alive, say. Return their number."""
    return tables.suspects(using).filter(tables.id_in("pk", ids, using)).delete()[0]
