"""Checks of Celery's settings that harm this app's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks

from .. import conf, declared, relations
from ..routing import CONTROL, PERIODS, ROUTER, queue_names
from .celery_options import (
    OPTIONS,
    TASKS,
    addresses,
    as_set,
    entries,
    goes_to,
    has_table,
    option,
    uses_celery,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE = declared.__package__
ONE_LINE = (
    f"from {PACKAGE}.routing import celery_settings, and after the last line about Celery:"
    " vars().update(celery_settings(vars()))"
)
#: Brokers that redeliver a message after a time, even while its task runs.
VISIBILITY = ("redis", "rediss", "sentinel", "valkey", "sqs")


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
    ours = {*queue_names(relations.catalogue().places)}
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


CHECKS = (given_out_again, overridden, routed, in_place, mixed)
