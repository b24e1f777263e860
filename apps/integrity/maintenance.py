"""What a log needs once in a while, whoever does it: beat's task, or a process without Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import alarms, control, log, repair, triggers
from .backends import clocks

if TYPE_CHECKING:
    from collections.abc import Callable


def maintain(using: str, *, clock: Callable[[], float | None] = clocks.own) -> frozenset[str]:
    """Tend one log: mend what a death left, repair, tell alarms, purge one batch.

    Return the child databases with cascades to verify. Beat's sign of life comes first; `clock` is
    that of the process that asked for this.
    """
    control.beat("beat", using=using, clock=clock)
    triggers.report_missing(using)
    repair.repair([each for each in repair.wanted() if each.parent_databases[0] == using])
    log.settle(using=using)
    alarms.watch(using)
    log.purge(using=using)
    return log.unverified_databases(using=using)
