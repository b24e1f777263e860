"""Checks of a running installation (`manage.py integrity doctor`), each with its remedy.

The caller passes the state of the broker, because only the tasks import Celery.
"""

from __future__ import annotations

from .brokers import Broker
from .examination import broken, examine
from .verdicts import STALE_PERIODS, Check

__all__ = ["STALE_PERIODS", "Broker", "Check", "broken", "examine"]
