"""Refusal to repair when the numbers are absurd.

If the parents' database is wrong, empty or restored, the scan finds many orphans that are not
orphans. So absurd figures repair nothing, until a pass sees better ones or an operator overrides
the brake with a reason, which is audited. Writes nothing.

`refusal` is the one decision. The repair reads the figures (`asked`); the report passes rows that
it has already read (`judged`).

Note [The worst figures]: the brake judges the pass under way, the last one and the waiting suspects
each by themselves, so that a pass that has just begun does not hide what the last one saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from .. import conf
from ..backends import visibility
from ..control import actions
from ..models import ChildDatabase, Scan

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..conf import Settings
    from ..relations import Model, Relation

#: A recheck discredits the scan when it finds more than this share of the parents alive.
ALIVE_SHARE = 0.1
EMPTY = "the parent's table is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How many distinct keys were seen, and how many of them without a parent."""

    keys: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the brake decides by.

    `refused` is the reason of a pause because a child database belongs to other parents, or because
    it or its log was restored from a backup; or "".
    """

    refused: str
    no_parents: bool
    figures: tuple[Figures, ...]


def refusal(evidence: Evidence, settings: Settings) -> str:
    """Return why nothing of the relation may be repaired, or "". Pure."""
    if evidence.refused:
        return evidence.refused
    if evidence.no_parents:
        return EMPTY
    reasons = (absurdity(figures, settings) for figures in evidence.figures)
    return next(filter(None, reasons), "")


def absurdity(figures: Figures, settings: Settings) -> str:
    """Return why so many missing parents are absurd, or "". Pure."""
    if figures.missing > tolerated(figures.keys, settings):
        return (
            f"{figures.missing:,} of {figures.keys:,} keys have no parent, more than"
            f" {settings.brake_share:.1%} and {settings.brake_keys:,} keys"
        )
    return ""


def tolerated(keys: int, settings: Settings) -> float:
    """Return how many of so many keys may have no parent. Pure."""
    return max(settings.brake_keys, settings.brake_share * keys)


def disagreement(checked: int, alive: int, settings: Settings) -> str:
    """Return why a recheck that found so many alive discredits the scan, or "". Pure."""
    if alive > settings.brake_keys and alive > ALIVE_SHARE * checked:
        return (
            f"the recheck found {alive:,} of {checked:,} missing parents alive: do the scan and the"
            " recheck read the same database? The next scan starts over"
        )
    return ""


def asked(relation: Relation, waiting: int) -> str:
    """Return why nothing of the relation may be repaired while `waiting` suspects wait, or "".

    Reads the log and the parents. Raises the errors of their databases, `FilteredRead` among them.
    """
    using, aliases = relation.parent_databases[0], relation.child_databases
    scans = Scan.objects.using(using).filter(relation=relation.label)
    children = ChildDatabase.objects.using(using).filter(alias__in=aliases)
    return judged(relation, waiting, list(scans), list(children))


def judged(
    relation: Relation, waiting: int, scans: Collection[Scan], children: Collection[ChildDatabase]
) -> str:
    """Return the same from rows that have been read, of this relation and of others.

    They are rows of the log that keeps the relation's scans. The parents are only asked whether
    there are any, by one query for each of their databases. Raises as `asked` does.
    """
    aliases, kinds = relation.child_databases, ChildDatabase.REFUSALS
    paused = [row for row in children if row.alias in aliases and row.paused_kind in kinds]
    refused = next(map(actions.reason_of_pause, paused), "")
    evidence = Evidence(
        refused=refused,
        no_parents=not refused and is_empty(relation),
        figures=all_figures(waiting, [row for row in scans if row.relation == relation.label]),
    )
    return refusal(evidence, conf.current())


def all_figures(waiting: int, scans: Collection[Scan]) -> tuple[Figures, ...]:
    """Return what the pass under way, the last one and the log have seen of one relation. Pure.

    See Note [The worst figures].
    """
    now = Figures(keys=sum(row.keys for row in scans), missing=sum(row.missing for row in scans))
    last = Figures(
        keys=sum(row.last_keys for row in scans), missing=sum(row.last_missing for row in scans)
    )
    return now, last, Figures(keys=max(now.keys, last.keys), missing=waiting)


def is_empty(relation: Relation) -> bool:
    """Return whether no parent is left in any of the parents' databases.

    Raises `FilteredRead` where none is seen and some may be hidden.
    """
    return not any(_has_rows(relation.parent, home) for home in relation.parent_databases)


def _has_rows(parent: Model, home: str) -> bool:
    rows: QuerySet[Any] = QuerySet(model=parent, using=home)
    if rows.exists():
        return True
    with visibility.whole(home, parent):
        return rows.exists()
