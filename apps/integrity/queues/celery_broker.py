"""Celery's broker: publishing within a time limit, whether it answers, and who consumes what.

Note [Bounded publishing]: publishing waits for at most as long as it is told, by the options of
each transport. On Redis, only socket timeouts *and* `max_retries: 0` limit it; `retry=False` alone
waits six seconds in the connection's own retries. On RabbitMQ see celery_amqp.py. Other transports
get no option of ours: one that they do not know may be an error.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import current_app
from kombu.exceptions import KombuError
from kombu.pools import producers
from kombu.transport import TRANSPORT_ALIASES

from ..checks import doctor
from ..exceptions.redaction import reason_of_error
from ..routing import AMQP, CONTROL, REDIS, transport_of
from . import celery_amqp

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long the broker may take to answer.
ANSWER_SECONDS = 2.0


def is_eager() -> bool:
    """Return whether Celery runs tasks eagerly. Then no broker is needed."""
    return bool(current_app.conf.task_always_eager)


def transport() -> str:
    """Return the name of the transport that this process publishes with: see `transport_of`."""
    return transport_of(current_app.conf.broker_write_url)


def connection(seconds: float) -> Any:
    """Return a connection whose waits end after `seconds`. See Note [Bounded publishing]."""
    given, name = current_app.conf.broker_transport_options, transport()
    if name == AMQP:
        # Nobody sends heartbeats between two messages, and RabbitMQ would close it.
        return current_app.connection_for_write(
            heartbeat=0, transport_options=celery_amqp.options(given, seconds)
        )
    added: dict[str, Any] = {}
    if name in REDIS:
        added = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "max_retries": 0}
    return current_app.connection_for_write(transport_options={**given, **added})


@contextmanager
def publishing(seconds: float) -> Iterator[Any]:
    """Yield a producer of a separate pool. Raises the broker's errors."""
    pool = producers[connection(seconds)]
    if transport() != AMQP:
        with pool.acquire(block=True, timeout=seconds) as producer:
            yield producer
        return
    # Kombu's own context closes a connection after an error, and waits for RabbitMQ to confirm.
    producer = pool.acquire(block=True, timeout=seconds)
    try:
        with celery_amqp.working(producer.connection):
            yield producer
    finally:
        producer.release()


def waiting(name: str, producer: Any) -> int:
    """Return how many messages wait in the queue.

    Note [Enough messages]: each message covers everything that is due. So no more are sent while
    enough of them wait, and the next sweep sends again. Verification and scans have a higher
    limit, so that a queue full of cascade messages leaves room for them.
    """
    queue: Any = current_app.amqp.queues[name]
    if transport() == AMQP:
        return celery_amqp.length(queue, producer.connection)
    return int(queue.bind(producer.channel).queue_declare().message_count)


def silence() -> str:
    """Return why the broker takes no messages, or ""; with eager tasks none is needed."""
    error = None if is_eager() else _failure()
    return why(error) if error else ""


def _failure() -> Exception | None:
    """Return the error with which the broker refuses messages now, or None."""
    name = transport()
    try:
        if name in REDIS:
            with connection(ANSWER_SECONDS) as opened:
                opened.ensure_connection(max_retries=1, interval_start=0, timeout=ANSWER_SECONDS)
                opened.default_channel.close()
            return None
        with publishing(ANSWER_SECONDS) as producer:
            # Most transports connect to nothing before they are used.
            celery_amqp.probe(producer) if name == AMQP else waiting(CONTROL, producer)
    except Exception as error:  # noqa: BLE001 (a transport may raise anything, and that is why)
        return error
    return None


def why(error: Exception) -> str:
    """Return what an error of the broker, or of its transport, says."""
    # Kombu's own errors say no more than their causes.
    cause = error.__cause__ or error if isinstance(error, KombuError) else error
    if isinstance(cause, celery_amqp.PublishersBlocked):
        return str(cause)
    reason = reason_of_error(cause)
    if isinstance(cause, ModuleNotFoundError):
        return f"the Python package {cause.name!r} is missing"
    if isinstance(cause, KeyError) and transport() not in TRANSPORT_ALIASES:
        return f"Celery has no transport {transport()!r}"
    if isinstance(cause, TypeError):
        return f"{reason}: CELERY_BROKER_TRANSPORT_OPTIONS may be those of another transport"
    if isinstance(cause, FileNotFoundError) and cause.filename:
        return f"{reason}: {cause.filename}"
    return reason


def ask(seconds: float = 1.0) -> doctor.Broker:
    """Return whether the broker takes messages, and which queues have a worker that answers."""
    name = transport()
    if is_eager():
        return doctor.Broker(transport=name, eager=True)
    if error := _failure():
        blocked = isinstance(error, celery_amqp.PublishersBlocked)
        return doctor.Broker(transport=name, unreachable=why(error), blocked=blocked)
    try:
        with connection(seconds) as opened:
            if not opened.supports_exchange_type("fanout"):
                return doctor.Broker(transport=name, asked=False)
            inspect = current_app.control.inspect(timeout=seconds, connection=opened)
            replies = inspect.active_queues()
    except Exception as error:  # noqa: BLE001 (as above)
        return doctor.Broker(transport=name, unreachable=why(error))
    if replies is None:
        return doctor.Broker(transport=name)
    names = (queue["name"] for queues in replies.values() for queue in queues)
    return doctor.Broker(transport=name, consumers=Counter(names))
