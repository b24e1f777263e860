"""What `manage.py check` says of the settings."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as django_settings
from django.db import connections

from apps.integrity import relations, routing
from apps.integrity.checks import settings as checks

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
def test_e002_a_name_that_the_project_does_not_have_is_an_error_that_lists_the_known(
    tune: Tune, setting: str, value: str, name: str, known: str
) -> None:
    tune(**{setting: {known: value}})
    assert checks.named() == []
    tune(**{setting: {known: value, name: value}})
    (found,) = checks.named()
    assert (found.id, found.obj) == ("integrity.E002", name)
    assert repr(name) in found.msg
    assert known in str(found.hint)


def test_e002_one_value_for_all_names_nothing(tune: Tune) -> None:
    tune(scan_policy="repair", capture="both")
    assert checks.named() == []


# Two aliases for one database


def put(monkeypatch: pytest.MonkeyPatch, alias: str, **values: object) -> None:
    made = {**connections[alias].settings_dict, **values}
    monkeypatch.setattr(connections[alias], "settings_dict", made)


@pytest.fixture
def one_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for alias in ("default", "blog_db"):
        put(monkeypatch, alias, NAME="all", HOST="db.example", PORT="")


class TestW007:
    def test_three_databases_are_three(self) -> None:
        assert checks.shared() == []

    def test_two_aliases_for_one_are_named(
        self, one_database: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(monkeypatch, "blog_db", NAME="all", HOST="db.example", PORT=5432)
        [found] = checks.shared()
        assert (found.id, found.obj) == ("integrity.W007", "blog_db")
        assert "DATABASES['default'] and DATABASES['blog_db'] are one database ('all')" in found.msg
        assert "blog.Comment.author, blog.Post.author" in found.msg
        assert "return 'default' where they say 'blog_db'" in str(found.hint)

    @pytest.mark.parametrize(
        "values",
        [
            {"HOST": "other.example"},
            {"PORT": "5433"},
            {"NAME": "blog"},
            {"NAME": ""},  # a service file says which
            {"OPTIONS": {"options": "-c search_path=blog"}},
        ],
    )
    def test_what_differs_is_another(
        self, one_database: None, monkeypatch: pytest.MonkeyPatch, values: dict[str, object]
    ) -> None:
        put(monkeypatch, "blog_db", **values)
        assert checks.shared() == []

    def test_databases_in_memory_are_never_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        put(monkeypatch, "test_lite", NAME=":memory:")
        assert checks.place("test_lite") is None

    def test_a_file_is_one_by_whatever_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        put(monkeypatch, "test_lite", NAME="some/../file.sqlite3")
        by_detour = checks.place("test_lite")
        put(monkeypatch, "test_lite", NAME="file.sqlite3")
        assert by_detour == checks.place("test_lite") is not None


# Celery's settings. A project that has one of them, and nothing else.


@pytest.fixture
def project(settings: SettingsWrapper, tune: Tune) -> SettingsWrapper:
    for name in dir(django_settings):
        if name.startswith("CELERY_"):
            delattr(settings, name)
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if "beat" not in each]
    settings.CELERY_TIMEZONE = "UTC"
    tune(wakeups=True)
    return settings


def told() -> list[str | None]:
    return [each.id for check in (checks.timed, checks.queued, checks.brokered) for each in check()]


class TestCelery:
    def test_without_any_of_its_settings_nothing_can_be_told(
        self, project: SettingsWrapper
    ) -> None:
        assert told() == ["integrity.W009", "integrity.W011"]
        del project.CELERY_TIMEZONE
        assert told() == []

    def test_nor_without_celery(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert told() == []

    def test_a_project_that_calls_tasks_in_place_has_no_workers(
        self, project: SettingsWrapper
    ) -> None:
        project.CELERY_TASK_ALWAYS_EAGER = True
        assert told() == []

    def test_a_project_without_relations_needs_none(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relations, "catalogue", lambda: relations.Catalogue(()))
        assert told() == []

    def test_the_sample_project_s_are_complete(self, settings: SettingsWrapper, tune: Tune) -> None:
        tune(wakeups=True)
        settings.CELERY_TASK_CREATE_MISSING_QUEUES = True  # the tests have more databases
        assert told() == []


class TestW009:
    def test_a_timetable_without_ours(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULE = {"tidy": {"task": "proj.tidy", "schedule": 60}}
        [found] = checks.timed()
        assert found.id == "integrity.W009"
        assert "no entry for integrity.dispatch, integrity.maintain, integrity.scan" in found.msg
        assert "CELERY_BEAT_SCHEDULE = {**CELERY_BEAT_SCHEDULE, **BEAT_SCHEDULE}" in str(found.hint)

    def test_no_timetable_at_all(self, project: SettingsWrapper) -> None:
        [found] = checks.timed()
        assert "CELERY_BEAT_SCHEDULE = {**BEAT_SCHEDULE}" in str(found.hint)

    def test_one_entry_that_is_missing(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULE = dict(routing.BEAT_SCHEDULE)
        assert checks.timed() == []
        del project.CELERY_BEAT_SCHEDULE["integrity.maintain"]
        [found] = checks.timed()
        assert "no entry for integrity.maintain:" in found.msg

    def test_entries_under_other_names(self, project: SettingsWrapper) -> None:
        entries = enumerate(routing.BEAT_SCHEDULE.values())
        project.CELERY_BEAT_SCHEDULE = {f"mine {number}": each for number, each in entries}
        assert checks.timed() == []

    def test_a_scheduler_with_a_table_may_have_them_there(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
        assert checks.timed() == []
        project.CELERY_BEAT_SCHEDULER = "celery.beat:PersistentScheduler"
        assert len(checks.timed()) == 1
        project.INSTALLED_APPS = [*project.INSTALLED_APPS, "django_celery_beat"]
        assert checks.timed() == []


class TestW010:
    def test_queues_that_celery_makes_when_they_are_needed(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_QUEUES = []
        assert checks.queued() == []

    def test_a_fixed_list_without_ours(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_CREATE_MISSING_QUEUES = False
        project.CELERY_TASK_QUEUES = {"integrity": {}, "integrity.blog_db": {}}
        [found] = checks.queued()
        assert found.id == "integrity.W010"
        lacks = found.msg.partition("lacks ")[2].partition(", and")[0].split(", ")
        assert "integrity.shop_db" in lacks
        assert not {"integrity", "integrity.blog_db"} & set(lacks)
        hint = str(found.hint)
        assert "CELERY_TASK_QUEUES = [*CELERY_TASK_QUEUES, Queue(" in hint
        assert all(f"Queue({name!r})" in hint for name in lacks)

    def test_no_list_means_one_queue(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_CREATE_MISSING_QUEUES = False
        project.CELERY_TASK_DEFAULT_QUEUE = "integrity"
        [found] = checks.queued()
        assert "lacks integrity, " not in found.msg
        assert "integrity.blog_db" in found.msg
        assert "CELERY_TASK_QUEUES = [Queue(" in str(found.hint)

    def test_a_list_with_ours(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from workers.queues import task_queues

        project.CELERY_TASK_CREATE_MISSING_QUEUES = False
        project.CELERY_TASK_QUEUES = task_queues(relations.catalogue().child_databases)
        assert checks.queued() == []


class TestW011:
    def test_no_broker_is_named(self, project: SettingsWrapper) -> None:
        [found] = checks.brokered()
        assert (found.id, found.obj) == ("integrity.W011", "CELERY_BROKER_URL")
        assert "amqp://localhost" in found.msg
        assert "CELERY_BROKER_URL = " in str(found.hint)

    @pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL", "BROKER_URL"])
    def test_one_is_named(self, project: SettingsWrapper, name: str) -> None:
        setattr(project, name, "redis://broker.example/0")
        assert checks.brokered() == []

    def test_nobody_is_woken(self, project: SettingsWrapper, tune: Tune) -> None:
        tune(wakeups=False)
        assert checks.brokered() == []
