"""The benchmarks' settings, for workers that delete over one connection."""

# ruff: noqa: F403 - the usual way to extend Django settings

from __future__ import annotations

from .settings import *
from .settings import INTEGRITY

INTEGRITY = {**INTEGRITY, "second_connection": False}
