# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.db import models


class Event(models.Model):
    """What docs/how-to/declare-relations.md declares; tests/settings.py does not."""

    name = models.CharField(max_length=50)
    user_key = models.CharField(max_length=40, db_index=True)
    editor_key = models.IntegerField(db_index=True, null=True)
