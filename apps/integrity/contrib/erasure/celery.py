"""The step that calls a Celery task by its name, and waits until it is done."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from celery import current_app
from celery.backends.base import DisabledBackend

from ...exceptions import InvalidSetting, NotErased
from ...exceptions.redaction import plain
from .services import Answer, Purpose, Service, digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...erasure import Item

#: Seconds between two looks at a result: at first, and at most.
POLL_SECONDS, POLL_SECONDS_MAX = 0.02, 0.5
#: How long a message outlives the wait for it. Its expiry is by another machine's clock.
EXPIRY_SECONDS = 300.0


class Celery(Service):
    """Call a task with the ids of removed rows. It needs `task` and `models`.

    The task's only argument is the list of items, each with `model`, `field` and `value`. Celery
    needs a result backend. The task runs on a queue with a worker of its own: this app's worker
    waits for it meanwhile. What the task returns is its answer, as for `Webhook`.
    """

    #: The name of the task that erases.
    task: str = ""
    #: The name of the task that returns how much is left: `{"left": 0}`.
    probe_task: str = ""
    #: The queue of the tasks; "" leaves it to the project's routes.
    queue: str = ""
    #: How long one call may take, with the time that it waits in its queue.
    timeout_seconds: float = 30.0

    def validate(self) -> None:
        """Raise `ValueError` unless a task is named."""
        super().validate()
        if not self.task:
            raise ValueError("task is empty; it takes the name of a Celery task")

    @property
    def has_probe(self) -> bool:
        """Whether there is a task for probes."""
        return bool(self.probe_task)

    def app(self) -> Any:
        """Return the Celery app that sends the tasks. Default: the current one."""
        return current_app

    def call(self, purpose: Purpose, items: Sequence[Item]) -> Answer:
        """Call the task and wait for its result. Raises `NotErased`.

        Its id is the same for the same items. An earlier result is forgotten: after a restore, what
        was erased once has to be erased again.
        """
        app, name = self.app(), self.probe_task if purpose is Purpose.PROBE else self.task
        if isinstance(app.backend, DisabledBackend):
            raise InvalidSetting(f"{self} needs a result backend of Celery (CELERY_RESULT_BACKEND)")
        result = app.AsyncResult(self.task_id(purpose, name, items))
        result.forget()
        app.send_task(
            name,
            args=[[*items]],
            task_id=result.id,
            expires=self.timeout_seconds + EXPIRY_SECONDS,
            ignore_result=False,
            **({"queue": self.queue} if self.queue else {}),
        )
        return Answer(self._result(app, name, result.id))

    def task_id(self, purpose: Purpose, name: str, items: Sequence[Item]) -> str:
        """Return the id of the task for those items."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, digest_of(purpose.value, name, items)))

    def _result(self, app: Any, name: str, task_id: str) -> object:
        """Return what the task returned.

        Not by `result.get()`, which is refused inside a task, and whose listener is not made for
        several threads.
        """
        until, pause = time.monotonic() + self.timeout_seconds, POLL_SECONDS
        while time.monotonic() < until:
            found = app.backend.get_task_meta(task_id, cache=False)
            if found["status"] == "SUCCESS":
                return found["result"]
            if found["status"] in {"FAILURE", "REVOKED"}:
                why = plain(type(found["result"]).__name__)
                raise NotErased(f"the task {name} ended as {found['status']}: {why}")
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS_MAX)
        raise NotErased(f"the task {name} had no result after {self.timeout_seconds:g} s")
