"""What Celery has to know of this app: queues, routes, timetable, limits. Settings may import this.

Pure, without Celery and Django. Intervals only, no crontab: those stumble over daylight saving
time. No tick expires: an expiry is a moment by beat's clock, and a worker whose clock is ahead
would drop every one. What a stopped worker finds is bounded otherwise: see tasks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    return own_exchange(CONTROL, *map(queue_for, databases))


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
