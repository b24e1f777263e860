"""How fast a child database is worked on, and why that is not full speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .. import conf
from ..backends import clocks
from ..control import pacing
from ..control.pressure import STALE_SECONDS, Pace, seconds_awake
from ..models import ChildDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet


class Speed(NamedTuple):
    """The share of full speed, 0 in quiet hours; and why it is less than 1, or ""."""

    share: float
    reason: str


def child_databases(using: str) -> QuerySet[Any]:
    """Return the rows of the child databases in a log, with the ages of pace, pause and outage."""
    return ChildDatabase.objects.using(using).annotate(
        pace_age=clocks.age("paced_at"),
        paused_age=clocks.age("paused_at"),
        unreachable_age=clocks.age("unreachable_since"),
    )


def speed_of(alias: str, known: Iterable[Any]) -> Speed:
    """Return the pace of a child database by its rows in several logs, as above: the slowest.

    A sample that no worker has renewed does not count: nobody is at work.
    """
    if quiet := pacing.quiet_reason(alias):
        return Speed(0.0, quiet)
    if not (limits := conf.current().pressure_on(alias)).slows:
        return Speed(1.0, "")
    ages = [(clocks.age_of(row, "pace_age"), Pace.load(row.pace)) for row in known]
    paces = [pace for age, pace in ages if pace and age is not None and age < STALE_SECONDS]
    pace = min(paces, key=lambda pace: pace.share, default=Pace())
    reasons = [str(pace)] if pace.is_slowed else []
    if limits.max_rows_per_second is not None:
        reasons.append(f"limited to {limits.max_rows_per_second:,.0f} rows/s")
    return Speed(pace.share, "; ".join(reasons))


def awake_seconds(alias: str) -> float:
    """Return how long work on a child database has been allowed: since its last quiet hours."""
    return seconds_awake(conf.current().pressure_on(alias).quiet_hours, pacing.now())
