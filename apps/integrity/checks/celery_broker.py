"""Which broker Celery uses. Celery is not imported."""

from __future__ import annotations

import os
from typing import Any

from django.core import checks

from ..routing import BROKER_VARIABLE, REDIS, masked, transport_of
from .celery import ONE_LINE
from .celery_options import option, uses_celery

#: Variable → the processes in which Celery reads it.
VARIABLES = {BROKER_VARIABLE: "every process", "BROKER_URL": "the `celery` command"}
#: Options that only the transports for Redis know. Some others refuse them.
OF_REDIS = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval")


def replaced(**_: Any) -> list[checks.CheckMessage]:
    """W036: a variable of the environment names another broker than the settings."""
    configured = option("BROKER_URL")
    if not uses_celery() or not isinstance(configured, str):
        return []
    return [
        checks.Warning(
            f"The environment variable {name} is {masked(url)!r}, and the settings name"
            f" {masked(configured)!r}: {where} uses the former, so processes with and without the"
            " variable do not meet.",
            hint=f"Take {name} out of the environment, or read it in the settings:"
            f' CELERY_BROKER_URL = os.environ["{name}"].',
            obj=name,
            id="integrity.W036",
        )
        for name, where in VARIABLES.items()
        if (url := os.environ.get(name)) and url != configured
    ]


def of_another(**_: Any) -> list[checks.CheckMessage]:
    """W037: options of the Redis transport are set for a broker of another kind."""
    transport = transport_of(os.environ.get(BROKER_VARIABLE) or option("BROKER_URL"))
    given = option("BROKER_TRANSPORT_OPTIONS") or {}
    if not uses_celery() or transport in REDIS:
        return []
    if not (names := [name for name in OF_REDIS if name in given]):
        return []
    return [
        checks.Warning(
            f"CELERY_BROKER_TRANSPORT_OPTIONS has {', '.join(names)}, which the transport"
            f" {transport!r} does not know: it ignores them, or cannot connect.",
            hint=f"Remove them. {ONE_LINE} sets those of the broker's own transport.",
            obj="CELERY_BROKER_TRANSPORT_OPTIONS",
            id="integrity.W037",
        )
    ]


CHECKS = (replaced, of_another)
