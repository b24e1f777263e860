# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from simple_history.models import HistoricalRecords


class Page(models.Model):
    author = models.ForeignKey(User, models.CASCADE, db_constraint=False)
    title = models.CharField(max_length=20)
    history = HistoricalRecords(user_db_constraint=False)
