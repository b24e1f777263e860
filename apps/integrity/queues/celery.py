"""Celery's tasks, and the functions that send their messages.

A message names a database and never a key. So any later message does the work of a lost one, and
a forged message cannot harm a row.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from celery import Task, current_app, shared_task
from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate
from kombu.exceptions import KombuError
from kombu.pools import producers

from .. import conf, failpoints, relations, scan
from ..backends import clocks
from ..checks import doctor
from ..control import circuit_breaker, heartbeats
from ..exceptions import TaskFailed, UnknownName
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..failpoints import Failpoint
from ..routing import CONTROL, PER_DATABASE, SOFT_TIME_LIMIT_SECONDS, TIME_LIMIT_SECONDS, queue_for
from . import dispatch, maintenance
from .base import Attempts, Job, heartbeat, work_once

if TYPE_CHECKING:
    from .base import Outcome

logger = logger_of("integrity.tasks")

#: See Note [Enough messages].
NOTIFICATIONS_MAX, MESSAGES_MAX = 50, 100
#: See Note [Accumulated ticks].
TICK_SECONDS_MIN = 1.0
#: Errors that Celery handles by their class, besides a task's `throws`: Retry, Ignore, Reject.
HANDLED_BY_CELERY = (TaskPredicate, SoftTimeLimitExceeded)
#: The exceptions that end a time slice: the time limit of a task.
INTERRUPTIONS = (SoftTimeLimitExceeded,)
#: The header with the time of the sender's clock.
SENT = "integrity_sent_at"


class Bounded(Task[..., None]):
    """A task of this app. An unknown database name is logged as one line, without a traceback.

    Note [Options of our tasks]: the guarantees depend on these options. So they are set here, and
    apply in any project, whatever its `task_acks_late` and limits are. A message is acknowledged
    when its task has ended, and delivered again when the process that ran it was killed. A task is
    asked to stop before it is killed. `task_annotations` override the options; checks/celery.py
    warns about that.

    Note [Errors of a failed task]: Celery writes the text of a task's error, and of its causes,
    into the worker's log, the events that Flower shows, and the result backend. So a task that
    Celery runs fails with a `TaskFailed`, which quotes no row and has no cause; its traceback is
    the code that the error passed through. The error itself is logged at DEBUG. A task that is
    called as a function raises the original error.
    """

    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    soft_time_limit = SOFT_TIME_LIMIT_SECONDS
    time_limit = TIME_LIMIT_SECONDS
    throws = (UnknownName,)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run the task. See Note [Errors of a failed task]."""
        if self.request.called_directly:
            super().__call__(*args, **kwargs)
            return
        try:
            self.run(*args, **kwargs)
        except (*HANDLED_BY_CELERY, *self.throws) as error:
            failure: Exception = error
        except Exception as error:
            logger.debug("%s failed", self.name, exc_info=error)
            failure = TaskFailed(f"{self.name}: {reason_of_error(error)}")
            failure.__traceback__ = error.__traceback__
        else:
            return
        raise _without_causes(failure)

    def on_failure(self, exc: Exception, *args: Any) -> None:
        """Log an unknown name. Celery calls this in the worker's process."""
        if isinstance(exc, UnknownName):
            logger.warning("%s: %s", self.name, exc)
        super().on_failure(exc, *args)


def _without_causes(error: Exception) -> Exception:
    """Return the error without its causes, whose texts may quote rows."""
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error


class Tick(Bounded):
    """A task that beat starts, without arguments.

    Note [Accumulated ticks]: while a worker is stopped, ticks accumulate in its queue. Each would
    do the same work. So a process skips a tick that it receives within a second of the last one
    that it handled, by its own clock.
    """

    begun_at: float | None = None

    def apply_async(self, *args: Any, headers: dict[str, Any] | None = None, **options: Any) -> Any:
        """Send the task with the time of the sender's clock, which `doctor` compares."""
        timed = {**(headers or {}), SENT: clocks.own()}
        return super().apply_async(*args, headers=timed, **options)

    def sent_at(self) -> float | None:
        """Return the time of the sender's clock when it sent the task; None where unknown."""
        sent_at = getattr(self.request, SENT, None)
        return sent_at if isinstance(sent_at, float) and math.isfinite(sent_at) else None

    def is_repeated(self) -> bool:
        """Return whether this process began the same tick a moment ago; if not, note the time."""
        if self.request.called_directly or self.request.is_eager:
            return False
        now = time.monotonic()
        if self.begun_at is not None and now - self.begun_at < TICK_SECONDS_MIN:
            return True
        self.begun_at = now
        return False

    def on_failure(self, exc: Exception, *args: Any) -> None:
        """Let the next tick try again at once."""
        self.begun_at = None
        super().on_failure(exc, *args)


@shared_task(name="integrity.dispatch", base=Tick, bind=True)
def dispatch_deletions(self: Tick, using: str | None = None) -> None:
    """Dispatch the recorded deletions of one log, or of all; notify the databases with work."""
    failpoints.hit(Failpoint.RECEIVED)
    if using is None and self.is_repeated():
        return
    with Attempts(INTERRUPTIONS) as attempts:
        for alias in [using] if using else circuit_breaker.answering_logs():
            with attempts.on(alias):
                _dispatch(alias)
                heartbeats.record(str(self.request.hostname), using=alias)


def _dispatch(using: str) -> None:
    notified = frozenset[str]()
    for number, fresh in dispatch.fan_out(using):
        failpoints.hit(Failpoint.DISPATCHED)
        for database in sorted(fresh):
            for _ in range(dispatch.workers_to_wake(number)):
                publish_cascade(database)
        notified |= fresh
    for database in sorted(dispatch.overdue(using) - notified):
        publish_cascade(database)


@shared_task(name="integrity.cascade", base=Bounded, bind=True)
def cascade_into(self: Task[..., None], database: str) -> None:
    """Cascade what is due in a child database; send the next message when time is up."""
    failpoints.hit(Failpoint.RECEIVED)
    outcome = work_once(
        Job.CASCADE,
        database,
        interruptions=INTERRUPTIONS,
        owner=str(self.request.id),
        redelivered=bool((self.request.delivery_info or {}).get("redelivered")),
    )
    heartbeat(str(self.request.hostname))
    _publish_next(outcome, database)


@shared_task(name="integrity.verify", base=Bounded)
def verify_in(database: str) -> None:
    """Verify finished cascades of a child database; start a cascade if rows came late."""
    _publish_next(work_once(Job.VERIFY, database, interruptions=INTERRUPTIONS), database)


@shared_task(name="integrity.scan", base=Tick, bind=True)
def scan_for_orphans(self: Tick, database: str | None = None) -> None:
    """Scan a child database for one time slice; without an alias, notify each that is due."""
    if database is None:
        if self.is_repeated():
            return
        logs = circuit_breaker.answering_logs()
        for alias in relations.catalogue().child_databases:
            if any(scan.due(alias, using=using) for using in logs):
                _publish(scan_for_orphans, alias)
        return
    work_once(Job.SCAN, database, interruptions=INTERRUPTIONS)


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


def is_eager() -> bool:
    """Return whether Celery runs tasks eagerly. Then no broker is needed."""
    return bool(current_app.conf.task_always_eager)


def _publish(task: Task[..., None], alias: str) -> None:
    """Publish through a separate pool with short socket timeouts; run an eager task directly.

    Note [Bounded publishing]: only socket timeouts *and* `max_retries: 0` bound a publish on
    Redis; `retry=False` alone waits six seconds in the connection's own retries.
    """
    if is_eager():
        task.apply(args=(alias,))
        return
    seconds = conf.current().wakeup_timeout_seconds
    connection = _connection(seconds)
    queue = queue_for(alias) if task.name in PER_DATABASE else CONTROL
    is_notification = task in {dispatch_deletions, cascade_into}
    limit = NOTIFICATIONS_MAX if is_notification else MESSAGES_MAX
    with producers[connection].acquire(block=True, timeout=seconds) as producer:
        if _waiting(queue, producer) < limit:
            task.apply_async(args=(alias,), queue=queue, producer=producer, retry=False)


def _connection(seconds: float) -> Any:
    """Return a connection whose sockets time out after `seconds`. See Note [Bounded publishing]."""
    return current_app.connection_for_write(
        transport_options={
            **current_app.conf.broker_transport_options,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_retries": 0,
        }
    )


def ask_broker(seconds: float = 1.0) -> doctor.Broker:
    """Return whether the broker answers, and which queues have a worker that answers in time."""
    with _connection(seconds) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=seconds)
            inspect = current_app.control.inspect(timeout=seconds, connection=connection)
            replies = inspect.active_queues()
        except (OSError, KombuError) as error:
            return doctor.Broker(unreachable=reason_of_error(error))
    if replies is None:
        return doctor.Broker()
    names = (queue["name"] for queues in replies.values() for queue in queues)
    return doctor.Broker(consumers=Counter(names))


def _waiting(queue: str, producer: Any) -> int:
    """Return how many messages wait in the queue.

    Note [Enough messages]: each message covers everything that is due. So no more are sent while
    enough of them wait, and the next sweep sends again. Verification and scans have a higher
    limit, so that a queue full of cascade messages leaves room for them.
    """
    bound: Any = current_app.amqp.queues[queue].bind(producer.channel)
    return int(bound.queue_declare().message_count)
