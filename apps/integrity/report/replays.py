"""What a replay would touch in the child databases, counted as a preview counts it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from .. import relations
from ..backends.connections import reach
from ..backends.lookups import existing, target_values
from ..exceptions import DatabaseHindered, InvalidKey
from ..log.tables import id_in
from ..models import Deletion
from ..relations.keys import parse_key
from ..relations.relation import primary_key
from ..scan.replay import children
from .preview import effects_along

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from ..models import Cascade
    from ..relations import Relation
    from ..scan.replay.children import Replayed
    from ..scan.replay.parents import Restored
    from .preview import Effect

#: Keys of one count.
KEYS = 1_000


def effects_of_children(
    database: str, *, using: str, since: dt.datetime | None
) -> tuple[Replayed, list[Effect]]:
    """Return what a replay of a child database would put back, and which rows it would touch.

    Rows of parents that are alive again are not counted. Raises the errors of the databases.
    """
    done = children.outlook(database, using=using, since=since)
    rows = Counter[tuple[str, str, str]]()
    for page, _ in children.pages(done, since):
        for relation, values in _gone(page, database, using):
            _add(rows, relation, database, values)
    return done, _effects(rows)


def effects_of_parents(done: Restored) -> list[Effect]:
    """Return which rows go with the parents that would be deleted again, as `preview_of` does.

    None are counted in databases that cannot be reached; `done.hindered` says which.
    """
    rows, keys = Counter[tuple[str, str, str]](), defaultdict[str, list[str]](list)
    for one in done.back:
        keys[one.erased.parent].append(one.erased.key or "")
    for label, texts in keys.items():
        parent = relations.catalogue().parent(label)
        pks = [parse_key(primary_key(parent), text) for text in texts]
        for relation in relations.catalogue().children_of(label):
            for part in _parts(pks):
                values = target_values(relation, part)
                for database in relation.child_databases:
                    if _answers(database, done):
                        _add(rows, relation, database, values)
    return _effects(rows)


def _answers(database: str, done: Restored) -> bool:
    """Return whether rows can be counted there; note why not, as of its ledger."""
    if database not in done.hindered:
        try:
            reach(database)
        except DatabaseHindered as error:
            done.hindered[database] = error.sentence
    return database not in done.hindered


def _gone(
    page: Sequence[Cascade], database: str, using: str
) -> Iterator[tuple[Relation, list[Any]]]:
    """Yield relations, and the values of deleted parents that are not alive."""
    groups = defaultdict[tuple[str, str], list[int]](list)
    for cascade in page:
        groups[cascade.parent, cascade.relation] += cascade.deletions
    for (parent, along), pks in groups.items():
        for part in _parts(pks):
            deletions = Deletion.objects.using(using).filter(id_in("pk", part, using))
            known = list(deletions.values_list("pk", "key", "targets"))
            for relation in relations.catalogue().children_of(parent, database, along):
                values = _values(relation, known)
                alive = existing(relation.target, values, relation.parent_databases)
                yield relation, [value for pk, value in values.items() if pk not in alive]


def _values(relation: Relation, known: Sequence[tuple[int, Any, Any]]) -> dict[int, Any]:
    """Return deletion → what rows held that referred to the parent, where the log says it. Pure."""
    values, target = dict[int, Any](), relation.target
    for pk, key, targets in known:
        text = key if target.primary_key else (targets or {}).get(target.name)
        if text is not None:
            try:
                values[pk] = parse_key(target, text)
            except InvalidKey:
                continue  # a migration has changed the field; the cascade says so
    return values


def _add(
    rows: Counter[tuple[str, str, str]], relation: Relation, database: str, values: Sequence[Any]
) -> None:
    for part in _parts(list(values)):
        for effect in effects_along(relation, database, part, {}):
            rows[effect["relation"], effect["database"], effect["policy"]] += effect["rows"]


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    return (values[start : start + KEYS] for start in range(0, len(values), KEYS))


def _effects(rows: Counter[tuple[str, str, str]]) -> list[Effect]:
    return [
        {"relation": label, "database": alias, "policy": policy, "rows": number}
        for (label, alias, policy), number in rows.items()
        if number
    ]
