"""Names in the settings that do not exist, and settings that are missing."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import connections
from django.utils.module_loading import import_string

from .. import conf, relations
from ..backends.addresses import address as place
from ..exceptions.redaction import plain
from ..exceptions.suggestions import closest
from ..routing import CONTROL, PERIODS, queue_names
from .celery import ONE_LINE, PACKAGE
from .celery_options import entries, has_table, option, uses_celery
from .keys import some
from .pressure import limited
from .scope import scoped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..relations import Catalogue, Relation


#: The name that stands for all others.
EVERY = "*"
DAY_SECONDS = 86_400
#: How long dispatch, cascade and verification take at least, besides the grace period.
LEAST_SECONDS = 10.0


def named(**_: Any) -> list[checks.CheckMessage]:
    """E002: a setting has no effect, because it names an unknown relation, parent or app."""
    known, current = relations.catalogue(), conf.current()
    subjects = {
        "scan_policy": ("relation", [relation.label for relation in known.relations]),
        "ignored": ("relation", [relation.label for relation in all_of(known)]),
        "capture": ("parent", list(known.parents)),
        "deadline_days": ("parent", [*known.parents, EVERY]),
        "unconstrained": ("app", [config.label for config in apps.get_app_configs()]),
    }
    return [
        checks.Error(
            f"INTEGRITY[{setting!r}] names {name!r}, which is no {what} of this project.",
            hint=f"{_guess(name, labels)}Known: {', '.join(labels) or 'none'}.",
            obj=name,
            id="integrity.E002",
        )
        for setting, (what, labels) in subjects.items()
        if not isinstance(names := getattr(current, setting) or (), str | float | int)
        for name in names
        if name not in labels
    ]


def timely(**_: Any) -> list[checks.CheckMessage]:
    """W041: a deadline that no deletion can meet, because its verification is due later."""
    current, days = conf.current(), conf.current().deadline_days
    given = days if isinstance(days, Mapping) else {EVERY: days}
    least = (current.grace_seconds + LEAST_SECONDS) / DAY_SECONDS
    return [
        checks.Warning(
            f"INTEGRITY['deadline_days'] gives {parent!r} {number:g} days, which is"
            f" {number * DAY_SECONDS:,.0f} s: a deletion is verified {current.grace_seconds:,.0f} s"
            " after its rows are gone, so each one is late.",
            hint=f'INTEGRITY = {{"deadline_days": {{{parent!r}: 30}}}}: it is a number of days. Or'
            ' a shorter grace period: {"grace_seconds": 10}.',
            obj="INTEGRITY",
            id="integrity.W041",
        )
        for parent, number in given.items()
        if number is not None and number < least
    ]


def all_of(catalogue: Catalogue) -> list[Relation]:
    """Return all relations in the order of their labels, those that are ignored among them."""
    return sorted((*catalogue.relations, *catalogue.ignored), key=attrgetter("label"))


def _guess(name: str, known: Iterable[str]) -> str:
    """Return the known name that was likely meant, as a question; or "". Pure."""
    likely = closest(name, known)
    return f"Did you mean {likely!r}? " if likely else ""


def timed(**_: Any) -> list[checks.CheckMessage]:
    """W009: the timetable of beat lacks periodic tasks of this app."""
    if not uses_celery() or has_table():
        return []
    if not (missing := sorted(PERIODS.keys() - {task for _, task, _ in entries()})):
        return []
    kept = "**CELERY_BEAT_SCHEDULE, " if option("BEAT_SCHEDULE") else ""
    return [
        checks.Warning(
            f"CELERY_BEAT_SCHEDULE has no entry for {', '.join(missing)}: work whose message was"
            " lost stays undone.",
            hint=f"from {PACKAGE}.routing import BEAT_SCHEDULE;"
            f" CELERY_BEAT_SCHEDULE = {{{kept}**BEAT_SCHEDULE}}",
            obj="CELERY_BEAT_SCHEDULE",
            id="integrity.W009",
        )
    ]


def queued(**_: Any) -> list[checks.CheckMessage]:
    """W010: Celery has a fixed list of queues, which lacks one of this app's queues."""
    if not uses_celery() or option("TASK_CREATE_MISSING_QUEUES") is not False:
        return []
    queues = option("TASK_QUEUES") or [option("TASK_DEFAULT_QUEUE") or "celery"]
    names = {getattr(queue, "name", queue) for queue in queues}
    wanted = queue_names(relations.catalogue().places)
    if not (missing := [name for name in wanted if name not in names]):
        return []
    misspelt = closest(missing[0], {*map(str, names)} - {*wanted})
    guess = f"Is {misspelt!r} meant to be {missing[0]!r}? " if misspelt else ""
    return [
        checks.Warning(
            f"CELERY_TASK_QUEUES lacks {', '.join(missing)}, and CELERY_TASK_CREATE_MISSING_QUEUES"
            " is False: no message arrives there.",
            hint=f"{guess}{ONE_LINE}. Or add Queue({missing[0]!r}, Exchange({missing[0]!r}),"
            f" routing_key={missing[0]!r}), each with an exchange of its own.",
            obj="CELERY_TASK_QUEUES",
            id="integrity.W010",
        )
    ]


def brokered(**_: Any) -> list[checks.CheckMessage]:
    """W011: notifications are published, but no broker is named."""
    if not uses_celery() or not conf.current().wakeups:
        return []
    if getattr(settings, "BROKER_URL", None) or option("BROKER_URL") or option("BROKER_WRITE_URL"):
        return []
    return [
        checks.Warning(
            "CELERY_BROKER_URL is not set: each delete tries to notify workers through"
            " amqp://localhost, Celery's default.",
            hint='CELERY_BROKER_URL = "redis://localhost:6379/0", or without a broker'
            ' INTEGRITY = {"wakeups": False} and `manage.py integrity drain --forever`.',
            obj="CELERY_BROKER_URL",
            id="integrity.W011",
        )
    ]


def notified(**_: Any) -> list[checks.CheckMessage]:
    """E026: what the setting `notify` names cannot be called with a message."""
    if not (path := conf.current().notify) or not (why := _uncallable(path)):
        return []
    return [
        checks.Error(
            f"INTEGRITY['notify'] is {path!r}, and {why}: no message is sent.",
            hint="Name a function of your project that takes one argument, the message, and"
            f" enqueues a task that calls {PACKAGE}.queues.messages.work_for(message): INTEGRITY ="
            ' {"notify": "shop.queue.publish"}. Without a task queue: {"notify": "", "wakeups":'
            " False}, and `manage.py integrity drain --forever`.",
            obj="INTEGRITY",
            id="integrity.E026",
        )
    ]


def _uncallable(path: str) -> str:
    """Return why the notifier cannot call what is at that dotted path, or ""."""
    try:
        function = import_string(path)
    except Exception as error:  # noqa: BLE001 (a project's module may raise anything)
        return f"it cannot be imported ({type(error).__name__}: {plain(error)})"
    if not callable(function):
        return f"that is not a function ({type(function).__name__})"
    if inspect.iscoroutinefunction(function):
        return "that is a coroutine function, which no one would await"
    try:
        inspect.signature(function).bind(CONTROL)
    except TypeError:
        return "that does not take one argument"
    except ValueError:  # it does not say what it takes
        return ""
    return ""


def shared(**_: Any) -> list[checks.CheckMessage]:
    """W007: a parent's and a child's alias name one physical database."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for relation in relations.catalogue().relations:
        aliases = itertools.product(relation.parent_databases, relation.child_databases)
        for home, elsewhere in aliases:
            if home != elsewhere and place(home) is not None and place(home) == place(elsewhere):
                pairs.setdefault((home, elsewhere), []).append(relation.label)
    return [
        checks.Warning(
            f"DATABASES[{home!r}] and DATABASES[{elsewhere!r}] are one database"
            f" ({connections[home].settings_dict['NAME']!r}), so {some(labels)} needs no cascade,"
            " and one alias does not see what the other has not committed.",
            hint=f"In your routers: return {home!r} where they say {elsewhere!r}, and take"
            f" DATABASES[{elsewhere!r}] out.",
            obj=elsewhere,
            id="integrity.W007",
        )
        for (home, elsewhere), labels in pairs.items()
    ]


def off(**_: Any) -> list[checks.CheckMessage]:
    """W026: deletions of a parent are not recorded, and rows elsewhere refer to it."""
    catalogue = relations.catalogue()
    return [
        checks.Warning(
            f"INTEGRITY['capture'] is 'off' for {parent}: its deletions are not recorded, and rows"
            f" of {some([relation.label for relation in children])} stay unless the project"
            " removes them.",
            hint=f'To go on: INTEGRITY = {{"capture": {{"{parent}": "signal"}}}}. To leave:'
            " `manage.py integrity drain --verify`, then `migrate integrity zero` everywhere.",
            obj=parent,
            id="integrity.W026",
        )
        for parent in catalogue.parents
        if conf.current().is_off(parent) and (children := catalogue.children_of(parent))
    ]


CHECKS = scoped(named, timely, limited, shared, timed, queued, brokered, notified, off)
