"""What `manage.py check` and `doctor` say of the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.integrity.checks import celery_broker, celery_options
from apps.integrity.checks.doctor import brokers
from apps.integrity.checks.doctor.brokers import Broker

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

OURS = ("integrity", "integrity.blog_db")


@pytest.fixture
def project(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> SettingsWrapper:
    monkeypatch.setattr(celery_options, "project_app", lambda: None)
    for name in celery_broker.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    settings.CELERY_BROKER_URL = "redis://user:secret@one:6379/0"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 1, "visibility_timeout": 120}
    return settings


class TestW036:
    @pytest.mark.parametrize("name", celery_broker.VARIABLES)
    def test_another_broker_in_the_environment_is_named_without_its_password(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        assert celery_broker.replaced() == []
        monkeypatch.setenv(name, "redis://user:hidden@two:6379/0")
        [found] = celery_broker.replaced()
        assert (found.id, found.obj) == ("integrity.W036", name)
        assert "@two:6379/0" in found.msg
        assert "@one:6379/0" in found.msg
        assert not {"secret", "hidden"} & {*found.msg.replace(":", " ").replace("@", " ").split()}

    def test_the_same_broker_is_none(
        self, project: SettingsWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BROKER_URL", project.CELERY_BROKER_URL)
        assert celery_broker.replaced() == []


class TestW037:
    def test_options_of_redis_for_another_transport(self, project: SettingsWrapper) -> None:
        assert celery_broker.of_another() == []
        project.CELERY_BROKER_URL = "sqla+sqlite:///b"
        [found] = celery_broker.of_another()
        assert found.id == "integrity.W037"
        assert "socket_timeout, which the transport 'sqla'" in found.msg
        project.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 120}
        assert celery_broker.of_another() == []


class TestDoctor:
    def test_a_broker_that_answers(self) -> None:
        assert brokers.broker(Broker(transport="redis")).detail == "answers"

    @pytest.mark.parametrize("transport", sorted(brokers.LIMITED))
    def test_a_transport_with_limits_says_which(self, transport: str) -> None:
        found = brokers.broker(Broker(transport=transport))
        assert found.ok
        assert (
            found.detail == f"answers, by the transport {transport!r}: {brokers.LIMITED[transport]}"
        )

    def test_eager_tasks(self) -> None:
        found = brokers.broker(Broker(eager=True))
        assert found.ok
        assert "CELERY_TASK_ALWAYS_EAGER is set" in found.detail

    def test_publishers_that_are_blocked(self) -> None:
        why = "RabbitMQ blocks publishers: memory alarm"
        found = brokers.broker(Broker(unreachable=why, blocked=True))
        assert not found.ok
        assert found.detail.startswith(f"{why}. Free its memory")

    def test_a_worker_without_q_is_named(self) -> None:
        found = brokers.queue("integrity", {"celery": 1}, OURS)
        assert not found.ok
        assert "a worker without -Q consumes celery only" in found.detail

    @pytest.mark.parametrize("consumers", [None, {}, {"celery": 1, "integrity.blog_db": 1}])
    def test_other_workers_are_not_blamed(self, consumers: dict[str, int] | None) -> None:
        found = brokers.queue("integrity", consumers, OURS)
        assert not found.ok
        assert "without -Q" not in found.detail
