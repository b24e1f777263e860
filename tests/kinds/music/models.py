# ruff: noqa: DJ001, DJ008 (nobody looks at these rows)
"""Django's own example of RESTRICT, and more of its kind, in whatever databases a test says.

Their tables are in each of `tests.kinds.router.EVERYWHERE`; unless a test spreads them, they live
in `default` and Django alone deletes them.
"""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


def key(to: Any, on_delete: Any = models.CASCADE, **options: Any) -> Any:
    """A key that may lead into another database."""
    return models.ForeignKey(to, on_delete, db_constraint=False, related_name="+", **options)


class Artist(models.Model):
    name = models.CharField(max_length=20, unique=True, null=True)


class Stage(Artist):
    """A multi-table child."""


class StageProxy(Stage):
    class Meta:
        proxy = True


class Album(models.Model):
    artist = key(Artist)


class Tour(models.Model):
    artist = key(Artist)


class Song(models.Model):
    artist = key(Artist)
    album = key(Album, models.RESTRICT)
    tour = key(Tour, null=True)


class Ticket(models.Model):
    tour = key(Tour)


class Invoice(models.Model):
    ticket = key(Ticket, models.PROTECT)


class Fan(models.Model):
    """Stays, without a tour."""

    tour = key(Tour, models.SET_NULL, null=True)


class Badge(models.Model):
    fan = key(Fan, models.PROTECT)


class Genre(models.Model):
    artist = key(Artist, null=True)
    above = key("self", null=True)


class Shelf(models.Model):
    genre = key(Genre, models.PROTECT)


class Contract(models.Model):
    name = key(Artist, models.PROTECT, to_field="name")


class Venue(models.Model):
    artist = key(Artist)


class Hall(Venue):
    pass


class Seat(models.Model):
    hall = key(Hall, models.PROTECT)


class Poster(models.Model):
    artist = key(Artist)
    marks = GenericRelation("music.Mark")


class Mark(models.Model):
    content_type = models.ForeignKey(
        ContentType, models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    object_id = models.CharField(max_length=20)
    content_object = GenericForeignKey()


class Frame(models.Model):
    mark = key(Mark, models.PROTECT)
