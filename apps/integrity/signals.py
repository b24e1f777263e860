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
