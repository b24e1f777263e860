"""What Celery has to know: of this app, and of Django's settings. Settings may import this.

Queues, routes, timetable, limits, and the configuration of a project's Celery app. Pure, without
Celery and Django. Intervals only, no crontab: those stumble over daylight saving time. No tick
expires: an expiry is a moment by beat's clock, and a worker whose clock is ahead would drop every
one. What a stopped worker finds is bounded otherwise: see tasks.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Queue of what concerns no single child database.
CONTROL = "integrity"

#: Tasks whose first argument is a child database.
PER_DATABASE = frozenset({"integrity.cascade", "integrity.verify", "integrity.scan"})

#: The limits of each task of this app: asked to hand over, and killed.
SOFT_TIME_LIMIT_SECONDS, TIME_LIMIT_SECONDS = 45, 60

#: The router of this app, by the name that `task_routes` takes.
ROUTER = f"{__name__}.route_task"


def queue_for(database: str) -> str:
    """The queue of one child database: a database that is down keeps no other waiting."""
    return f"{CONTROL}.{database}"


def queue_names(databases: Iterable[str]) -> tuple[str, ...]:
    """Return the queues of this app: that of the control tasks, and one for each child database."""
    return (CONTROL, *map(queue_for, databases))


def route_task(
    name: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    _options: Mapping[str, Any],
    **_context: Any,
) -> dict[str, str] | None:
    """A router for Celery's `task_routes`; None for tasks that are not of this app."""
    given = [*(args or ()), *(kwargs or {}).values()]
    if name in PER_DATABASE and given:
        return {"queue": queue_for(given[0])}
    return {"queue": CONTROL} if name.startswith(f"{CONTROL}.") else None


def task_queues(databases: Iterable[str]) -> dict[str, dict[str, str]]:
    """For Celery's `task_queues`: one queue for each child database, and one for the rest.

    Each has an exchange of its own: by a shared one, a message reaches every queue.
    """
    return own_exchange(*queue_names(databases))


def own_exchange(*names: str) -> dict[str, dict[str, str]]:
    """Return queues of those names, in the form of Celery's `task_queues`."""
    return {
        name: {"exchange": name, "exchange_type": "direct", "routing_key": name} for name in names
    }


#: Task → seconds between its ticks.
PERIODS = {"integrity.dispatch": 5.0, "integrity.maintain": 60.0, "integrity.scan": 60.0}


class Options(TypedDict):
    """How a tick is published."""

    queue: str


class Entry(TypedDict):
    """One line of the timetable; `schedule` in seconds."""

    task: str
    schedule: float
    options: Options


def beat_schedule(periods: Mapping[str, float] = PERIODS) -> dict[str, Entry]:
    """One entry per task, named after it."""
    return {
        task: Entry(task=task, schedule=period, options=Options(queue=CONTROL))
        for task, period in periods.items()
    }


#: For `CELERY_BEAT_SCHEDULE`, alone or beside entries of the project's own.
BEAT_SCHEDULE = beat_schedule()

#: Where nothing else is set: a worker holds no message that another could take, and waits for a
#: broker as long as it is away.
DEFAULTS = {
    "WORKER_PREFETCH_MULTIPLIER": 1,
    "BROKER_CONNECTION_RETRY_ON_STARTUP": True,
    "BROKER_CONNECTION_MAX_RETRIES": None,
}
#: For Redis: a broker that fell silent is noticed, and connected to anew.
REDIS_OPTIONS = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "socket_keepalive": True}
REDIS = ("redis", "sentinel", "valkey")


def celery_settings(
    given: Mapping[str, Any],
    *,
    databases: Iterable[str] | None = None,
    namespace: str = "CELERY",
) -> dict[str, Any]:
    """Return what a project's settings need for this app's tasks, made from what they hold so far.

    As the last line about Celery: `vars().update(celery_settings(vars()))`. Entries of the
    timetable, routes, queues and transport options are added to those of the project; what the
    project sets stays as it is. Queues are added where the project's list is fixed
    (`task_create_missing_queues` is False): those of `databases`, which are otherwise the values
    of DATABASE_ROUTING_RULES or all of DATABASES.
    """

    def own(name: str, default: Any = None) -> Any:
        return given.get(f"{namespace}_{name}", default)

    added = {name: own(name, value) for name, value in DEFAULTS.items()}
    added["BEAT_SCHEDULE"] = {**BEAT_SCHEDULE, **(own("BEAT_SCHEDULE") or {})}
    added["TASK_ROUTES"] = _routes(own("TASK_ROUTES"))
    if own("TASK_CREATE_MISSING_QUEUES") is False:
        ours = task_queues(_children(given) if databases is None else databases)
        added["TASK_QUEUES"] = {**ours, **_by_name(own("TASK_QUEUES"))}
    broker = own("BROKER_URL") or own("BROKER_WRITE_URL") or given.get("BROKER_URL") or ""
    if str(broker).startswith(REDIS):
        added["BROKER_TRANSPORT_OPTIONS"] = {
            **REDIS_OPTIONS,
            **(own("BROKER_TRANSPORT_OPTIONS") or {}),
        }
    return {f"{namespace}_{name}": value for name, value in added.items()}


def _routes(own: Any) -> tuple[Any, ...]:
    """Ours first: a pattern such as "*" of the project's would take our tasks elsewhere."""
    if own is None:
        return (ROUTER,)
    routes = (own,) if isinstance(own, str | Mapping) or callable(own) else tuple(own)
    return routes if ROUTER in routes else (ROUTER, *routes)


def _by_name(queues: Any) -> Mapping[str, Any]:
    """A project's queues, which may be a list, by name."""
    if isinstance(queues, Mapping):
        return queues
    return {each.name: each for each in queues or ()}


def _children(given: Mapping[str, Any]) -> list[str]:
    rules: Mapping[str, str] = given.get("DATABASE_ROUTING_RULES") or {}
    return sorted(set(rules.values()) or given.get("DATABASES") or {})


#: Settings that Celery still reads by an old name, and the one of Django's that it reads.
OLD_NAMES = ("CELERY_", "CELERYD_", "CELERYBEAT_", "BROKER_", "TIME_ZONE")
#: Celery masks the passwords of the addresses that these hold.
MASKED_BY_CELERY = re.compile(r"broker_(read_|write_)?url|.*backend.*")
HIDDEN = re.compile(r"API|TOKEN|KEY|SECRET|PASS", re.IGNORECASE)
MASK = "********"
#: The user and password of an address.
CREDENTIALS = re.compile(r"(?<=://)[^\s/?#]\S*@")
_MISSING = object()


class CeleryConfig(Mapping[str, Any]):
    """Celery's settings out of Django's, under Celery's own names, and no other setting.

    `app.config_from_object(CeleryConfig(settings))` replaces
    `app.config_from_object("django.conf:settings", namespace="CELERY")`. That gives Celery all of
    Django's settings, and anyone who may ask a worker (`inspect conf`, `inspect report`, Flower)
    sees them: the broker's password, because Celery masks `broker_url` but not CELERY_BROKER_URL,
    and whatever CACHES or SENTRY_DSN hold. Settings are read when Celery asks for them.

    Note [Listed settings]: Celery shows what it finds by iterating, and uses what it finds by
    name. So a setting whose password Celery would not mask is found by its name and not listed.
    """

    def __init__(self, settings: Any, namespace: str = "CELERY") -> None:
        self._settings, self._prefix = settings, f"{namespace}_"

    def __getitem__(self, key: str) -> Any:
        """Return a setting by its new name (`broker_url`) or by one that Celery knows from before.

        Celery asks for a setting by each of its names, the new one first.
        """
        name = key if key.startswith(OLD_NAMES) else self._prefix + key.upper()
        value = getattr(self._settings, name, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        """Return the names that may be shown. See Note [Listed settings]."""
        for name in dir(self._settings):
            if name.startswith(self._prefix) and name.isupper():
                key = name.removeprefix(self._prefix).lower()
                if not shows_password(key, self[key]):
                    yield key

    def __len__(self) -> int:
        """Return how many names may be shown."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        """Return True: Celery ignores a source that is false, and this one may list nothing."""
        return True


def shows_password(name: str, value: Any) -> bool:
    """Return whether Celery would show the password of an address in `value`."""
    if isinstance(value, str):
        return not MASKED_BY_CELERY.fullmatch(name) and CREDENTIALS.search(value) is not None
    if isinstance(value, Mapping):
        return any(shows_password("", each) for each in value.values())
    return isinstance(value, list | tuple) and any(shows_password("", each) for each in value)


def masked(value: Any) -> Any:
    """Return `value` without its passwords: those under a name like "password", and in addresses.

    Looks into mappings, lists and tuples; anything else that is not a string stays as it is.
    """
    if isinstance(value, str):
        return CREDENTIALS.sub(f"{MASK}@", value)
    if isinstance(value, Mapping):
        return {
            name: MASK if HIDDEN.search(str(name)) else masked(each) for name, each in value.items()
        }
    return [masked(each) for each in value] if isinstance(value, list | tuple) else value
