"""Celery's settings as the project has them, and as its own tasks get them. It is not imported.

Note [Where Celery's settings come from]: from Django's settings with the prefix CELERY_, which is
a convention (`config_from_object(..., namespace="CELERY")`); else from the project's Celery app,
where the process has one. Without either, the checks are silent. `integrity doctor` asks the
running workers.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings

from .. import conf, relations
from ..routing import (
    CONTROL,
    PER_DATABASE,
    PERIODS,
    ROUTER,
    SOFT_TIME_LIMIT_SECONDS,
    TIME_LIMIT_SECONDS,
)

#: Schedulers with which beat reads its timetable from the settings.
OF_SETTINGS = {None, "celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler"}
TASKS = sorted(PERIODS.keys() | PER_DATABASE)
#: Names of the default app that Celery makes where a project has none.
NOBODYS = {None, "default"}
#: The options of our tasks, as queues/celery.py sets them.
OPTIONS: dict[str, Any] = {
    "acks_late": True,
    "reject_on_worker_lost": True,
    "soft_time_limit": SOFT_TIME_LIMIT_SECONDS,
    "time_limit": TIME_LIMIT_SECONDS,
    "expires": None,
}


def option(name: str) -> Any:
    """Return an option from the settings or the Celery app; None where neither sets it."""
    if hasattr(settings, f"CELERY_{name}"):
        return getattr(settings, f"CELERY_{name}")
    app = project_app()
    return None if app is None else app.conf.get(name.lower())


def project_app() -> Any:
    """Return the project's Celery app; None where this process has imported none."""
    celery = sys.modules.get("celery")
    app = None if celery is None else celery.current_app
    return None if app is None or app.main in NOBODYS else app


def uses_celery() -> bool:
    """Return whether there are relations and the project configures Celery. See the Note above."""
    if (
        conf.current().notify
        or not relations.catalogue().relations
        or importlib.util.find_spec("celery") is None
    ):
        return False
    if option("TASK_ALWAYS_EAGER") and settings.DEBUG:
        return False
    return any(name.startswith("CELERY_") for name in dir(settings)) or project_app() is not None


def has_table() -> bool:
    """Return whether beat may keep entries in a table, which no check reads."""
    return option("BEAT_SCHEDULER") not in OF_SETTINGS or apps.is_installed("django_celery_beat")


def entries() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield name, task and options of the timetable's entries for tasks of this app."""
    timetable: Mapping[str, Any] = option("BEAT_SCHEDULE") or {}
    for name, entry in timetable.items():
        task, options = _parts(entry)
        if task in TASKS:
            yield name, task, options or {}


def _parts(entry: Any) -> tuple[Any, Any]:
    if isinstance(entry, Mapping):
        return entry.get("task"), entry.get("options")
    return getattr(entry, "task", None), getattr(entry, "options", None)


def as_set(task: str) -> dict[str, Any]:
    """Return the options of one of our tasks, after the project's annotations."""
    return OPTIONS | annotated(option("TASK_ANNOTATIONS"), task)


def annotated(annotations: Any, task: str) -> dict[str, Any]:
    """Return the options that `task_annotations` set for a task. Annotation objects are ignored."""
    layers = [annotations] if isinstance(annotations, Mapping) else annotations
    options: dict[str, Any] = {}
    for layer in layers if isinstance(layers, Iterable) else ():
        if isinstance(layer, Mapping):
            options |= {**(layer.get("*") or {}), **(layer.get(task) or {})}
    return options


def goes_to(task: str, routes: Any) -> str | None:
    """Return the queue of a task without arguments by `task_routes`; None without a match."""
    given = [routes] if isinstance(routes, str | Mapping) or callable(routes) else routes or ()
    for route in given:
        if route == ROUTER or getattr(route, "__name__", None) == "route_task":
            return CONTROL
        if isinstance(route, Mapping):
            for pattern, where in route.items():
                if fnmatch.fnmatchcase(task, str(pattern)):
                    return where.get("queue") if isinstance(where, Mapping) else str(where)
    return None


def addresses(queues: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each queue's exchange and routing key, with Celery's defaults filled in."""
    default = option("TASK_DEFAULT_QUEUE") or "celery"
    exchange = option("TASK_DEFAULT_EXCHANGE") or default
    key = option("TASK_DEFAULT_ROUTING_KEY") or default
    if isinstance(queues, Mapping):
        for name, queue in queues.items():
            if isinstance(queue, Mapping):
                named = queue.get("routing_key") or queue.get("binding_key") or name
                yield name, (str(queue.get("exchange") or exchange), named)
            else:
                yield name, _bound(queue, exchange, key)
    else:
        for queue in queues or ():
            yield queue.name, _bound(queue, exchange, key)


def _bound(queue: Any, exchange: str, key: str) -> tuple[str, str]:
    """Return the exchange and key of a `kombu.Queue`. A fanout exchange ignores the key."""
    named = getattr(queue.exchange, "name", "") or exchange
    if getattr(queue.exchange, "type", "direct") == "fanout":
        return named, "*"
    return named, queue.routing_key or key
