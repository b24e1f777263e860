"""Flower's Celery app, for `celery -A workers.flower flower`: it knows the broker and nothing else.

Neither Django nor the settings of the project are loaded, so that no secret of theirs is within
reach of Flower. It does not start without a login, and asks for it at /metrics, too.
"""

from __future__ import annotations

import os

from celery import Celery
from flower.views.monitor import Metrics
from tornado.web import authenticated

from apps.integrity.routing import CONTROL


def required(name: str) -> str:
    """Return the variable's value. Raises `SystemExit` where it is missing or empty."""
    if value := os.environ.get(name, "").strip():
        return value
    raise SystemExit(f"The environment variable {name} is not set. See .env.example.")


required("FLOWER_BASIC_AUTH")
app = Celery("flower", broker=required("BROKER_URL"))
app.conf.task_default_queue = CONTROL
app.conf.broker_transport_options = {
    # Flower looks for messages that were not acknowledged, as a worker does. Those of the workers
    # are none of its business, and deploy/redis/users.acl keeps it away from them.
    "unacked_key": "flower.unacked",
    "unacked_index_key": "flower.unacked_index",
    "unacked_mutex_key": "flower.unacked_mutex",
    "socket_keepalive": True,
    "health_check_interval": 5,
}
# Flower itself lets everybody read the names of workers and tasks there.
Metrics.get = authenticated(Metrics.get)
