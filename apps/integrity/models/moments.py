"""Times by the clock of the database server, which are in UTC in every table of the app.

Engines other than PostgreSQL keep a time without its zone. Django writes and reads it in the zone
of the connection: `TIME_ZONE` of the alias, or that of the settings where `USE_TZ` is false. The
server's own functions use yet another zone, and in most zones an hour of each autumn comes twice.
So the columns hold UTC whatever is configured, and ages are true at any time.
"""

from __future__ import annotations

import datetime as dt
from functools import partialmethod
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

    DateTimeField = models.DateTimeField[Any, Any]
else:
    DateTimeField = models.DateTimeField


class MomentField(DateTimeField):
    """A time, in UTC in the table. Migrations use Django's own field: the column is the same."""

    def deconstruct(self) -> Any:
        """Return the form of Django's own field."""
        name, _, arguments, options = super().deconstruct()
        return name, "django.db.models.DateTimeField", arguments, options

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: FBT001, FBT002 (Django's signature)
    ) -> Any:
        """Return the time for the driver: in UTC where the engine keeps no zone."""
        if not prepared:
            value = self.get_prep_value(value)
        if isinstance(value, dt.datetime) and not connection.features.supports_timezones:
            if timezone.is_naive(value):
                value = timezone.make_aware(value, timezone.get_default_timezone())
            value = timezone.make_naive(value, dt.UTC)
        return super().get_db_prep_value(value, connection, prepared=True)

    def from_db_value(
        self, value: Any, _expression: object, connection: BaseDatabaseWrapper
    ) -> Any:
        """Return the time as Django would if its zone for this connection were UTC."""
        if value is None or connection.features.supports_timezones:
            return value
        aware: dt.datetime = value.replace(tzinfo=dt.UTC)
        if settings.USE_TZ:
            return aware
        return timezone.make_naive(aware, timezone.get_default_timezone())


class ServerNow(Now):
    """The time of the server, when the statement began. `Now` of Django is local time on MySQL.

    On SQLite, `Now` writes fewer digits than Django does for a time that it was given. SQLite
    compares texts, so that a time would not be equal to itself after it was read.
    """

    output_field = MomentField()

    # As Python writes a time: with microseconds, unless there are none.
    as_sqlite = partialmethod(
        Now.as_sql,
        template="REPLACE(STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW'),"
        " '.000000', '')",
    )
    # UTC, whatever the zone of the server and of the session.
    as_mysql = partialmethod(Now.as_sql, template="UTC_TIMESTAMP(6)")
