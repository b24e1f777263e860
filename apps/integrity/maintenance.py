"""What a log needs once in a while, whoever does it: beat's task, or a process without Celery."""

from __future__ import annotations

from . import alarms, control, log, repair, triggers


def maintain(using: str) -> frozenset[str]:
    """Tend one log: mend what a death left, repair, tell alarms, purge one batch.

    Gives the child databases with cascades to verify. Beat's sign of life comes first.
    """
    control.beat("beat", using=using)
    triggers.report_missing(using)
    repair.repair([each for each in repair.wanted() if each.parent_databases[0] == using])
    log.settle(using=using)
    alarms.watch(using)
    log.purge(using=using)
    return log.unverified_databases(using=using)
