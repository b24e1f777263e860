# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models


class Device(models.Model):
    owner = models.ForeignKey(User, models.CASCADE, db_constraint=False)
