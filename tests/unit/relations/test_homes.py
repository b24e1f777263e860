"""What is asked of routers: no instance is made, and one that raises is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models, router
from django.db.models.signals import post_init, pre_init
from django.test.utils import isolate_apps

from apps.blog.models import Post
from apps.integrity import relations
from apps.integrity.checks import keys, shapes
from apps.integrity.checks.doctor import examination
from apps.integrity.exceptions import RouterFailed
from apps.integrity.relations import crossing
from apps.integrity.relations.homes import hint
from tests.kinds.left import models as left
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apps.integrity.relations import Relation

AUTHOR = relations.catalogue().relation("blog.Post.author")


def forbidden(*_: object, **__: object) -> Any:
    raise AssertionError("code of a model ran")


class Answering:
    def db_for_read(self, model: Any, **_: Any) -> str | None:
        homes = {"left": "test_left", "lite": "test_lite", "blog": "blog_db"}
        return homes.get(model._meta.app_label, "default")

    db_for_write = db_for_read

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        return True


@pytest.fixture
def ticket() -> Iterator[Relation]:
    """A relation whose models run code when an instance is made."""
    with isolate_apps("tests.kinds.left"):

        class Ticket(models.Model):  # noqa: DJ008
            owner = left.across(Owner, default=forbidden)
            text = models.TextField(default=forbidden)
            __init__ = forbidden  # type: ignore[assignment]  # for the test's sake

            class Meta:
                app_label = "left"

        field: Any = Ticket._meta.get_field("owner")
        relation = crossing.relation_of(field)
        assert relation is not None
        yield relation


class TestNoInstance:
    def test_a_check_makes_none(self, ticket: Relation) -> None:
        assert [each.id for each in keys.problems(ticket)] == []

    def test_the_doctor_makes_none(self, ticket: Relation) -> None:
        assert examination._routes(ticket, "test_left").ok

    @pytest.mark.parametrize("signal", [pre_init, post_init])
    def test_no_signal_is_sent(self, ticket: Relation, signal: Any) -> None:
        signal.connect(forbidden)
        try:
            assert [each.id for each in keys.problems(ticket)] == []
            assert examination._routes(ticket, "test_left").ok
        finally:
            signal.disconnect(forbidden)

    def test_a_hint_is_a_row_of_its_database_and_asks_none_for_its_values(self) -> None:
        # No mark of pytest-django: a query would raise here.
        row = hint(Post, "blog_db")
        assert isinstance(row, Post)
        assert (row._state.db, row._state.adding) == ("blog_db", False)
        assert (row.pk, row.title, row.author_id) == (None, None, None)


class ReadsAField(Answering):
    def db_for_read(self, model: Any, instance: Any = None, **_: Any) -> str | None:
        if instance is not None:
            instance.title.lower()
        return super().db_for_read(model)

    def allow_relation(self, one: Any, other: Any, **_: Any) -> bool:
        return bool(one.username.lower() and other.title.lower())


class LooksItUp(Answering):
    def db_for_read(self, model: Any, instance: Any = None, **_: Any) -> str | None:
        shard = {1: None}[instance.pk] if instance is not None else None
        return shard or super().db_for_read(model)

    def allow_relation(self, one: Any, other: Any, **_: Any) -> bool:
        return {1: True}[one.pk]


class Follows(Answering):
    def db_for_read(self, model: Any, instance: Any = None, **_: Any) -> str | None:
        if isinstance(instance, Post):
            return str(instance.author._state.db)
        return super().db_for_read(model)


@pytest.mark.parametrize("kind", [ReadsAField, LooksItUp, Follows])
def test_a_router_that_wants_values_of_a_row_stops_neither_check_nor_doctor(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(router, "routers", [kind()])
    assert [each.id for each in keys.problems(AUTHOR)] == []
    assert examination._routes(AUTHOR, "blog_db").ok


class Writes(Answering):
    def db_for_write(self, model: Any, **_: Any) -> str | None:
        raise KeyError(model._meta.app_label)


class Shards(Answering):
    def databases_for(self, model: Any) -> Any:
        raise ZeroDivisionError("no shard")


class Migrates(Answering):
    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool:
        raise NotImplementedError(app_label)


class TestARouterThatRaises:
    @pytest.mark.parametrize(
        ("kind", "method", "cause"),
        [
            (Writes, "db_for_write", "KeyError"),
            (Shards, "databases_for", "ZeroDivisionError"),
            (Migrates, "allow_migrate", "NotImplementedError"),
        ],
    )
    def test_is_named_at_the_start(
        self, monkeypatch: pytest.MonkeyPatch, kind: Any, method: str, cause: str
    ) -> None:
        monkeypatch.setattr(router, "routers", [kind()])
        with pytest.raises(ImproperlyConfigured) as caught:
            relations.discover()
        assert isinstance(caught.value, RouterFailed)
        text = str(caught.value)
        assert f"{kind.__module__}.{kind.__qualname__}.{method}() raises {cause} for " in text
        assert caught.value.model in {each._meta.label for each in apps.get_models()}

    def test_is_an_error_of_check(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Reads(Answering):
            def db_for_read(self, model: Any, **_: Any) -> str | None:
                raise LookupError("where?")

        monkeypatch.setattr(router, "routers", [Reads()])
        [found] = keys.CHECKS[0]()
        assert (found.id, found.obj) == ("integrity.E016", f"{__name__}.{Reads.__qualname__}")
        assert "db_for_read() raises LookupError for " in found.msg
        monkeypatch.setattr(router, "routers", [Writes()])
        assert {each.id for check in shapes.CHECKS for each in check()} == {"integrity.E016"}

    def test_is_a_finding_of_the_doctor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Reads(Answering):
            def db_for_read(self, model: Any, **_: Any) -> str | None:
                raise LookupError("where?")

        monkeypatch.setattr(router, "routers", [Reads()])
        found = examination._routes(AUTHOR, "blog_db")
        assert not found.ok
        assert "db_for_read() raises LookupError for auth.User (where?)" in found.detail

    def test_what_a_router_says_itself_of_the_settings_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Configured(Answering):
            def db_for_write(self, model: Any, **_: Any) -> str | None:
                raise ImproperlyConfigured("RULES names no database")

        monkeypatch.setattr(router, "routers", [Configured()])
        with pytest.raises(ImproperlyConfigured, match=r"^RULES names no database$"):
            relations.discover()


class TestSomeApps:
    """`manage.py check blog` is about the models of blog."""

    @pytest.fixture(autouse=True)
    def constrained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for label in ("blog.Post.author", "shop.Order.customer", "left.Shelf.root"):
            field = relations.catalogue().relation(label).field
            monkeypatch.setattr(field, "db_constraint", True)

    @pytest.mark.parametrize("app", ["blog", "shop", "left"])
    def test_only_theirs_are_reported(self, app: str) -> None:
        found = run_checks(app_configs=[apps.get_app_config(app)])
        ours = [each for each in found if each.id == "integrity.E003"]
        assert [each.obj.model._meta.app_label for each in ours] == [app]

    def test_all_are_without_a_name(self) -> None:
        found = [each.obj for each in run_checks(databases=[]) if each.id == "integrity.E003"]
        assert {each.model._meta.app_label for each in found} == {"blog", "shop", "left"}

    def test_an_app_without_a_relation_has_none(self) -> None:
        found = run_checks(app_configs=[apps.get_app_config("sessions")])
        assert not [each for each in found if isinstance(each.obj, models.Field)]
