"""The settings of the demo with less to wait for: a lost worker, an outage."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from demo.settings import *
from demo.settings import INTEGRITY

INTEGRITY = {**INTEGRITY, "lease_seconds": 3.0, "probe_seconds": 1.0}
