"""Why the demo cannot go on; each message is a sentence for its reader."""

from __future__ import annotations


class DemoFailure(RuntimeError):
    """Base of the failures below; do not raise it directly."""


class TookTooLong(DemoFailure):
    """What was awaited did not happen in time; has the last log lines of who should do it."""


class UnexpectedAnswer(DemoFailure):
    """A page answered with another status than it should."""


class NotEmpty(DemoFailure):
    """The databases hold accounts already; the demo fills empty ones only."""
