"""The names in open work: aliases, parents and relations, as they were when it was recorded.

Bounded by the number of names, whatever the length of the log: Note [From value to value].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from .. import relations
from ..backends import log_backend
from ..models import Cascade, Deletion, Suspect
from . import tables

if TYPE_CHECKING:
    from django.db.models import QuerySet

NAMES = ["parent", "relation"]
#: The conditions of the indexes.
_RECORDED = "batch IS NULL AND cancelled_at IS NULL"
_IN_BACKLOG = "state IN ('pending', 'running', 'waiting', 'blocked') AND ended_at IS NULL"
_UNPROVEN = "state = 'done'"
_UNENDED = "ended_at IS NULL"
#: Suspects have an index of all their names.
_ALL = "parent IS NOT NULL"


def open_databases(*, using: str) -> list[str]:
    """Return the child databases with cascades that are not done, or not verified."""
    sources = ((Cascade, _IN_BACKLOG), (Cascade, _UNPROVEN))
    rows = log_backend(using).distinct(["database"], *sources, using=using)
    return sorted(database for (database,) in rows)


def open_names(*, using: str) -> list[tuple[str, str]]:
    """Return parent and relation ("" for all of its relations) of open deletions and suspects."""
    sources = ((Deletion, _RECORDED), (Cascade, _UNENDED), (Suspect, _ALL))
    rows = log_backend(using).distinct(NAMES, *sources, using=using)
    return sorted((parent, relation) for parent, relation in rows)


def recorded_names(*, using: str, most: int | None = None) -> list[tuple[str, str]]:
    """Return parent and relation, or `most` of them, of deletions that wait to be dispatched."""
    rows = log_backend(using).distinct(NAMES, (Deletion, _RECORDED), using=using, most=most)
    return sorted((parent, relation) for parent, relation in rows)


def open_deletions(parent: str, relation: str, *, using: str) -> QuerySet[Deletion]:
    """Return the deletions of those names that are recorded, or in a batch that is not over."""
    goes_on = open_cascades(parent, relation, using=using).values("batch")
    return tables.deletions(using).filter(
        Q(batch__isnull=True) | Q(batch__in=goes_on),
        parent=parent,
        relation=relation,
        cancelled_at__isnull=True,
    )


def ended_deletions(parent: str, *, using: str) -> QuerySet[Deletion]:
    """Return the deletions of a parent that were cancelled, or whose batch is over."""
    goes_on = tables.cascades(using).filter(batch=OuterRef("batch"), ended_at__isnull=True)
    return tables.deletions(using).filter(
        Q(cancelled_at__isnull=False) | Q(Q(batch__isnull=False), ~Exists(goes_on)), parent=parent
    )


def open_cascades(parent: str, relation: str, *, using: str) -> QuerySet[Cascade]:
    """Return the cascades of those names that have not ended."""
    return tables.cascades(using).filter(parent=parent, relation=relation, ended_at__isnull=True)


def suspects_of(parent: str, relation: str, *, using: str) -> QuerySet[Suspect]:
    """Return the suspects of those names."""
    return tables.suspects(using).filter(parent=parent, relation=relation)


def work_under(parent: str, relation: str, *, most: int, using: str, suspected: bool = True) -> int:
    """Return the number of open deletions of those names, counted up to `most`.

    With `suspected`, suspects count, too.
    """
    of_names = {"parent": parent, "relation": relation}
    number = tables.recorded(using).filter(**of_names).order_by()[:most].count()
    if suspected:
        number += suspects_of(parent, relation, using=using).order_by()[:most].count()
    ids = set[int]()
    rows = open_cascades(parent, relation, using=using).values_list("deletions", flat=True)
    for deletions in rows.iterator(chunk_size=100):
        ids.update(deletions)
        if number + len(ids) >= most:
            return most
    return number + len(ids)


def why_unknown(parent: str, relation: str, database: str) -> str:
    """Return what this process's catalogue does not know about a cascade with those names."""
    catalogue = relations.catalogue()
    if not catalogue.knows(parent):
        return f"no parent model is named {parent} here"
    if not catalogue.knows(parent, None, relation):
        return f"no relation to {parent} is named {relation} here"
    if relation:
        return f"{relation} does not lead into {database} here"
    return f"no relation to {parent} leads into {database} here"
