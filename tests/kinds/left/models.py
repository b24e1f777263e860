# ruff: noqa: DJ008 (nobody looks at these rows)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models

from tests.kinds import by_database  # noqa: F401 (its models are of this app, too)
from tests.kinds.lite.models import Author
from tests.kinds.parents.models import (
    Account,
    Album,
    Desk,
    Forest,
    Giver,
    Guarded,
    Hall,
    Hidden,
    Library,
    Lineage,
    Owner,
    OwnerProxy,
    Person,
    Place,
    Restaurant,
    Root,
    Safe,
    Series,
    Stubborn,
    Token,
    Word,
)

if TYPE_CHECKING:
    from django.db.models.deletion import Collector


def across(to: type[models.Model], on_delete: Any = models.CASCADE, **options: Any) -> Any:
    """A key to a parent in another database."""
    return models.ForeignKey(to, on_delete, db_constraint=False, related_name="+", **options)


# Kinds of keys


class Profile(models.Model):
    owner = models.OneToOneField(
        Owner, models.CASCADE, db_constraint=False, related_name="+", primary_key=True
    )


class Group(models.Model):
    members = models.ManyToManyField(Owner, through="Membership", related_name="+")


class Membership(models.Model):
    group = models.ForeignKey(Group, models.CASCADE)
    owner = across(Owner)


class Team(models.Model):
    members = models.ManyToManyField(Owner, db_constraint=False, related_name="+")


class ProxyUse(models.Model):
    owner = across(OwnerProxy)


class Optional(models.Model):
    owner = across(Owner, null=True)


class TokenUse(models.Model):
    token = across(Token)


class WordUse(models.Model):
    word = across(Word)


class Badge(models.Model):
    person = across(Person, to_field="code")


class Invoice(models.Model):
    person = across(Person, to_field="number", null=True)


class PlaceNote(models.Model):
    place = across(Place, to_field="code")


class RestaurantNote(models.Model):
    restaurant = across(Restaurant)


class AccountNote(models.Model):
    account = across(Account)


class DeskNote(models.Model):
    desk = across(Desk)


class HiddenUse(models.Model):
    hidden = across(Hidden)


class Quote(models.Model):
    """Its parent lives on SQLite."""

    author = across(Author)


# Policies

DEFAULT, VALUE, CALLED, INSTANCE, CUSTOM = 901, 902, 903, 904, 905


def called() -> int:
    return CALLED


def instance() -> Giver:
    return Giver(pk=INSTANCE)


def put_custom(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    collector.add_field_update(field, CUSTOM, sub_objs)


def collect_more(collector: Collector, field: Any, sub_objs: Any, using: str) -> None:
    collector.collect(sub_objs, source=field.remote_field.model)


class Nulled(models.Model):
    giver = across(Giver, models.SET_NULL, null=True)


class Defaulted(models.Model):
    giver = across(Giver, models.SET_DEFAULT, default=DEFAULT)


class Valued(models.Model):
    giver = across(Giver, models.SET(VALUE))


class Called(models.Model):
    giver = across(Giver, models.SET(called))


class Instanced(models.Model):
    giver = across(Giver, models.SET(instance))


class Customised(models.Model):
    giver = across(Giver, put_custom)


class Collected(models.Model):
    stubborn = across(Stubborn, collect_more)


class Protecting(models.Model):
    guarded = across(Guarded, models.PROTECT)


# What hangs below a CASCADE in the child's database


class Shelf(models.Model):
    root = across(Root)


class Box(models.Model):
    shelf = models.ForeignKey(Shelf, models.CASCADE)


class Item(models.Model):
    box = models.ForeignKey(Box, models.CASCADE)


class Label(models.Model):
    shelf = models.ForeignKey(Shelf, models.SET_NULL, null=True)


class Vault(models.Model):
    safe = across(Safe)


class Seal(models.Model):
    vault = models.ForeignKey(Vault, models.PROTECT)


class Node(models.Model):
    forest = across(Forest)
    above = models.ForeignKey("self", models.CASCADE, null=True)


class Picture(models.Model):
    album = across(Album)
    tags = GenericRelation("left.Tag")


class Tag(models.Model):
    content_type = models.ForeignKey(ContentType, models.DO_NOTHING, db_constraint=False)
    object_id = models.PositiveBigIntegerField()
    content_object = GenericForeignKey()


class Numbered(models.Model):
    series = across(Series)
    number = models.BigIntegerField(unique=True)


class NumberedPart(models.Model):
    numbered = models.ForeignKey(Numbered, models.CASCADE, to_field="number")


class Base(models.Model):
    lineage = across(Lineage)


class Derived(Base):
    pass


class Book(models.Model):
    library = across(Library)


class Page(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)


# Plain columns that tests/settings.py declares: no ForeignKey, as in a table of events


class Event(models.Model):
    """Integers and UUIDs, of the keys' own types or as text."""

    station_key = models.IntegerField(db_index=True, null=True)
    station_text = models.CharField(max_length=40, db_index=True, default="")
    beacon_key = models.UUIDField(db_column="beacon", db_index=True, null=True)
    beacon_text = models.TextField(db_index=True, default="")
    station_code = models.CharField(max_length=30, db_index=True, null=True)  # noqa: DJ001


class EventNote(models.Model):
    event = models.ForeignKey(Event, models.CASCADE)


class Emptied(models.Model):
    station_key = models.BigIntegerField(db_index=True, null=True)


class Reset(models.Model):
    station_key = models.CharField(max_length=20, db_index=True, default="nobody")


class Replaced(models.Model):
    station_key = models.CharField(max_length=20, db_index=True)


class Kept(models.Model):
    station_key = models.BigIntegerField(db_index=True)


class Reported(models.Model):
    station_key = models.BigIntegerField(db_index=True)


# GenericForeignKeys that tests/settings.py declares


def content_type(**options: Any) -> Any:
    """A key to a content type, of whatever database."""
    return models.ForeignKey(
        ContentType, models.DO_NOTHING, db_constraint=False, related_name="+", **options
    )


class Note(models.Model):
    """Its content types are those of the parents' database."""

    content_type = content_type()
    object_id = models.PositiveBigIntegerField()
    content_object = GenericForeignKey()

    class Meta:
        indexes = (models.Index(fields=["content_type", "object_id"]),)


class NoteReply(models.Model):
    note = models.ForeignKey(Note, models.CASCADE)


class Sticker(models.Model):
    """Keys of any kind, as text; its content types are those of its own database."""

    kind = content_type(db_column="of")
    key = models.CharField(max_length=40, db_column="stuck_to")
    stuck_to = GenericForeignKey("kind", "key")

    class Meta:
        indexes = (models.Index(fields=["key", "kind"]),)


class Chisel(models.Model):
    """UUIDs, which are taken away."""

    content_type = content_type(null=True)
    object_id = models.UUIDField(null=True)
    content_object = GenericForeignKey()

    class Meta:
        indexes = (models.Index(fields=["content_type", "object_id"]),)


class Fence(models.Model):
    """What keeps the plants that it is around."""

    content_type = content_type()
    object_id = models.CharField(max_length=20)
    content_object = GenericForeignKey()

    class Meta:
        indexes = (models.Index(fields=["content_type", "object_id"]),)


# Composite primary keys


class Seat(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=3)
    number = models.IntegerField()
    hall = across(Hall)


class Ticket(models.Model):
    """The key is a part of the primary key."""

    pk = models.CompositePrimaryKey("hall_id", "number")
    hall = across(Hall)
    number = models.UUIDField()
