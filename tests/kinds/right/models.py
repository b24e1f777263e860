# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from django.db import models

from tests.kinds.left.models import Book, across
from tests.kinds.parents.models import Giver, Guarded, Owner, Person


class Leaf(models.Model):
    owner = across(Owner)


class Untouched(models.Model):
    giver = across(Giver, models.DO_NOTHING)


class Restricting(models.Model):
    guarded = across(Guarded, models.RESTRICT)


class Locker(models.Model):
    """Points to the primary key of a parent whose other children point elsewhere."""

    person = across(Person)


class BookNote(models.Model):
    """The second hop: its parent is a child in `test_left`."""

    book = across(Book)
