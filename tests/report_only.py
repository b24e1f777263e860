"""The project's settings, where orphans are reported and not repaired."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from config.settings import *
from config.settings import INTEGRITY

INTEGRITY = {**INTEGRITY, "scan_policy": "report"}
