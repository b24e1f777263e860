"""Parents, in `default`."""

# ruff: noqa: D101, DJ008 - nobody looks at these rows; the names say what they are

from __future__ import annotations

from uuid import uuid4

from django.db import models


class Member(models.Model):
    name = models.TextField()


class FewMember(models.Model):
    """A smaller table of the same shape: shows how time grows."""

    name = models.TextField()


class HalfMember(models.Model):
    """One in between."""

    name = models.TextField()


class Account(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.TextField()


class Guest(models.Model):
    """Written while it is scanned."""

    name = models.TextField()
