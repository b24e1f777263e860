"""Whether the broker and the child databases answer: asked beside the figures, never waited for.

Note [Behind the page]: whoever asks gets the last answers at once. A thread of each probe asks
anew, at most each `PERIOD_SECONDS`. One that gets no answer is not asked again meanwhile, and after
`LATE_SECONDS` that is the answer. So a frozen server costs one thread, and delays nobody. Once a
server falls silent or answers again, figures that were computed before are forgotten: a page names
a frozen server within 10 s.

`queues` registers the broker, because only its modules know Celery.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import connections

from .. import conf
from ..backends.connections import silence
from ..exceptions.redaction import reason_of_error
from . import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PERIOD_SECONDS = 3.0
LATE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is known now.

    `celery` is whether messages come through Celery; `broker` is why its broker does not answer, or
    "", and `broker_seconds` for how long. With `eager`, Celery runs tasks where they are called.
    `databases` has the reason by database, of those that do not answer, and for how long this
    process has known.
    """

    celery: bool = False
    eager: bool = False
    broker: str = ""
    broker_seconds: float | None = None
    databases: dict[str, tuple[str, float]] = field(default_factory=dict)


class Probe:
    """Asks a `question` in a thread, and keeps the answer: why a server does not answer, or ""."""

    def __init__(self, question: Callable[[], str]) -> None:
        self.question = question
        self._lock, self._over = threading.Lock(), threading.Event()
        self._began: float | None = None
        self._asked = self._failing = float("-inf")
        self.reason = ""

    def ask(self, *, now: bool = False) -> None:
        """Ask where it is due, or `now`, unless an answer is still awaited."""
        with self._lock:
            at = time.monotonic()
            if self._began is None and (now or at - self._asked >= PERIOD_SECONDS):
                self._over.clear()
                threading.Thread(target=self._run, name="integrity-probe", daemon=True).start()
                self._began = at  # once it runs: a process may have no room for a thread

    def answer(self, *, within: float = 0.0) -> str:
        """Return the last answer; wait for the one that is awaited, but no longer than that."""
        if within > 0:
            self._over.wait(within)
        with self._lock:
            if self._began is not None:
                waited = time.monotonic() - self._began
                if waited >= LATE_SECONDS:
                    self._note(f"no answer for {waited:.0f} s", self._began)
            return self.reason

    @property
    def known(self) -> tuple[str, float] | None:
        """Return the reason, and for how long this process has known that it does not answer."""
        return (self.reason, time.monotonic() - self._failing) if self.reason else None

    def _run(self) -> None:
        try:
            reason = self.question()
        except Exception as error:  # noqa: BLE001 (whatever a driver raises is why)
            reason = reason_of_error(error)
        with self._lock:
            before = self.reason
            began, self._began, self._asked = self._began, None, time.monotonic()
            self._note(reason, began or self._asked)
        if bool(reason) != bool(before):
            shared.forget_all()
        self._over.set()

    def _note(self, reason: str, since: float) -> None:
        if reason and not self.reason:
            self._failing = since
        self.reason = reason


_databases: dict[str, Probe] = {}
_broker: list[Probe] = []
_eager: list[Callable[[], bool]] = []


def register_broker(ask: Callable[[], str], eager: Callable[[], bool] | None = None) -> None:
    """Let `ask` tell why Celery's broker does not answer, or ""; `eager`: whether it has none."""
    _broker[:] = [Probe(ask)]
    _eager[:] = [eager] if eager else []


def current(databases: Iterable[str] = (), *, wait: float = 0.0) -> Answers:
    """Return the last answers of the broker and of those databases.

    With `wait`, ask all of them now, and return after so many seconds at the latest. The broker of
    Celery is not asked where the setting `notify` names another task queue.
    """
    asked = {alias: _databases.get(alias) or _probe_of(alias) for alias in databases}
    brokers = [] if conf.current().notify else _broker
    for probe in (*asked.values(), *brokers):
        probe.ask(now=wait > 0)
    deadline = time.monotonic() + wait
    for probe in asked.values():
        probe.answer(within=deadline - time.monotonic())
    broker = [probe.answer(within=deadline - time.monotonic()) for probe in brokers]
    return Answers(
        celery=bool(broker),
        eager=bool(brokers) and any(ask() for ask in _eager),
        broker="".join(broker),
        broker_seconds=next((each.known[1] for each in brokers if each.known), None),
        databases={alias: each.known for alias, each in asked.items() if each.known},
    )


def forget() -> None:
    """Forget all answers. A forked process must: it has no thread that waits for one."""
    _databases.clear()
    _broker[:] = [Probe(probe.question) for probe in _broker]


def _probe_of(alias: str) -> Probe:
    def ask() -> str:
        try:
            return silence(alias)
        finally:
            connections[alias].close()

    return _databases.setdefault(alias, Probe(ask))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
