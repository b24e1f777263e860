"""Periodic maintenance of a log, for beat's task and for a process without Celery."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..backends import clocks
from ..capture import triggers
from ..cascade import first_look
from ..control import heartbeats, retention
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..log import proofs
from ..report import alarms
from ..scan import repair

if TYPE_CHECKING:
    from collections.abc import Callable


def maintain(using: str, *, clock: Callable[[], float | None] = clocks.own) -> frozenset[str]:
    """Maintain one log: repair, raise alarms, and purge one batch of each table.

    Return the child databases to verify in. These are all in which something is done, because
    verification compares each with the log (control/restores.py). The heartbeat of beat comes
    first; `clock` returns the time of the process that asked for the maintenance. A step that fails
    is logged, and the next step runs. Raises `DatabaseHindered` where the log cannot be worked on.
    """
    steps: dict[str, Callable[[], object]] = {
        "the heartbeat": partial(heartbeats.record, heartbeats.BEAT, using=using, clock=clock),
        "the check of triggers": partial(triggers.report_missing, using),
        "repair": partial(_repair, using),
        "the check of alarms": partial(alarms.watch, using),
        "the purge": partial(retention.purge_due, using=using),
    }
    for name, step in steps.items():
        with isolated(f"{name} of the log in {using}", passing=(DatabaseHindered,)):
            step()
    done, due = proofs.done_databases(using=using)
    first_look.verify_empty(due, using=using)
    return done


def _repair(using: str) -> None:
    wanted = repair.wanted()
    repair.repair([relation for relation in wanted if relation.parent_databases[0] == using])
