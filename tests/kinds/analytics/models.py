# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Event(models.Model):
    """What docs/how-to/declare-relations.md declares; tests/settings.py does not."""

    name = models.CharField(max_length=50)
    user_key = models.CharField(max_length=40, db_index=True)
    editor_key = models.IntegerField(db_index=True, null=True)


class Note(models.Model):
    """What the same page declares as a generic relation."""

    content_type = models.ForeignKey(ContentType, models.CASCADE, db_constraint=False)
    object_id = models.CharField(max_length=40)
    content_object = GenericForeignKey()

    class Meta:
        indexes = [models.Index(fields=["content_type", "object_id"])]
