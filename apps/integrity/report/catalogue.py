"""The relations of the catalogue, as `relations` prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..relations.plan import plan_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..relations import Relation


#: In place of a strategy: nothing follows the relation.
IGNORED = "ignored"


class RelationRow(TypedDict):
    """One relation in one child database."""

    relation: str
    child_database: str
    parent: str
    parent_database: str
    policy: str
    indexed: bool
    plan: str
    why: str
    last_full_scan: str | None


def relation_rows() -> list[RelationRow]:
    """Return a row for each relation and child database, ignored ones at the end. No queries."""
    catalogue = relations.catalogue()
    return [
        _relation(relation, database)
        for relation in (*catalogue.relations, *catalogue.ignored)
        for database in relation.child_databases
    ]


def _relation(relation: Relation, database: str) -> RelationRow:
    plan = plan_for(relation) if relation.policy.cascades and not relation.ignored else None
    return {
        "relation": relation.label,
        "child_database": database,
        "parent": relation.parent._meta.label,
        "parent_database": ", ".join(relation.parent_databases),
        "policy": str(relation.policy),
        "indexed": relation.indexed,
        "plan": IGNORED if relation.ignored else str(plan.strategy) if plan else "",
        "why": relation.ignored or (plan.reason if plan else ""),
        "last_full_scan": None,
    }


def columns(rows: Sequence[RelationRow]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the parents and the relations by their database, for a picture of both."""
    parents = _by_database((row["parent_database"], row["parent"]) for row in rows)
    children = _by_database((row["child_database"], row["relation"]) for row in rows)
    return parents, children


def _by_database(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by_database: dict[str, dict[str, None]] = {}
    for database, label in pairs:
        by_database.setdefault(database, {})[label] = None
    return {database: list(labels) for database, labels in by_database.items()}
