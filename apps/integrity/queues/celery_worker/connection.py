"""Connections to the broker: they are asked for often, and read by channels that go on."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

import kombu
from celery.app import amqp
from celery.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from celery import Celery

#: Celery's own limit is 30 s: a worker would wait that long after the broker is back.
RECONNECT_SECONDS_MAX = 5


class Connection(kombu.Connection):
    """kombu's, which asks often for a broker that is away, and goes on after any message."""

    def get_transport_cls(self) -> Any:
        """Return kombu's transport, and for Redis the guarded one."""
        found = super().get_transport_cls()
        if "kombu.transport.redis" not in sys.modules:
            return found
        from . import redis

        return redis.guarded(cast("Any", found))

    def ensure_connection(  # type: ignore[override]  # passed on as it comes
        self, *args: Any, **options: Any
    ) -> kombu.Connection:
        """Do as kombu does, with a shorter longest wait."""
        return super().ensure_connection(
            *args, **{"interval_max": RECONNECT_SECONDS_MAX, **options}
        )


class AMQP(amqp.AMQP):
    """Celery's, with that connection."""

    Connection = Connection


def install(app: Celery) -> None:
    """Let the app make such connections, by its own AMQP class where it has one."""
    if "amqp" in app.__dict__:  # it was used before
        made: Any = app.amqp
        made.Connection = with_ours(made.Connection)
    else:
        given: Any = app  # the stubs know a name only, where Celery takes a class, too
        theirs = symbol_by_name(given.amqp_cls)
        given.amqp_cls = AMQP if theirs is amqp.AMQP else _with_connection(theirs)


def _with_connection(theirs: Any) -> Any:
    """Return a project's AMQP class with our connections."""
    wanted = with_ours(theirs.Connection)
    if theirs.Connection is wanted:
        return theirs
    return type(theirs.__name__, (theirs,), {"Connection": wanted})


def with_ours(theirs: Any) -> Any:
    """Return a class of connections that is both theirs and ours."""
    if not (inspect.isclass(theirs) and issubclass(theirs, kombu.Connection)):
        raise TypeError(
            f"the Celery app's AMQP class makes connections by {theirs!r}, which is no subclass of"
            " kombu.Connection: derive it from that, and install() keeps it"
        )
    if issubclass(theirs, Connection):
        return theirs
    if theirs is kombu.Connection:
        return Connection
    return type(theirs.__name__, (Connection, theirs), {})
