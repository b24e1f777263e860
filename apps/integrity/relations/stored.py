"""A key's value in Python → what the database holds of it.

Note [Prepared once]: a field may show its key as something else than the column holds: an object, a
text with a prefix, another number. So a key is prepared once for the field and the connection, and
only what is prepared is compared with what a server returned. Compared unlike, a living parent
looks gone.

Most fields are Django's own: their integers are the same in both forms, and are not touched.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.db import connections, models
from django.db.models import F, Q
from django.db.models.lookups import GreaterThan, In

from .columns import Column, underlying_field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .columns import Field

#: What decides about the two forms of a value.
METHODS = ("to_python", "get_prep_value", "get_db_prep_value", "value_to_string")
#: Where Django's own are written, and ours, which keep to them.
OWN = ("django.db.models.fields", "django.contrib.postgres.fields", Column.__module__)


@functools.lru_cache(maxsize=1_024)
def converts_as_django(field: Field) -> bool:
    """Return whether the field converts its values in no way that Django's own does not."""
    kind = type(underlying_field(field))
    methods = [getattr(kind, name) for name in METHODS]
    own = all(getattr(each, "__module__", "").startswith(OWN) for each in methods)
    return own and not hasattr(kind, "from_db_value")


@functools.lru_cache(maxsize=1_024)
def keeps_integers(field: Field) -> bool:
    """Return whether rows hold an integer of the field as it is in Python."""
    return converts_as_django(field) and isinstance(underlying_field(field), models.IntegerField)


@functools.lru_cache(maxsize=1_024)
def compares_alike(field: Field) -> bool:
    """Return whether each database and Python agree on which values of the field are equal."""
    return isinstance(underlying_field(field), models.IntegerField | models.UUIDField)


def prepare(field: Field, value: Any, using: str) -> Any:
    """Return what a row of `using` holds in `field` for that value. None stays None."""
    if type(value) is int and keeps_integers(field):
        return value
    if value is None:
        return None
    prepared = field.get_db_prep_value(value, connections[using])
    # Drivers take an object for an address, and return a text.
    return (
        str(prepared)
        if isinstance(underlying_field(field), models.GenericIPAddressField)
        else prepared
    )


def prepare_all(field: Field, values: Iterable[Any], using: str) -> list[Any]:
    """Return each of the values prepared, in their order."""
    values = list(values)
    if keeps_integers(field) and {*map(type, values)} <= {int}:  # there are many
        return values
    return [prepare(field, value, using) for value in values]


def referring(field: Field, values: Sequence[Any], using: str, path: str = "") -> Q:
    """Return the condition that rows, or those to which `path` leads, hold one of those values.

    For a key, the ORM's own `__in` prepares each value twice, which only Django's fields endure.
    """
    name = f"{path}{field.attname}"
    if converts_as_django(field):
        return Q(**{f"{name}__in": values})
    held = StoredIn(F(name), prepare_all(field, values, using))
    return Q(held, **{f"{name}__isnull": False})  # or exclude() would leave rows without a key out


def with_keys(pk: Field, keys: Sequence[Any]) -> Q:
    """Return the condition that rows have one of those prepared primary keys.

    No column holds a composite one: its parts are as Python has them, and the ORM prepares them.
    """
    if isinstance(pk, models.CompositePrimaryKey):
        return Q(pk__in=keys)
    return Q(StoredIn(F("pk"), keys))


class StoredIn(In):
    """The ORM's `column IN values`, with values that are prepared: `StoredIn(F("pk"), values)`."""

    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:  # noqa: ARG002 (Django's signature)
        """Return a placeholder, and the values as they are."""
        return "%s", list(value)


class StoredAfter(GreaterThan):
    """The ORM's `column > value`, with a value that is prepared, as `StoredIn`."""

    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:  # noqa: ARG002 (Django's signature)
        """Return a placeholder, and the value as it is."""
        return "%s", [value]
