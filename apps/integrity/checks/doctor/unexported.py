"""Whether the purge takes receipts that no export has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import Error

from ... import conf
from ...control import exports
from ...report import receipt_text
from .verdicts import Check

if TYPE_CHECKING:
    import datetime as dt

#: Receipts that are removed within so many days should have been exported.
EXPORT_DAYS = 7.0


def check(alias: str) -> Check:
    """Look up what was exported of a log, and what of the rest is removed soon."""
    days = conf.current().retention_days
    try:
        until, unexported = exports.exported_until(using=alias), 0
        if until is not None:
            soon = max(days - EXPORT_DAYS, days / 2)
            unexported = exports.purgeable(soon, using=alias).unexported
    except Error:
        return judge(alias, days, "; this role may not read which were exported", 0)
    return judge(alias, days, _told(until), unexported)


def judge(alias: str, days: float, told: str, unexported: int) -> Check:
    """Return whether none is removed soon that no export has, though others were exported. Pure."""
    detail = f"removed {days:g} days after the deletion ended{told}"
    if unexported:
        detail += (
            f". The next {unexported:,} to be removed are in none: run `manage.py integrity"
            " receipts --since last --output FILE`"
        )
    return Check(name=f"receipts {alias}", ok=not unexported, detail=detail)


def _told(until: dt.datetime | None) -> str:
    if until is None:
        return "; none has been exported yet: `manage.py integrity receipts` does that"
    return f"; all that ended before {receipt_text.moment(until.isoformat())} have been exported"
