"""Every model has one home, whatever a hint says; the log goes where parents live."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from apps.blog.models import Comment, Post
from apps.integrity.relations import discovery
from apps.integrity.routers import AppLabelRouter
from apps.shop.models import Category, Order, Product

if TYPE_CHECKING:
    from django.db.models import Model
    from pytest_django import Settings

HOMES: dict[type[Model], str] = {
    Post: "blog_db",
    Comment: "blog_db",
    Order: "shop_db",
    Product: "shop_db",
    Category: "shop_db",
    User: "default",
}
MODELS = apps.get_models(include_auto_created=True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_a_model_is_read_and_written_in_its_home_and_never_nowhere(model: type[Model]) -> None:
    home = {"blog": "blog_db", "shop": "shop_db"}.get(model._meta.app_label, "default")
    assert AppLabelRouter().db_for_read(model) == home
    assert AppLabelRouter().db_for_write(model) == home


@pytest.mark.parametrize(("model", "home"), HOMES.items())
def test_the_hint_of_a_row_elsewhere_is_not_followed(model: type[Model], home: str) -> None:
    for alias in ("default", "blog_db", "shop_db"):
        elsewhere = Post()
        elsewhere._state.db = alias
        assert router.db_for_read(model, instance=elsewhere) == home
        assert router.db_for_write(model, instance=elsewhere) == home


def test_relations_may_cross_databases() -> None:
    post, user = Post(), User()
    post._state.db, user._state.db = "blog_db", "default"
    assert router.allow_relation(post, user)


@pytest.mark.parametrize("alias", ["default", "blog_db", "shop_db"])
@pytest.mark.parametrize(("model", "home"), HOMES.items())
def test_tables_are_made_in_the_home_only(model: type[Model], home: str, alias: str) -> None:
    assert router.allow_migrate_model(alias, model) is (alias == home)
    assert router.allow_migrate(alias, model._meta.app_label) is (alias == home)


def test_the_deletion_log_goes_where_tracked_parents_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "log_databases", lambda: ("default", "shop_db"))
    allowed = [
        db for db in ("default", "blog_db", "shop_db") if router.allow_migrate(db, "integrity")
    ]
    assert allowed == ["default", "shop_db"]


def test_the_log_of_this_project_is_in_the_database_of_users() -> None:
    allowed = [
        db for db in ("default", "blog_db", "shop_db") if router.allow_migrate(db, "integrity")
    ]
    assert allowed == ["default"]


def test_a_child_database_remembers_its_parents_and_has_no_other_table() -> None:
    assert router.allow_migrate("blog_db", "integrity", model_name="identity")
    assert not router.allow_migrate("blog_db", "integrity", model_name="deletion")


def test_the_routing_is_read_from_the_settings(settings: Settings) -> None:
    settings.DATABASE_ROUTING_RULES = {"blog": "shop_db"}
    assert router.db_for_read(Post) == "shop_db"
    assert router.db_for_read(Order) == "default"


def test_an_unknown_app_label_is_refused_with_the_known_ones(settings: Settings) -> None:
    settings.DATABASE_ROUTING_RULES = {"blogg": "blog_db"}
    with pytest.raises(ImproperlyConfigured, match=r"unknown app 'blogg'; known: .*\bblog\b"):
        router.db_for_read(Post)


def test_apps_may_be_named_as_they_are_installed(settings: Settings) -> None:
    settings.DATABASE_ROUTING_RULES = {"apps.blog": "blog_db", "shop": "blog_db"}
    assert router.db_for_read(Post) == router.db_for_read(Order) == "blog_db"


def test_two_names_of_an_app_may_not_disagree(settings: Settings) -> None:
    settings.DATABASE_ROUTING_RULES = {"apps.blog": "blog_db", "blog": "blog_db"}
    assert router.db_for_read(Post) == "blog_db"
    settings.DATABASE_ROUTING_RULES = {"apps.blog": "blog_db", "blog": "shop_db"}
    with pytest.raises(ImproperlyConfigured, match="keep one of them"):
        router.db_for_read(Post)


def test_without_rules_everything_lives_in_default(settings: Settings) -> None:
    del settings.DATABASE_ROUTING_RULES
    assert router.db_for_read(Post) == "default"


def test_an_unknown_database_is_refused_with_the_known_ones(settings: Settings) -> None:
    settings.DATABASE_ROUTING_RULES = {"blog": "blogdb"}
    with pytest.raises(
        ImproperlyConfigured, match=r"database 'blogdb'; known: blog_db, default, shop_db"
    ):
        router.db_for_write(Post)
