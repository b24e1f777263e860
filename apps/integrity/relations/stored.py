"""Conversion of key values from Python to the form that the database stores.

Note [Prepared once]: a custom field may use another value in Python than in its column: an object,
a text with a prefix, another number. So a key is prepared once for the field and the connection,
and only prepared values are compared with values from a server. If the two forms were mixed, a
living parent would look deleted.

Integers of Django's own fields are the same in both forms, and are not converted.
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

#: The methods that convert a field's values.
METHODS = ("to_python", "get_prep_value", "get_db_prep_value", "value_to_string")
#: The modules that define Django's own conversions, and `Column`, which agrees with them.
OWN = ("django.db.models.fields", "django.contrib.postgres.fields", Column.__module__)


@functools.lru_cache(maxsize=1_024)
def converts_as_django(field: Field) -> bool:
    """Return whether the field converts its values only by methods of Django's own fields."""
    kind = type(underlying_field(field))
    methods = [getattr(kind, name) for name in METHODS]
    own = all(getattr(method, "__module__", "").startswith(OWN) for method in methods)
    return own and not hasattr(kind, "from_db_value")


@functools.lru_cache(maxsize=1_024)
def keeps_integers(field: Field) -> bool:
    """Return whether the field stores integers unchanged."""
    return converts_as_django(field) and isinstance(underlying_field(field), models.IntegerField)


@functools.lru_cache(maxsize=1_024)
def compares_alike(field: Field) -> bool:
    """Return whether all databases and Python agree on the equality of the field's values."""
    return isinstance(underlying_field(field), models.IntegerField | models.UUIDField)


def prepare(field: Field, value: Any, using: str) -> Any:
    """Return what a row of `using` holds in `field` for that value. None stays None."""
    if type(value) is int and keeps_integers(field):
        return value
    if value is None:
        return None
    prepared = field.get_db_prep_value(value, connections[using])
    # Drivers take an object for an IP address and return text.
    return (
        str(prepared)
        if isinstance(underlying_field(field), models.GenericIPAddressField)
        else prepared
    )


def prepare_all(field: Field, values: Iterable[Any], using: str) -> list[Any]:
    """Return the prepared values, in the same order."""
    values = list(values)
    if keeps_integers(field) and {*map(type, values)} <= {int}:  # faster for many values
        return values
    return [prepare(field, value, using) for value in values]


def referring(field: Field, values: Sequence[Any], using: str, path: str = "") -> Q:
    """Return the condition that a row's `field`, reached by `path`, has one of those values.

    For a key, the ORM's own `__in` prepares each value twice. Only Django's fields allow that.
    """
    name = f"{path}{field.attname}"
    if converts_as_django(field):
        return Q(**{f"{name}__in": values})
    held = StoredIn(F(name), prepare_all(field, values, using))
    return Q(held, **{f"{name}__isnull": False})  # or exclude() would leave rows without a key out


def with_keys(pk: Field, keys: Sequence[Any]) -> Q:
    """Return the condition that rows have one of those prepared primary keys.

    A composite key has no column of its own, so the ORM prepares its parts.
    """
    if isinstance(pk, models.CompositePrimaryKey):
        return Q(pk__in=keys)
    return Q(StoredIn(F("pk"), keys))


class StoredIn(In):
    """The ORM's `column IN values` for prepared values: `StoredIn(F("pk"), values)`."""

    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:  # noqa: ARG002 (Django's signature)
        """Return a placeholder, and the values unchanged."""
        return "%s", list(value)


class StoredAfter(GreaterThan):
    """The ORM's `column > value` for a prepared value."""

    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:  # noqa: ARG002 (Django's signature)
        """Return a placeholder, and the value unchanged."""
        return "%s", [value]
