"""The base classes of Celery's tasks: their options, how they fail, and ticks of beat."""

from __future__ import annotations

import math
import time
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate

from ..backends import clocks
from ..exceptions import TaskFailed, UnknownName
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..routing import SOFT_TIME_LIMIT_SECONDS, TIME_LIMIT_SECONDS
from . import celery_amqp

logger = logger_of("integrity.tasks")

#: See Note [Accumulated ticks].
TICK_SECONDS_MIN = 1.0
#: Errors that Celery handles by their class, besides a task's `throws`: Retry, Ignore, Reject.
HANDLED_BY_CELERY = (TaskPredicate, SoftTimeLimitExceeded)
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
        """Send the task with the time of the sender's clock, which `doctor` compares.

        Beat keeps one producer. After an error on RabbitMQ, Celery connects it anew only when it
        retries, which a project may have turned off.
        """
        timed = {**(headers or {}), SENT: clocks.own()}
        try:
            return super().apply_async(*args, headers=timed, **options)
        except Exception:
            celery_amqp.reconnect_later(options.get("producer"))
            raise

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
