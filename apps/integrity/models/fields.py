"""Fields for text: names and keys, and foreign text, which passes through `plain` both ways.

Note [Exact text]: the log must never take one key or name for another. The default collations of
MySQL and MariaDB ignore case, accents and spaces at the end, and a database may have a character
set that lacks letters. So these columns have a binary collation there, which does not pad.

Migrations use `ExactCharField`, `ExactTextField` and Django's own JSONField: the columns are the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, models

from ..exceptions.redaction import LIMIT, plain

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    Text = models.Field[Any, Any]
    TextField = models.TextField[Any, Any]
    CharField = models.CharField[Any, Any]
else:
    Text, TextField, CharField = models.Field, models.TextField, models.CharField


#: Collations for MariaDB, and for MySQL since 8.0.17. `utf8mb4_bin` would ignore spaces at the end.
EXACT = {True: "utf8mb4_nopad_bin", False: "utf8mb4_0900_bin"}


class _Exact(Text):
    """Text that is compared byte by byte. See Note [Exact text]."""

    def db_parameters(self, connection: Any) -> Any:
        """Return the column's type, and its collation."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            return {**parameters, "collation": EXACT[connection.mysql_is_mariadb]}
        return parameters


class ExactCharField(_Exact, CharField):
    """A name or a key."""


class ExactTextField(_Exact, TextField):
    """A text of any length."""


class _Plain(_Exact):
    """Text that passes through `plain` when it is written and when it is read."""

    def deconstruct(self) -> Any:
        """Return the form of the field for migrations."""
        name, _, arguments, options = super().deconstruct()
        return name, f"{__name__}.Exact{self.get_internal_type()}", arguments, options

    def get_prep_value(self, value: Any) -> str | None:
        """Return plain text to write, or to compare with the column."""
        return None if value is None else plain(value, self.max_length or LIMIT)

    def from_db_value(self, value: Any, _expression: object, _connection: object) -> str | None:
        """Return plain text for what was read: another program may have written it."""
        return self.get_prep_value(value)


class PlainTextField(_Plain, TextField):
    """A line of text, such as a reason."""


class PlainCharField(_Plain, CharField):
    """A short line of text, such as a name."""


class StatedField(ExactCharField):
    """A short line that was checked before it was written, so it is made plain when it is read."""

    def deconstruct(self) -> Any:
        """Return the form of the field for migrations."""
        name, _, arguments, options = super().deconstruct()
        return name, f"{__name__}.ExactCharField", arguments, options

    def from_db_value(self, value: Any, _expression: object, _connection: object) -> str | None:
        """Return plain text for what was read: another program may have written it."""
        return None if value is None else plain(value, self.max_length or LIMIT)


class JSONField(models.JSONField):
    """A JSON document, whose check tolerates a database that does not answer."""

    def deconstruct(self) -> Any:
        """Return the form of Django's own field."""
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.JSONField", arguments, options

    def check(self, **options: Any) -> list[CheckMessage]:
        """Return what is wrong with the field.

        Django's own check connects to SQLite. Where that fails, E012 (checks/databases.py) tells.
        """
        try:
            return super().check(**options)
        except OperationalError:
            return super().check(**{**options, "databases": None})


class PlainReasonsField(JSONField):
    """A JSON object of reasons by name."""

    def get_prep_value(self, value: Any) -> Any:
        """Return plain text for each name and reason."""
        if isinstance(value, Mapping):
            return {plain(name): plain(reason) for name, reason in value.items()}
        return super().get_prep_value(value)
