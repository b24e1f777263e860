"""Which values rows of a table hold now, read on the primaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from .. import backends
from ..relations import stored
from ..relations.relation import primary_key
from . import collations, visibility
from .connections import reach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..relations import Field, Relation


def existing(field: Field, values: Mapping[Any, Any], databases: Sequence[str]) -> set[Any]:
    """Return the keys of `values` whose value the `field` of a row holds in one of `databases`.

    Runs statements of reads only. Raises `FilteredRead` where a server may hide rows. See Note
    [Prepared once] in relations/stored.py.
    """
    names = set[Any]()
    for alias in databases if values else ():
        prepared = stored.prepare_all(field, values.values(), alias)
        wanted = [*dict.fromkeys(prepared)]
        held = backends.row_backend(alias).keys_with_rows(field, wanted, using=alias)
        names |= {name for name, key in zip(values, prepared, strict=True) if key in held}
    return names


def living_lookalikes(relation: Relation, texts: Mapping[Any, str], child: str) -> set[Any]:
    """Return the keys of `texts` whose text rows of `child` take for that of a living parent.

    `texts` are keys of which no parent has the very text. See Note [Equal by collation] in
    collations.py.
    """
    found = collations.lookalikes(relation.field, [*dict.fromkeys(texts.values())], child)
    wanted = {(text, other): other for text, others in found.items() for other in others}
    alive = existing(relation.target, wanted, relation.parent_databases)
    taken = {text for text, _ in alive}
    return {name for name, text in texts.items() if text in taken}


def uncommitted(
    field: Field, values: Mapping[Any, Any], databases: Sequence[str]
) -> dict[Any, str]:
    """Return keys of `values` whose rows an open transaction has changed, and in which database.

    `values` are those that no row holds. Call it outside of transactions. See
    `BarrierBackend.uncommitted_keys`.
    """
    changing = dict[Any, str]()
    for alias in databases if values else ():
        prepared = stored.prepare_all(field, values.values(), alias)
        wanted = [*dict.fromkeys(prepared)]
        held = backends.barrier_backend(alias).uncommitted_keys(field, wanted, using=alias)
        changing |= {name: alias for name, key in zip(values, prepared, strict=True) if key in held}
    return changing


def target_values(relation: Relation, keys: Sequence[Any]) -> list[Any]:
    """Return what the relation's rows hold that refer to the parents with those primary keys.

    That is the primary key itself, without a query. The value of a `to_field` is read on every
    database of the parents, past all managers; a parent that has no row, or no value, is left out.

    Raises `DatabaseUnreachable`, `FilteredRead` where rows may be hidden, or the errors of those
    databases.
    """
    if relation.target.primary_key:
        return [*keys]
    pk, values = primary_key(relation.parent), list[Any]()
    for home in relation.parent_databases:
        reach(home)
        with visibility.whole(home, relation.parent):
            rows: QuerySet[Any] = QuerySet(model=relation.parent, using=home)
            rows = rows.filter(stored.referring(pk, keys, home))
            values += rows.values_list(relation.target.attname, flat=True)
    return [*dict.fromkeys(value for value in values if value is not None)]
