"""Deletes under faults, at random and one by one, and the truth that they are compared with."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Print one line of the result at once."""
    print(line, flush=True)  # noqa: T201 (a program's output)


def progress(line: str) -> None:
    """Print one line for those who wait."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 (a program's output)
