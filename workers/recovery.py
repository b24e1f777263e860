"""What keeps a worker from standing still after a fault, although it is connected and answers."""

from __future__ import annotations

from typing import Any

import kombu
from celery import bootsteps
from celery.app import amqp
from celery.worker import state
from kombu.transport import redis

from . import consumer

#: Celery's own limit is 30 s: so long would a worker wait after the broker is back.
RECONNECT_SECONDS_MAX = 5
PLACES_SECONDS = 5.0
#: Celery's own period is 5 s.
CHILDREN_SECONDS = 1.0


class Connection(kombu.Connection):
    """Asks often enough for a broker that is away, and survives what is no message."""

    def get_transport_cls(self) -> Any:
        """As kombu does, with our channels for Redis."""
        found = super().get_transport_cls()
        return consumer.Transport if found is redis.Transport else found

    def ensure_connection(  # type: ignore[override]  # passed on as it comes
        self, *args: Any, **options: Any
    ) -> kombu.Connection:
        """As kombu does, with a shorter longest wait."""
        return super().ensure_connection(
            *args, **{"interval_max": RECONNECT_SECONDS_MAX, **options}
        )


class AMQP(amqp.AMQP):
    """Celery's, with that connection."""

    Connection = Connection


class Regularly(bootsteps.StartStopStep):
    """A step that does something every `seconds`, by the worker's timer."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")
    seconds = 0.0

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer_entry: Any = None

    def start(self, parent: Any) -> None:
        """Begin."""
        self.timer_entry = parent.timer.call_repeatedly(self.seconds, self.act, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 (a bootstep's signature)
        """End."""
        if self.timer_entry is not None:
            self.timer_entry.cancel()

    terminate = stop

    def act(self, parent: Any) -> None:
        """Called regularly."""
        raise NotImplementedError


class Children(Regularly):
    """Notices a killed child soon, so that its task is taken over soon."""

    seconds = CHILDREN_SECONDS

    def act(self, parent: Any) -> None:
        """Look after the pool's processes, where it has some."""
        maintain = getattr(getattr(parent.pool, "_pool", None), "maintain_pool", None)
        if maintain is not None:
            maintain()


class Places(Regularly):
    """Connects anew when a message holds a place of the prefetch limit and no task runs for it.

    Celery logs an acknowledgement that fails (a connection that fell silent) and goes on, and the
    message keeps its place. After as many failures as there are places, the worker would fetch
    nothing any more. What is held at two looks in a row, by no request, is such a message.
    """

    seconds = PLACES_SECONDS

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.suspects: set[Any] = set()

    def act(self, parent: Any) -> None:
        """Raises `OSError`, upon which Celery connects anew and the broker gives them out again."""
        consumer = getattr(parent.consumer, "task_consumer", None)
        if consumer is None:
            return
        qos = consumer.channel.qos
        working = {request.delivery_info.get("delivery_tag") for request in state.reserved_requests}
        working |= {
            getattr(request.message, "delivery_tag", None) for request in state.reserved_requests
        }
        held = set(qos._delivered) - set(qos._dirty) - working  # noqa: SLF001 (kombu tells no other way)
        lost, self.suspects = held & self.suspects, held
        if lost:
            self.suspects = set()
            raise OSError(f"{len(lost)} messages that were never acknowledged hold places")
