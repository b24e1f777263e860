"""Refusal to repair when the numbers are absurd.

A wrong, empty or restored database of parents makes orphans of the living, many at once. So absurd
figures repair nothing, until a pass sees better ones or an operator overrides the brake with a
reason, which is audited. Writes nothing.

Note [The worst sight]: the figures of a pass that has just begun, or of a few suspects, do not make
those of the whole look better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet, Sum
from django.db.models.functions import Coalesce

from . import conf, control, identity
from .backends import visibility
from .models import Scan

if TYPE_CHECKING:
    from .conf import Settings
    from .relations import Model, Relation

#: The second look and the first one disagree when it finds more than this share alive.
ALIVE_SHARE = 0.1
EMPTY = "the parent's table is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How many distinct keys were seen, and how many of them without a parent."""

    keys: int
    missing: int


def absurdity(sight: Sight, settings: Settings) -> str:
    """Why so many missing parents are absurd, or "". Pure."""
    few = settings.brake_keys
    if sight.missing > few and sight.missing > settings.brake_share * sight.keys:
        return (
            f"{sight.missing:,} of {sight.keys:,} keys miss their parent, more than"
            f" {settings.brake_share:.1%} and {few:,} keys"
        )
    return ""


def disagreement(checked: int, alive: int, settings: Settings) -> str:
    """Why a second look that found so many alive discredits the first one, or "". Pure."""
    if alive > settings.brake_keys and alive > ALIVE_SHARE * checked:
        return (
            f"the second look found {alive:,} of {checked:,} missing parents alive: does it look at"
            " the database that the first one looked at? The next scan begins anew"
        )
    return ""


def refusal(relation: Relation, waiting: int) -> str:
    """Why nothing of the relation may be repaired while `waiting` suspects wait, or ""."""
    for alias in relation.child_databases:
        paused = control.paused_reason(alias, using=relation.parent_databases[0])
        if identity.STRANGER in paused:
            return paused
    if is_empty(relation):
        return EMPTY
    settings = conf.current()
    found = (absurdity(each, settings) for each in _sights(relation, waiting))
    return next(filter(None, found), "")


def is_empty(relation: Relation) -> bool:
    """Whether no parent is left in any of the parents' databases.

    Raises `FilteredRead` where none is seen and some may be hidden.
    """
    return not any(_has_rows(relation.parent, home) for home in relation.parent_databases)


def _has_rows(parent: Model, home: str) -> bool:
    rows: QuerySet[Any] = QuerySet(model=parent, using=home)
    if rows.exists():
        return True
    with visibility.whole(home, parent):
        return rows.exists()


def _sights(relation: Relation, waiting: int) -> tuple[Sight, ...]:
    """By the pass under way, by the last one, and by the log. See Note [The worst sight]."""
    rows = Scan.objects.using(relation.parent_databases[0]).filter(relation=relation.label)
    names = ("keys", "missing", "last_keys", "last_missing")
    found = rows.aggregate(**{f"all_{name}": Coalesce(Sum(name), 0) for name in names})
    now = Sight(keys=found["all_keys"], missing=found["all_missing"])
    last = Sight(keys=found["all_last_keys"], missing=found["all_last_missing"])
    return now, last, Sight(keys=max(now.keys, last.keys), missing=waiting)
