"""Flower's Celery app, for `celery -A workers.flower flower`. It only knows the broker.

It does not load Django or the project's settings, so Flower has no access to their secrets. It
requires a login to start, and also protects /metrics with it.
"""

from __future__ import annotations

import os

from celery import Celery
from flower.views.monitor import Metrics
from tornado.web import authenticated

from apps.integrity.routing import CONTROL, REDIS, transport_of


def required(name: str) -> str:
    """Return the variable's value. Raises `SystemExit` if it is missing or empty."""
    if value := os.environ.get(name, "").strip():
        return value
    raise SystemExit(f"The environment variable {name} is not set. See .env.example.")


required("FLOWER_BASIC_AUTH")
app = Celery("flower", broker=required("BROKER_URL"))
app.conf.task_default_queue = CONTROL
if transport_of(app.conf.broker_url) in REDIS:
    app.conf.broker_transport_options = {
        # Like a worker, Flower restores unacknowledged messages. It must not touch those of the
        # workers, and deploy/redis/users.acl denies it access to them.
        "unacked_key": "flower.unacked",
        "unacked_index_key": "flower.unacked_index",
        "unacked_mutex_key": "flower.unacked_mutex",
        "socket_keepalive": True,
        "health_check_interval": 5,
    }
# By default, Flower's /metrics shows the names of workers and tasks without a login.
Metrics.get = authenticated(Metrics.get)
