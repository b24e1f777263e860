"""The Celery app: `celery -A workers worker -Q integrity.blog_db -n blog_db@%h`."""

from __future__ import annotations

import logging.config
import os
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import celeryd_init, setup_logging
from django.conf import settings

from apps.integrity.queues.celery_worker import install
from apps.integrity.routing import CeleryConfig

if TYPE_CHECKING:
    from celery.app.utils import Settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

WORKER_SOCKET_TIMEOUT_SECONDS = 2

app = Celery("workers")
install(app)
app.config_from_object(CeleryConfig(settings))
app.autodiscover_tasks()


@celeryd_init.connect
def wait_longer_for_the_broker(conf: Settings, **_kwargs: Any) -> None:
    """Give workers a longer broker timeout than requests have, where the broker is Redis."""
    if "socket_timeout" not in conf.broker_transport_options:
        return
    conf.broker_transport_options = {
        **conf.broker_transport_options,
        "socket_timeout": WORKER_SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": WORKER_SOCKET_TIMEOUT_SECONDS,
    }


@setup_logging.connect
def log_as_the_project_does(loglevel: int | None = None, **_kwargs: Any) -> None:
    """Configure logging with `settings.LOGGING`; `--loglevel` still sets the level."""
    logging.config.dictConfig(settings.LOGGING)
    if loglevel is not None:
        logging.getLogger().setLevel(loglevel)
