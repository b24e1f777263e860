"""Parents, in `default`."""

# ruff: noqa: D101, DJ008 - models for benchmarks; their names are enough

from __future__ import annotations

from uuid import uuid4

from django.db import models


class Member(models.Model):
    name = models.TextField()


class FewMember(models.Model):
    """A smaller table of the same shape, to measure growth."""

    name = models.TextField()


class HalfMember(models.Model):
    """A table of half the size."""

    name = models.TextField()


class Account(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.TextField()


class Guest(models.Model):
    """Rows that are written during a scan."""

    name = models.TextField()
