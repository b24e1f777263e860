"""The publisher of wake-ups: never in the caller's way, whatever the broker does."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import TYPE_CHECKING

import pytest

from apps.integrity.queues import notifier
from apps.integrity.queues.notifier import Publisher
from apps.integrity.signals import deletion_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune


SOON = 10.0


class Broker:
    """Takes wake-ups; hangs while `open` is clear, fails as often as told."""

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
def publisher(broker: Broker) -> Iterator[Publisher]:
    made = Publisher(broker.publish)
    yield made
    broker.open.set()
    made.close(SOON)


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "integrity-wakeup"}


@pytest.fixture
def others() -> set[threading.Thread]:
    """Publishers that were at work before the test."""
    return threads()


def test_a_wake_up_is_published(broker: Broker, publisher: Publisher) -> None:
    publisher.wake("default")
    assert broker.take(1) == ["default"]


def test_no_thread_exists_before_the_first_wake_up(
    broker: Broker, others: set[threading.Thread]
) -> None:
    made = Publisher(broker.publish)
    assert threads() == others
    made.wake("default")
    assert len(threads() - others) == 1
    made.close(SOON)
    assert threads() == others


def test_waking_returns_at_once_while_the_broker_hangs(
    broker: Broker, publisher: Publisher
) -> None:
    broker.open.clear()
    publisher.wake("default")
    assert broker.entered.acquire(timeout=SOON)
    started = time.perf_counter()
    for _ in range(1000):
        publisher.wake("default")
    assert time.perf_counter() - started < 0.5
    assert broker.taken.empty()


def test_wake_ups_of_one_log_are_merged_while_the_broker_is_busy(
    broker: Broker, publisher: Publisher
) -> None:
    broker.open.clear()
    publisher.wake("default")
    assert broker.entered.acquire(timeout=SOON)
    for alias in ["test_left", "default"] * 50:
        publisher.wake(alias)
    broker.open.set()
    assert broker.take(3) == ["default", "test_left", "default"]
    publisher.close(SOON)
    assert broker.taken.empty()


def test_wake_ups_of_many_deletes_are_merged_though_the_broker_is_quick(
    broker: Broker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "REST_SECONDS", 0.3)
    publisher.wake("default")
    assert broker.take(1) == ["default"]  # the first one waits for nobody
    for _ in range(50):
        publisher.wake("default")
    assert broker.take(1) == ["default"]
    publisher.close(SOON)
    assert broker.taken.empty()


def test_after_a_failure_it_pauses_and_then_publishes_what_was_kept(
    tune: Tune, broker: Broker, publisher: Publisher
) -> None:
    tune(wakeup_retry_seconds=0.2)
    broker.failures = 1
    started = time.monotonic()
    publisher.wake("default")
    publisher.wake("test_left")
    assert set(broker.take(2)) == {"default", "test_left"}
    assert time.monotonic() - started >= 0.2


def test_a_dead_broker_is_asked_once_per_pause_however_many_deletes_there_are(
    tune: Tune, broker: Broker, publisher: Publisher
) -> None:
    tune(wakeup_retry_seconds=60.0)
    broker.failures = 1_000
    publisher.wake("default")
    assert broker.entered.acquire(timeout=SOON)
    for _ in range(200):
        publisher.wake("default")
    assert not broker.entered.acquire(timeout=0.2)


def test_closing_publishes_what_is_pending(broker: Broker, others: set[threading.Thread]) -> None:
    made = Publisher(broker.publish)
    made.wake("default")
    made.close(SOON)
    assert broker.take(1) == ["default"]
    assert threads() == others


def test_closing_waits_no_longer_than_told_for_a_broker_that_hangs(
    broker: Broker, publisher: Publisher
) -> None:
    broker.open.clear()
    publisher.wake("default")
    assert broker.entered.acquire(timeout=SOON)
    started = time.monotonic()
    publisher.close(0.1)
    assert time.monotonic() - started < 2.0


def test_closing_does_not_sit_out_the_pause_after_a_failure(
    others: set[threading.Thread], tune: Tune, broker: Broker, publisher: Publisher
) -> None:
    tune(wakeup_retry_seconds=60.0)
    broker.failures = 1_000
    publisher.wake("default")
    assert broker.entered.acquire(timeout=SOON)
    started = time.monotonic()
    publisher.close(SOON)
    assert time.monotonic() - started < 5.0
    assert threads() == others


def test_closing_before_any_wake_up_is_fine(broker: Broker) -> None:
    Publisher(broker.publish).close(SOON)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while the broker hangs"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_publishes_for_itself(
    broker: Broker, publisher: Publisher, *, busy: bool
) -> None:
    publisher.wake("parent")
    if busy:
        broker.open.clear()
    else:
        broker.take(1)
    assert broker.entered.acquire(timeout=SOON)
    readable, writable = os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover (another process)
        told = threading.Event()

        def publish(alias: str) -> None:
            os.write(writable, alias.encode())
            told.set()

        publisher._publish = publish
        publisher.wake("child")
        told.wait(SOON)
        os._exit(0)
    os.close(writable)
    _, status = os.waitpid(child, 0)
    with os.fdopen(readable, "rb") as pipe:
        assert pipe.read() == b"child"
    assert status == 0


def test_two_threads_that_wake_first_make_one_publisher(
    broker: Broker, others: set[threading.Thread]
) -> None:
    for _ in range(50):
        made = Publisher(broker.publish)
        barrier = threading.Barrier(4)

        def wake(barrier: threading.Barrier = barrier, made: Publisher = made) -> None:
            barrier.wait()
            made.wake(threading.current_thread().name)

        wakers = [threading.Thread(target=wake, name=f"{n}") for n in range(4)]
        for each in wakers:
            each.start()
        for each in wakers:
            each.join()
        made.close(SOON)
        assert sorted(broker.take(4)) == ["0", "1", "2", "3"]
        assert threads() == others


class TestConnected:
    """The receiver that `ready()` connected, with a publisher that only counts."""

    @pytest.fixture
    def woken(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        found: list[str] = []
        monkeypatch.setattr(Publisher, "wake", lambda _, alias: found.append(alias))
        return found

    def announce(self) -> None:
        deletion_recorded.send(sender=None, parent="auth.User", keys=("1",), using="default")

    def test_a_recorded_deletion_wakes_its_log(self, tune: Tune, woken: list[str]) -> None:
        tune(wakeups=True)
        self.announce()
        assert woken == ["default"]

    def test_wake_ups_can_be_switched_off(self, tune: Tune, woken: list[str]) -> None:
        tune(wakeups=False)
        self.announce()
        assert woken == []

    def test_a_project_without_celery_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
        monkeypatch.setattr(
            notifier, "Publisher", lambda _: pytest.fail("a publisher without Celery")
        )
        notifier.connect()
