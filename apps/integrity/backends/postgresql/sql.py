"""Parts of PostgreSQL's statements: types of keys, and many keys as one parameter.

Note [One text]: whole numbers are sent as one text that the server parses. A driver would adapt a
list element by element, which took a fifth of a worker's time.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Field

#: Types whose values have one form each. A text may be equal to another text (collations).
EXACT = {"smallint", "integer", "bigint", "uuid"}


def hidden(kind: str) -> str:
    """Return a parameter for ANY that holds many keys and hides them from the planner.

    For hundreds of keys that it sees, the planner estimates each one and may choose to read the
    whole table. The outer cast does nothing, but without it ANY would take the array for rows.
    """
    return f"(SELECT %s::{kind}[])::{kind}[]"


def fetch(using: str, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    """Run the statement; return all of its rows."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


@functools.lru_cache(maxsize=1_024)
def type_of(field: Field, using: str) -> str:
    """Return the key's type, without a length: a cast would cut a longer value to a wrong key."""
    plain = re.sub(r"\(.*\)", "", str(field.rel_db_type(connections[using]))).replace("%", "%%")
    return {"char": "bpchar", "bit": "varbit"}.get(plain, plain)


def as_array(values: Sequence[Any]) -> str | list[Any]:
    """Return prepared values as one parameter, for a cast to an array."""
    only_integers = {*map(type, values)} == {int}
    return array(values) if only_integers else list(values)


def array(numbers: Sequence[int]) -> str:
    """Return whole numbers as the text of an array. See Note [One text]."""
    return f"{{{','.join(map(str, numbers))}}}"
