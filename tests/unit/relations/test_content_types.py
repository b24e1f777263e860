"""Which keys to content types have a home, and what `check` says of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.test.utils import isolate_apps

from apps.integrity import relations
from apps.integrity.checks import keys
from apps.integrity.declared import Relation
from apps.integrity.relations import Catalogue, discovery
from apps.integrity.relations.content_types import ContentTypeKeys
from tests.kinds.analytics.models import Note
from tests.kinds.lite.models import Leaf

if TYPE_CHECKING:
    from tests.conftest import Tune

KEY: Any = Note._meta.get_field("content_type")
LEAF: Any = Leaf._meta.get_field("content_type")


def to_content_type(**options: Any) -> Any:
    return models.ForeignKey(ContentType, models.CASCADE, related_name="+", **options)


class Tagging(GenericForeignKey):
    """A subclass, as libraries have."""


class NotOfItsClass(models.Field):
    """No subclass: what its `ct_field` names is what counts."""

    def __init__(self, ct_field: str) -> None:
        super().__init__()
        self.ct_field = ct_field

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:  # noqa: FBT001, FBT002 (Django's signature)
        super().contribute_to_class(cls, name, private_only=True)


@pytest.fixture
def kinds() -> Any:
    with isolate_apps("tests.kinds.left"):

        class Base(models.Model):  # noqa: DJ008
            kind = to_content_type()
            key = models.TextField()

            class Meta:
                app_label, abstract = "left", True

        class Abstract(Base):  # noqa: DJ008
            what = GenericForeignKey("kind", "key")

            class Meta:
                app_label = "left"

        class Subclass(Base):  # noqa: DJ008
            what = Tagging("kind", "key")

            class Meta:
                app_label = "left"

        class Other(Base):  # noqa: DJ008
            what = NotOfItsClass("kind")

            class Meta:
                app_label = "left"

        class Parent(Base):  # noqa: DJ008
            class Meta:
                app_label = "left"

        class Child(Parent):  # noqa: DJ008
            what = GenericForeignKey("kind", "key")

            class Meta:
                app_label = "left"

        class Plain(Base):  # noqa: DJ008
            class Meta:
                app_label = "left"

        class Broken(Base):  # noqa: DJ008
            what = GenericForeignKey("misspelt", "key")

            class Meta:
                app_label = "left"

        yield [Abstract, Subclass, Other, Child, Plain, Broken]


def test_a_pointers_key_is_found_on_each_kind_of_model(kinds: Any) -> None:
    known = ContentTypeKeys(kinds, [])
    found = {}
    for model in kinds:
        key = known.unknown(model._meta.get_field("kind"), ("default",), ("test_lite",))
        found[model.__name__] = (key.label, key.pointers) if key else None
    assert found == {
        "Abstract": ("left.Abstract.kind", ("left.Abstract.what",)),
        "Subclass": ("left.Subclass.kind", ("left.Subclass.what",)),
        "Other": ("left.Other.kind", ("left.Other.what",)),
        "Child": ("left.Parent.kind", ("left.Child.what",)),
        "Plain": None,  # one table of content types: its home is known
        "Broken": None,  # Django's check says what is wrong
    }


def test_a_key_of_its_own_is_unknown_where_the_child_has_content_types_too(kinds: Any) -> None:
    known = ContentTypeKeys(kinds, [])
    for model in kinds:  # tests/kinds/router.py lets test_left have a table of them
        assert known.unknown(model._meta.get_field("kind"), ("default",), ("test_left",))


def test_it_is_in_the_catalogue_of_what_is_unknown_and_in_no_relation() -> None:
    found = relations.discover()
    assert KEY not in {each.field for each in found.relations}
    assert "analytics.Note.content_type" in {each.label for each in found.unknown_homes}


def test_declared_it_has_a_home_where_the_child_has_no_content_types_of_its_own(
    tune: Tune,
) -> None:
    for declared, expected in (
        ([], False),
        ([Relation("lite.Leaf.content_object", "parents.Plant", content_types="default")], True),
        ([Relation("lite.Leaf.content_object", "parents.Plant", content_types="test_lite")], False),
    ):
        tune(relations=declared)
        found = relations.discover()
        assert (LEAF in {each.field for each in found.relations}) is expected
        assert ("lite.Leaf.content_type" in {e.label for e in found.unknown_homes}) is not expected


class TestW013:
    def found(self, monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
        known = relations.discover()
        monkeypatch.setattr(discovery, "_known", [known])
        return {each.obj: each for each in keys.numbered_anew()}

    def test_it_names_the_field_and_the_declaration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # No mark of pytest-django: a query would raise here.
        message = self.found(monkeypatch)[KEY]
        assert message.id == "integrity.W013"
        assert "analytics.Note.content_type" in message.msg
        assert "analytics.Note.content_object" in message.msg
        assert 'Relation("analytics.Note.content_object", "' in message.hint
        assert "content_types=" in message.hint

    def test_it_ends_with_the_declaration(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(
            relations=[
                Relation("analytics.Note.content_object", "auth.User", content_types="default")
            ]
        )
        assert KEY not in self.found(monkeypatch)

    def test_it_is_silent_for_a_key_that_does_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(KEY.remote_field, "on_delete", models.DO_NOTHING)
        assert KEY not in self.found(monkeypatch)

    def test_a_key_of_its_own_is_told_to_keep_one_table(
        self, kinds: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = kinds[4]._meta.get_field("kind")
        key = ContentTypeKeys(kinds, []).unknown(plain, ("default",), ("test_left",))
        assert key is not None
        monkeypatch.setattr(discovery, "_known", [Catalogue((), (key,))])
        [message] = keys.numbered_anew()
        assert message.id == "integrity.W013"
        assert "'test_left' may have content types of its own" in message.msg
        assert "return db != 'test_left'" in str(message.hint)
