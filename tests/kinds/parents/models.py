# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

import uuid

from django.db import models


class Owner(models.Model):
    """Parent of the ordinary kinds of keys."""

    name = models.CharField(max_length=50, blank=True)


class OwnerProxy(Owner):
    class Meta:
        proxy = True


class Giver(models.Model):
    """Parent of the keys whose policy puts another value in place."""


class Stubborn(models.Model):
    """Parent of keys whose own `on_delete` cannot be carried out elsewhere."""


class Guarded(models.Model):
    """Parent of PROTECT and RESTRICT keys."""


class Token(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Word(models.Model):
    text = models.CharField(max_length=12, primary_key=True)


class Person(models.Model):
    """Parent whose children point at other fields than the primary key."""

    code = models.CharField(max_length=20, unique=True, null=True)  # noqa: DJ001
    number = models.DecimalField(max_digits=6, decimal_places=2, unique=True, null=True)


class Place(models.Model):
    code = models.CharField(max_length=20, unique=True)


class Restaurant(Place):
    """A multi-table child; both tables have children elsewhere."""


class Tenant(models.Model):
    """Nothing elsewhere points to it, but to what its deletion takes along."""


class Account(models.Model):
    tenant = models.ForeignKey(Tenant, models.CASCADE)


class Desk(models.Model):
    account = models.ForeignKey(Account, models.CASCADE)


class Visible(models.Manager):
    def get_queryset(self) -> models.QuerySet[Hidden]:
        return super().get_queryset().filter(hidden=False)


class Hidden(models.Model):
    """Its managers, the base manager too, do not show all rows."""

    hidden = models.BooleanField(default=True)

    objects = Visible()

    class Meta:
        base_manager_name = "objects"


class Root(models.Model):
    """Parent of a tree that can be deleted set-based."""


class Safe(models.Model):
    """Parent of rows that something protects in their own database."""


class Forest(models.Model):
    """Parent of a tree of rows that refer to each other."""


class Album(models.Model):
    """Parent of rows with a generic relation."""


class Series(models.Model):
    """Parent of rows to which others point by another field than the primary key."""


class Lineage(models.Model):
    """Parent of rows with multi-table children."""


class Library(models.Model):
    """Parent of rows that are parents of rows in a third database."""


class Everywhere(models.Model):
    """Parent of rows that live in two databases."""


class Station(models.Model):
    """Parent of plain columns that are declared in the settings."""

    code = models.CharField(max_length=20, unique=True, null=True)  # noqa: DJ001


class Lighthouse(Station):
    """A multi-table child, whose delete takes its station along."""


class StationProxy(Station):
    class Meta:
        proxy = True


class Beacon(models.Model):
    """Parent, by UUID, of plain columns that are declared in the settings."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Mixed(models.Model):
    """Parent, on PostgreSQL, of rows on SQLite."""


# What the GenericForeignKeys that tests/settings.py declares point to


class Plant(models.Model):
    pass


class PlantProxy(Plant):
    class Meta:
        proxy = True


class Tree(Plant):
    """A multi-table child."""


class Weed(models.Model):
    """Its keys are those of plants, too."""


class Stone(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


class Hall(models.Model):
    """Parent of rows whose primary key is composite."""


class Sender(models.Model):
    """Parent of rows that name files."""
