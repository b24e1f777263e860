"""What makes a Celery worker go on after any message and after any fault of its broker.

    from crossdb_integrity.queues.celery_worker import install

    app = Celery("proj")
    install(app)

Once, where the app is made. Messages of this app's tasks are checked (messages.py), and the
consumer goes on after any message (consumer.py, and redis.py for that broker). Connections are
made anew soon, and work is asked for although beat is silent (steps.py). Answers to `inspect` have
no password in them. What the project set itself, its consumer, its AMQP class, its steps, is kept
and works with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import task_prerun
from django.db import connections

from ..celery_answers import mask_answers
from . import connection, steps

if TYPE_CHECKING:
    from celery import Task

__all__ = ("install", "is_installed")


def install(app: Celery) -> None:
    """Make the workers of this app survive. Twice does no more than once."""
    if not isinstance(app, Celery):
        raise TypeError(f"install() takes the project's Celery app, not {app!r}")
    if is_installed(app):
        return
    connection.install(app)
    mask_answers()
    app.steps["worker"].update(steps.STEPS)
    task_prerun.connect(drop_dead_connections, dispatch_uid=__name__)


def is_installed(app: Celery) -> bool:
    """Return whether `install` was called for this app."""
    return app.steps["worker"] >= steps.STEPS


def drop_dead_connections(sender: Task[..., Any] | None = None, **_: Any) -> None:
    """Give a task the database connections of the one before it, if they still work.

    Without this check, `CELERY_DB_REUSE_MAX` hands a connection that its server has closed to
    one task after another. A task called in place runs inside the caller's transaction: there
    the connection is the caller's.
    """
    if sender is None or not is_installed(sender.app):
        return
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close_if_unusable_or_obsolete()
