"""The Celery app: `celery -A workers worker -Q integrity.blog_db -n blog_db@%h`."""

from __future__ import annotations

import logging.config
import os
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging, task_prerun
from django.conf import settings
from django.db import connections

from apps.integrity.queues.celery_answers import mask_answers
from apps.integrity.routing import CeleryConfig

from .liveness import Liveness
from .recovery import AMQP, Children, Places
from .sweep import Sweep

if TYPE_CHECKING:
    from celery.app.utils import Settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

WORKER_SOCKET_TIMEOUT_SECONDS = 2

app = Celery("workers", amqp=AMQP)
app.config_from_object(CeleryConfig(settings))
app.autodiscover_tasks()
mask_answers()
app.steps["worker"].update({Children, Liveness, Places, Sweep})


@celeryd_init.connect
def wait_longer_for_the_broker(conf: Settings, **_kwargs: Any) -> None:
    """A worker may wait for its broker longer than a request can."""
    conf.broker_transport_options = {
        **conf.broker_transport_options,
        "socket_timeout": WORKER_SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": WORKER_SOCKET_TIMEOUT_SECONDS,
    }


@task_prerun.connect
def drop_dead_connections(**_kwargs: Any) -> None:
    """A task gets the connections of the one before it, if they still work.

    Without this check, `CELERY_DB_REUSE_MAX` hands a connection that its server has closed to
    one task after another. A task called in place runs inside the caller's transaction: there
    the connection is the caller's.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


@setup_logging.connect
def log_as_the_project_does(loglevel: int | None = None, **_kwargs: Any) -> None:
    """Celery's processes log as `settings.LOGGING` says; `--loglevel` still sets the level."""
    logging.config.dictConfig(settings.LOGGING)
    if loglevel is not None:
        logging.getLogger().setLevel(loglevel)
