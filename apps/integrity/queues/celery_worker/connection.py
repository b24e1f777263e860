"""Connections to the broker that reconnect soon, and that survive any message."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

import kombu
from celery.app import amqp
from celery.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from celery import Celery

#: Celery's default is 30 s: so long a worker would wait after the broker is back.
RECONNECT_SECONDS_MAX = 5


class Connection(kombu.Connection):
    """kombu's connection, with short waits before it reconnects, and a guarded Redis transport."""

    def get_transport_cls(self) -> Any:
        """Return kombu's transport; for Redis, the guarded one."""
        transport = super().get_transport_cls()
        if "kombu.transport.redis" not in sys.modules:
            return transport
        from . import redis

        return redis.guarded(cast("Any", transport))

    def ensure_connection(  # type: ignore[override]  # all arguments are passed on
        self, *args: Any, **options: Any
    ) -> kombu.Connection:
        """Connect as kombu does, and wait at most `RECONNECT_SECONDS_MAX` between attempts."""
        return super().ensure_connection(
            *args, **{"interval_max": RECONNECT_SECONDS_MAX, **options}
        )


class AMQP(amqp.AMQP):
    """Celery's AMQP class, with that connection."""

    Connection = Connection


def install(app: Celery) -> None:
    """Make the app use such connections, through its own AMQP class where it has one.

    Raises `TypeError` where the connections of that class are not kombu's.
    """
    if "amqp" in app.__dict__:  # the property has been used
        instance: Any = app.amqp
        instance.Connection = with_ours(instance.Connection)
    else:
        untyped: Any = app  # in the stubs, `amqp_cls` is a name only; Celery accepts a class
        theirs = symbol_by_name(untyped.amqp_cls)
        untyped.amqp_cls = AMQP if theirs is amqp.AMQP else _with_connection(theirs)


def _with_connection(theirs: Any) -> Any:
    """Return a project's AMQP class with our connections."""
    connection = with_ours(theirs.Connection)
    if theirs.Connection is connection:
        return theirs
    return type(theirs.__name__, (theirs,), {"Connection": connection})


def with_ours(theirs: Any) -> Any:
    """Return a connection class that inherits from theirs and from ours."""
    if not (inspect.isclass(theirs) and issubclass(theirs, kombu.Connection)):
        raise TypeError(
            f"the AMQP class of the Celery app uses {theirs!r}, which is not a subclass of"
            " kombu.Connection: derive it from that class, and install() keeps it"
        )
    if issubclass(theirs, Connection):
        return theirs
    if theirs is kombu.Connection:
        return Connection
    return type(theirs.__name__, (Connection, theirs), {})
