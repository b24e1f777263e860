"""What is wrong with an installation, each with its remedy.

What the broker says is handed in, for only the tasks know Celery.
"""

from __future__ import annotations

from .examination import broken, examine
from .verdicts import STALE_PERIODS, Broker, Check

__all__ = ["STALE_PERIODS", "Broker", "Check", "broken", "examine"]
