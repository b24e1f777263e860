"""The zoo. Each kind of key has a model that holds it with every policy, and models below that."""

# ruff: noqa: DJ008 - nobody looks at these rows

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from ..spread import SPREAD, current
from .keys import abstract, every, key


class Generic(models.Model):
    """A GenericForeignKey. Its content types are of the database that the seed says."""

    content_type = models.ForeignKey(
        ContentType, models.DO_NOTHING, related_name="+", db_constraint=False
    )
    content_object = GenericForeignKey()

    class Meta:
        abstract = True


def noted(child, parent):
    """What gives `parent` its rows of `child`: in a database of its own, the declaration does."""
    apart = current().side == SPREAD and not current().together(child, parent)
    notes = {} if apart else {"notes": GenericRelation(f"zoo.{child}")}
    return abstract(f"{parent}Notes", notes)


# A tree of three levels below an integer key, and one row for all of them.


class Plain(noted("Note", "Plain")):
    pass


class PlainProxy(Plain):
    class Meta:
        proxy = True


class OfPlain(noted("Note", "OfPlain"), every("OfPlain", "Plain")):
    pass


class UnderPlain(every("UnderPlain", "OfPlain")):
    pass


class DeepPlain(every("DeepPlain", "UnderPlain")):
    pass


class OfProxy(every("OfProxy", "PlainProxy")):
    pass


class OneOfPlain(every("OneOfPlain", "Plain", make=models.OneToOneField)):
    pass


class Profile(models.Model):
    plain = models.OneToOneField(
        Plain,
        models.CASCADE,
        primary_key=True,
        related_name="+",
        db_constraint=current().constrained("Profile", "Plain"),
    )


class OfProfile(every("OfProfile", "Profile")):
    pass


# Other keys: another unique field, a UUID, a text, composite.


class Coded(every("Coded", "Plain")):
    code = models.CharField(max_length=20, unique=True)
    number = models.IntegerField(unique=True)


class OfCode(every("OfCode", "Coded", to_field="code", keeper="text")):
    pass


class OfNumber(every("OfNumber", "Coded", to_field="number")):
    pass


class UnderCode(every("UnderCode", "OfCode")):
    pass


class Unique(noted("Note", "Unique"), every("Unique", "Plain")):
    id = models.UUIDField(primary_key=True)


class OfUnique(every("OfUnique", "Unique", keeper="uuid")):
    id = models.UUIDField(primary_key=True)


class UnderUnique(every("UnderUnique", "OfUnique", keeper="uuid")):
    pass


class Named(models.Model):
    name = models.CharField(max_length=20, primary_key=True)


class OfNamed(every("OfNamed", "Named", keeper="text")):
    name = models.CharField(max_length=20, primary_key=True)


class UnderNamed(every("UnderNamed", "OfNamed", keeper="text")):
    pass


class Composite(every("Composite", "Plain")):
    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()


class Numbered(every("Numbered", "Coded", prefix="of_")):
    pk = models.CompositePrimaryKey("plain_id", "number")
    plain = models.ForeignKey(
        Plain,
        models.CASCADE,
        related_name="+",
        db_constraint=current().constrained("Numbered", "Plain"),
    )
    number = models.IntegerField()


# Circles, of one model and of three.


class Node(every("Node", "Node"), every("Node", "Plain", prefix="of_")):
    friends = models.ManyToManyField("self", symmetrical=False)


class RingA(every("RingA", "RingB")):
    pass


class RingB(every("RingB", "RingC")):
    pass


class RingC(every("RingC", "RingA")):
    pass


# Multi-table inheritance, with keys at each level, to each level.


class Base(every("Base", "Plain", prefix="of_")):
    pass


class Middle(Base, every("Middle", "Coded", prefix="mid_")):
    pass


class Final(Middle, every("Final", "Unique", prefix="last_", keeper="uuid")):
    pass


class BaseProxy(Base):
    class Meta:
        proxy = True


class OfBase(every("OfBase", "Base")):
    pass


class OfMiddle(every("OfMiddle", "Middle")):
    pass


class OfFinal(every("OfFinal", "Final")):
    pass


class UnderFinal(every("UnderFinal", "OfFinal")):
    pass


class OwnAbove(models.Model):
    pass


class OwnBelow(OwnAbove, every("OwnBelow", "OwnAbove", prefix="to_")):
    """Inherits from what it refers to."""


# Many to many.


class Shelf(every("Shelf", "Plain")):
    books = models.ManyToManyField("Book")


class Book(every("Book", "Coded", to_field="number")):
    pass


class OfBook(every("OfBook", "Book")):
    pass


# Generic relations: within a database, and declared where they cross one.


class Item(every("Item", "Plain")):
    marks = GenericRelation("zoo.Mark")


class Mark(Generic):
    object_id = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["content_type", "object_id"])]


class OfMark(every("OfMark", "Mark")):
    pass


class Note(Generic):
    object_id = models.CharField(max_length=40)

    class Meta:
        indexes = [models.Index(fields=["content_type", "object_id"])]


class OfNote(every("OfNote", "Note")):
    pass


# Declared columns.


class Event(every("Event", "Plain", declared=models.BigIntegerField)):
    pass


class OfEvent(every("OfEvent", "Event")):
    pass


def _code(**options):
    return models.CharField(max_length=20, **options)


class CodeEvent(every("CodeEvent", "Coded", to_field="code", keeper="text", declared=_code)):
    pass


# Diamonds: two ways to one row.


class Top(models.Model):
    pass


class West(every("West", "Top")):
    pass


class East(every("East", "Top")):
    pass


class Bottom(every("Bottom", "West", prefix="west_"), every("Bottom", "East", prefix="east_")):
    pass


# Django's example of RESTRICT, and PROTECT below a CASCADE.


class Artist(models.Model):
    pass


class Album(models.Model):
    artist = models.ForeignKey(
        Artist,
        models.CASCADE,
        related_name="+",
        db_constraint=current().constrained("Album", "Artist"),
    )


class Song(models.Model):
    artist = models.ForeignKey(
        Artist,
        models.CASCADE,
        related_name="+",
        db_constraint=current().constrained("Song", "Artist"),
    )
    album = models.ForeignKey(
        Album,
        models.RESTRICT,
        related_name="+",
        db_constraint=current().constrained("Song", "Album"),
    )


class Customer(models.Model):
    pass


class Order(models.Model):
    customer = models.ForeignKey(
        Customer,
        models.CASCADE,
        related_name="+",
        db_constraint=current().constrained("Order", "Customer"),
    )


class Invoice(models.Model):
    order = models.ForeignKey(
        Order,
        models.PROTECT,
        related_name="+",
        db_constraint=current().constrained("Invoice", "Order"),
    )
    previous = key("Invoice", "Invoice", "restrict")
