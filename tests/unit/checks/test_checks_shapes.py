# ruff: noqa: DJ008 (nobody looks at these rows)
"""What `manage.py check` says of models that cannot live as they are in several databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import connections, models
from django.db.models.functions import Lower
from django.db.models.signals import pre_delete
from django.test.utils import isolate_apps

from apps.blog.models import Comment, Post
from apps.integrity import relations
from apps.integrity.checks import shapes
from apps.integrity.contrib.admin import join_checks
from apps.integrity.relations import delete_graph, discovery
from apps.shop.models import Order, Product
from tests.kinds.left.models import Box, Group, Note, Picture, Shelf, Tag, Team
from tests.kinds.parents.models import Account, Owner, OwnerProxy, Place, Restaurant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.checks import CheckMessage

    from tests.conftest import Tune

    Check = Callable[..., list[CheckMessage]]
    Ask = Callable[..., list[CheckMessage]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a check as if the project had these models and no others."""

    def run(check: Check, *given: type[models.Model]) -> list[CheckMessage]:
        for module in (shapes, join_checks):
            monkeypatch.setattr(module, "_models", lambda: given)
        return check()

    return run


def other(to: Any, **options: Any) -> Any:
    return models.ForeignKey(to, models.CASCADE, related_name="+", **options)


class TestE007:
    def test_links_that_no_database_can_join(self, ask: Ask) -> None:
        [found] = ask(shapes.linked, Team)
        assert (found.id, found.obj) == ("integrity.E007", Team._meta.get_field("members"))
        assert "left.Team in test_left; left.Team_members in test_left; parents.Owner in def" in (
            found.msg
        )
        assert "team = models.ForeignKey('left.Team', models.CASCADE) and owner = " in found.hint
        assert "models.ForeignKey('parents.Owner', models.CASCADE, db_constraint=F" in found.hint

    def test_a_model_of_its_own_for_the_links_is_named(self, ask: Ask) -> None:
        [found] = ask(shapes.linked, Group)
        assert str(found.hint).startswith("Remove left.Group.members, and read left.Membership ")

    @isolate_apps("tests.kinds.left")
    def test_links_inside_one_database(self, ask: Ask) -> None:
        class Shop(models.Model):
            boxes = models.ManyToManyField(Box, related_name="+")
            friends = models.ManyToManyField("self")

            class Meta:
                app_label = "left"

        assert ask(shapes.linked, Shop) == []


@isolate_apps("tests.kinds.left")
def test_a_model_that_is_not_there_is_left_to_django(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Typo(models.Model):
        key = models.ForeignKey("left.Nothing", models.CASCADE)
        many = models.ManyToManyField("left.Nothing")
        generic = GenericRelation("left.Nothing")

        class Meta:
            app_label = "left"
            ordering = ("key__name",)

    assert [found for check in shapes.CHECKS for found in ask(check, Typo)] == []
    monkeypatch.setattr(discovery.apps, "get_models", lambda **_: [Typo])
    assert [each for each in relations.discover().relations if each.field.is_relation] == []
    assert "fields.E300" in [each.id for each in Typo.check()]


class TestE008:
    @isolate_apps("tests.kinds.left")
    def test_a_model_and_its_base_in_two_databases(self, ask: Ask) -> None:
        class Cafe(Restaurant):
            class Meta:
                app_label = "left"

        [found] = ask(shapes.inherited, Cafe)
        assert (found.id, found.obj) == ("integrity.E008", Cafe)
        assert "left.Cafe inherits from parents.Restaurant" in found.msg
        assert "restaurant = models.OneToOneField('parents.Restaurant', " in found.hint

    def test_a_model_and_its_base_in_one(self, ask: Ask) -> None:
        assert ask(shapes.inherited, Restaurant, Place) == []


class TestE009:
    @isolate_apps("tests.kinds.parents")
    def test_a_generic_relation_into_another_database(self, ask: Ask) -> None:
        class Film(models.Model):
            tags = GenericRelation(Tag)

            class Meta:
                app_label = "parents"

        [found] = ask(shapes.reached_generically, Film)
        assert found.id == "integrity.E009"
        assert "parents.Film.tags" in found.msg
        assert found.hint == (
            'Remove parents.Film.tags, and declare the relation: INTEGRITY = {"relations":'
            ' [Relation("left.Tag.content_object", "parents.Film", content_types="default")]}'
        )

    def test_one_inside_its_database(self, ask: Ask) -> None:
        assert ask(shapes.reached_generically, Picture) == []


class TestW003:
    def test_a_pointer_that_nothing_follows(self, ask: Ask) -> None:
        [found] = ask(shapes.pointing_anywhere, Tag)
        assert found.id == "integrity.W003"
        assert "left.Tag.content_object may point to " in found.msg
        assert " more, in other databases than 'test_left'" in found.msg
        assert 'Relation("left.Tag.content_object", "auth.User", content_types=' in found.hint

    def test_one_that_is_declared(self, ask: Ask) -> None:
        assert ask(shapes.pointing_anywhere, Note) == []

    def test_one_beside_all_parents(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        author = relations.catalogue().relation("blog.Post.author")
        monkeypatch.setattr(discovery, "_known", [relations.Catalogue((author,))])
        with isolate_apps("tests.kinds.parents"):

            class Near(models.Model):
                content_type = models.ForeignKey(ContentType, models.CASCADE, related_name="+")
                object_id = models.BigIntegerField()
                content_object = GenericForeignKey()

                class Meta:
                    app_label = "parents"

        assert ask(shapes.pointing_anywhere, Near) == []
        assert len(ask(shapes.pointing_anywhere, Tag)) == 1


class TestE010:
    @pytest.mark.parametrize(
        "ordering",
        [["author__username"], ["-author__username"], [models.F("author__username").desc()]],
    )
    def test_an_order_by_what_is_elsewhere(
        self, ask: Ask, ordering: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Post._meta, "ordering", ordering)
        [found] = ask(join_checks.sorted_elsewhere, Post)
        assert (found.id, found.obj) == ("integrity.E010", Post)
        assert "blog.Post.author leads from 'blog_db' to 'default'" in found.msg
        assert "'author__username'" in found.msg

    @pytest.mark.parametrize(
        "ordering", [["author"], ["-author_id"], ["?"], [Lower("title")], None]
    )
    def test_an_order_by_what_is_here(
        self, ask: Ask, ordering: list[Any] | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Post._meta, "ordering", ordering)
        assert ask(join_checks.sorted_elsewhere, Post) == []


class TestW006:
    @isolate_apps("tests.kinds.left")
    def test_a_key_and_links_that_could_have_a_constraint(self, ask: Ask) -> None:
        class Lid(models.Model):
            box = other(Box, db_constraint=False)
            boxes = models.ManyToManyField(Box, db_constraint=False, related_name="+")

            class Meta:
                app_label = "left"

        key, links = ask(shapes.unconstrained, Lid)
        assert {key.id, links.id} == {"integrity.W006"}
        assert "left.Lid.box has db_constraint=False, but both its ends are in 'test_left'" in (
            key.msg
        )
        assert key.hint == (
            "In left.Lid.box: ForeignKey(...) without db_constraint=False. If its ends should be"
            " in different databases, no router says so yet."
        )
        assert "left.Lid.boxes: ManyToManyField(...)" in links.hint

    @isolate_apps("tests.kinds.left")
    def test_those_that_cannot_or_need_not(self, ask: Ask) -> None:
        class Fine(models.Model):
            elsewhere = other(Owner, db_constraint=False)
            by_proxy = other(OwnerProxy, db_constraint=False)
            many = models.ManyToManyField(Owner, db_constraint=False, related_name="+")
            constrained = other(Box)

            class Meta:
                app_label = "left"

        class View(models.Model):
            box = other(Box, db_constraint=False)

            class Meta:
                app_label = "left"
                managed = False

        class OfView(models.Model):
            view = other(View, db_constraint=False)

            class Meta:
                app_label = "left"

        assert ask(shapes.unconstrained, Fine, View, OfView, Post, Comment, Order, Product) == []

    @isolate_apps("tests.kinds.left")
    def test_with_one_database_nothing_can_be_told(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Lid(models.Model):
            box = other(Box, db_constraint=False)

            class Meta:
                app_label = "left"

        assert len(ask(shapes.unconstrained, Lid)) == 1
        monkeypatch.setattr(connections, "settings", {"default": connections.settings["default"]})
        assert ask(shapes.unconstrained, Lid) == []


class TestW008:
    """With a stand-in for what Django has since 6.1."""

    @pytest.fixture(autouse=True)
    def by_database(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
        stand_in = object()
        monkeypatch.setattr(models, "DB_CASCADE", stand_in, raising=False)
        # No later test may get a graph or a plan that was built with the stand-in.
        monkeypatch.setattr(delete_graph, "_built", [])
        yield stand_in
        for relation in relations.catalogue().relations:
            relation.derived.pop("cascade", None)

    def put(self, monkeypatch: pytest.MonkeyPatch, model: Any, name: str, value: object) -> None:
        monkeypatch.setattr(model._meta.get_field(name).remote_field, "on_delete", value)

    def test_nothing_where_django_does_it(self) -> None:
        assert self.told() == []

    def test_a_parent_that_goes_without_a_signal(
        self, by_database: object, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.put(monkeypatch, Account, "tenant", by_database)
        [found] = self.told()
        assert (found.id, found.obj) == ("integrity.W008", Account._meta.get_field("tenant"))
        assert "parents.Account.tenant has on_delete=DB_CASCADE" in found.msg
        assert "not recorded" in found.msg
        assert "on_delete=models.CASCADE" in found.hint
        tune(capture={"parents.Account": "both"})  # a trigger records it
        assert self.told() == []

    def test_rows_below_a_child_are_counted(
        self, by_database: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.put(monkeypatch, Box, "shelf", by_database)
        assert self.told() == []

    def test_rows_below_what_django_deletes(
        self, by_database: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.put(monkeypatch, Box, "shelf", by_database)
        pre_delete.connect(self.hear, sender=Shelf)
        try:
            [found] = self.told()
        finally:
            pre_delete.disconnect(self.hear, sender=Shelf)
        assert found.obj == Box._meta.get_field("shelf")
        assert "no receipt counts them (left.Shelf has delete signal receivers)" in found.msg

    @staticmethod
    def hear(**_: object) -> None:
        """Make Django load the rows."""

    @staticmethod
    def told() -> list[CheckMessage]:
        """What is said of models other than those of tests.kinds.by_database."""
        own = "tests.kinds.by_database"
        return [told for told in shapes.unsignalled() if told.obj.model.__module__ != own]
