# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.db import models

from tests.kinds.parents.models import Mixed


class Author(models.Model):
    """A parent on SQLite: its deletion log is there, too."""


class Note(models.Model):
    mixed = models.ForeignKey(Mixed, models.CASCADE, db_constraint=False, related_name="+")


class Line(models.Model):
    note = models.ForeignKey(Note, models.CASCADE)
