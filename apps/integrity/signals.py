"""Signals that a project may receive. Receivers run in the process that did the work."""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal as DjangoSignal

from .exceptions.failures import isolated
from .exceptions.loggers import logger_of

logger = logger_of("integrity.signals")


class Signal(DjangoSignal):
    """A signal whose receivers cannot end the process, and whose log lines contain no row's data.

    Django's own `send_robust` logs the full text of an error and lets SystemExit pass.
    """

    def send_robust(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """Send as Django does. Receivers after one that raises SystemExit are not called."""
        answers: list[tuple[Any, Any]] = []
        with isolated("a receiver"):
            answers += super().send_robust(sender, **named)
        return answers

    def _log_robust_failure(self, _receiver: object, error: Exception) -> None:
        logger.error("a receiver failed: %s", error)


#: A deletion was recorded and its transaction has committed.
#: Sends `parent` (label), `keys` (tuple of text) and `using` (alias of the log).
deletion_recorded = Signal()

#: Cascades were finished in one child database.
#: Sends `database`, `using` (alias of the log) and `deletions` (tuple of ids).
cascade_finished = Signal()

#: A scan saw keys without a parent. They are not confirmed yet: a second check follows later.
#: Sends `relation` (label), `database`, `keys` (tuple of text) and `using` (alias of the log).
orphan_found = Signal()

#: A condition that needs an operator began (`alarm_raised`), or it ended (`alarm_cleared`). The
#: process that maintains the log sends each within a minute, once; after a crash perhaps twice.
#: Sends `kind` ("stalled", "blocked", "unproven", "late", "at_risk", "kept", "restored", "brake" or
#: "unknown"), `subject` (alias of a child database; for "brake" the label of a relation; for
#: "unknown" the unknown name), `reason` and `using` (alias of the log).
alarm_raised = Signal()
alarm_cleared = Signal()
