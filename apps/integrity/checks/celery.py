"""Settings of Celery that harm this app's tasks. Celery is not imported.

Note [Where Celery's settings come from]: from Django's settings with the prefix CELERY_, which is
a convention (`config_from_object(..., namespace="CELERY")`); else from the project's Celery app,
where the process has one. Without either, these checks are silent. `integrity doctor` asks the
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
from django.core import checks

from .. import conf, declared, relations
from ..routing import (
    CONTROL,
    PER_DATABASE,
    PERIODS,
    ROUTER,
    SOFT_TIME_LIMIT_SECONDS,
    TIME_LIMIT_SECONDS,
    queue_names,
)

PACKAGE = declared.__package__
ONE_LINE = (
    f"from {PACKAGE}.routing import celery_settings, and after the last line about Celery:"
    " vars().update(celery_settings(vars()))"
)
#: Schedulers with which beat reads its timetable from the settings.
OF_SETTINGS = {None, "celery.beat:PersistentScheduler", "celery.beat.PersistentScheduler"}
TASKS = sorted(PERIODS.keys() | PER_DATABASE)
#: Names of the default app that Celery makes where a project has none.
NOBODYS = {None, "default"}
#: Brokers that redeliver a message after a time, even while its task runs.
VISIBILITY = ("redis", "rediss", "sentinel", "valkey", "sqs")
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


# W014: messages that are redelivered while their task still runs


def given_out_again(**_: Any) -> list[checks.CheckMessage]:
    """W014: the broker redelivers a message before the time limit of its task."""
    if not uses_celery():
        return []
    options: Mapping[str, Any] = option("BROKER_TRANSPORT_OPTIONS") or {}
    seconds = options.get("visibility_timeout")
    limit = max(as_set(task)["time_limit"] or 0 for task in TASKS)
    broker = str(option("BROKER_URL") or "redis").partition(":")[0]
    if broker not in VISIBILITY or not isinstance(seconds, int | float) or seconds > limit:
        return []
    return [
        checks.Warning(
            f"CELERY_BROKER_TRANSPORT_OPTIONS has a visibility_timeout of {seconds} s, and a task"
            f" may run for {limit} s: its message is delivered to a second worker meanwhile.",
            hint=f'CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": {2 * limit}}}, or'
            " more: longer than the longest task of the project. Celery's default is an hour.",
            obj="CELERY_BROKER_TRANSPORT_OPTIONS",
            id="integrity.W014",
        )
    ]


# W015: options of our tasks


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


def flaws(options: Mapping[str, Any], run_seconds: float) -> Iterator[tuple[str, str]]:
    """Yield the options of a task that break a guarantee, each with its effect. Pure."""
    soft, hard = options["soft_time_limit"], options["time_limit"]
    if not options["acks_late"]:
        yield "acks_late", "the message is lost if its worker is killed"
    if not options["reject_on_worker_lost"]:
        yield "reject_on_worker_lost", "the message is lost if its child process is killed"
    if options["expires"] is not None:
        yield "expires", "a worker whose clock is ahead of the sender's drops every message"
    if not hard:
        yield "time_limit", "a task that hangs occupies its process forever"
    if not soft or (hard and soft >= hard):
        yield "soft_time_limit", "a task is killed before it is asked to stop"
    elif soft <= run_seconds:
        early = f"a task is stopped before INTEGRITY['run_seconds'] ({run_seconds:g}) are over"
        yield "soft_time_limit", f"{early}, and its database counts as one that does not answer"


def overridden(**_: Any) -> list[checks.CheckMessage]:
    """W015: the project overrides a task option that a guarantee depends on."""
    if not uses_celery():
        return []
    overrides: dict[tuple[str, str, Any], list[str]] = {}
    for task in TASKS:
        options = as_set(task)
        for name, harm in flaws(options, conf.current().run_seconds):
            overrides.setdefault((name, harm, options[name]), []).append(task)
    for _name, task, published in entries():
        if (expires := published.get("expires")) is not None:
            harm = "a worker whose clock is ahead of beat's drops every tick"
            overrides.setdefault(("expires", harm, expires), []).append(task)
    return [_override(*key, tasks) for key, tasks in overrides.items()]


def _override(name: str, harm: str, value: Any, tasks: list[str]) -> checks.CheckMessage:
    return checks.Warning(
        f"{name} is {value!r} for {', '.join(tasks)}: {harm}.",
        hint=f"Do not set {name} of these tasks in CELERY_TASK_ANNOTATIONS or in"
        f" CELERY_BEAT_SCHEDULE: the app sets it to {OPTIONS[name]!r}.",
        obj=name,
        id="integrity.W015",
    )


# W016: the queue of ticks


def routed(**_: Any) -> list[checks.CheckMessage]:
    """W016: ticks go to a queue that no worker of this app consumes."""
    if not uses_celery():
        return []
    astray = {task for _, task, options in entries() if not options.get("queue")}
    astray |= PERIODS.keys() if has_table() else set()
    routes = option("TASK_ROUTES")
    default = option("TASK_DEFAULT_QUEUE") or "celery"
    queues = {task: queue for task in astray if (queue := goes_to(task, routes) or default)}
    if not (lost := sorted(task for task, queue in queues.items() if queue != CONTROL)):
        return []
    return [
        checks.Warning(
            f"CELERY_TASK_ROUTES sends {', '.join(lost)} to the queue {queues[lost[0]]!r}, but the"
            f" workers of this app consume {CONTROL!r}.",
            hint=f"{ONE_LINE}. Or: CELERY_TASK_ROUTES = ({ROUTER!r}, ...).",
            obj="CELERY_TASK_ROUTES",
            id="integrity.W016",
        )
    ]


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


# W017: no workers


def in_place(**_: Any) -> list[checks.CheckMessage]:
    """W017: tasks run in the calling process, in production."""
    if settings.DEBUG or not uses_celery() or not option("TASK_ALWAYS_EAGER"):
        return []
    return [
        checks.Warning(
            "CELERY_TASK_ALWAYS_EAGER is set and DEBUG is not: no worker gets a message, and"
            " cascades run in the process that deletes, or not at all.",
            hint="CELERY_TASK_ALWAYS_EAGER = False. Without workers: INTEGRITY ="
            ' {"wakeups": False} and `manage.py integrity drain --forever`.',
            obj="CELERY_TASK_ALWAYS_EAGER",
            id="integrity.W017",
        )
    ]


# E019: queues that receive each other's messages


def mixed(**_: Any) -> list[checks.CheckMessage]:
    """E019: queues share an exchange and a key, so a message to one reaches all of them."""
    if not uses_celery():
        return []
    ours = {*queue_names(relations.catalogue().child_databases)}
    groups: dict[tuple[str, str], list[str]] = {}
    for name, address in addresses(option("TASK_QUEUES")):
        groups.setdefault(address, []).append(name)
    return [
        checks.Error(
            f"CELERY_TASK_QUEUES binds {', '.join(names)} to one exchange ({exchange!r}) by one"
            f" key ({key!r}): each message reaches all of them, so a database that is down delays"
            " the others.",
            hint=f"{ONE_LINE}. Or: Queue({names[0]!r}, Exchange({names[0]!r}),"
            f" routing_key={names[0]!r}), and the others likewise.",
            obj="CELERY_TASK_QUEUES",
            id="integrity.E019",
        )
        for (exchange, key), names in groups.items()
        if len(names) > 1 and ours & set(names)
    ]


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


CHECKS = (given_out_again, overridden, routed, in_place, mixed)
