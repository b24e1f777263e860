"""`install(app)`: what an app's workers get, beside what the project set itself."""

from __future__ import annotations

import bz2
import logging
import lzma
import threading
import zlib
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kombu
import pytest
from celery import Celery, bootsteps
from celery.app import amqp
from celery.contrib.testing.worker import start_worker
from celery.worker import consumer as of_celery
from kombu import compression as of_kombu
from kombu.transport.filesystem import Channel

from apps.integrity.queues import celery_worker
from apps.integrity.queues.celery_worker import compression, connection, consumer, steps
from sandbox.processes import eventually

if TYPE_CHECKING:
    from pathlib import Path


def fresh(**options: Any) -> Celery:
    return Celery("somebodys", broker="memory://", set_as_current=False, **options)


class TheirStep(bootsteps.Step):
    """A step of the project."""


class TheirConnection(kombu.Connection):
    """A connection of the project."""


class TheirAMQP(amqp.AMQP):
    """An AMQP class of the project."""

    Connection = TheirConnection
    autoexchange = "theirs"


class TheirConsumer(of_celery.Consumer):
    """A consumer of the project."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its own way."""


class TestInstall:
    def test_twice_is_once(self) -> None:
        app = fresh()
        assert not celery_worker.is_installed(app)
        for _ in range(2):
            celery_worker.install(app)
            assert app.steps["worker"] == steps.STEPS
            assert type(app.amqp) is connection.AMQP
            assert celery_worker.is_installed(app)

    def test_an_app_that_was_used_before(self) -> None:
        app = fresh()
        assert type(app.connection_for_write()) is kombu.Connection
        celery_worker.install(app)
        assert type(app.connection_for_write()) is connection.Connection

    def test_the_settings_are_not_read(self) -> None:
        app = fresh()
        app.config_from_object("nowhere.to_be_found")
        celery_worker.install(app)
        assert not app.configured

    def test_a_project_s_own_steps_connections_and_consumer_are_kept(self) -> None:
        app = fresh(amqp=TheirAMQP)
        app.steps["worker"].add(TheirStep)
        for _ in range(2):
            celery_worker.install(app)
        assert app.steps["worker"] == {TheirStep, *steps.STEPS}
        assert app.amqp.autoexchange == "theirs"
        made = type(app.connection_for_write())
        assert issubclass(made, TheirConnection)
        assert issubclass(made, connection.Connection)

    def test_another_app_stays_as_it_is(self) -> None:
        celery_worker.install(fresh())
        other = fresh()
        assert not celery_worker.is_installed(other)
        assert type(other.amqp) is amqp.AMQP

    @pytest.mark.parametrize("wrong", [None, "proj", Celery])
    def test_what_is_no_app_is_refused(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="takes the project's Celery app, not"):
            celery_worker.install(wrong)

    def test_connections_that_are_none_of_kombu_s_are_refused(self) -> None:
        wrong = type("Wrong", (amqp.AMQP,), {"Connection": dict})
        with pytest.raises(TypeError, match="derive it from that class, and install"):
            celery_worker.install(fresh(amqp=wrong))


class TestConsumer:
    def test_celery_s_own_becomes_ours(self) -> None:
        for given in ("celery.worker.consumer:Consumer", of_celery.Consumer, consumer.Consumer):
            assert consumer.surviving(given) is consumer.Consumer

    def test_a_project_s_own_is_guarded(self) -> None:
        made = consumer.surviving(TheirConsumer)
        assert issubclass(made, TheirConsumer)
        assert issubclass(made, consumer.Consumer)
        assert made.create_task_handler is consumer.Consumer.create_task_handler
        assert consumer.surviving(made) is made

    @pytest.mark.parametrize("wrong", ["celery:Celery", dict, "builtins:print"])
    def test_what_is_no_consumer_is_refused(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match=r"worker_consumer is .*derive it from that"):
            consumer.surviving(wrong)

    def test_a_worker_gets_it_before_it_makes_its_own(self) -> None:
        worker = SimpleNamespace(consumer_cls="celery.worker.consumer:Consumer")
        consumer.Guard(worker).create(worker)
        assert worker.consumer_cls is consumer.Consumer
        assert not consumer.Guard.last  # Celery's step that makes it is


class TestCompression:
    @pytest.mark.parametrize(
        ("content_type", "compress"),
        [
            ("application/x-gzip", zlib.compress),
            ("application/x-bz2", bz2.compress),
            ("application/x-lzma", lzma.compress),
        ],
    )
    def test_a_body_is_decompressed_up_to_a_bound(
        self, content_type: str, compress: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(of_kombu, "_decoders", dict(of_kombu._decoders))
        monkeypatch.setattr(of_kombu, "_encoders", dict(of_kombu._encoders))
        monkeypatch.setattr(compression, "BYTES_MAX", 1_000)
        compression.limit_size()
        for length in (0, 1, 999, 1_000):
            body = b"0" * length
            assert of_kombu.decompress(compress(body), content_type) == body
        for wrong in (compress(b"0" * 1_001), compress(b"0" * 10_000_000), compress(b"0" * 9)[:-3]):
            with pytest.raises(ValueError, match="incomplete, or above 1000 bytes"):
                of_kombu.decompress(wrong, content_type)


class TestOtherBrokers:
    """A worker with `install(app)` on brokers that are no Redis: it works, and logs no error."""

    @pytest.mark.parametrize("broker", ["memory://localhost", "filesystem://localhost"])
    def test_a_worker_works_and_its_steps_are_harmless(
        self,
        broker: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setenv("CELERY_SKIP_CHECKS", "1")  # those of Django 6.1 ask each database
        monkeypatch.setattr("logging.config.dictConfig", lambda _: None)  # by the sample's app
        monkeypatch.setattr(kombu.Connection, "drain_events", briefly)
        one_at_a_time(monkeypatch)
        turned = Counter[str]()
        for step in (steps.Children, steps.Liveness, steps.PrefetchCheck, steps.Sweep):
            monkeypatch.setattr(step, "seconds", 0.02)
            monkeypatch.setattr(step, "act", counted(step, turned))
        app = Celery("somebodys", broker=broker, set_as_current=False)
        folders = dict.fromkeys(("data_folder_in", "data_folder_out"), f"{tmp_path}/data")
        folders["control_folder"] = f"{tmp_path}/control"
        (tmp_path / "data").mkdir()
        app.conf.update(
            broker_transport_options={"polling_interval": 0.05}
            | ({} if broker.startswith("memory") else folders),
            worker_hijack_root_logger=False,
        )
        celery_worker.install(app)
        ran: list[str] = []

        @app.task(name="somebodys.own", shared=False)
        def task(what: str) -> None:
            ran.append(what)

        caplog.set_level(logging.WARNING)
        with start_worker(app, perform_ping_check=False, pool="solo", loglevel="WARNING"):
            task.delay("before")
            task.apply_async(("later",), countdown=0.1)
            eventually(lambda: len(ran) == 2, timeout=20)
            app.send_task("integrity.maintain", countdown=10**9)
            task.delay("after")
            eventually(lambda: len(ran) == 3 and len(turned) == 4, timeout=20)
        assert ran == ["before", "later", "after"]
        assert turned.keys() == {"Children", "Liveness", "PrefetchCheck", "Sweep"}
        told = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
        assert told == ["dropped a message that this worker cannot run: header eta"]


def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kombu read no message on the filesystem that another thread has not written to its end.

    It makes the file first, and fills it then; its reader moves a file away without its lock.
    """
    lock = threading.Lock()
    for name in ("_put", "_get"):
        monkeypatch.setattr(Channel, name, locked(getattr(Channel, name), lock))


def locked(method: Any, lock: threading.Lock) -> Any:
    def run(*args: Any, **options: Any) -> Any:
        with lock:
            return method(*args, **options)

    return run


def briefly(connection: Any, drain: Any = kombu.Connection.drain_events, **_: float | None) -> Any:
    """Drain for less than Celery's 2 s, which a task with a countdown and the end wait for."""
    return drain(connection, timeout=0.1)


def counted(step: Any, turned: Counter[str]) -> Any:
    act = step.act

    def counting(self: Any, parent: Any) -> None:
        act(self, parent)
        turned[step.__name__] += 1

    return counting
