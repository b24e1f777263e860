# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models

from tests.kinds.parents.models import Hall, Mixed


class Author(models.Model):
    """A parent on SQLite: its deletion log is there, too."""


class Note(models.Model):
    mixed = models.ForeignKey(Mixed, models.CASCADE, db_constraint=False, related_name="+")


class Line(models.Model):
    note = models.ForeignKey(Note, models.CASCADE)


# Plain columns that tests/settings.py declares


class Reading(models.Model):
    station_key = models.IntegerField(db_index=True)
    beacon_text = models.CharField(max_length=36, db_index=True, default="")


class Limit(models.Model):
    """What keeps stations that it names."""

    station_key = models.CharField(max_length=20, db_index=True)


class Leaf(models.Model):
    """A GenericForeignKey that tests/settings.py declares."""

    content_type = models.ForeignKey(
        ContentType, models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    object_id = models.TextField()
    content_object = GenericForeignKey()

    class Meta:
        indexes = (models.Index(fields=["content_type", "object_id"]),)


class Vein(models.Model):
    leaf = models.ForeignKey(Leaf, models.CASCADE)


class Seat(models.Model):
    """Its primary key is composite."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=3)
    number = models.IntegerField()
    hall = models.ForeignKey(Hall, models.CASCADE, db_constraint=False, related_name="+")
