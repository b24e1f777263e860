"""Signals for the project around this app. Receivers run in the process that did the work."""

from __future__ import annotations

from django.dispatch import Signal

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
