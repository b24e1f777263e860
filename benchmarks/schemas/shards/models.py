"""Owners with items in one, two or four databases; see `router`."""

# ruff: noqa: D101, DJ008 - models for benchmarks; their names are enough

from __future__ import annotations

from typing import Any

from django.db import models


def across(to: type[models.Model]) -> Any:
    """Return a foreign key to a parent in another database."""
    return models.ForeignKey(to, models.CASCADE, db_constraint=False, related_name="+")


class Owner1(models.Model):
    name = models.TextField()


class Owner2(models.Model):
    name = models.TextField()


class Owner4(models.Model):
    name = models.TextField()


class Item1(models.Model):
    owner = across(Owner1)
    title = models.TextField()


class Item2(models.Model):
    owner = across(Owner2)
    title = models.TextField()


class Item4(models.Model):
    owner = across(Owner4)
    title = models.TextField()
