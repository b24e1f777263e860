"""Reads and makes rows of the log for tests: deletions, and the cascades of their batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import F
from django.utils import timezone

from apps.integrity.log import scopes
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.models.moments import ServerNow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.integrity.models.outcome import InDatabase

#: States that a cascade has only once it is over.
ENDED = {str(state) for state in Cascade.ENDED}


def deletion_of(key: object, *, using: str = "default", **columns: Any) -> Deletion:
    """Return the only deletion of that key."""
    return Deletion.objects.using(using).get(key=str(key), **columns)


def deletions_in(*states: str, using: str = "default") -> list[Deletion]:
    """Return the deletions in one of those states, the oldest first."""
    return [row for row in Deletion.objects.using(using).order_by("pk") if row.state in states]


def states(*, using: str = "default") -> list[str]:
    """Return the state of each deletion, the oldest first."""
    return [str(row.state) for row in Deletion.objects.using(using).order_by("pk")]


def cascade_states(*, using: str = "default", **wanted: Any) -> list[str]:
    """Return the state of each deletion in each of its databases, for those cascades. Sorted."""
    rows = Cascade.objects.using(using).filter(**wanted)
    return sorted(row.state for row in rows for _ in row.deletions)


def cascade_of(deletion: Deletion | object, database: str, *, using: str = "default") -> Cascade:
    """Return the cascade that holds a deletion, or that of a key, in a child database."""
    found = deletion if isinstance(deletion, Deletion) else deletion_of(deletion, using=using)
    batch = Deletion.objects.using(using).values_list("batch", flat=True).get(pk=found.pk)
    rows = Cascade.objects.using(using).filter(batch=batch, database=database)
    return _only([row for row in rows if found.pk in row.deletions], f"{found} → {database}")


def in_database(
    deletion: Deletion | object, database: str, *, using: str = "default"
) -> InDatabase:
    """Return what came of a deletion, or of that of a key, in a child database by now."""
    found = deletion if isinstance(deletion, Deletion) else deletion_of(deletion, using=using)
    fresh = Deletion.objects.using(using).get(pk=found.pk)
    known = [one for one in fresh.databases if one.database == database]
    return _only(known, f"{found} → {database}")


def _only(found: list[Any], what: str) -> Any:
    """Return the only one; who waits for it can tell that there is none yet."""
    if not found:
        raise Cascade.DoesNotExist(what)
    (one,) = found
    return one


def make(
    parent: str,
    keys: Iterable[object],
    databases: Iterable[str],
    *,
    apart: bool = False,
    state: str = "pending",
    source: str = "signal",
    relation: str = "",
    using: str = "default",
    **columns: Any,
) -> list[Deletion]:
    """Make a batch of deletions of those keys, and its cascade in each of the databases.

    `columns` are those of the cascades; `recorded_at` is that of both. If they are `apart`, each
    has a batch of its own. Without databases, the deletions stay recorded.
    """
    recorded_at = columns.pop("recorded_at", timezone.now())
    if "rows" in columns:  # no child's database has counted them
        columns.setdefault("tally", None)
    made = Deletion.objects.using(using).bulk_create(
        Deletion(
            parent=parent,
            key=str(key),
            source=source,
            relation=relation,
            recorded_at=recorded_at,
        )
        for key in keys
    )
    named = list(databases)
    for row in made if named else ():
        row.batch = row.pk if apart else made[0].pk
    ids = [row.pk for row in made]
    if named:
        rows = Deletion.objects.using(using).filter(pk__range=(ids[0], ids[-1]))
        rows.update(batch=F("pk") if apart else ids[0])
    over = state in ENDED
    moments = {
        "due_at": None if over or state == "blocked" else recorded_at,
        "ended_at": recorded_at if over else None,
        "done_at": recorded_at if state in {"done", "verified", "kept"} else None,
        "verified_at": recorded_at if state == "verified" else None,
        "dispatched_at": recorded_at,
        "scope": scopes.current(parent, relation, using=using) if over else None,
    }
    Cascade.objects.using(using).bulk_create(
        Cascade(
            batch=batch[0],
            database=database,
            parent=parent,
            relation=relation,
            deletions=batch,
            size=len(batch),
            state=state,
            recorded_at=recorded_at,
            **moments | columns,
        )
        for batch in ([[pk] for pk in ids] if apart else [ids])
        for database in named
    )
    return made


def suspected(relation: str | None = None, *, using: str = "default") -> list[str]:
    """Return the values of the suspects of a relation, or of all, the oldest first."""
    rows = Suspect.objects.using(using).order_by("pk")
    if relation is not None:
        rows = rows.filter(relation=relation)
    return list(rows.values_list("value", flat=True))


def unverified(*, using: str = "default") -> frozenset[str]:
    """Return the child databases with a done cascade whose grace period is over."""
    done = Cascade.objects.using(using).filter(state="done", due_at__lte=ServerNow())
    return frozenset(done.values_list("database", flat=True))


def check_partitions(*, using: str = "default") -> None:
    """Raise an AssertionError unless the cascades of each batch are partitions of it."""
    batches: dict[int, list[int]] = {}
    rows = Deletion.objects.using(using).filter(batch__isnull=False).order_by("pk")
    for pk, batch in rows.values_list("pk", "batch"):
        batches.setdefault(int(batch or 0), []).append(pk)
    held: dict[tuple[int, str], list[int]] = {}
    for cascade in Cascade.objects.using(using).all():
        assert cascade.size == len(cascade.deletions) > 0
        assert cascade.deletions == sorted(cascade.deletions)
        known = {str(pk) for pk in cascade.deletions}
        for document in (cascade.rows, cascade.kept):
            assert set(document or {}) <= known
        held.setdefault((cascade.batch, cascade.database), []).extend(cascade.deletions)
    for (batch, database), ids in held.items():
        assert sorted(ids) == batches[batch], (batch, database)
