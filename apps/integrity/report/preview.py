"""What a deletion or a repair touches, along each relation and in each child database."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import Error, OperationalError
from django.db.models import Q, QuerySet

from .. import relations
from ..backends import connections, missing_tables, visibility
from ..backends.bounded import timed_read
from ..backends.lookups import existing, target_values
from ..conf.steps import place_of
from ..exceptions import DatabaseUnreachable, FilteredRead, MissingContentType
from ..exceptions.redaction import plain, reason_of_error
from ..log import suspects
from ..relations import keys, policies, stored
from ..relations import relation as relations_relation
from ..relations.generic import lookups, with_content_type
from ..relations.homes import databases_for
from ..relations.plan import plan_for
from ..relations.policies import policy_of
from ..scan import recheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..relations import Model, Relation
    from ..relations.plan import Node
    from ..relations.relation import ForeignKey


#: For a page: the longest time for one count, and for all of its counts, in seconds.
COUNT_SECONDS, PAGE_SECONDS = 2.0, 10.0


class Effect(TypedDict):
    """What a deletion does along one key."""

    relation: str
    database: str
    policy: str
    rows: int


def preview_of(model: str, key: str) -> list[Effect]:
    """Return what deleting that parent would touch in the child databases; a row counts once.

    Raises `UnknownName` for a model that no relation points to, `InvalidKey` for a key that its
    field cannot hold, and as `target_values`.
    """
    parent = relations.catalogue().parent(model)
    pk = keys.parse_key(relations_relation.primary_key(parent), key)
    effects: list[Effect] = []
    seen: dict[tuple[Model, str], Q] = {}
    for relation in relations.catalogue().relations:
        if relation.parent is not parent or not (values := target_values(relation, [pk])):
            continue
        for database in relation.child_databases:
            effects += effects_along(relation, database, values, seen)
    return effects


def steps_of(model: str, effects: Iterable[Effect]) -> dict[str, int]:
    """Return the place of each erasure step → the rows of the effects that it would be asked about.

    How much it would erase is known only when it has been asked.
    """
    catalogue, asked = relations.catalogue(), Counter[str]()
    parent = catalogue.parent(model)
    names = {
        node.label: names
        for one in catalogue.relations
        if one.parent is parent and (covered := catalogue.covered.get(one.label))
        for node in plan_for(one).root.all
        if not node.update
        for names in [covered.get(relations_relation.concrete(node.field.model), ())]
    }
    for effect in effects:
        for name in names.get(effect["relation"], ()):
            asked[place_of(name)] += effect["rows"]
    return dict(asked)


def exists(model: str, key: str) -> bool:
    """Return whether any primary of that parent has a row with that key.

    Raises as `preview_of`, and `DatabaseUnreachable` if one of them cannot be asked.
    """
    parent = relations.catalogue().parent(model)
    pk = relations_relation.primary_key(parent)
    value, homes = keys.parse_key(pk, key), databases_for(parent)
    for home in homes:
        connections.reach(home)
    return bool(existing(pk, {0: value}, homes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncounted:
    """Why the rows that a repair of a relation would touch are not (all) counted."""

    reason: str
    unreachable: bool = False
    #: Some of it was counted.
    partly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a page stops counting: suspects of a relation, rows of an effect, and seconds."""

    suspects: int
    rows: int
    statement_seconds: float = COUNT_SECONDS
    seconds: float = PAGE_SECONDS


def repairs(
    chosen: Sequence[Relation], limits: Limits | None = None
) -> tuple[list[Effect], dict[str, Uncounted]]:
    """Return what repairing the suspects of those relations would touch.

    And why a relation is not or only partly counted, by its label. With `limits`, only the first
    suspects of a relation are looked at, in whole batches.
    """
    effects: list[Effect] = []
    uncounted: dict[str, Uncounted] = {}
    for relation in chosen:
        try:
            touched, partly = _repairs(relation, limits)
            effects += touched
            uncounted.update({relation.label: partly} if partly else {})
        except DatabaseUnreachable as error:
            uncounted[relation.label] = Uncounted(reason=plain(error), unreachable=True)
        except (FilteredRead, MissingContentType) as error:
            uncounted[relation.label] = Uncounted(reason=plain(error))
        except Error as error:
            # SQLite raises `OperationalError` for a missing table, too, so look for the table.
            if reason := missing_tables.unusable_table(relation):
                uncounted[relation.label] = Uncounted(reason=reason)
            elif isinstance(error, OperationalError):
                reason = reason_of_error(error)
                uncounted[relation.label] = Uncounted(reason=reason, unreachable=True)
            else:
                raise
    return effects, uncounted


def _repairs(relation: Relation, limits: Limits | None) -> tuple[list[Effect], Uncounted | None]:
    rows, looked_at, partly = Counter[tuple[str, str, str]](), 0, None
    began, most = time.monotonic(), limits.rows if limits else None
    for alias in (*relation.parent_databases, *relation.child_databases):
        connections.reach(alias)
    for batch in suspects.in_batches(
        relation, older_than_seconds=0, using=relation.parent_databases[0]
    ):
        rechecked = recheck.recheck(relation, batch)
        missing = list({rechecked.keys[pk] for pk in rechecked.missing})
        for alias in relation.child_databases if missing else ():
            with timed_read(alias, limits.statement_seconds) if limits else nullcontext():
                for effect in effects_along(relation, alias, missing, {}, most):
                    line = effect["relation"], effect["database"], effect["policy"]
                    rows[line] += effect["rows"]
        looked_at += len(batch)
        if limits and looked_at >= limits.suspects:
            break
        if limits and time.monotonic() - began >= limits.seconds:
            why = f"counting stops after {limits.seconds:.0f} s, at {looked_at:,} missing parents"
            partly = Uncounted(reason=why, partly=True)
            break
    return [
        {"relation": label, "database": alias, "policy": policy, "rows": number}
        for (label, alias, policy), number in rows.items()
        if number
    ], partly


def effects_along(
    relation: Relation,
    database: str,
    values: list[Any],
    seen: dict[tuple[Model, str], Q],
    most: int | None = None,
    shown: Callable[[Model], bool] | None = None,
) -> Iterator[Effect]:
    """Yield what deleting parents with those values does along the relation in one child database.

    With `most`, a count stops there; with `shown`, only rows of models that it accepts are counted.
    """
    relation = with_content_type(relation)
    key, policy = relation.field, relation.policy
    values = [keys.to_stored(key, value) for value in values]
    rows = _referring(key, values, database)
    if shown is None or shown(key.model):
        yield _effect(key, str(policy), rows, database, seen, most)
    if policy is policies.Policy.CASCADE:
        for node, path in _below(plan_for(relation).root, ""):
            if shown is not None and not shown(node.field.model):
                continue
            below = policy_of(node.field)
            rows = _referring(key, values, database, path)
            yield _effect(node.field, str(below), rows, database, seen, most)


def _referring(key: ForeignKey, values: list[Any], database: str, path: str = "") -> Q:
    """Return the condition for rows that refer through `key`, or whose `path` ends at such rows."""
    return stored.referring(key, values, database, path) & Q(**lookups(key, path))


def _below(node: Node, path: str) -> Iterator[tuple[Node, str]]:
    for sub in node.below:
        inner = f"{sub.field.name}__{path}"
        yield sub, inner
        yield from _below(sub, inner)


def _effect(
    key: ForeignKey,
    policy: str,
    rows: Q,
    database: str,
    seen: dict[tuple[Model, str], Q],
    most: int | None,
) -> Effect:
    """Count rows that refer through `key` and that no earlier effect counted, up to `most`."""
    model = key.model
    counted = seen.get((model, database))
    referring: QuerySet[Any] = QuerySet(model=model, using=database).filter(rows)
    with visibility.whole(database, model):  # an unknown number is not 0
        number = (referring.exclude(counted) if counted else referring).order_by()[:most].count()
    seen[model, database] = counted | rows if counted else rows
    return {
        "relation": relations_relation.label(key),
        "database": database,
        "policy": policy,
        "rows": number,
    }
