"""Sessions beside the main one, a broker that is a list, and what strikes at some statement."""

from __future__ import annotations

import enum
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from psycopg.pq import TransactionStatus

from apps.integrity.queues import celery
from sandbox.processes import free_port

from .kinds import CHILD_DATABASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Task

TASKS: dict[str, Task[..., None]] = {
    task.name: task
    for task in (
        celery.dispatch_deletions,
        celery.cascade_into,
        celery.verify_in,
        celery.maintain,
    )
}


class Died(BaseException):
    """The process was killed: nothing catches it, and nothing that it had open is committed."""


class BrokerDown(Exception):
    """The broker takes no message."""


class Broker:
    """The messages that were published and not delivered yet: an alias each, never a key."""

    def __init__(self) -> None:
        self.down = False
        self.messages: list[tuple[str, str]] = []

    def publish(self, task: Task[..., None], alias: str) -> None:
        """In place of `celery._publish`."""
        if self.down:
            raise BrokerDown
        self.messages.append((str(task.name), alias))

    def wake(self, *messages: tuple[Callable[[str], None], str]) -> None:
        """In place of the thread of `notifier.Notifier`: hints that fail are dropped."""
        try:
            for send, alias in messages:
                send(alias)
        except BrokerDown:
            return


class Session:
    """A thread with connections of its own, as another process has."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._open: dict[str, transaction.Atomic] = {}

    def __call__(self, act: Callable[[], Any]) -> Any:
        return self._thread.submit(act).result()

    @property
    def open(self) -> set[str]:
        """Aliases with an open transaction."""
        return set(self._open)

    def begin(self, alias: str) -> None:
        if alias not in self._open:
            self._open[alias] = transaction.atomic(using=alias)
            self(self._open[alias].__enter__)

    def end(self, alias: str, *, commit: bool) -> None:
        """Commit or roll back; raises what a commit raises."""
        atomic = self._open.pop(alias)

        def end() -> None:
            if not commit:
                transaction.set_rollback(True, using=alias)
            atomic.__exit__(None, None, None)

        self(end)

    def drop(self, alias: str) -> None:
        """The database went away: what was open is rolled back."""
        if alias in self._open:
            self.end(alias, commit=False)
        self(lambda: connections[alias].close())  # noqa: PLW0108 (the thread's own)

    def close(self) -> None:
        self(lambda: connections.close_all())  # noqa: PLW0108 (the thread's own)
        self._thread.shutdown()


class Outages:
    """Databases that refuse connections, in every thread."""

    def __init__(self) -> None:
        self.ports: dict[str, dict[str, Any]] = {}

    def begin(self, alias: str, sessions: list[Session]) -> None:
        if alias in self.ports:
            return
        connection = connections[alias]
        for session in sessions:
            session.drop(alias)
        settings = connection.settings_dict
        self.ports[alias] = {name: settings[name] for name in ("HOST", "PORT")}
        settings.update(HOST="127.0.0.1", PORT=str(free_port()))
        if connection.connection is not None:
            connection.connection.close()  # below Django, which does not know yet

    def end(self, alias: str) -> None:
        connections[alias].close()
        connections[alias].settings_dict.update(self.ports.pop(alias))

    def end_all(self) -> None:
        for alias in list(self.ports):
            self.end(alias)


#: How statements begin that change nothing.
READS = ("SELECT", "SAVEPOINT", "RELEASE")


class Of(enum.Enum):
    """The statements that are counted."""

    ALL = "statement"
    WRITES = "write"
    REMOVALS = "write to a child's database"


@dataclass(frozen=True)
class Moment:
    """Before or after the statement of that number."""

    number: int
    of: Of
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.of.value} {self.number}"

    def counts(self, alias: str, sql: str) -> bool:
        if self.of is Of.REMOVALS and alias not in CHILD_DATABASES:
            return False
        return self.of is Of.ALL or not sql.startswith(READS)


@contextmanager
def at_statement(moment: Moment, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` at that moment of what this thread sends to all databases.

    Once it has raised `Died`, every further statement does: a dead process sends none.
    """
    sent, struck, dead = 0, False, False

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        nonlocal sent, struck, dead
        if dead:
            raise Died
        sent += moment.counts(context["connection"].alias, sql)
        if struck or sent != moment.number:
            return execute(sql, params, many, context)
        struck = True
        try:
            if not moment.after:
                act()
            result = execute(sql, params, many, context)
            if moment.after:
                act()
        except Died:
            dead = True
            raise
        return result

    try:
        with ExitStack() as stack:
            for alias in connections:
                stack.enter_context(connections[alias].execute_wrapper(watch))
            yield
    except Died:
        for connection in connections.all(initialized_only=True):
            _end_session(connection)
        raise


def _end_session(connection: Any) -> None:
    """Leave nothing of a session to the next one.

    A server session that is begun anew, as if for another client, costs a tenth of a new one.
    """
    session = connection.connection
    if connection.vendor != "postgresql" or session is None or not _idle(connection):
        connection.close()
        return
    session.execute("DISCARD ALL")
    connection.init_connection_state()


def _idle(connection: Any) -> bool:
    """Whether all that was open has been rolled back, and the session can be used."""
    status = connection.connection.info.transaction_status
    return not connection.in_atomic_block and status is TransactionStatus.IDLE
