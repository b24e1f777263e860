"""The benchmarks' settings, for workers that work gently in one database."""

# ruff: noqa: F403 - the usual way to extend Django settings

from __future__ import annotations

from .settings import *
from .settings import INTEGRITY

#: How busy `busy` says that a database is.
BUSY = 0.2

INTEGRITY = {**INTEGRITY, "pressure": {"blog_db": {"busy": "benchmarks.schemas.pressed.busy"}}}


def busy(_alias: str) -> float:
    """Return how busy the database is: busy enough for the token, short steps and rests."""
    return BUSY
