"""Parts of PostgreSQL's statements: types of keys, and many keys as one parameter.

Note [One text]: whole numbers are sent as one text that the server parses. A driver would adapt a
list element by element, which took a fifth of a worker's time. Primary keys that one statement
returns for the next are a text from the beginning, and stay one unless somebody looks at a key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterable

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


class Unopened(Sequence[Any]):
    """Values of an `EXACT` type as the server wrote them, in one array. See Note [One text]."""

    def __init__(self, text: str, number: int, kind: str) -> None:
        self.text, self.number, self.kind = text, number, kind

    @classmethod
    def joined(cls, parts: Iterable[tuple[str | None, int]], kind: str) -> Unopened:
        """Return the values of several arrays, which come with their lengths."""
        pairs = [(text[1:-1], number) for text, number in parts if text and number]
        text = ",".join(text for text, _ in pairs)
        return cls(f"{{{text}}}", sum(number for _, number in pairs), kind)

    @functools.cached_property
    def values(self) -> list[Any]:
        """The values, each as the driver would return it."""
        texts = self.text[1:-1].split(",") if self.number else []
        return list(map(UUID if self.kind == "uuid" else int, texts))

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, place: Any) -> Any:
        return self.values[place]


def as_array(values: Sequence[Any]) -> str | list[Any]:
    """Return prepared values as one parameter, for a cast to an array."""
    if isinstance(values, Unopened):
        return values.text
    only_integers = {*map(type, values)} == {int}
    return array(values) if only_integers else list(values)


def array(numbers: Sequence[int]) -> str:
    """Return whole numbers as the text of an array. See Note [One text]."""
    return f"{{{','.join(map(str, numbers))}}}"
