"""Deadlines that a project states: days, a length or a point in time, as text for the log."""

from __future__ import annotations

import datetime as dt
import math

from django.utils import timezone

from .. import conf
from ..backends.deadlines import AT
from ..conf.values import DAYS_MAX
from ..exceptions import InvalidBecause

#: Days after the delete, a length after it, or a point in time with its zone.
Deadline = float | dt.timedelta | dt.datetime


def due_by(deadline: Deadline) -> str:
    """Return a deadline as `models.Stated` has it.

    Raises:
        InvalidBecause: it is none, it is in the past, or no deadlines are used. Nothing was
            deleted.
    """
    if not conf.current().uses_deadlines:
        raise InvalidBecause(
            "capture.because(): deadline is given, and INTEGRITY['deadline_days'] is None: set it,"
            " to {} if only single deletions have deadlines"
        )
    if isinstance(deadline, dt.datetime):
        return _at(deadline)
    if isinstance(deadline, bool) or not isinstance(deadline, int | float | dt.timedelta):
        raise InvalidBecause(
            f"capture.because(): deadline is of type {type(deadline).__name__}, and has to be a"
            " number of days, a timedelta or a datetime"
        )
    if isinstance(deadline, dt.timedelta):
        deadline = deadline / dt.timedelta(days=1)
    seconds = deadline * 86_400
    if not 0 < seconds <= DAYS_MAX * 86_400:
        raise InvalidBecause(
            f"capture.because(): deadline has to be above 0 and at most {DAYS_MAX:,.0f} days"
        )
    return str(max(1, round(seconds)))


def _at(moment: dt.datetime) -> str:
    if timezone.is_naive(moment):
        raise InvalidBecause("capture.because(): deadline is a datetime without its time zone")
    if moment <= dt.datetime.now(dt.UTC):
        raise InvalidBecause("capture.because(): deadline is in the past")
    return f"{AT}{math.floor(moment.timestamp())}"
