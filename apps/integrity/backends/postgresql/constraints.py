"""What PostgreSQL's catalogue says of a foreign key inside one database."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from .sql import Names, fetch, names_of

if TYPE_CHECKING:
    from ...relations import Field
    from ...relations.relation import ForeignKey


@functools.lru_cache(maxsize=1_024)
def deferred_constraints(leaf: Field, using: str) -> tuple[bool, ...]:
    """Return, for each constraint on that key, whether it is checked at the commit.

    Empty: there is none. Asked once in a process; a constraint that is made anew in another form
    makes steps fail, and changes nothing.
    """
    parent: Any = cast("ForeignKey", leaf).target_field.model
    rows = fetch(
        using,
        "SELECT condeferrable AND condeferred FROM pg_constraint"
        " JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey)"
        " WHERE contype = 'f' AND conrelid = to_regclass(%s) AND confrelid = to_regclass(%s)"
        " AND attname = %s",
        [names_of(leaf, using)["table"], Names(using, t=parent._meta.db_table)["t"], leaf.column],
    )
    return tuple(bool(deferred) for (deferred,) in rows)
