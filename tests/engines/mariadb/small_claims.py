"""The sample project's settings with small claims, so that several workers share a little work."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from config.settings import *
from config.settings import INTEGRITY

INTEGRITY = {**INTEGRITY, "claim_keys": 5, "statement_rows": 20, "statement_rows_max": 20}
