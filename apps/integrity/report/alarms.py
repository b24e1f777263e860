"""Alarms about one log: stalled, blocked, unverified or kept work, brakes, restores, unknown names.

`watch` compares the figures of a log with the rows of `Alarm`, which only this module writes. It
sends `alarm_raised` for a problem that is new and `alarm_cleared` for one that is over.

The signal is sent first, then the row is written. If the process dies in between, or two processes
watch at the same time, a signal is sent twice; none is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import conf
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import plain
from ..models import Alarm
from ..signals import alarm_cleared, alarm_raised
from . import status
from .lengths import number_of
from .pressure import awake_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.dispatch import Signal

    from ..conf import Settings
    from ..log.renaming import Renaming
    from .fault import Fault
    from .rows import DatabaseRow

logger = logger_of("integrity.alarms")

#: The alarm "at risk" is cleared once the work takes less than this share of the remaining time.
CLEARED_BELOW = 0.8
#: What follows the number of kept cascades.
KEPT = (
    "deletions left rows alone, because the value that these refer to belongs to an existing row"
    " again: look at the receipts, then `manage.py integrity acknowledge`"
)
#: What is wrong, with what: a child database, a relation for the brake, or an unknown name.
Subject = tuple[Alarm.Kind, str]


def watch(using: str) -> None:
    """Send a signal for each problem of the log in `using` that has begun or is over."""
    alarms = Alarm.objects.using(using)
    known = {(Alarm.Kind(row.kind), row.subject): row for row in alarms.all()}
    wrong = wrongs(*status.of_log(using), conf.current(), [*known])
    for (kind, subject), reason in wrong.items():
        if (kind, subject) not in known:
            _send(alarm_raised, kind, subject, reason, using)
            with isolated(f"noting an alarm in {using}"):
                alarms.bulk_create(
                    [Alarm(kind=kind, subject=subject, reason=reason)], ignore_conflicts=True
                )
    for (kind, subject), alarm in known.items():
        if (kind, subject) not in wrong:
            _send(alarm_cleared, kind, subject, alarm.reason, using)
            with isolated(f"clearing an alarm in {using}"):
                alarm.delete(using=using)


def wrongs(
    databases: Iterable[DatabaseRow],
    faults: Iterable[Fault],
    settings: Settings,
    known: Collection[Subject] = (),
) -> dict[Subject, str]:
    """Return each problem and its reason: faults, and work that has waited for too long. Pure.

    A deadline that was at risk and is `known` to be stays so until the estimate is well below it.
    """
    reasons = {
        (Alarm.Kind(fault.kind), plain(fault.subject, 200)): _reason(fault)
        for fault in faults
        if fault.kind in Alarm.Kind.values
    }
    for row in databases:
        alias, lag = row["database"], row["lag_seconds"] or 0.0
        at_risk = (Alarm.Kind.AT_RISK, alias)
        if at_risk in known and (row["risk"] or 0.0) > CLEARED_BELOW:
            reasons.setdefault(at_risk, row["risk_reason"])
        open_ = row["backlog"] - row["blocked"] - row["unknown"]
        if open_ and min(lag, awake_seconds(alias)) > settings.stalled_seconds:
            why = row["reason"] or "no worker has finished it"
            reasons[Alarm.Kind.STALLED, alias] = f"the oldest has waited for {lag:,.0f} s: {why}"
    return reasons


def _reason(fault: Fault) -> str:
    """Return what signals say of a fault. Pure."""
    number = f"{fault.number or 0:,}"
    match fault.kind:
        case Alarm.Kind.BLOCKED:
            waiting = number_of(fault.number or 0, "deletion")
            return f"{waiting} {'waits' if fault.number == 1 else 'wait'} for an operator"
        case Alarm.Kind.LATE:
            late = number_of(fault.number or 0, "deletion")
            why = f": {fault.cause}" if fault.cause else ""
            return f"{late} past the deadline for {fault.since_seconds or 0:,.0f} s{why}"
        case Alarm.Kind.UNPROVEN:
            waits = f"{number} done but not verified for {fault.since_seconds or 0:,.0f} s"
            return f"{waits}: {fault.cause}"
        case Alarm.Kind.KEPT:
            return f"{number} {KEPT}"
    return f"{fault.cause}. {fault.remedy}" if fault.kind == Alarm.Kind.UNKNOWN else fault.cause


def _send(signal: Signal, kind: Alarm.Kind, subject: str, reason: str, using: str) -> None:
    word = "raised" if signal is alarm_raised else "cleared"
    logger.warning("alarm %s: %s %s: %s", word, kind, subject, reason)
    details = {"kind": str(kind), "subject": subject, "reason": plain(reason)}
    signal.send_robust(sender=Alarm, **details, using=using)


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Move alarms from the old name to the new one; return how many (would) change."""
    alarms, changed = Alarm.objects.using(using), 0
    for row in alarms.exclude(kind=Alarm.Kind.UNKNOWN):
        new = change.alias(row.subject) if "." not in row.subject else change.relation(row.subject)
        if new == row.subject:
            continue
        changed += 1
        if apply and alarms.filter(kind=row.kind, subject=new).exists():
            alarms.filter(pk=row.pk).delete()
        elif apply:
            alarms.filter(pk=row.pk).update(subject=new)
    return changed
