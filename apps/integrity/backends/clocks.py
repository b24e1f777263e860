"""The clocks of the database servers. All decisions and ages go by them.

A time in a table is compared with the clock of the server that wrote it: in a statement, by `age`,
or with a reading of that server. The clock of this process, or of another server, may be minutes
off.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connections
from django.db.models import DurationField, ExpressionWrapper, F
from django.utils import timezone

from ..models.moments import ServerNow

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Aggregate

#: Clocks that differ by less than these seconds count as equal.
SKEW_SECONDS = 2.0

#: SQL for the seconds since 1970 by the server's clock, by engine.
EPOCH = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    # `unix_timestamp(now(6))` would be wrong in the hour that comes twice in the server's zone.
    "mysql": "SELECT timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(6)) / 1000000",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A server's time.

    The clock of this process is ahead of it by `ahead_seconds`, with an error of at most
    `within_seconds`.
    """

    at: dt.datetime
    ahead_seconds: float
    within_seconds: float


def own() -> float:
    """Return the seconds since 1970 by the clock of this process; only to compare the clocks."""
    return time.time()


def can_tell(using: str) -> bool:
    """Return whether that engine can be asked for its time."""
    return connections[using].vendor in EPOCH


def skew(using: str, clock: Callable[[], float | None] = own) -> float | None:
    """Return the seconds by which `clock` is ahead of the server's; None where that is unknown."""
    if not can_tell(using):
        return None
    connections[using].ensure_connection()
    theirs = clock()
    reading = None if theirs is None else read(using, theirs)
    certain = reading is not None and reading.within_seconds < SKEW_SECONDS
    return round(reading.ahead_seconds, 3) if reading and certain else None


def read(using: str, clock: float | None = None) -> Reading:
    """Read the server's time and compare it with `clock`, or with the clock of this process."""
    connection = connections[using]
    connection.ensure_connection()  # connecting takes long, and must not count as round trip
    ours, begun = own() if clock is None else clock, time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(EPOCH[connection.vendor])
        theirs = float(cursor.fetchone()[0])
    half = (time.monotonic() - begun) / 2
    at = dt.datetime.fromtimestamp(theirs, tz=dt.UTC)
    return Reading(
        at=at if settings.USE_TZ else timezone.make_naive(at, timezone.get_default_timezone()),
        ahead_seconds=ours + half - theirs,
        within_seconds=half,
    )


def now(using: str) -> dt.datetime:
    """Return the server's time, by which the times in its rows are ages.

    It is that of this process where the server cannot be asked.
    """
    return read(using).at if can_tell(using) else timezone.now()


def age(moment: str | Aggregate) -> ExpressionWrapper[Any]:
    """Return an expression for the age of a column's time by the clock of its server."""
    since = F(moment) if isinstance(moment, str) else moment
    return ExpressionWrapper(ServerNow() - since, output_field=DurationField())


def age_of(row: object, name: str = "age") -> float | None:
    """Return the seconds of a row's annotation made by `age`; None for no time. Pure."""
    return seconds(getattr(row, name, None))


def seconds(length: dt.timedelta | None) -> float | None:
    """Return an age in seconds; 0 for a time in the future, None for none. Pure."""
    return None if length is None else max(0.0, length.total_seconds())
