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
    """What deleting parents touches in one child database.

    If it could not be counted, `uncounted` is true and `effects` is empty.
    """

    database: str
    effects: list[Effect]
    uncounted: bool = False


def effects_elsewhere(
    parent: Model, keys: Sequence[Any], shown: Callable[[Model], bool]
) -> list[Elsewhere]:
    """Return what deleting those parents touches in other databases, in models that are `shown`.

    A count stops at `limits.COUNT_MAX + 1` rows. After `PAGE_SECONDS` no further database is asked.
    A relation that touches no such model is left out.
    """
    seen: dict[tuple[Model, str], Q] = {}
    deadline = time.monotonic() + PAGE_SECONDS
    aimed = [known for known in relations.catalogue().relations if known.parent is parent]
    aimed = [known for known in aimed if any(map(shown, _models(known)))]
    elsewhere = []
    for database in dict.fromkeys(alias for known in aimed for alias in known.child_databases):
        effects: list[Effect] = []
        uncounted = time.monotonic() >= deadline
        try:
            for relation in aimed if not uncounted else ():
                if database in relation.child_databases:
                    effects += _counted(relation, database, keys, seen, shown)
        except (DatabaseUnreachable, Error):
            uncounted, effects = True, []
        elsewhere.append(Elsewhere(database=database, effects=effects, uncounted=uncounted))
    return elsewhere


def _models(relation: Relation) -> list[Model]:
    """Return the models whose rows a delete along that relation touches."""
    if relation.policy is not policies.Policy.CASCADE:
        return [relation.child]
    return [node.field.model for node in plan_for(relation).root.all]


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
