"""Texts that a column of MySQL or MariaDB takes for equal although they are not.

Note [Equal by collation]: there, `Ada`, `ada` and `Ada ` are one key by default. Where the parents'
column has the same collation, rows of each spelling refer to the same parent, as with Django on one
database, and go with it. Where the parents are on another engine, or have another collation, only
rows with the very text of the key are changed. What is equal by the collation alone is left, and
the cascade ends blocked, with the reason. And a key counts as living while a parent has one of the
other spellings that its rows have, or the key in other letters: by the child's idea of equality its
rows would be that parent's. (A parent who differs in accents, and has no rows, is not seen.)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import connections, models
from django.db.models import F, Func
from django.db.models.expressions import Case, Value, When

from ..relations.columns import underlying_field
from ..relations.generic import rows_of
from ..relations.homes import databases_for
from ..relations.relation import concrete
from ..relations.stored import StoredIn, prepare_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    from ..relations import Field

TEXTS = (models.CharField, models.TextField)
#: The bytes of a text, whatever the column's encoding is.
BYTES = "CAST(CONVERT(%(expressions)s USING utf8mb4) AS BINARY)"
#: Spellings that one statement returns.
SPELLINGS_MAX = 1_000
#: Seconds for which a column's collation is kept.
KEPT_SECONDS = 60.0
_known: dict[tuple[str, str, str], tuple[float, str]] = {}


def is_text(field: Field) -> bool:
    """Return whether the field's values are texts."""
    return isinstance(underlying_field(field), TEXTS)


def is_exact(field: Field, using: str) -> bool:
    """Return whether rows refer through `field` by the very text, on MySQL and MariaDB.

    False on other engines, and for keys whose both ends compare alike: Note [Equal by collation].
    """
    if connections[using].vendor != "mysql" or not is_text(field):
        return False
    target = getattr(field, "target_field", None) if field.remote_field else None
    if target is None:
        return False
    homes = databases_for(concrete(target.model))
    own = collation_of(field, using)
    return using not in homes and not all(
        connections[home].vendor == "mysql" and own and collation_of(target, home) == own
        for home in homes
    )


def collation_of(field: Field, using: str) -> str:
    """Return the collation of the field's column, or "". Asked once in `KEPT_SECONDS`."""
    place = using, field.model._meta.db_table, str(field.column)
    until, found = _known.get(place, (0.0, ""))
    if time.monotonic() >= until:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT collation_name FROM information_schema.columns WHERE table_schema ="
                " DATABASE() AND table_name = %s AND column_name = %s",
                place[1:],
            )
            row = cursor.fetchone()
        found = row[0] or "" if row else ""
        _known[place] = time.monotonic() + KEPT_SECONDS, found
    return found


class Holding(StoredIn):
    """The ORM's condition that rows refer through `field` to one of those prepared keys.

    On MySQL it also compares the bytes, where `is_exact`: Django calls `as_mysql` there alone.
    """

    def __init__(self, field: Field, keys: Sequence[Any]) -> None:
        super().__init__(F(field.attname), keys)
        # Not what `lhs` refers to: the column of a declared relation knows nothing of its parents.
        self.child_key = field

    def as_mysql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Any:
        """Return the condition, with that of the very text where it is needed."""
        sql, params = self.as_sql(compiler, connection)
        if not is_exact(self.child_key, connection.alias):
            return sql, params
        same, texts = compiler.compile(_same_bytes(self.lhs, self.rhs))
        return f"({sql} AND {same})", (*params, *texts)


def _same_bytes(text: Any, keys: Sequence[Any]) -> StoredIn:
    in_bytes = Func(text, template=BYTES, output_field=models.BinaryField())
    return StoredIn(in_bytes, [str(key).encode() for key in keys])


def as_asked(
    field: Field, keys: Sequence[Any], held: dict[Any, Any], pk: Field, using: str
) -> dict[Any, Any]:
    """Return primary key → which of `keys` it is, where rows may spell them otherwise.

    `held` is primary key → the key as the row holds it.
    """
    asked = {*keys}
    others = [row for row, key in held.items() if key not in asked]
    if not others or not is_text(field):
        return held
    number = Case(
        *(When(StoredIn(F(field.attname), [key]), then=Value(at)) for at, key in enumerate(keys)),
        default=None,
        output_field=models.IntegerField(),
    )
    rows = rows_of(field, using).filter(StoredIn(F("pk"), others)).values_list("pk", number)
    pairs = [(row, at) for row, at in rows if at is not None]
    pks = prepare_all(pk, (row for row, _ in pairs), using)
    return held | {row: keys[at] for row, (_, at) in zip(pks, pairs, strict=True)}


def lookalikes(field: Field, keys: Sequence[Any], using: str) -> dict[str, set[str]]:
    """Return what else each key may be, by the child's idea of equality.

    Those are the spellings that rows of `using` have, and the key in other letters. Empty unless
    `is_exact`. See Note [Equal by collation].
    """
    if not keys or not is_exact(field, using):
        return {}
    found = {key: {*_in_other_letters(key)} - {key} for key in keys}
    by_collation = rows_of(field, using).filter(StoredIn(F(field.attname), keys))
    spelled = by_collation.exclude(_same_bytes(F(field.attname), keys))
    others = {*spelled.values_list(field.attname, flat=True).distinct()[:SPELLINGS_MAX]}
    for other in others:
        for key in keys:
            if other.rstrip().casefold() == key.rstrip().casefold():
                found[key].add(other)
                break
        else:  # equal by accents, say: of whichever key, they may be this one's
            for texts in found.values():
                texts.add(other)
    return found


def _in_other_letters(key: str) -> tuple[str, ...]:
    return key.lower(), key.upper(), key.capitalize(), key.title(), key.swapcase(), key.rstrip()
