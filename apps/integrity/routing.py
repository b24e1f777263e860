"""Settings for Celery: queues, routes, the beat schedule, time limits and `CeleryConfig`.

Settings may import this: it imports neither Celery nor Django. The schedule has intervals and no
crontabs, which shift with daylight saving time. Its messages do not expire: an expiry is a time of
beat's clock, and a worker whose clock is ahead would drop every message. The tasks themselves limit
how many messages a stopped worker finds: see queues/celery.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The queue of the tasks that are not about a single child database.
CONTROL = "integrity"

#: Tasks whose first argument is a child database.
PER_DATABASE = frozenset({"integrity.cascade", "integrity.verify", "integrity.scan"})

#: The time limits of each task of this app: it is asked to stop, and it is killed.
SOFT_TIME_LIMIT_SECONDS, TIME_LIMIT_SECONDS = 45, 60

#: The dotted path of `route_task`, for Celery's `task_routes`.
ROUTER = f"{__name__}.route_task"


def queue_for(database: str) -> str:
    """Return the queue of one child database. With its own queue, it cannot delay another one.

    The queue of an erasure step, "step:files", is `integrity.step.files`.
    """
    return f"{CONTROL}.{database.replace(':', '.')}"


def queue_names(databases: Iterable[str]) -> tuple[str, ...]:
    """Return the queues of this app: the control queue, and one for each child database."""
    return (CONTROL, *map(queue_for, databases))


def route_task(
    name: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    _options: Mapping[str, Any],
    **_context: Any,
) -> dict[str, str] | None:
    """Return the route of a task of this app, or None for any other: for Celery's `task_routes`."""
    given = [*(args or ()), *(kwargs or {}).values()]
    if name in PER_DATABASE and given:
        return {"queue": queue_for(given[0])}
    return {"queue": CONTROL} if name.startswith(f"{CONTROL}.") else None


def task_queues(databases: Iterable[str], *, quorum: bool = False) -> dict[str, dict[str, Any]]:
    """Return the value for Celery's `task_queues`: the control queue and one per child database.

    Each queue has its own exchange. Through a shared exchange, a message would reach every queue.
    `quorum` makes them quorum queues of RabbitMQ.
    """
    return own_exchange(*queue_names(databases), quorum=quorum)


def own_exchange(*names: str, quorum: bool = False) -> dict[str, dict[str, Any]]:
    """Return queues with those names in the form of Celery's `task_queues`."""
    kind = {"queue_arguments": {"x-queue-type": "quorum"}} if quorum else {}
    return {
        name: {"exchange": name, "exchange_type": "direct", "routing_key": name, **kind}
        for name in names
    }


#: Task → the interval at which beat sends it, in seconds.
PERIODS = {"integrity.dispatch": 5.0, "integrity.maintain": 60.0, "integrity.scan": 60.0}


class Options(TypedDict):
    """Options with which beat publishes a task."""

    queue: str


class Entry(TypedDict):
    """One entry of the beat schedule; `schedule` is in seconds."""

    task: str
    schedule: float
    options: Options


def beat_schedule(periods: Mapping[str, float] = PERIODS) -> dict[str, Entry]:
    """Return a beat schedule with one entry per task, named after it; `periods` in seconds."""
    return {
        task: Entry(task=task, schedule=period, options=Options(queue=CONTROL))
        for task, period in periods.items()
    }


#: For `CELERY_BEAT_SCHEDULE`, alone or together with the project's own entries.
BEAT_SCHEDULE = beat_schedule()

#: Used unless the project sets them. A worker prefetches no message that another worker could
#: process, and it retries for ever while the broker is unreachable.
DEFAULTS = {
    "WORKER_PREFETCH_MULTIPLIER": 1,
    "BROKER_CONNECTION_RETRY_ON_STARTUP": True,
    "BROKER_CONNECTION_MAX_RETRIES": None,
}
#: For Redis: detect a broker that no longer answers, and reconnect.
REDIS_OPTIONS = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "socket_keepalive": True}
#: Names of transports, as `transport_of` returns them.
REDIS, AMQP = frozenset({"redis", "sentinel", "valkey"}), "amqp"
#: Schemes of URLs whose transport has another name.
SCHEMES = {"amqps": AMQP, "pyamqp": AMQP, "rediss": "redis", "valkeys": "valkey"}
#: The environment variable by which Celery replaces the project's broker.
BROKER_VARIABLE = "CELERY_BROKER_URL"


def transport_of(broker: Any) -> str:
    """Return the transport of a broker's URL: "redis", "amqp", "sqla", "filesystem", "sqs" or so.

    Of several URLs, separated by `;` or in a list, the first one counts. Without one, Celery uses
    RabbitMQ on this machine.
    """
    url = broker if isinstance(broker, str) else next(iter(broker or ()), "")
    scheme, separator, _ = url.partition("://")
    name = scheme.partition("+")[0].lower() if separator else AMQP
    return SCHEMES.get(name, name)


def takes_quorum(given: Mapping[str, Any], namespace: str = "CELERY") -> bool:
    """Return whether the project's settings ask for quorum queues."""
    names = ("TASK_DEFAULT_QUEUE_TYPE", "TASK_CREATE_MISSING_QUEUE_TYPE")
    return "quorum" in {given.get(f"{namespace}_{name}") for name in names}


def celery_settings(
    given: Mapping[str, Any],
    *,
    databases: Iterable[str] | None = None,
    namespace: str = "CELERY",
) -> dict[str, Any]:
    """Return the Celery settings that this app's tasks need, merged with those of the project.

    Make it the last line about Celery: `vars().update(celery_settings(vars()))`. It adds to the
    project's beat schedule, routes, queues and transport options, and overrides nothing that the
    project sets.

    Args:
        given: The project's settings so far, as `vars()` of the settings module.
        databases: The aliases of the child databases. Default: the values of
            DATABASE_ROUTING_RULES, or else all of DATABASES. Only used if the project's list of
            queues is fixed (`task_create_missing_queues` is False).
        namespace: The prefix of Celery's settings.
    """

    def own(name: str, default: Any = None) -> Any:
        return given.get(f"{namespace}_{name}", default)

    added = {name: own(name, value) for name, value in DEFAULTS.items()}
    added["BEAT_SCHEDULE"] = {**BEAT_SCHEDULE, **(own("BEAT_SCHEDULE") or {})}
    added["TASK_ROUTES"] = _routes(own("TASK_ROUTES"))
    if own("TASK_CREATE_MISSING_QUEUES") is False:
        children = _children(given) if databases is None else databases
        ours = task_queues(children, quorum=takes_quorum(given, namespace))
        added["TASK_QUEUES"] = {**ours, **_by_name(own("TASK_QUEUES"))}
    broker = own("BROKER_URL") or own("BROKER_WRITE_URL") or given.get("BROKER_URL")
    if transport_of(os.environ.get(BROKER_VARIABLE) or broker) in REDIS:  # as Celery reads it
        added["BROKER_TRANSPORT_OPTIONS"] = {
            **REDIS_OPTIONS,
            **(own("BROKER_TRANSPORT_OPTIONS") or {}),
        }
    return {f"{namespace}_{name}": value for name, value in added.items()}


def _routes(own: Any) -> tuple[Any, ...]:
    """Put our router first: a project's pattern such as "*" would match our tasks."""
    if own is None:
        return (ROUTER,)
    routes = (own,) if isinstance(own, str | Mapping) or callable(own) else tuple(own)
    return routes if ROUTER in routes else (ROUTER, *routes)


def _by_name(queues: Any) -> Mapping[str, Any]:
    """Return a project's queues, which may be a list, by name."""
    if isinstance(queues, Mapping):
        return queues
    return {queue.name: queue for queue in queues or ()}


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
    """Show Celery its own settings among Django's, under Celery's names, and no other setting.

    Use `app.config_from_object(CeleryConfig(settings))` instead of
    `app.config_from_object("django.conf:settings", namespace="CELERY")`. The latter hands all of
    Django's settings to Celery, and anyone who may inspect a worker (`inspect conf`,
    `inspect report`, Flower) sees them. That includes the broker's password, because Celery masks
    `broker_url` but not CELERY_BROKER_URL, and secrets in CACHES or SENTRY_DSN. Settings are read
    when Celery looks them up.

    Args:
        settings: Django's settings.
        namespace: The prefix of Celery's settings.

    Note [Listed settings]: Celery displays the settings that it finds by iteration, and uses those
    that it finds by name. So a setting with a password that Celery would not mask can be looked up
    by its name, and iteration skips it.
    """

    def __init__(self, settings: Any, namespace: str = "CELERY") -> None:
        self._settings, self._prefix = settings, f"{namespace}_"

    def __getitem__(self, key: str) -> Any:
        """Return a setting by its current name (`broker_url`) or by an old one.

        Celery looks up each of a setting's names, the current one first.
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
        """Return True: Celery ignores a false mapping, and this one may list nothing."""
        return True


def shows_password(name: str, value: Any) -> bool:
    """Return whether Celery would show the password of an address in `value`."""
    if isinstance(value, str):
        return not MASKED_BY_CELERY.fullmatch(name) and CREDENTIALS.search(value) is not None
    if isinstance(value, Mapping):
        return any(shows_password("", item) for item in value.values())
    return isinstance(value, list | tuple) and any(shows_password("", item) for item in value)


def masked(value: Any) -> Any:
    """Return `value` with its passwords masked: in addresses, and under names like "password".

    It searches mappings, lists and tuples, and leaves other values that are not strings unchanged.
    """
    if isinstance(value, str):
        return CREDENTIALS.sub(f"{MASK}@", value)
    if isinstance(value, Mapping):
        return {
            name: MASK if HIDDEN.search(str(name)) else masked(item) for name, item in value.items()
        }
    return [masked(item) for item in value] if isinstance(value, list | tuple) else value
