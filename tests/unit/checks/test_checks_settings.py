"""What `manage.py check` says of the settings."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from celery import Celery
from django.conf import settings as django_settings
from django.core.checks import messages
from django.db import connections
from kombu import Exchange, Queue

from apps.integrity import relations, routing
from apps.integrity.checks import celery, celery_options, celery_worker, waits
from apps.integrity.checks import settings as checks
from apps.integrity.queues.celery_worker import install
from apps.integrity.relations import discovery

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
    assert str(found.hint).startswith(f"Did you mean {known!r}? Known: ")


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


# Celery's settings. A project that has one of them, and nothing else.


@pytest.fixture
def project(
    settings: SettingsWrapper, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> SettingsWrapper:
    monkeypatch.setattr(celery_options, "project_app", lambda: None)  # that of the sample project
    for name in dir(django_settings):
        if name.startswith("CELERY_"):
            delattr(settings, name)
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if "beat" not in each]
    settings.CELERY_TIMEZONE = "UTC"
    tune(wakeups=True)
    return settings


def told() -> list[str | None]:
    asked = (checks.timed, checks.queued, checks.brokered, *celery.CHECKS)
    return [each.id for check in asked for each in check()]


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

    def test_a_developer_s_project_that_calls_tasks_in_place_has_no_workers(
        self, project: SettingsWrapper
    ) -> None:
        project.CELERY_TASK_ALWAYS_EAGER = project.DEBUG = True
        assert told() == []

    def test_a_celery_app_tells_what_the_settings_do_not(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del project.CELERY_TIMEZONE
        app = Celery("proj", broker="redis://", set_as_current=False)
        app.conf.update(
            beat_schedule=routing.BEAT_SCHEDULE,
            task_annotations={"integrity.cascade": {"acks_late": False}},
        )
        monkeypatch.setattr(celery_options, "project_app", lambda: app)
        assert told() == ["integrity.W015"]

    def test_an_app_that_celery_made_up_tells_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert celery_options.project_app().main == "workers"
        nobodys = SimpleNamespace(current_app=Celery("default", set_as_current=False))
        monkeypatch.setitem(sys.modules, "celery", nobodys)
        assert celery_options.project_app() is None
        monkeypatch.delitem(sys.modules, "celery")
        assert celery_options.project_app() is None

    def test_a_project_without_relations_needs_none(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(discovery, "_known", [relations.Catalogue(())])
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
        assert "vars().update(celery_settings(vars()))" in hint
        assert f"Queue({lacks[0]!r}, Exchange({lacks[0]!r})" in hint
        assert "meant to be" not in hint

    def test_a_misspelt_queue_is_named(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_CREATE_MISSING_QUEUES = False
        names = routing.queue_names(relations.catalogue().child_databases)
        project.CELERY_TASK_QUEUES = {*names, "integrity.blog_bd"} - {"integrity.blog_db"}
        [found] = checks.queued()
        assert str(found.hint).startswith("Is 'integrity.blog_bd' meant to be 'integrity.blog_db'?")

    def test_no_list_means_one_queue(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_CREATE_MISSING_QUEUES = False
        project.CELERY_TASK_DEFAULT_QUEUE = "integrity"
        [found] = checks.queued()
        assert "lacks integrity, " not in found.msg
        assert "integrity.blog_db" in found.msg

    def test_a_list_with_ours(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_CREATE_MISSING_QUEUES = False
        project.CELERY_TASK_QUEUES = routing.task_queues(relations.catalogue().child_databases)
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


class TestW014:
    @pytest.mark.parametrize("seconds", [5, 60, 60.0])
    @pytest.mark.parametrize("broker", [None, "redis://r", "sentinel://s", "sqs://"])
    def test_a_message_that_is_given_out_again_before_its_task_ends(
        self, project: SettingsWrapper, seconds: float, broker: str | None
    ) -> None:
        project.CELERY_BROKER_URL = broker
        project.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": seconds}
        [found] = celery.given_out_again()
        assert found.id == "integrity.W014"
        assert f"{seconds} s, and a task may run for 60 s" in found.msg
        assert '"visibility_timeout": 120' in str(found.hint)

    def test_a_limit_that_the_project_raises_needs_more(self, project: SettingsWrapper) -> None:
        project.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 120}
        assert celery.given_out_again() == []
        project.CELERY_TASK_ANNOTATIONS = {"integrity.scan": {"time_limit": 600}}
        [found] = celery.given_out_again()
        assert "may run for 600 s" in found.msg

    def test_brokers_that_wait_for_an_acknowledgement_and_celery_s_hour(
        self, project: SettingsWrapper
    ) -> None:
        project.CELERY_BROKER_URL = "amqp://rabbit"
        project.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 5}
        assert celery.given_out_again() == []
        project.CELERY_BROKER_URL = "redis://r"
        project.CELERY_BROKER_TRANSPORT_OPTIONS = {}
        assert celery.given_out_again() == []


class TestW015:
    @pytest.mark.parametrize(
        ("option", "value", "harm"),
        [
            ("acks_late", False, "the message is lost"),
            ("reject_on_worker_lost", None, "the message is lost"),
            ("expires", 5, "drops every message"),
            ("time_limit", None, "forever"),
            ("time_limit", 45, "killed before it is asked"),
            ("soft_time_limit", 60, "killed before it is asked"),
            ("soft_time_limit", None, "killed before it is asked"),
            ("soft_time_limit", 20, "run_seconds"),
        ],
    )
    def test_an_option_of_our_tasks_is_overridden(
        self, project: SettingsWrapper, option: str, value: object, harm: str
    ) -> None:
        project.CELERY_TASK_ANNOTATIONS = {"integrity.cascade": {option: value}}
        [found] = celery.overridden()
        assert found.id == "integrity.W015"
        assert "for integrity.cascade:" in found.msg
        assert harm in found.msg

    @pytest.mark.parametrize(
        "annotations",
        [
            {"*": {"acks_late": False}},
            [{"*": {"acks_late": False}}],
            ({"*": {"acks_late": True}}, object(), {"*": {"acks_late": False}}),
        ],
    )
    def test_of_all_tasks_at_once(self, project: SettingsWrapper, annotations: object) -> None:
        project.CELERY_TASK_ANNOTATIONS = annotations
        [found] = celery.overridden()
        assert all(task in found.msg for task in celery.TASKS)

    def test_the_last_word_counts(self, project: SettingsWrapper) -> None:
        ours = {task: {"acks_late": True} for task in celery.TASKS}
        project.CELERY_TASK_ANNOTATIONS = {"*": {"acks_late": False}, **ours}
        assert celery.overridden() == []

    def test_what_is_set_for_all_tasks_does_not_reach_ours(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_ACKS_LATE = False
        project.CELERY_TASK_TIME_LIMIT = 5
        project.CELERY_TASK_ANNOTATIONS = {"proj.mail": {"acks_late": False}, "*": {"priority": 3}}
        assert celery.overridden() == []

    def test_a_tick_that_expires_by_the_clock_of_beat(self, project: SettingsWrapper) -> None:
        entry = {**routing.BEAT_SCHEDULE["integrity.dispatch"], "options": {"expires": 5.0}}
        project.CELERY_BEAT_SCHEDULE = {"mine": entry}
        [found] = celery.overridden()
        assert "expires is 5.0 for integrity.dispatch" in found.msg

    def test_a_task_that_works_longer_than_its_limit(
        self, project: SettingsWrapper, tune: Tune
    ) -> None:
        tune(run_seconds=120)
        [found] = celery.overridden()
        assert "INTEGRITY['run_seconds'] (120)" in found.msg


class TestW016:
    def test_ticks_without_a_queue_and_routes(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULE = {"mine": {"task": "integrity.dispatch", "schedule": 5}}
        [found] = celery.routed()
        assert found.id == "integrity.W016"
        assert "integrity.dispatch to the queue 'celery'" in found.msg
        assert routing.ROUTER in str(found.hint)

    @pytest.mark.parametrize(
        "routes",
        [
            routing.ROUTER,
            (routing.ROUTER,),
            [{"proj.*": "mail"}, routing.route_task],
            {"integrity.*": {"queue": "integrity"}},
        ],
    )
    def test_routes_say_where(self, project: SettingsWrapper, routes: object) -> None:
        project.CELERY_BEAT_SCHEDULE = {"mine": {"task": "integrity.dispatch", "schedule": 5}}
        project.CELERY_TASK_ROUTES = routes
        assert celery.routed() == []

    def test_a_pattern_of_the_project_takes_them_elsewhere(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULE = {"mine": {"task": "integrity.dispatch", "schedule": 5}}
        project.CELERY_TASK_ROUTES = ({"*": "bulk"}, routing.ROUTER)
        [found] = celery.routed()
        assert "'bulk'" in found.msg

    def test_our_own_timetable_names_the_queue(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULE = routing.BEAT_SCHEDULE
        assert celery.routed() == []

    def test_a_table_of_ticks_may_hold_some_without(self, project: SettingsWrapper) -> None:
        project.CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
        assert [each.id for each in celery.routed()] == ["integrity.W016"]
        project.CELERY_TASK_DEFAULT_QUEUE = "integrity"
        assert celery.routed() == []


class TestW017:
    def test_tasks_in_place_in_production(self, project: SettingsWrapper) -> None:
        assert celery.in_place() == []
        project.CELERY_TASK_ALWAYS_EAGER = True
        [found] = celery.in_place()
        assert (found.id, found.obj) == ("integrity.W017", "CELERY_TASK_ALWAYS_EAGER")
        assert "integrity.W009" in told()  # silences nothing else
        project.DEBUG = True
        assert celery.in_place() == []


class TestW024:
    def test_an_app_without_install(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert celery_worker.unguarded() == []  # no app in this process
        app = Celery("proj", broker="redis://", set_as_current=False)
        monkeypatch.setattr(celery_options, "project_app", lambda: app)
        [found] = celery_worker.unguarded()
        assert (found.id, found.obj) == ("integrity.W024", "proj")
        assert "from apps.integrity.queues.celery_worker import install" in str(found.hint)
        project.CELERY_TASK_ALWAYS_EAGER = True  # no workers
        assert celery_worker.unguarded() == []
        project.CELERY_TASK_ALWAYS_EAGER = False
        install(app)
        assert celery_worker.unguarded() == []

    def test_a_process_that_never_loaded_it_installed_it_nowhere(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Celery("proj", broker="redis://", set_as_current=False)
        install(app)
        monkeypatch.setattr(celery_options, "project_app", lambda: app)
        monkeypatch.delitem(sys.modules, celery_worker.INSTALLER)
        assert [each.id for each in celery_worker.unguarded()] == ["integrity.W024"]


class TestE019:
    def test_queues_without_an_exchange_get_each_other_s_messages(
        self, project: SettingsWrapper
    ) -> None:
        project.CELERY_TASK_QUEUES = [Queue("celery"), Queue("integrity"), Queue("integrity.x")]
        [found] = celery.mixed()
        assert found.id == "integrity.E019"
        assert "celery, integrity, integrity.x to one exchange ('celery')" in found.msg
        assert "Exchange('celery')" in str(found.hint)

    def test_a_fanout_reaches_all_whatever_the_key(self, project: SettingsWrapper) -> None:
        all_of = Exchange("all", type="fanout")
        project.CELERY_TASK_QUEUES = [
            Queue(name, all_of, routing_key=name) for name in ("integrity", "integrity.blog_db")
        ]
        assert [each.id for each in celery.mixed()] == ["integrity.E019"]

    def test_one_exchange_with_a_key_for_each(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_QUEUES = [
            Queue(name, Exchange("all"), routing_key=name)
            for name in ("integrity", "integrity.blog_db")
        ]
        assert celery.mixed() == []

    def test_ours_beside_a_project_s(self, project: SettingsWrapper) -> None:
        project.CELERY_TASK_QUEUES = {
            **routing.task_queues(["blog_db", "shop_db"]), "mail": {}, "bulk": Queue("bulk"),
            "more": Queue("more"),
        }  # fmt: skip
        assert celery.mixed() == []  # bulk and more share theirs, which is not our business


class TestW018:
    def test_a_child_that_is_sqlite_with_two_writers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for options in ({}, {"timeout": 20}, {"transaction_mode": "IMMEDIATE"}):
            put(monkeypatch, "test_lite", OPTIONS=options)
            [found] = waits.locked()
            assert (found.id, found.obj) == ("integrity.W018", "test_lite")
            assert '"transaction_mode": "IMMEDIATE"' in str(found.hint)

    def test_a_log_in_sqlite_is_written_by_several_processes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(monkeypatch, "test_lite", OPTIONS={"transaction_mode": "IMMEDIATE", "timeout": 20})
        monkeypatch.setattr(connections["default"], "vendor", "sqlite")
        put(monkeypatch, "default", OPTIONS={})
        assert [each.obj for each in waits.locked()] == ["default"]

    @pytest.mark.parametrize("mode", ["IMMEDIATE", "exclusive"])
    def test_writers_wait_for_their_turn(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        put(monkeypatch, "test_lite", OPTIONS={"transaction_mode": mode, "timeout": 5})
        assert waits.locked() == []

    def test_sqlite_without_children_is_nobody_s_business(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(discovery, "_known", [relations.Catalogue(())])
        put(monkeypatch, "test_lite", OPTIONS={})
        assert waits.locked() == []


class TestW021:
    def test_a_silent_server_is_waited_for_in_vain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for alias in ("default", "blog_db", "shop_db", "test_left", "test_right"):
            put(monkeypatch, alias, OPTIONS={"connect_timeout": 3, "tcp_user_timeout": 9_000})
        assert waits.unbounded() == []
        put(monkeypatch, "blog_db", OPTIONS={"connect_timeout": 3})
        put(monkeypatch, "default", OPTIONS={})
        put(monkeypatch, "shop_db", OPTIONS={"service": "shop"})  # may say it
        blog, default = waits.unbounded()
        assert {blog.id, default.id} == {"integrity.W021"}
        assert "has no tcp_user_timeout" in blog.msg
        assert "'connect_timeout': 3, 'tcp_user_timeout'" in str(default.hint)

    def test_nor_does_mysql_end_a_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for alias in ("default", "blog_db", "shop_db", "test_left", "test_right"):
            monkeypatch.setattr(connections[alias], "vendor", "mysql")
            put(monkeypatch, alias, OPTIONS={"connect_timeout": 3, "read_timeout": 30})
        put(monkeypatch, "blog_db", OPTIONS={"connect_timeout": 3})
        put(monkeypatch, "shop_db", OPTIONS={"read_default_file": "my.cnf"})  # may say it
        (blog,) = waits.unbounded()
        assert "has no read_timeout: a process waits for a MySQL server" in blog.msg


def not_even_called() -> None:
    """Takes no message."""


async def awaited_by_no_one(message: str) -> None:
    """Is not awaited."""


class TestE026:
    def test_a_function_that_takes_the_message(self, tune: Tune) -> None:
        for path in ("", "builtins.print", "logging.debug"):
            tune(notify=path)
            assert checks.notified() == []

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("shop.queue.publish", "cannot be imported (ModuleNotFoundError"),
            ("publish", "cannot be imported (ImportError"),
            ("apps.integrity.conf.publish", "cannot be imported (ImportError"),
            ("apps.integrity.routing.CONTROL", "is not a function (str)"),
            (f"{__name__}.not_even_called", "does not take one argument"),
            (f"{__name__}.awaited_by_no_one", "is a coroutine function"),
        ],
    )
    def test_what_cannot_be_called_is_an_error_with_the_remedy(
        self, tune: Tune, path: str, why: str
    ) -> None:
        tune(notify=path)
        [found] = checks.notified()
        assert (found.id, found.level) == ("integrity.E026", messages.ERROR)
        assert why in found.msg
        assert "work_for(message)" in str(found.hint)

    def test_celery_s_settings_are_not_judged_then(self, tune: Tune) -> None:
        assert celery.uses_celery()
        tune(notify="builtins.print")
        assert not celery.uses_celery()
