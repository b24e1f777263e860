"""What `manage.py check` says of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.blog.models import Post
from apps.integrity import checks, relations

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from tests.conftest import Tune


@pytest.mark.parametrize(
    ("setting", "value", "name", "known"),
    [
        ("scan_policy", "repair", "blog.Post.writer", "blog.Post.author"),
        ("capture", "both", "auth.Usr", "auth.User"),
    ],
)
def test_a_name_that_the_project_does_not_have_is_an_error_that_lists_the_known(
    tune: Tune, setting: str, value: str, name: str, known: str
) -> None:
    tune(**{setting: {known: value}})
    assert checks.named() == []
    tune(**{setting: {known: value, name: value}})
    (found,) = checks.named()
    assert (found.id, found.obj) == ("integrity.E002", name)
    assert repr(name) in found.msg
    assert known in str(found.hint)


def test_one_value_for_all_names_nothing(tune: Tune) -> None:
    tune(scan_policy="repair", capture="both")
    assert checks.named() == []


AUTHOR = relations.catalogue().relation("blog.Post.author")


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


def ids() -> list[str | None]:
    return [each.id for each in checks.problems(AUTHOR)]


def test_the_sample_project_has_no_problems() -> None:
    assert ids() == []


def test_e003_a_constraint_across_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AUTHOR.field, "db_constraint", True)
    [found] = checks.problems(AUTHOR)
    assert (found.id, found.obj) == ("integrity.E003", AUTHOR.field)
    assert "db_constraint=False" in str(found.hint)


def test_e004_a_router_that_answers_none(settings: SettingsWrapper) -> None:
    settings.DATABASE_ROUTERS = [Answering()]
    assert ids() == []
    settings.DATABASE_ROUTERS = [Silent()]
    [found] = checks.problems(AUTHOR)
    assert found.id == "integrity.E004"
    assert "db_for_read(auth.User) is None" in found.msg
    assert "return 'default'" in str(found.hint)


def test_e005_a_router_that_denies_the_relation(settings: SettingsWrapper) -> None:
    settings.DATABASE_ROUTERS = [Denying()]
    assert ids() == ["integrity.E005"]


def test_w001_a_key_without_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations.Relation, "indexed", False)
    assert ids() == ["integrity.W001"]


@pytest.mark.django_db(databases=["default"])
def test_w002_a_parent_s_database_without_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.logged(["default"]) == []
    monkeypatch.setattr(checks.Deletion._meta, "db_table", "nowhere")
    assert checks.logged(None) == []
    [found] = checks.logged(["default"])
    assert (found.id, found.obj) == ("integrity.W002", "default")
    assert "'nowhere'" in found.msg
