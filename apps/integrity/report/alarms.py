"""What somebody has to hear of: work that stalls, is blocked, not verified or kept; a held brake.

Takes the figures of one log; sends `alarm_raised` when one begins and `alarm_cleared` when it is
over, and remembers in between. The only writer of `Alarm`.

Note [Told, then remembered]: a process that dies in between tells it again, and so may two that
look at the same time. Nothing that began is kept from anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import conf
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import plain
from ..models import Alarm
from ..signals import alarm_cleared, alarm_raised
from . import names, status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.dispatch import Signal

    from ..conf import Settings
    from ..log.renaming import Renaming
    from .backlog import DatabaseRow
    from .names import Unknown
    from .scans import ScanRow

logger = logger_of("integrity.alarms")

#: What follows the number of kept cascades.
KEPT = (
    "cascades left rows alone, because the value that these refer to belongs to a living row now:"
    " look at the receipts, then `manage.py integrity acknowledge`"
)
#: What is wrong, with what: a child database, a relation for the brake, or an unknown name.
Subject = tuple[Alarm.Kind, str]


def watch(using: str) -> None:
    """Tell what has begun and what is over, by the figures of the log in `using`."""
    wrong = wrongs(*status.of_log(using), conf.current()) | nameless(names.unknown([using]))
    alarms = Alarm.objects.using(using)
    known = {(Alarm.Kind(each.kind), each.subject): each for each in alarms.all()}
    for (kind, subject), reason in wrong.items():
        if (kind, subject) not in known:
            _tell(alarm_raised, kind, subject, reason, using)
            with isolated(f"noting an alarm in {using}"):
                alarms.bulk_create(
                    [Alarm(kind=kind, subject=subject, reason=reason)], ignore_conflicts=True
                )
    for (kind, subject), alarm in known.items():
        if (kind, subject) not in wrong:
            _tell(alarm_cleared, kind, subject, alarm.reason, using)
            with isolated(f"clearing an alarm in {using}"):
                alarm.delete(using=using)


def wrongs(
    databases: Iterable[DatabaseRow], scans: Iterable[ScanRow], settings: Settings
) -> dict[Subject, str]:
    """What is wrong, and why. Pure."""
    found: dict[Subject, str] = {}
    for row in databases:
        alias, blocked = row["database"], row["blocked"]
        open_ = row["backlog"] - blocked - row["unknown"]
        lag = row["lag_seconds"] or 0.0
        if open_ and lag > settings.stalled_seconds:
            why = row["reason"] or "no worker has finished it"
            found[Alarm.Kind.STALLED, alias] = f"the oldest waits since {lag:,.0f} s: {why}"
        if row["overdue"]:
            late = (
                f"{row['unproven']:,} done but not verified for {row['waits_seconds'] or 0:,.0f} s"
            )
            found[Alarm.Kind.UNPROVEN, alias] = f"{late}: {row['unproven_reason']}"
        if blocked:
            found[Alarm.Kind.BLOCKED, alias] = f"{blocked:,} cascades wait for an operator"
        if row["kept"]:
            found[Alarm.Kind.KEPT, alias] = f"{row['kept']:,} {KEPT}"
    brakes = {each["relation"]: each["brake"] for each in scans if each["brake"]}
    return found | {(Alarm.Kind.BRAKE, label): reason for label, reason in brakes.items()}


def nameless(unknown: Iterable[Unknown]) -> dict[Subject, str]:
    """Open work under names that nobody knows, and what to do about it. Pure."""
    return {(Alarm.Kind.UNKNOWN, plain(each["name"], 200)): each["reason"] for each in unknown}


def _tell(signal: Signal, kind: Alarm.Kind, subject: str, reason: str, using: str) -> None:
    word = "raised" if signal is alarm_raised else "cleared"
    logger.warning("alarm %s: %s %s: %s", word, kind, subject, reason)
    told = {"kind": str(kind), "subject": subject, "reason": plain(reason)}
    signal.send_robust(sender=Alarm, **told, using=using)


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Let what was told under the old name be over, or go on, under the new one."""
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
