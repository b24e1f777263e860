"""What differs between database engines: one room for each, behind the protocols of base.py."""

from __future__ import annotations

from .selection import barrier_backend, key_reader, load_backend, log_backend, row_backend

__all__ = ["barrier_backend", "key_reader", "load_backend", "log_backend", "row_backend"]
