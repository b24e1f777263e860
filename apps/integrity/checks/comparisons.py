"""Relations whose two ends do not take the same texts for equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections, models

from .. import conf, relations
from ..backends import collations
from ..backends.comparisons import Comparison, comparison
from ..models import fields
from ..relations.columns import underlying_field
from ..relations.relation import label

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..relations import Field, Relation

#: What happens to rows that only the child's column takes for those of a deleted parent.
BY_CHILD = {
    "mysql": "with a deleted key, only rows with its very text go. Those that are equal by the"
    " collation alone are left, and the cascade ends blocked; a key counts as living while a parent"
    " has one of its other spellings",
    "postgresql": "rows whose key is equal by the collation alone go with a deleted parent, even"
    " if a parent with their own spelling exists",
    "sqlite": "while rows are equal to a deleted key by the collation alone, none of its rows go,"
    " and the cascade ends blocked",
}
BY_PARENT = (
    "rows that spell a deleted key otherwise stay, although the parent's column takes them for its"
    " own, and a scan then finds them as orphans"
)
#: Keys of another type are compared with the text that Django writes (relations/columns.py).
CANONICAL = Comparison("", "canonical text", exact=True)


def unlike(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W038: the columns of a relation's two ends take different texts for equal.

    Only of ends that are both in `databases`, and only where keys are texts.
    """
    named = {*(databases or ())}
    return [
        _warning(relation, *pair)
        for relation in relations.catalogue().relations
        if not conf.current().is_off(relation.parent._meta.label)
        for pair in _pairs(relation, named)
    ]


def _pairs(
    relation: Relation, named: set[str]
) -> Iterator[tuple[str, Comparison, str, Comparison]]:
    """Yield a parent's database and a child's which compare differently: one for each way."""
    if not _holds_texts(relation):
        return
    seen = set[tuple[Comparison, Comparison]]()
    for home in (alias for alias in relation.parent_databases if alias in named):
        for alias in (alias for alias in relation.child_databases if alias in named):
            ours = _of_parent(relation, home)
            theirs = comparison(relation.field, alias)
            if ours is None or theirs is None or ours.is_like(theirs) or (ours, theirs) in seen:
                continue
            seen.add((ours, theirs))
            yield home, ours, alias, theirs


def _holds_texts(relation: Relation) -> bool:
    """Return whether keys are texts whose letters may be written otherwise. Pure."""
    return collations.is_text(relation.field) and isinstance(
        underlying_field(relation.target), (*collations.TEXTS, models.UUIDField)
    )


def _of_parent(relation: Relation, home: str) -> Comparison | None:
    return comparison(relation.target, home) if collations.is_text(relation.target) else CANONICAL


def _warning(
    relation: Relation, home: str, ours: Comparison, alias: str, theirs: Comparison
) -> checks.CheckMessage:
    what = BY_PARENT if theirs.exact else BY_CHILD.get(theirs.vendor, BY_CHILD["sqlite"])
    return checks.Warning(
        f"{relation.label} in {alias!r} ({_named(theirs, alias)}) and {label(relation.target)} in"
        f" {home!r} ({_named(ours, home)}) do not take the same texts for equal: {what}.",
        hint=_hint(relation, home, ours, alias, theirs),
        obj=relation.field,
        id="integrity.W038",
    )


def _named(one: Comparison, alias: str) -> str:
    if one is CANONICAL:
        return one.collation
    engine = connections[alias].display_name
    return f"{engine}, {one.collation}" if one.collation else engine


def _hint(relation: Relation, home: str, ours: Comparison, alias: str, theirs: Comparison) -> str:
    """Return how to give both ends one comparison: the parent's, or that of the very text."""
    if not theirs.exact and (ours.exact or ours.vendor == theirs.vendor):
        return f"In {alias!r}: {_change(relation.field, alias, ours)}."
    both = "" if theirs.exact else f" In {alias!r}: {_change(relation.field, alias, None)}."
    return (
        f"In {home!r}, with the columns there that refer to it:"
        f" {_change(relation.target, home, None)}. Spellings that were one parent are then"
        f" several.{both}"
    )


def _change(field: Field, using: str, like: Comparison | None) -> str:
    """Return the statement that lets the column compare like that, or else by the very text."""
    connection = connections[using]
    table, column = field.model._meta.db_table, field.column
    kind, null = field.db_type(connection), "" if field.null else " NOT NULL"
    if connection.vendor == "mysql":
        name = like.collation if like and not like.exact else fields.EXACT[_is_mariadb(using)]
        changed = f"{kind} CHARACTER SET {name.partition('_')[0]} COLLATE {name}{null}"
        return f"ALTER TABLE {table} MODIFY {column} {changed}"
    if connection.vendor == "postgresql":
        if kind == "citext":
            return f"let {label(field)} be a CharField or a TextField, and migrate"
        name = like.collation if like and not like.exact else "default"
        return f'ALTER TABLE {table} ALTER {column} TYPE {kind} COLLATE "{name}"'
    return f"take db_collation off {label(field)}, and migrate"


def _is_mariadb(using: str) -> bool:
    return bool(getattr(connections[using], "mysql_is_mariadb", False))
