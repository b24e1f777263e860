"""What `manage.py check` says of one relation, and the page that explains each id."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import Tags, registry
from django.db import models

from apps.blog.models import Post
from apps.integrity import checks, relations
from apps.integrity.checks import (
    celery,
    celery_broker,
    celery_worker,
    databases,
    exposure,
    files,
    keys,
    natural,
    round_trips,
    schemas,
    settings,
    shapes,
    soft_deletes,
    waits,
)
from apps.integrity.contrib import admin as contrib_admin
from apps.integrity.contrib import unconstrained
from apps.integrity.contrib.admin import join_checks, permission_checks
from apps.integrity.contrib.unconstrained import left
from apps.integrity.relations import policies
from tests import snippets
from tests.kinds.coded import fields
from tests.kinds.left.models import WordUse
from tests.kinds.parents.models import Person, Word

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from tests.conftest import Tune

PATH = snippets.ROOT / "docs" / "reference" / "checks.md"
PAGE = PATH.read_text()
PLAIN = (
    *(*keys.CHECKS, *natural.CHECKS, *round_trips.CHECKS, *shapes.CHECKS),
    *settings.CHECKS,
    *(*celery.CHECKS, *celery_broker.CHECKS, *celery_worker.CHECKS),
    *(*waits.CHECKS, *schemas.CHECKS, *waits.DEPLOYED),
    *(*soft_deletes.CHECKS, *files.CHECKS),
    *(*exposure.DEPLOYED, *join_checks.CHECKS, *permission_checks.DEPLOYED),
)
FOLDERS = [Path(each.__file__).parent for each in (checks, join_checks, left)]
CODE = "".join(path.read_text() for folder in FOLDERS for path in folder.glob("*.py"))
AUTHOR = relations.catalogue().relation("blog.Post.author")
OF_WORDS = relations.Catalogue(
    tuple(each for each in relations.catalogue().relations if each.child is WordUse)
)


class TestThePage:
    known = re.findall(r'id="(integrity\.[EW]\d{3})"', CODE)

    def test_no_id_is_given_twice(self) -> None:
        assert not {name for name, times in Counter(self.known).items() if times > 1}
        assert self.known

    def test_each_id_has_a_row_and_a_section_with_its_anchor_and_nothing_else_has(self) -> None:
        row, section = r"^\| \[`(.+)`\]\(#(.+)\) \|", r'^<a id="(.+)"></a>\n### (.+)$'
        rows, sections = (re.findall(each, PAGE, re.MULTILINE) for each in (row, section))
        # Headings get their anchors from code hosts and from Sphinx without the dots.
        assert rows == [(each, each.replace(".", "").lower()) for each in sorted(self.known)]
        assert sections == [(each, each) for each in sorted(self.known)]

    def test_what_it_prints_can_be_pasted(self) -> None:
        shown = snippets.blocks(PATH, "python")
        assert shown
        for each in shown:
            ast.parse(each.text)


class TestRegistered:
    def test_each_check_is_and_only_those_that_query_wait_for_a_database(self) -> None:
        ours = {
            each: set(each.tags)
            for each in registry.registry.get_checks(include_deployment_checks=True)
            if each.__module__.startswith(
                (checks.__name__, contrib_admin.__name__, unconstrained.__name__)
            )
        }
        assert ours == {
            **{each: set() for each in PLAIN},
            **{each: {Tags.database} for each in (*databases.CHECKS, *left.CHECKS)},
        }

    def test_they_query_nothing_without_a_database(self) -> None:
        # No mark of pytest-django: a query would raise here.
        for each in PLAIN:
            each()
        for asking in (*databases.CHECKS, *left.CHECKS):
            assert asking(databases=None) == []


class Answering:
    """A router that knows where each model lives, and allows every relation."""

    def db_for_read(self, model, **_hints):
        return "blog_db" if model is Post else "default"

    db_for_write = db_for_read

    def allow_relation(self, _one, _other, **_hints):
        return True


class Silent(Answering):
    def db_for_read(self, model, **_hints):
        return "blog_db" if model is Post else None


class Denying(Answering):
    def allow_relation(self, _one, _other, **_hints):
        return False


class Following(Answering):
    def db_for_read(self, model, instance=None, **_hints):
        return instance._state.db if instance else super().db_for_read(model)


class Replicated(Answering):
    """Reads from replicas, of which each end has its own."""

    def db_for_read(self, model, **_hints):
        return "test_left" if model is Post else "test_right"


def ids() -> list[str | None]:
    return [each.id for each in keys.problems(AUTHOR)]


class TestOneRelation:
    def test_the_sample_project_has_no_problems(self) -> None:
        assert ids() == []

    def test_e003_a_constraint_across_databases(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(AUTHOR.field, "db_constraint", True)
        [found] = keys.problems(AUTHOR)
        assert (found.id, found.obj) == ("integrity.E003", AUTHOR.field)
        assert "db_constraint=False" in str(found.hint)

    def test_e004_a_router_that_answers_none(self, settings: SettingsWrapper) -> None:
        settings.DATABASE_ROUTERS = [Answering()]
        assert keys.unanswered() == []
        settings.DATABASE_ROUTERS = [Silent()]
        [found] = [each for each in keys.unanswered() if each.obj is User]
        assert found.id == "integrity.E004"
        assert "Every router returns None for db_for_read(auth.User)" in found.msg
        assert AUTHOR.label in found.msg
        assert "return 'default'" in str(found.hint)

    def test_e005_a_router_that_denies_the_relation(self, settings: SettingsWrapper) -> None:
        settings.DATABASE_ROUTERS = [Denying()]
        assert ids() == ["integrity.E005"]

    def test_e006_a_router_that_follows_the_instance(self, settings: SettingsWrapper) -> None:
        settings.DATABASE_ROUTERS = [Following()]
        forward, backward = keys.problems(AUTHOR)
        assert {forward.id, backward.id} == {"integrity.E006"}
        assert "db_for_read(auth.User, instance=<blog.Post of 'blog_db'>) is 'blog_db'" in (
            forward.msg
        )
        assert "if model._meta.label == 'auth.User': return 'default'" in str(forward.hint)
        assert "db_for_read(blog.Post, instance=<auth.User of 'default'>) is 'default'" in (
            backward.msg
        )

    def test_e006_a_replica_follows_nothing(self, settings: SettingsWrapper) -> None:
        settings.DATABASE_ROUTERS = [Replicated()]
        assert ids() == []

    @pytest.mark.parametrize("policy", ["CASCADE", "SET_NULL", "SET_DEFAULT"])
    def test_e011_a_policy_of_the_database(
        self, policy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A stand-in for what Django has since 6.1.
        monkeypatch.setattr(models, f"DB_{policy}", by_database := object(), raising=False)
        assert ids() == []
        remote = SimpleNamespace(on_delete=by_database)
        monkeypatch.setattr(AUTHOR.field.remote_field, "on_delete", remote.on_delete)
        changed = dataclasses.replace(AUTHOR, policy=policies.policy_of(AUTHOR.field))
        [found] = keys.problems(changed)
        assert found.id == "integrity.E011"
        assert f"on_delete=DB_{policy}" in found.msg
        assert f"on_delete=models.{policy})" in str(found.hint)

    def test_w001_a_key_without_an_index(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(relations.Relation, "indexed", False)
        assert ids() == ["integrity.W001"]


class TestE022:
    """A key that may be too long for the log, by its field."""

    def test_those_of_the_test_project_fit(self) -> None:
        assert keys.too_long() == []

    @pytest.mark.parametrize(
        ("field", "told"),
        [
            (models.CharField(max_length=255), ""),
            (models.CharField(max_length=256), "CharField(..., max_length=255)"),
            (models.CharField(), "CharField(..., max_length=255)"),
            (models.SlugField(max_length=300), "SlugField(..., max_length=255)"),
            (models.URLField(max_length=200), ""),
            (models.TextField(), "CharField(..., max_length=255)"),
            (models.TextField(max_length=255), ""),
            (models.BinaryField(max_length=189), ""),
            (models.BinaryField(max_length=190), "BinaryField(..., max_length=189)"),
            (models.BinaryField(), "BinaryField(..., max_length=189)"),
            (models.JSONField(), "CharField(..., max_length=255)"),
            (models.DecimalField(max_digits=20, decimal_places=2), ""),
            (models.DecimalField(max_digits=253, decimal_places=2), "CharField(..., max_length=2"),
            (models.BigAutoField(), ""),
            (models.UUIDField(), ""),
            (models.DateTimeField(), ""),
            (fields.CharUUIDField(), ""),
        ],
    )
    def test_by_field(
        self, field: models.Field[Any, Any], told: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        field.set_attributes_from_name("name")
        field.model = Word
        monkeypatch.setattr(keys, "primary_key", {Word: field}.get)
        monkeypatch.setattr(keys.relations, "catalogue", lambda: OF_WORDS)
        found = keys.too_long()
        if told:
            [error] = found
            assert (error.id, error.obj) == ("integrity.E022", field)
            assert f"parents.Word.name ({type(field).__name__}) may have more" in error.msg
            assert f"In parents.Word: name = {told}" in str(error.hint)
        else:
            assert found == []

    def test_a_key_of_several_relations_is_told_once_and_only_if_it_is_recorded(
        self, monkeypatch: pytest.MonkeyPatch, tune: Tune
    ) -> None:
        for model, name in ((Word, "text"), (Person, "code")):
            monkeypatch.setattr(model._meta.get_field(name), "max_length", None)
        assert {each.obj for each in keys.too_long()} == {
            Word._meta.get_field("text"),
            Person._meta.get_field("code"),
        }
        tune(capture={"parents.Word": "off"})
        assert [each.obj.name for each in keys.too_long()] == ["code"]


@pytest.mark.parametrize(("count", "told"), [(1, "a"), (3, "a, b, c"), (5, "a, b, c, 2 more")])
def test_a_message_names_the_first_of_many(count: int, told: str) -> None:
    assert keys.some("abcde"[:count]) == told
