"""Celery shells over the engine, and the only module that knows Celery.

A message says "look after database X": it carries an alias and never a key, so any later message
makes good for any lost one, and a forged one has no victim.
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

from .. import conf, relations, scan
from ..backends import clocks
from ..checks import doctor
from ..control import circuit_breaker, heartbeats
from ..exceptions import TaskFailed, UnknownName
from ..isolation.loggers import logger_of
from ..isolation.redaction import reason_of_error
from ..log import failpoints
from ..log.failpoints import Phase
from ..routing import CONTROL, PER_DATABASE, SOFT_TIME_LIMIT_SECONDS, TIME_LIMIT_SECONDS, queue_for
from . import dispatch, maintenance
from .base import Attempts, Job, heartbeat, work_once

if TYPE_CHECKING:
    from .base import Outcome

logger = logger_of("integrity.tasks")

#: See Note [Enough messages].
WAKE_UPS_MAX, MESSAGES_MAX = 50, 100
#: See Note [A pile of ticks].
TICK_SECONDS_MIN = 1.0
#: What Celery acts upon by its class, besides a task's `throws`: Retry, Ignore and Reject; its own.
MEANT_FOR_CELERY = (TaskPredicate, SoftTimeLimitExceeded)
#: What ends a time slice: the time limit of a task.
INTERRUPTIONS = (SoftTimeLimitExceeded,)
#: The header that tells what the sender's clock says.
SENT = "integrity_sent_at"


class Bounded(Task[..., None]):
    """A task of this app. A database that is not there is worth a line, not a traceback.

    Note [Options of our tasks]: what the promises rest on is set here, so that it holds in any
    project, whatever its `task_acks_late` and limits are. A message is acknowledged when its task
    has ended, and given out again when the process that ran it was killed; a task is asked to hand
    over before it is killed. `task_annotations` override these: checks/celery.py names that.

    Note [What a failed task says]: Celery writes the text of a task's error, and of all that it was
    raised from, into the worker's log, the events that Flower shows, and the result backend. So
    one that Celery runs fails with a `TaskFailed`, which quotes no row and is raised from nothing;
    its traceback is the code that the error came through. The error itself is logged at DEBUG. A
    task that is called as a function raises what it meets, as any function does.
    """

    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    soft_time_limit = SOFT_TIME_LIMIT_SECONDS
    time_limit = TIME_LIMIT_SECONDS
    throws = (UnknownName,)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Run it. See Note [What a failed task says]."""
        if self.request.called_directly:
            super().__call__(*args, **kwargs)
            return
        try:
            self.run(*args, **kwargs)
        except (*MEANT_FOR_CELERY, *self.throws) as error:
            failure: Exception = error
        except Exception as error:
            logger.debug("%s failed", self.name, exc_info=error)
            failure = TaskFailed(f"{self.name}: {reason_of_error(error)}")
            failure.__traceback__ = error.__traceback__
        else:
            return
        raise _alone(failure)

    def on_failure(self, exc: Exception, *args: Any) -> None:
        """Celery's hook, in the worker's process."""
        if isinstance(exc, UnknownName):
            logger.warning("%s: %s", self.name, exc)
        super().on_failure(exc, *args)


def _alone(error: Exception) -> Exception:
    """Return the error without those that it was raised from, and without their texts."""
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error


class Tick(Bounded):
    """A task that beat starts, with no argument.

    Note [A pile of ticks]: a worker that was stopped finds every tick of the meantime. Each would
    do the same work, so a process passes over those that it takes within a second of the last one
    that it worked on. Its own clock tells that, and not beat's.
    """

    begun_at: float | None = None

    def apply_async(self, *args: Any, headers: dict[str, Any] | None = None, **given: Any) -> Any:
        """Tell by the message what the sender's clock says; only `doctor` looks at it."""
        told = {**(headers or {}), SENT: clocks.own()}
        return super().apply_async(*args, headers=told, **given)

    def sent_at(self) -> float | None:
        """Return what the sender's clock said; of a message that is a moment old."""
        told = getattr(self.request, SENT, None)
        return told if isinstance(told, float) and math.isfinite(told) else None

    def is_repeated(self) -> bool:
        """Return whether this process began the same tick a moment ago; if not, it begins now."""
        if self.request.called_directly or self.request.is_eager:
            return False
        now = time.monotonic()
        if self.begun_at is not None and now - self.begun_at < TICK_SECONDS_MIN:
            return True
        self.begun_at = now
        return False

    def on_failure(self, exc: Exception, *args: Any) -> None:
        """Let the next one try again at once."""
        self.begun_at = None
        super().on_failure(exc, *args)


@shared_task(name="integrity.dispatch", base=Tick, bind=True)
def dispatch_deletions(self: Tick, using: str | None = None) -> None:
    """Fan recorded deletions of one log (or of all) out, then wake each database that has work."""
    failpoints.reached(Phase.RECEIVED)
    if using is None and self.is_repeated():
        return
    with Attempts(INTERRUPTIONS) as attempts:
        for alias in [using] if using else circuit_breaker.answering_logs():
            with attempts.on(alias):
                _dispatch(alias)
                heartbeats.beat(str(self.request.hostname), using=alias)


def _dispatch(using: str) -> None:
    woken = frozenset[str]()
    for number, fresh in dispatch.fan_out(using):
        failpoints.reached(Phase.DISPATCHED)
        for database in sorted(fresh):
            for _ in range(dispatch.hands(number)):
                publish_cascade(database)
        woken |= fresh
    for database in sorted(dispatch.overdue(using) - woken):
        publish_cascade(database)


@shared_task(name="integrity.cascade", base=Bounded, bind=True)
def cascade_into(self: Task[..., None], database: str) -> None:
    """Work on what is due in one child database; hand over to the next message when time is up."""
    failpoints.reached(Phase.RECEIVED)
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
    """Probe finished cascades of one child database; wake it again if rows came late."""
    _publish_next(work_once(Job.VERIFY, database, interruptions=INTERRUPTIONS), database)


@shared_task(name="integrity.scan", base=Tick, bind=True)
def scan_for_orphans(self: Tick, database: str | None = None) -> None:
    """Go on scanning one child database for a moment; without one, wake each that is due."""
    if database is None:
        if self.is_repeated():
            return
        logs = circuit_breaker.answering_logs()
        for each in relations.catalogue().child_databases:
            if any(scan.due(each, using=using) for using in logs):
                _publish(scan_for_orphans, each)
        return
    work_once(Job.SCAN, database, interruptions=INTERRUPTIONS)


@shared_task(name="integrity.maintain", base=Tick, bind=True)
def maintain(self: Tick) -> None:
    """Tend each log, and wake verification where it is due."""
    if self.is_repeated():
        return
    with Attempts(INTERRUPTIONS) as attempts:
        for using in circuit_breaker.answering_logs():
            with attempts.on(using):
                for database in sorted(maintenance.maintain(using, clock=self.sent_at)):
                    _publish(verify_in, database)


def _publish_next(outcome: Outcome, database: str) -> None:
    """Send the messages for what has to follow a time slice."""
    tasks = {Job.CASCADE: cascade_into, Job.VERIFY: verify_in}
    for job in outcome.next_jobs:
        _publish(tasks[job], database)


def publish_dispatch(using: str) -> None:
    """Send the wake-up for a log. Raises whatever the broker raises, soon."""
    _publish(dispatch_deletions, using)


def publish_cascade(database: str) -> None:
    """Send the wake-up for a child database. Raises whatever the broker raises, soon."""
    _publish(cascade_into, database)


def is_eager() -> bool:
    """Whether Celery is to call tasks in place: then there is no broker to ask or to tell."""
    return bool(current_app.conf.task_always_eager)


def _publish(task: Task[..., None], alias: str) -> None:
    """Publish through a private pool whose sockets give up early; call an eager task in place.

    Note [Bounded publishing]: only socket timeouts *and* `max_retries: 0` bound a publish on
    Redis; `retry=False` alone waits six seconds in the connection's own retries.
    """
    if is_eager():
        task.apply(args=(alias,))
        return
    seconds = conf.current().wakeup_timeout_seconds
    connection = _impatient(seconds)
    queue = queue_for(alias) if task.name in PER_DATABASE else CONTROL
    enough = WAKE_UPS_MAX if task in {dispatch_deletions, cascade_into} else MESSAGES_MAX
    with producers[connection].acquire(block=True, timeout=seconds) as producer:
        if _waiting(queue, producer) < enough:
            task.apply_async(args=(alias,), queue=queue, producer=producer, retry=False)


def _impatient(seconds: float) -> Any:
    """A connection whose sockets give up after so long. See Note [Bounded publishing]."""
    return current_app.connection_for_write(
        transport_options={
            **current_app.conf.broker_transport_options,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_retries": 0,
        }
    )


def ask_broker(seconds: float = 1.0) -> doctor.Broker:
    """Whether the broker answers, and what workers that answer within `seconds` take from."""
    with _impatient(seconds) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=seconds)
            inspect = current_app.control.inspect(timeout=seconds, connection=connection)
            replies = inspect.active_queues()
        except (OSError, KombuError) as error:
            return doctor.Broker(unreachable=reason_of_error(error))
    if replies is None:
        return doctor.Broker()
    names = (each["name"] for queues in replies.values() for each in queues)
    return doctor.Broker(consumers=Counter(names))


def _waiting(queue: str, producer: Any) -> int:
    """How many messages nobody has taken yet.

    Note [Enough messages]: each message is about all that is due, so those that wait for a worker
    that is away say as much as a thousand more, and the next sweep sends again. Those of
    verification and scans find room behind a busy queue of wake-ups.
    """
    bound: Any = current_app.amqp.queues[queue].bind(producer.channel)
    return int(bound.queue_declare().message_count)
