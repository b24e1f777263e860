"""The catalogue, the fields and the receivers follow the settings and the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.conf import settings as project
from django.contrib.auth.models import User
from django.db import models
from django.db.models.signals import post_delete, pre_delete
from django.test import modify_settings, override_settings

from apps.blog.models import Post
from apps.integrity import relations
from apps.integrity.capture import collector
from apps.integrity.capture.collector import AdoptedOnDelete, Guard
from apps.integrity.declared import Relation
from apps.integrity.relations import discovery
from tests.kinds.left import models as left
from tests.kinds.parents.models import Owner, Person, Station

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTHOR: Any = Post._meta.get_field("author")
DECLARED = project.INTEGRITY["relations"]


class Together:
    """Everything lives in one database."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        return "default"

    db_for_write = db_for_read


def labels() -> set[str]:
    return {each.label for each in relations.catalogue().relations}


def is_adopted() -> bool:
    adopted = isinstance(AUTHOR.remote_field.on_delete, AdoptedOnDelete)
    assert (type(AUTHOR) is models.ForeignKey) is not adopted
    return adopted


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = labels()
    yield
    assert labels() == before
    assert is_adopted()
    for signal in (pre_delete, post_delete):
        assert signal.has_listeners(User)


def test_routers_that_a_test_swaps() -> None:
    with override_settings(INTEGRITY={"wakeups": False}, DATABASE_ROUTERS=[Together()]):
        assert labels() == set()
        assert not is_adopted()
        assert AUTHOR.remote_field.on_delete is models.CASCADE
        assert not pre_delete.has_listeners(User)
        assert not post_delete.has_listeners(User)
        assert not [each for each in Station._meta.private_fields if isinstance(each, Guard)]
        assert discovery.targets(Person) == ()
    assert [each for each in Station._meta.private_fields if isinstance(each, Guard)]
    assert len(discovery.targets(Person)) == 2


def test_rules_of_our_own_router() -> None:
    with override_settings(DATABASE_ROUTING_RULES={"blog": "shop_db", "shop": "blog_db"}):
        found = relations.catalogue().relation("blog.Post.author")
        assert found.child_databases == ("shop_db",)
        assert AUTHOR.remote_field.on_delete.relation == found
    assert relations.catalogue().relation("blog.Post.author").child_databases == ("blog_db",)


def test_declared_relations() -> None:
    kept = [each for each in DECLARED if each.on_delete != "PROTECT"]
    name = "left.Kept.station_key"
    with override_settings(INTEGRITY={"wakeups": False, "relations": kept}):
        assert name not in labels()
        guards = [each for each in Station._meta.private_fields if isinstance(each, Guard)]
        assert name not in {each.relation.label for each in guards}
        more = [*kept, Relation("analytics.Event.user_key", "auth.User")]
        with override_settings(INTEGRITY={"wakeups": False, "relations": more}):
            assert "analytics.Event.user_key" in labels()
        assert "analytics.Event.user_key" not in labels()
    assert name in labels()


def test_what_records_the_deletes() -> None:
    """A trigger's parents have receivers as well: `pre_delete` is what notifies the workers."""
    assert pre_delete.has_listeners(User)
    for way in ("trigger", "both", "off"):
        with override_settings(INTEGRITY={**project.INTEGRITY, "capture": {"auth.User": way}}):
            assert pre_delete.has_listeners(User) is (way != "off")
            assert post_delete.has_listeners(User)
            assert pre_delete.has_listeners(Owner)


def test_installed_apps() -> None:
    with modify_settings(INSTALLED_APPS={"remove": ["apps.shop"]}):
        assert "shop.Order.customer" not in labels()
        assert "blog.Post.author" in labels()
        assert is_adopted()


def test_without_this_app_fields_are_as_their_authors_wrote_them() -> None:
    with modify_settings(INSTALLED_APPS={"remove": ["apps.integrity"]}):
        assert labels() == set()
        assert not is_adopted()
        assert not pre_delete.has_listeners(User)


def test_a_model_that_is_made_later() -> None:
    try:

        class Late(models.Model):  # noqa: DJ008
            owner = left.across(Owner)

            class Meta:
                app_label = "left"

        assert "left.Late.owner" in labels()
        late: Any = Late._meta.get_field("owner")
        assert isinstance(late.remote_field.on_delete, AdoptedOnDelete)
    finally:
        apps.all_models["left"].pop("late", None)
        apps.clear_cache()
        discovery.forget()


def test_a_setting_that_cannot_be_used_leaves_the_catalogue_as_it_was() -> None:
    before = relations.catalogue()
    for broken in ({"relations": [Relation("blog.Nothing.key", "auth.User")]}, {"unknown": 1}):
        with override_settings(INTEGRITY=broken):
            assert relations.catalogue() is before
            assert is_adopted()


def test_release_undoes_adopt() -> None:
    found = relations.catalogue()
    collector.release(found)
    assert not is_adopted()
    collector.adopt(found)
