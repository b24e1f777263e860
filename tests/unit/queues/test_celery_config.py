"""Celery gets its own settings: it finds each of them, and shows no password to anyone."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery
from celery.worker.control import Panel
from django.conf import settings as django_settings
from kombu import Connection

from apps.integrity import relations
from apps.integrity.checks import celery_options, exposure
from apps.integrity.queues.celery_answers import ANSWERS
from apps.integrity.relations import discovery
from apps.integrity.routing import CeleryConfig, celery_settings, masked
from tests import snippets
from workers.celery import app as ours

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_django.fixtures import SettingsWrapper

PASSWORD = "only-for-this-test"

#: What is secret in a project's settings, under names that Celery masks and under others.
DJANGO = {
    "SECRET_KEY": PASSWORD,
    "TIME_ZONE": "Europe/Vienna",
    "INSTALLED_APPS": ["proj"],
    "DATABASES": {"default": {"PASSWORD": PASSWORD}},
    "CACHES": {"default": {"LOCATION": f"redis://:{PASSWORD}@cache/1"}},
    "SENTRY_DSN": f"https://{PASSWORD}@sentry.example/1",
    "EMAIL_HOST_USER": PASSWORD,
    "CELERY_BROKER_URL": f"redis://app:{PASSWORD}@broker:6379/0",
}
CELERY: list[dict[str, Any]] = [
    {"BROKER_URL": f"sentinel://:{PASSWORD}@one:1;sentinel://:{PASSWORD}@two:2"},
    {"BROKER_URL": [f"redis://:{PASSWORD}@one", f"redis://:{PASSWORD}@two"]},
    {"BROKER_READ_URL": f"redis://:{PASSWORD}@read", "BROKER_WRITE_URL": f"amqp://u:{PASSWORD}@w"},
    {"BROKER_PASSWORD": PASSWORD},
    {"BROKER_TRANSPORT_OPTIONS": {"sentinel_kwargs": {"password": PASSWORD}}},
    {"BROKER_TRANSPORT_OPTIONS": {"failover": [f"redis://:{PASSWORD}@three"]}},
    {"RESULT_BACKEND": f"redis://:{PASSWORD}@results/2", "CACHE_BACKEND": f"redis://:{PASSWORD}@c"},
    {"RESULT_BACKEND_TRANSPORT_OPTIONS": {"url": f"redis://:{PASSWORD}@results/2"}},
    {"MONGODB_BACKEND_SETTINGS": {"host": f"mongodb://u:{PASSWORD}@mongo"}},
    {"DATABASE_URL": f"postgresql://u:{PASSWORD}@db/results", "REDIS_PASSWORD": PASSWORD},
    {"REDBEAT_REDIS_URL": f"redis://:{PASSWORD}@beat/3", "SENTRY_DSN": f"https://{PASSWORD}@s/1"},
    {"BEAT_SCHEDULE": {"one": {"task": "t", "args": (f"https://u:{PASSWORD}@h",)}}},
]


def configured(config: Any, **options: Any) -> Celery:
    app = Celery("proj", set_as_current=False)
    app.config_from_object(config, **options)
    return app


def shown(app: Celery) -> str:
    """Everything that a worker, or `celery report`, tells of the app's settings."""
    answers = [asked(app, name) for name in ANSWERS if name != "stats"]
    return f"{answers} {asked(app, 'conf', with_defaults=True)} {app.bugreport()}"


def asked(app: Celery, name: str, **options: Any) -> Any:
    """A worker's answer to `inspect`, as Celery makes it from its table of commands."""
    return Panel.data[name](SimpleNamespace(app=app), **options)


def settings_of(own: Mapping[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**DJANGO | {f"CELERY_{name}": value for name, value in own.items()})


@pytest.mark.parametrize("own", CELERY, ids=lambda own: next(iter(own)))
def test_a_secret_is_used_and_never_shown(own: dict[str, Any]) -> None:
    app = configured(CeleryConfig(settings_of(own)))
    assert PASSWORD not in shown(app)
    for name, value in own.items():
        assert app.conf[name.lower()] == value


def test_the_usual_way_shows_them() -> None:
    app = configured(settings_of({}), namespace="CELERY")
    assert f"redis://app:{PASSWORD}@broker" in shown(app)
    assert f"https://{PASSWORD}@sentry.example" in shown(app)


def test_no_setting_of_django_reaches_celery_but_its_time_zone() -> None:
    app = configured(CeleryConfig(settings_of({})))
    assert str(app.timezone) == "Europe/Vienna"
    assert not {name for name in DJANGO if name in app.conf} - {"TIME_ZONE", "CELERY_BROKER_URL"}


def test_what_is_no_secret_is_shown_by_celery_s_own_name() -> None:
    app = configured(CeleryConfig(settings_of({"TASK_ROUTES": ("proj.route",), "MINE": 7})))
    conf: Any = app.conf
    assert conf.table()["task_routes"] == ("proj.route",)
    assert conf.table()["mine"] == 7
    assert conf.table()["broker_url"].startswith("redis://app:***")


def test_names_of_before_and_names_that_libraries_read_are_found() -> None:
    settings = SimpleNamespace(
        BROKER_URL="redis://old", CELERYD_CONCURRENCY=7, CELERY_DB_REUSE_MAX=9, CELERY_IMPORTS=["a"]
    )
    conf = configured(CeleryConfig(settings)).conf
    assert conf.broker_url == "redis://old"
    assert (conf.worker_concurrency, conf.imports) == (7, ["a"])
    assert conf.get("CELERY_DB_REUSE_MAX") == 9
    assert conf.task_always_eager is False


def test_another_prefix_and_what_this_app_adds_by_it() -> None:
    given = {"JOBS_BROKER_URL": "redis://jobs", "DATABASES": {"default": {}, "blog_db": {}}}
    given |= celery_settings(given, namespace="JOBS")
    conf = configured(CeleryConfig(SimpleNamespace(**given), namespace="JOBS")).conf
    assert conf.broker_url == "redis://jobs"
    assert "integrity.dispatch" in conf.beat_schedule


def test_settings_are_read_when_celery_asks_for_them(settings: SettingsWrapper) -> None:
    class Late:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    assert not configured(CeleryConfig(Late())).configured


def test_the_sample_project_s_app_has_celery_s_settings_alone() -> None:
    conf: Any = ours.conf
    assert not {"SECRET_KEY", "DATABASES", "INSTALLED_APPS"} & set(conf)
    assert not [name for name in conf if name.isupper()]
    assert conf.broker_transport_options["max_retries"] == 0


def printed(page: str) -> list[str]:
    """What a guide prints of Celery apps."""
    path = snippets.ROOT / "docs" / "how-to" / page
    blocks = [each for each in snippets.blocks(path, "python") if each.run_by]
    return [
        each.text.replace(snippets.SHIPPED, snippets.HERE)
        for each in blocks
        if Path(__file__).name in each.run_by
    ]


@pytest.mark.parametrize("page", ["flower.md", "adopt-existing-project.md"])
def test_the_line_that_the_guides_print(page: str) -> None:
    app = Celery("proj", set_as_current=False)
    exec(printed(page)[0], {"app": app})  # noqa: S102
    assert app.conf.broker_url == django_settings.CELERY_BROKER_URL
    assert app.conf.get("INSTALLED_APPS") is None


@pytest.fixture
def no_django(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of Flower's: the broker is known, and Django is not asked for."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    monkeypatch.setenv("BROKER_URL", "redis://flower:x@broker/0")
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "a:b")


@pytest.mark.usefixtures("no_django")
def test_flower_s_own_app_and_the_one_that_the_guide_prints() -> None:
    names: dict[str, Any] = {}
    exec(printed("flower.md")[1], names)  # noqa: S102
    sample = runpy.run_path(str(snippets.ROOT / "workers" / "flower.py"))["app"]
    options = names["app"].conf.broker_transport_options
    assert options.items() <= sample.conf.broker_transport_options.items()
    for app in (names["app"], sample):
        assert app.conf.broker_url == "redis://flower:x@broker/0"
        assert "Django" not in type(app.loader).__name__ + app.task_cls


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (f"redis://u:{PASSWORD}@h:1/0", "redis://********@h:1/0"),
        (f"a://:{PASSWORD}@h;a://:{PASSWORD}@i", "a://********@i"),
        (f"mongodb://u:p/{PASSWORD}@h", "mongodb://********@h"),
        ({"Password": PASSWORD, "x": [("y", {"api_key": 1})]}, None),
        ("redis://h:1/0", "redis://h:1/0"),
        ("some@example.org", "some@example.org"),
        (5, 5),
    ],
)
def test_what_is_masked(given: Any, wanted: Any) -> None:
    assert PASSWORD not in str(masked(given))
    if wanted is not None:
        assert masked(given) == wanted


def test_a_worker_s_statistics_hold_no_password() -> None:
    options = {"sentinel_kwargs": {"password": PASSWORD}, "max_retries": 1}
    url = f"sentinel://u:{PASSWORD}@one:1;sentinel://u:{PASSWORD}@two:2"
    connection = Connection(url, transport_options=options)
    assert PASSWORD in str(connection.info())
    worker = SimpleNamespace(stats=lambda: {"broker": connection.info(), "pid": 5})
    state = SimpleNamespace(consumer=SimpleNamespace(controller=worker))
    answer = Panel.data["stats"](state)
    assert PASSWORD not in str(answer)
    assert answer["broker"]["transport_options"]["max_retries"] == 1
    assert answer["pid"] == 5


class TestW023:
    def check(self, monkeypatch: pytest.MonkeyPatch, app: Celery | None) -> list[Any]:
        monkeypatch.setattr(exposure, "project_app", lambda: app)
        return exposure.shown()

    def test_an_app_with_all_of_django_s_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = settings_of({})
        [found] = self.check(monkeypatch, configured(settings, namespace="CELERY"))
        assert found.id == "integrity.W023"
        assert "app.config_from_object(CeleryConfig(settings))" in str(found.hint)
        assert self.check(monkeypatch, configured(CeleryConfig(settings))) == []

    def test_none_without_an_app_or_relations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.check(monkeypatch, None) == []
        monkeypatch.setattr(discovery, "_known", [relations.Catalogue(())])
        assert self.check(monkeypatch, configured(settings_of({}), namespace="CELERY")) == []

    def test_the_sample_project(self) -> None:
        assert (
            celery_options.project_app() is ours or celery_options.project_app().main == "workers"
        )
        assert exposure.shown() == []
