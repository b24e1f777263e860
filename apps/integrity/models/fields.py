"""Fields for foreign text, which pass it through `plain` on every write and read.

Migrations use Django's own fields instead: the columns are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, models

from ..exceptions.redaction import LIMIT, plain

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

    Text = models.Field[Any, str]
    TextField = models.TextField[Any, str]
    CharField = models.CharField[Any, str]
else:
    Text, TextField, CharField = models.Field, models.TextField, models.CharField


class _Plain(Text):
    """Text that passes through `plain` when it is written and when it is read."""

    def deconstruct(self) -> Any:
        """Return the form of Django's own field."""
        name, _, arguments, options = super().deconstruct()
        return name, f"django.db.models.{self.get_internal_type()}", arguments, options

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
