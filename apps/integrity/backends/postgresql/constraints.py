"""Foreign key constraints in PostgreSQL's catalogue."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from ..quoted import QuotedNames, names_of
from .sql import fetch

if TYPE_CHECKING:
    from ...relations import Field
    from ...relations.relation import ForeignKey


@functools.lru_cache(maxsize=1_024)
def deferred_constraints(leaf: Field, using: str) -> tuple[bool, ...]:
    """Return, for each constraint on that key, whether it is checked at the commit.

    One that deletes or changes the referring rows does so at once, however it is deferred. Return
    an empty tuple where there is no constraint. Each process asks once. Where a constraint
    is replaced later by one of the other kind, steps fail and change nothing.
    """
    parent: Any = cast("ForeignKey", leaf).target_field.model
    rows = fetch(
        using,
        "SELECT condeferrable AND condeferred AND confdeltype = 'a' FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)"
        " WHERE contype = 'f' AND conrelid = to_regclass(%s) AND confrelid = to_regclass(%s)"
        " AND attname = %s",
        [
            names_of(leaf, using)["table"],
            QuotedNames(using, t=parent._meta.db_table)["t"],
            leaf.column,
        ],
    )
    return tuple(bool(deferred) for (deferred,) in rows)
