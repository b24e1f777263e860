"""Celery's tasks, and the functions that send their messages.

A message names a database and never a key. So any later message does the work of a lost one, and
a forged message cannot harm a row.

Note [Whoever dispatches]: several workers that are notified of one deletion all try to dispatch it.
One of them locks it; the others pass over it, may find no cascade yet, and are done. So whoever
dispatches notifies the other child databases once its transaction has committed. Its own work does
not wait for the broker meanwhile. It goes first for a moment: publishing takes the process as much
time as the first rows do, and the others mostly have messages of their own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded

from .. import conf, failpoints, relations
from ..backends.connections import reach
from ..cascade import first_look
from ..control import circuit_breaker, heartbeats
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..failpoints import Failpoint
from ..log import claims
from ..routing import CONTROL, PER_DATABASE, queue_for
from . import celery_broker, dispatch, maintenance
from .base import Attempts, Job, heartbeat, make_room, work_once
from .celery_tasks import Bounded, Tick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Task

    from .base import Outcome

    #: A function that sends a message, and its alias.
    Message = tuple[Callable[[str], None], str]

logger = logger_of("integrity.tasks")

#: See Note [Enough messages] in celery_broker.py.
NOTIFICATIONS_MAX, MESSAGES_MAX = 50, 100
#: How much later than its own work a worker notifies other databases.
HEAD_START_SECONDS = 0.02
#: The exceptions that end a time slice: the time limit of a task.
INTERRUPTIONS = (SoftTimeLimitExceeded,)

is_eager, broker_silence = celery_broker.is_eager, celery_broker.silence


@shared_task(name="integrity.dispatch", base=Tick, bind=True)
def dispatch_deletions(self: Tick, using: str | None = None) -> None:
    """Dispatch the recorded deletions of one log, or of all; notify the databases with work."""
    failpoints.hit(Failpoint.RECEIVED)
    if using is None and self.is_repeated():
        return
    with Attempts(INTERRUPTIONS) as attempts:
        for alias in [using] if using else circuit_breaker.answering_logs():
            with attempts.on(alias):
                if using is None:
                    heartbeats.record(heartbeats.BEAT, using=alias, clock=self.sent_at)
                _dispatch(alias)
                heartbeats.record(str(self.request.hostname), using=alias)


def _dispatch(using: str) -> None:
    notified = frozenset[str]()
    for number, fresh in dispatch.fan_out(using):
        failpoints.hit(Failpoint.DISPATCHED)
        for database in sorted(first_look.close_empty(fresh, using=using)):
            for _ in range(dispatch.workers_to_wake(number)):
                publish_cascade(database)
        notified |= fresh
    overdue = dispatch.overdue(using) - notified
    for database in sorted(first_look.close_empty(overdue, using=using)):
        publish_cascade(database)


@shared_task(name="integrity.cascade", base=Bounded, bind=True)
def cascade_into(self: Task[..., None], database: str) -> None:
    """Cascade what is due in a child database; send the next message when time is up.

    What is recorded for the database is dispatched first. See Note [Whoever dispatches].
    """
    failpoints.hit(Failpoint.RECEIVED)
    with Attempts(INTERRUPTIONS) as attempts, _Publishing() as publishing:
        for using in relations.catalogue().homes(relations.catalogue().place(database)):
            with attempts.on(using):
                _dispatch_some(using, publishing, into=database)
        outcome = _work_once(
            self,
            Job.CASCADE,
            database,
            owner=claims.owned_by(str(self.request.id), str(self.request.hostname)),
            redelivered=bool((self.request.delivery_info or {}).get("redelivered")),
        )
    heartbeat(str(self.request.hostname))
    _publish_next(outcome, database)


def _dispatch_some(using: str, publishing: _Publishing, *, into: str) -> None:
    """Dispatch deletions of one log before work on the database `into`.

    More than one claim of them is left to the control queue, and so are many databases: its worker
    looks at all of them at once.
    """
    reach(
        using, fresh=False
    )  # a session that its server has ended would fail, and beat would have the work
    fresh, more = dispatch.dispatch_some(using)
    if fresh:
        failpoints.hit(Failpoint.DISPATCHED)
    messages = [(publish_cascade, database) for database in sorted(fresh - {into})]
    if len(fresh) >= first_look.DATABASES_MIN:
        messages, more = [], True
    publishing.start([*messages, (publish_dispatch, using)] if more else messages)


class _Publishing:
    """Publishes messages while the block goes on, in a thread; the end of the block waits for it.

    The block goes first: `HEAD_START_SECONDS`, or to its end. Where publishing fails, beat finds
    the work. An eager task runs in the calling thread.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def start(self, messages: Sequence[Message]) -> None:
        """Publish the messages soon."""
        if is_eager():
            _send(messages)
        elif messages:
            thread = threading.Thread(target=self._send_soon, args=(messages,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _send_soon(self, messages: Sequence[Message]) -> None:
        self._over.wait(HEAD_START_SECONDS)
        with isolated("a notification of other databases, for which beat finds the work,"):
            _send(messages)


def _send(messages: Sequence[Message]) -> None:
    for send, alias in messages:
        send(alias)


@shared_task(name="integrity.verify", base=Bounded, bind=True)
def verify_in(self: Task[..., None], database: str) -> None:
    """Verify finished cascades of a child database; start a cascade if rows came late."""
    _publish_next(_work_once(self, Job.VERIFY, database), database)


@shared_task(name="integrity.scan", base=Tick, bind=True)
def scan_for_orphans(self: Tick, database: str | None = None) -> None:
    """Scan a child database for one time slice; without an alias, notify each that is due."""
    if database is None:
        if self.is_repeated():
            return
        for alias in dispatch.scans_due():
            _publish(scan_for_orphans, alias)
        return
    _work_once(self, Job.SCAN, database)


@shared_task(name="integrity.maintain", base=Tick, bind=True)
def maintain(self: Tick) -> None:
    """Maintain each log, and start verification where it is due."""
    if self.is_repeated():
        return
    with Attempts(INTERRUPTIONS) as attempts:
        for using in circuit_breaker.answering_logs():
            with attempts.on(using):
                for database in sorted(maintenance.maintain(using, clock=self.sent_at)):
                    _publish(verify_in, database)


def _work_once(task: Task[..., None], job: Job, database: str, **options: Any) -> Outcome:
    """Work in a child database; a worker's process closes connections that it no longer needs."""
    if not (task.request.called_directly or task.request.is_eager):
        make_room(database)
    return work_once(job, database, interruptions=INTERRUPTIONS, **options)


def _publish_next(outcome: Outcome, database: str) -> None:
    """Send a message for each job that has to follow a time slice."""
    tasks = {Job.CASCADE: cascade_into, Job.VERIFY: verify_in}
    for job in outcome.next_jobs:
        _publish(tasks[job], database)


def publish_dispatch(using: str) -> None:
    """Send a message for a log, within `wakeup_timeout_seconds`. Raises the broker's errors."""
    _publish(dispatch_deletions, using)


def publish_cascade(database: str) -> None:
    """Send a message for a child database. Raises as `publish_dispatch` does."""
    _publish(cascade_into, database)


def _publish(task: Task[..., None], alias: str) -> None:
    """Publish within `wakeup_timeout_seconds`; run an eager task directly."""
    if is_eager():
        task.apply(args=(alias,))
        return
    seconds = conf.current().wakeup_timeout_seconds
    queue = queue_for(alias) if task.name in PER_DATABASE else CONTROL
    is_notification = task in {dispatch_deletions, cascade_into}
    limit = NOTIFICATIONS_MAX if is_notification else MESSAGES_MAX
    with celery_broker.publishing(seconds) as producer:
        if celery_broker.waiting(queue, producer) < limit:
            within: Any = {"confirm_timeout": seconds}  # not in the stubs
            task.apply_async(args=(alias,), queue=queue, producer=producer, retry=False, **within)
