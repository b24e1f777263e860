"""Columns of the log that hold text of others: whoever writes or reads them gets plain text.

So no writer can forget it. In migrations they are Django's own fields: the columns are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import models

from ..exceptions.redaction import LIMIT, plain

if TYPE_CHECKING:
    Text = models.Field[Any, str]
    TextField = models.TextField[Any, str]
    CharField = models.CharField[Any, str]
else:
    Text, TextField, CharField = models.Field, models.TextField, models.CharField


class _Plain(Text):
    """Text that passes through `plain` on its way in, and on its way out."""

    def deconstruct(self) -> Any:
        """As Django's own field."""
        name, _, arguments, options = super().deconstruct()
        return name, f"django.db.models.{self.get_internal_type()}", arguments, options

    def get_prep_value(self, value: Any) -> str | None:
        """What is written, or compared with what was."""
        return None if value is None else plain(value, self.max_length or LIMIT)

    def from_db_value(self, value: Any, _expression: object, _connection: object) -> str | None:
        """What is read: some role may have written it past this app."""
        return self.get_prep_value(value)


class PlainTextField(_Plain, TextField):
    """A line of text, such as a reason. See plain.py."""


class PlainCharField(_Plain, CharField):
    """A short line of text, such as a name. See plain.py."""


class PlainReasonsField(models.JSONField):
    """Reasons by name. See plain.py."""

    def deconstruct(self) -> Any:
        """As Django's own field."""
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.JSONField", arguments, options

    def get_prep_value(self, value: Any) -> Any:
        """What is written."""
        if isinstance(value, Mapping):
            return {plain(name): plain(reason) for name, reason in value.items()}
        return super().get_prep_value(value)
