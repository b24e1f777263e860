"""Erasure steps that are ready to use: files, and services that are told by HTTP or by Celery.

`celery.Celery` is imported from its module, because Celery need not be installed.
"""

from __future__ import annotations

from .field_files import FieldFiles
from .services import Service
from .webhook import Webhook

__all__ = ["FieldFiles", "Service", "Webhook"]
