"""Errors that end the demo. Their messages are shown to the user."""

from __future__ import annotations


class DemoFailure(RuntimeError):
    """Base class of the errors below."""


class TookTooLong(DemoFailure):
    """A wait timed out. The message has the last log lines of the responsible processes."""


class UnexpectedAnswer(DemoFailure):
    """A response had an unexpected status."""


class NotEmpty(DemoFailure):
    """The databases already have accounts. The demo needs empty ones."""
