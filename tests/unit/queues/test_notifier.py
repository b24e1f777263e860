"""The notifier never delays its caller, whatever the broker does."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from apps.integrity.queues import celery, messages
from apps.integrity.queues import notifier as notifier_module
from apps.integrity.queues.notifier import Notifier
from apps.integrity.report import probes
from apps.integrity.signals import deletion_recorded
from sandbox.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django.fixtures import Settings

    from tests.conftest import Tune


SOON = 10.0


class Broker:
    """Takes messages. It hangs while `open` is clear, and fails `failures` times."""

    def __init__(self) -> None:
        self.taken: queue.Queue[str] = queue.Queue()
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.failures = 0

    def publish(self, alias: str) -> None:
        self.entered.release()
        self.open.wait(SOON)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("refused")
        self.taken.put(alias)

    def take(self, number: int) -> list[str]:
        return [self.taken.get(timeout=SOON) for _ in range(number)]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def notifier(broker: Broker) -> Iterator[Notifier]:
    notifier = Notifier(broker.publish)
    yield notifier
    broker.open.set()
    notifier.close(SOON)


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "integrity-notifier"}


@pytest.fixture
def others() -> set[threading.Thread]:
    """The threads of notifiers that existed before the test."""
    return threads()


def test_a_notification_is_published(broker: Broker, notifier: Notifier) -> None:
    notifier.notify("default")
    assert broker.take(1) == ["default"]


def test_no_thread_exists_before_the_first_notification(
    broker: Broker, others: set[threading.Thread]
) -> None:
    notifier = Notifier(broker.publish)
    assert threads() == others
    notifier.notify("default")
    assert len(threads() - others) == 1
    notifier.close(SOON)
    assert threads() == others


def test_notifying_returns_at_once_while_the_broker_hangs(
    broker: Broker, notifier: Notifier
) -> None:
    broker.open.clear()
    notifier.notify("default")
    assert broker.entered.acquire(timeout=SOON)
    started = time.perf_counter()
    for _ in range(1000):
        notifier.notify("default")
    assert time.perf_counter() - started < SOON / 2
    assert broker.taken.empty()


def test_notifications_of_one_log_are_merged_while_the_broker_is_busy(
    broker: Broker, notifier: Notifier
) -> None:
    broker.open.clear()
    notifier.notify("default")
    assert broker.entered.acquire(timeout=SOON)
    for alias in ["test_left", "default"] * 50:
        notifier.notify(alias)
    broker.open.set()
    assert broker.take(3) == ["default", "test_left", "default"]
    notifier.close(SOON)
    assert broker.taken.empty()


def test_notifications_of_many_deletes_are_merged_though_the_broker_is_quick(
    broker: Broker, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "REST_SECONDS", 0.3)
    notifier.notify("default")
    assert broker.take(1) == ["default"]  # the first one is published at once
    for _ in range(50):
        notifier.notify("default")
    assert broker.take(1) == ["default"]
    notifier.close(SOON)
    assert broker.taken.empty()


def test_messages_of_one_deletion_are_published_together(
    broker: Broker, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "REST_SECONDS", 60.0)
    notifier.notify("blog_db", "shop_db")
    assert broker.take(2) == ["blog_db", "shop_db"]


def test_a_process_sends_at_most_four_messages_a_second(broker: Broker, notifier: Notifier) -> None:
    """After those of the first deletion, however many queues there are."""
    assert pytest.approx(0.25) == notifier_module.REST_SECONDS
    notifier.notify("blog_db", "shop_db")
    broker.take(2)
    ends = time.monotonic() + 2.2
    while time.monotonic() < ends:
        notifier.notify("blog_db", "shop_db")
        time.sleep(0.001)
    assert 4 <= broker.taken.qsize() <= 8


def test_after_a_failure_it_pauses_and_then_publishes_what_was_kept(
    tune: Tune, broker: Broker, notifier: Notifier
) -> None:
    tune(wakeup_retry_seconds=0.2)
    broker.failures = 1
    started = time.monotonic()
    notifier.notify("default")
    notifier.notify("test_left")
    assert set(broker.take(2)) == {"default", "test_left"}
    assert time.monotonic() - started >= 0.2


def test_a_dead_broker_is_asked_once_per_pause_however_many_deletes_there_are(
    tune: Tune, broker: Broker, notifier: Notifier
) -> None:
    tune(wakeup_retry_seconds=60.0)
    broker.failures = 1_000
    notifier.notify("default")
    assert broker.entered.acquire(timeout=SOON)
    for _ in range(200):
        notifier.notify("default")
    assert not broker.entered.acquire(timeout=0.2)


def test_closing_publishes_what_is_pending(broker: Broker, others: set[threading.Thread]) -> None:
    notifier = Notifier(broker.publish)
    notifier.notify("default")
    notifier.close(SOON)
    assert broker.take(1) == ["default"]
    assert threads() == others


def test_closing_waits_no_longer_than_its_timeout_for_a_broker_that_hangs(
    broker: Broker, notifier: Notifier
) -> None:
    broker.open.clear()
    notifier.notify("default")
    assert broker.entered.acquire(timeout=SOON)
    started = time.monotonic()
    notifier.close(0.1)
    assert time.monotonic() - started < SOON / 2


def test_closing_does_not_sit_out_the_pause_after_a_failure(
    others: set[threading.Thread], tune: Tune, broker: Broker, notifier: Notifier
) -> None:
    tune(wakeup_retry_seconds=60.0)
    broker.failures = 1_000
    notifier.notify("default")
    assert broker.entered.acquire(timeout=SOON)
    started = time.monotonic()
    notifier.close(SOON)
    assert time.monotonic() - started < 10
    assert threads() == others


def test_closing_before_any_notification_is_fine(broker: Broker) -> None:
    Notifier(broker.publish).close(SOON)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while the broker hangs"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_publishes_for_itself(
    broker: Broker, notifier: Notifier, *, busy: bool
) -> None:
    notifier.notify("parent")
    if busy:
        broker.open.clear()
    else:
        broker.take(1)
    assert broker.entered.acquire(timeout=SOON)
    readable, writable = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover (another process)
        published = threading.Event()

        def publish(alias: str) -> None:
            os.write(writable, alias.encode())
            published.set()

        notifier._publish = publish
        notifier.notify("child")
        published.wait(SOON)
        os._exit(0)
    os.close(writable)
    _, status = os.waitpid(child, 0)
    with os.fdopen(readable, "rb") as pipe:
        assert pipe.read() == b"child"
    assert status == 0


def test_threads_that_notify_first_at_once_start_one_thread(
    broker: Broker, others: set[threading.Thread]
) -> None:
    for _ in range(50):
        notifier = Notifier(broker.publish)
        barrier = threading.Barrier(4)

        def notify(barrier: threading.Barrier = barrier, notifier: Notifier = notifier) -> None:
            barrier.wait()
            notifier.notify(threading.current_thread().name)

        callers = [threading.Thread(target=notify, name=f"{n}") for n in range(4)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
        notifier.close(SOON)
        assert sorted(broker.take(4)) == ["0", "1", "2", "3"]
        assert threads() == others


class TestConnected:
    """The receiver that `ready()` connected, with a notifier that only counts."""

    @pytest.fixture
    def notified(self, monkeypatch: pytest.MonkeyPatch) -> list[object]:
        aliases: list[object] = []
        monkeypatch.setattr(Notifier, "notify", lambda _, *messages: aliases.append(messages))
        return aliases

    def announce(self, parent: str = "auth.User") -> None:
        deletion_recorded.send(sender=None, parent=parent, keys=("1",), using="default")

    def test_a_deletion_notifies_the_child_databases_of_its_parent(
        self, tune: Tune, notified: list[object]
    ) -> None:
        tune(wakeups=True)
        self.announce()
        direct = [(celery.publish_cascade, "blog_db"), (celery.publish_cascade, "shop_db")]
        assert notified == [tuple(direct)]

    @pytest.mark.parametrize("parent", ["auth.User", "nobody.Knows"])
    def test_many_child_databases_or_none_are_left_to_the_control_queue(
        self, tune: Tune, notified: list[object], monkeypatch: pytest.MonkeyPatch, parent: str
    ) -> None:
        tune(wakeups=True)
        monkeypatch.setattr(notifier_module, "DIRECT_MAX", 1)
        self.announce(parent)
        assert notified == [((celery.publish_dispatch, "default"),)]

    def test_notifications_can_be_switched_off(self, tune: Tune, notified: list[object]) -> None:
        tune(wakeups=False)
        self.announce()
        assert notified == []

    @pytest.mark.parametrize("direct_max", [4, 1])
    def test_the_setting_names_another_task_queue_in_place_of_celery(
        self,
        tune: Tune,
        notified: list[object],
        monkeypatch: pytest.MonkeyPatch,
        settings: Settings,
        direct_max: int,
    ) -> None:
        tune(wakeups=True, notify=f"{__name__}.publish")
        settings.CELERY_TASK_ALWAYS_EAGER = True  # not even then is Celery asked
        monkeypatch.setattr(celery, "is_eager", lambda: pytest.fail("Celery was asked"))
        monkeypatch.setattr(notifier_module, "DIRECT_MAX", direct_max)
        self.announce()
        queues = {4: ["integrity.blog_db", "integrity.shop_db"], 1: ["integrity"]}[direct_max]
        assert notified == [tuple((messages.send_from_thread, queue) for queue in queues)]

    def test_a_project_without_celery_and_without_the_setting_sends_nothing(
        self, tune: Tune, notified: list[object], without_celery: None
    ) -> None:
        tune(wakeups=True)
        self.announce()
        assert notified == []

    def test_a_project_without_celery_sends_what_the_setting_says(
        self, tune: Tune, notified: list[object], without_celery: None
    ) -> None:
        tune(wakeups=True, notify=f"{__name__}.publish")
        self.announce("nobody.Knows")
        assert notified == [((messages.send_from_thread, "integrity"),)]

    @pytest.fixture
    def without_celery(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Connect as in a project without Celery; afterwards as before."""
        receivers = deletion_recorded.receivers[:]
        deletion_recorded.disconnect(dispatch_uid="integrity.notifier")
        with monkeypatch.context() as patch:
            patch.setattr("importlib.util.find_spec", lambda _: None)
            patch.setattr(probes, "register_broker", lambda _: pytest.fail("no broker"))
            notifier_module.connect()
        yield
        deletion_recorded.receivers = receivers
        deletion_recorded.sender_receivers_cache.clear()


taken: queue.Queue[tuple[str, str]] = queue.Queue()


def publish(message: str) -> None:
    taken.put((message, threading.current_thread().name))


def exit_instead(message: str) -> None:
    publish(message)
    sys.exit("a library ends the process")


class TestAnotherQueue:
    """What `notify` names, called by a real notifier."""

    @pytest.fixture
    def notifier(self) -> Iterator[Notifier]:
        notifier = Notifier(notifier_module._publish)
        yield notifier
        notifier.close(SOON)

    def test_it_is_called_in_the_notifier_s_thread(self, tune: Tune, notifier: Notifier) -> None:
        tune(notify=f"{__name__}.publish")
        notifier.notify((messages.send_from_thread, "integrity.blog_db"))
        assert taken.get(timeout=SOON) == ("integrity.blog_db", "integrity-notifier")

    @pytest.mark.parametrize("path", [f"{__name__}.exit_instead", "no.such.function"])
    def test_a_failure_is_logged_and_tried_again_and_the_thread_goes_on(
        self, tune: Tune, notifier: Notifier, caplog: pytest.LogCaptureFixture, path: str
    ) -> None:
        tune(notify=path, wakeup_retry_seconds=0.05)
        notifier.notify((messages.send_from_thread, "integrity"))
        assert eventually(lambda: len(caplog.records) > 1, timeout=SOON)
        while not taken.empty():
            taken.get()
        tune(notify=f"{__name__}.publish")
        assert taken.get(timeout=SOON)[0] == "integrity"
        assert "cannot notify workers" in caplog.text
