# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.db import models

from tests.kinds.parents.models import Everywhere


class Entry(models.Model):
    everywhere = models.ForeignKey(
        Everywhere, models.CASCADE, db_constraint=False, related_name="+"
    )
