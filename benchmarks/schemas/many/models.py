"""Owners with items in many databases; see `router`."""

# ruff: noqa: D101, DJ008 - models for benchmarks; their names are enough

from __future__ import annotations

from django.db import models


class Owner(models.Model):
    name = models.TextField()


class Item(models.Model):
    owner = models.ForeignKey(Owner, models.CASCADE, db_constraint=False, related_name="+")
    title = models.TextField()
