"""What a delete in the admin touches in other databases, as far as an account may see it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import Error

from .. import relations
from ..backends import connections, visibility
from ..backends.bounded import timed_read
from ..backends.lookups import target_values
from ..exceptions import DatabaseUnreachable
from ..relations import policies
from ..relations.plan import plan_for
from . import limits
from .preview import COUNT_SECONDS, PAGE_SECONDS, Effect, effects_along

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import Q

    from ..relations import Model, Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What deleting parents touches in one child database, or that it cannot be told now."""

    database: str
    effects: list[Effect]
    uncounted: bool = False


def effects_elsewhere(
    parent: Model, keys: Sequence[Any], shown: Callable[[Model], bool]
) -> list[Elsewhere]:
    """What deleting those parents touches in other databases, of models that may be `shown`.

    Counts stop at the bound, and after a while. A database without such a model is not asked.
    """
    seen: dict[tuple[Model, str], Q] = {}
    deadline = time.monotonic() + PAGE_SECONDS
    aimed = [each for each in relations.catalogue().relations if each.parent is parent]
    aimed = [each for each in aimed if any(map(shown, _models(each)))]
    found = []
    for database in dict.fromkeys(alias for each in aimed for alias in each.child_databases):
        effects: list[Effect] = []
        uncounted = time.monotonic() >= deadline
        try:
            for relation in aimed if not uncounted else ():
                if database in relation.child_databases:
                    effects += _counted(relation, database, keys, seen, shown)
        except (DatabaseUnreachable, Error):
            uncounted, effects = True, []
        found.append(Elsewhere(database=database, effects=effects, uncounted=uncounted))
    return found


def _models(relation: Relation) -> list[Model]:
    """The models whose rows a delete along that relation touches in the child's database."""
    if relation.policy is not policies.Policy.CASCADE:
        return [relation.child]
    return [each.field.model for each in plan_for(relation).root.all]


def _counted(
    relation: Relation,
    database: str,
    keys: Sequence[Any],
    seen: dict[tuple[Model, str], Q],
    shown: Callable[[Model], bool],
) -> list[Effect]:
    connections.reach(database)
    values = target_values(relation, keys)
    with visibility.whole(database), timed_read(database, COUNT_SECONDS):
        return [*effects_along(relation, database, values, seen, limits.COUNT_MAX + 1, shown)]
