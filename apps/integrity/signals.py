"""Signals for the project around this app. Receivers run in the process that did the work."""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal as DjangoSignal

from .exceptions.failures import isolated
from .exceptions.loggers import logger_of

logger = logger_of("integrity.signals")


class Signal(DjangoSignal):
    """A signal whose receivers end nothing, whatever they raise, and whose failures quote no row.

    By itself, Django logs the text of what a receiver raised, and lets SystemExit pass.
    """

    def send_robust(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """As Django's. Receivers after one that raises SystemExit do not hear of it."""
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

#: A scan saw keys without a parent; they may turn out to be alive when they are looked for again.
#: Sends `relation` (label), `database`, `keys` (tuple of text) and `using` (alias of the log).
orphan_found = Signal()

#: Something began that somebody has to see to, and its end. Each is sent once, by whoever tends the
#: log, within a minute; after a crash perhaps once more.
#: Sends `kind` ("stalled", "blocked", "unproven", "kept", "brake" or "unknown"), `subject` (alias
#: of a child database; for the brake, the label of a relation; for what is unknown, the name),
#: `reason` and `using` (alias of the log).
alarm_raised = Signal()
alarm_cleared = Signal()
