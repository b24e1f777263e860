# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

import reversion
from django.contrib.auth.models import User
from django.db import models


@reversion.register()
class Sketch(models.Model):
    author = models.ForeignKey(User, models.CASCADE, db_constraint=False)
