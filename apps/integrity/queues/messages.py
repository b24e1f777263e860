"""Messages of a task queue other than Celery: how one is sent, and what a task does with it.

A message is the name of a queue: `integrity.<alias>` of a child database, or `integrity` for all of
them. It names no key. So any later message does the work of a lost one, and a forged message cannot
harm a row. The setting `notify` names the project's function that sends a message; the task calls
`work_for`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections
from django.utils.module_loading import import_string

from .. import conf, relations
from ..backends.connections import reach
from ..cascade import first_look
from ..control import circuit_breaker
from ..exceptions import UnknownName
from ..exceptions.failures import contained, isolated
from ..routing import CONTROL, queue_for, queue_names
from . import dispatch
from .base import Attempts, Job, work_once
from .inline import InlineNotifier

if TYPE_CHECKING:
    from collections.abc import Iterable


def send(message: str) -> None:
    """Call the project's function, which the setting `notify` names, with the message.

    Without the setting, nothing is sent. Raises whatever the function raises. `SystemExit` and its
    like become an `Exception`.
    """
    if path := conf.current().notify:
        with contained():
            import_string(path)(message)


def send_from_thread(message: str) -> None:
    """Send a message from the notifier's thread, and close the connections that it opened."""
    try:
        send(message)
    finally:
        connections.close_all()


def work_for(message: str) -> None:
    """Do the work that a message announces: call it in a task, with the message and nothing else.

    It works for `run_seconds` at most. If more is due then, it sends the message again. It may be
    called at any time, any number of times, and by several processes at once; if there is nothing
    to do, it does nothing. A database that cannot be worked on is not an error: its work waits.

    Verification, scans and maintenance are not announced by messages: `integrity drain --forever`
    does them, and all work whose message was lost.

    Args:
        message: What the function of the setting `notify` was called with.

    Raises:
        UnknownName: the message names no child database.
        DatabaseError: the log cannot be worked on.
    """
    _worker.notify(message)


def _work(message: str) -> None:
    catalogue = relations.catalogue()
    if message == CONTROL:
        with Attempts(()) as attempts:
            for using in circuit_breaker.answering_logs():
                with attempts.on(using):
                    _dispatch_all(using)
        return
    aliases = {queue_for(alias): alias for alias in catalogue.places}
    if message not in aliases:
        raise UnknownName("message", message, queue_names(catalogue.places))
    database, more = aliases[message], False
    with Attempts(()) as attempts:
        for using in catalogue.homes(database):
            with attempts.on(using):
                more |= _dispatch_some(using, into=database)
        outcome = work_once(Job.CASCADE, database)
    if more:
        _send_all([CONTROL])
    if outcome.next_jobs:
        _send_all([message])


def _dispatch_all(using: str) -> None:
    """Dispatch one log, and send a message for each child database with work that is due."""
    _, due = dispatch.sweep(using)
    _send_all(map(queue_for, sorted(first_look.close_empty(due, using=using))))


def _dispatch_some(using: str, *, into: str) -> bool:
    """Dispatch what one claim takes before work on `into`; tell the other databases.

    Return whether the rest is left to the control queue, as `celery.cascade_into` does.
    """
    reach(using, fresh=False)
    fresh, more = dispatch.dispatch_some(using)
    if len(fresh) >= first_look.DATABASES_MIN:
        return True
    _send_all(map(queue_for, sorted(fresh - {into})))
    return more


def _send_all(messages: Iterable[str]) -> None:
    """Send messages from a task. If sending fails, `drain` finds the work."""
    for message in messages:
        with isolated(f"sending the message {message!r}"):
            send(message)


#: A queue that runs a task at once, in the thread that sends its message, would recurse.
_worker = InlineNotifier(_work)
