"""Make a Celery worker keep running after any message and after any fault of its broker.

    from crossdb_integrity.queues.celery_worker import install

    app = Celery("proj")
    install(app)

Call it once, where the app is created. Workers then check the messages of this app's tasks
(messages.py), survive any message (consumer.py and redis.py), reconnect soon, look for work when
beat is silent (steps.py), and answer `inspect` without passwords. The project's own consumer, AMQP
class and steps are kept. In the processes that run tasks, the garbage collector leaves out what was
loaded before the first task: again and again, it would walk through all of Django.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import task_prerun, worker_process_init
from django.db import connections

from ..celery_answers import mask_answers
from . import connection, steps

if TYPE_CHECKING:
    from celery import Task

__all__ = ("install", "is_installed")


def install(app: Celery) -> None:
    """Protect the workers of this app. A second call does nothing.

    Raises `TypeError` for anything but a Celery app, and for an AMQP class that cannot be extended.
    """
    if not isinstance(app, Celery):
        raise TypeError(f"install() takes the project's Celery app, not {app!r}")
    if is_installed(app):
        return
    connection.install(app)
    mask_answers()
    app.steps["worker"].update(steps.STEPS)
    task_prerun.connect(drop_dead_connections, dispatch_uid=__name__)
    worker_process_init.connect(freeze, dispatch_uid=__name__)


def is_installed(app: Celery) -> bool:
    """Return whether `install` was called for this app."""
    return app.steps["worker"] >= steps.STEPS


def freeze(**_: Any) -> None:
    """Let the garbage collector leave out what this process has loaded."""
    gc.freeze()


def drop_dead_connections(sender: Task[..., Any] | None = None, **_: Any) -> None:
    """Close database connections that no longer work, before a task uses them.

    Without this check, `CELERY_DB_REUSE_MAX` reuses a connection that its server has closed for
    task after task. A connection in a transaction belongs to the caller of an eager task, and
    stays open.
    """
    if sender is None or not is_installed(sender.app):
        return
    for connection_in_use in connections.all(initialized_only=True):
        if not connection_in_use.in_atomic_block:
            connection_in_use.close_if_unusable_or_obsolete()
