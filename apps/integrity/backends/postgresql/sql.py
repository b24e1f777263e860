"""What PostgreSQL's statements are made of: quoted names, conditions, and keys as one parameter.

Note [One text]: whole numbers travel as one text that the server takes apart. A driver writes a
list element by element, which took a fifth of a worker's time.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from django.db import connections

from ...relations.generic import condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Field

#: Types of keys that a row holds as we write them: text may be equal to another text.
EXACT = {"smallint", "integer", "bigint", "uuid"}


def hidden(kind: str) -> str:
    """A parameter with many keys, for ANY, that planners don't look into.

    Of hundreds that they see, they think that reading a whole table costs less, and judge each. The
    outer cast does nothing, but without it ANY would take the array for rows.
    """
    return f"(SELECT %s::{kind}[])::{kind}[]"


class Names(dict[str, str]):
    """Names of tables and columns, quoted by the backend and safe beside parameters."""

    def __init__(self, using: str, **names: str | None) -> None:
        quote = connections[using].ops.quote_name
        super().__init__(
            {each: quote(str(name)).replace("%", "%%") for each, name in names.items()}
        )


def names_of(field: Field, using: str) -> Names:
    """The quoted names of a field's `table` and column (`key`)."""
    return Names(using, table=field.model._meta.db_table, key=field.column)


def also(field: Field, row: str, using: str) -> str:
    """What else `row` must hold to refer through `field`, after the condition on its key."""
    return "".join(
        f" AND {row}.{names_of(column, using)['key']} = {int(held)}"
        for column, held in condition(field).items()
    )


def fetch(using: str, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    """All rows that a statement gives."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


@functools.lru_cache(maxsize=1_024)
def type_of(field: Field, using: str) -> str:
    """The key's type, without a length: a cast to one would cut a longer value to a wrong key."""
    plain = re.sub(r"\(.*\)", "", str(field.rel_db_type(connections[using]))).replace("%", "%%")
    return {"char": "bpchar", "bit": "varbit"}.get(plain, plain)


def as_array(values: Sequence[Any]) -> str | list[Any]:
    """Prepared values (stored.py) as one parameter, for a cast to an array."""
    whole = {*map(type, values)} == {int}  # there are many
    return array(values) if whole else list(values)


def array(numbers: Sequence[int]) -> str:
    """Whole numbers as the text of an array. See Note [One text]."""
    return f"{{{','.join(map(str, numbers))}}}"
