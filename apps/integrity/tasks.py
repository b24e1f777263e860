"""Where Celery's auto-discovery looks for tasks. They are in queues/celery.py."""

from __future__ import annotations

from .queues.celery import cascade_into, dispatch_deletions, maintain, scan_for_orphans, verify_in

__all__ = ["cascade_into", "dispatch_deletions", "maintain", "scan_for_orphans", "verify_in"]
