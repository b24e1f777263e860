"""The benchmarks' settings, with triggers that record deletions."""

# ruff: noqa: F403 - the usual way to extend Django settings

from __future__ import annotations

from . import settings
from .settings import *

INTEGRITY = {**settings.INTEGRITY, "capture": "trigger"}
