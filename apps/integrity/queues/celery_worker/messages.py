"""Which messages a worker can run: pure functions that return the reason against one, or "".

In places, Celery does not check the form of a message. Its consumer fails at a task's name that is
a list, and a time limit that is no pair makes a process of the pool unusable. Such a message is
refused for every task. Apart from that, the project's own tasks may use all features of Celery.

Note [Messages of this app]: such a message names a database, and asks for nothing else. One that
asks for a later time (150 messages for the year 2099 fill a worker's prefetch limit) or for other
tasks afterwards does not come from this app, and is dropped. No work is lost, since the database
holds it. Options that another publisher may add are overridden instead: time limits (the task has
its own), an expiry by the clock of another machine, a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ...routing import PER_DATABASE, PERIODS

#: The tasks of this app.
OURS = PERIODS.keys() | PER_DATABASE
#: Limits of their messages, in characters: an alias and Celery's headers need far less.
BODY_MAX, HEADERS_MAX, ARGUMENT_MAX, ID_MAX = 8_192, 16_384, 255, 255
#: The limit for other tasks, in a worker of this app's queues only. Decoded, a body can be 20
#: times as large.
OTHER_BODY_MAX = 1_048_576
#: Larger numbers overflow in a worker's timer.
SECONDS_MAX, RETRIES_MAX = 366 * 86_400, 2**31

JSON, SIGNED = "application/json", "application/data"

#: The headers that Celery uses without a check, and their types.
HEADERS: dict[str, Any] = {
    "task": str,
    "id": str,
    "eta": str | None,
    "expires": str | None,
    "group": str | None,
    "parent_id": str | None,
    "retries": int | None,
    "root_id": str | None,
    "shadow": str | None,
    "stamped_headers": list | tuple | None,
    "stamps": dict | None,
    "timelimit": list | tuple | None,
}
#: Positional arguments, keyword arguments, and the tasks to run afterwards.
BODY = (list | tuple, dict, dict)
#: Fields that name tasks to run afterwards.
FOLLOWING = ("callbacks", "errbacks", "chain", "chord")
#: Headers that no message of this app has.
UNUSED = ("eta", "retries", "group", "shadow", "stamped_headers", "stamps")
#: Header values that replace those in a message of this app.
OVERRIDDEN: dict[str, Any] = {
    "expires": None,
    "ignore_result": True,
    "timelimit": [None, None],
}


class Call(NamedTuple):
    """A message as Celery interprets it, in the form of protocol 2."""

    headers: Mapping[str, Any]
    body: Any


def call(headers: Mapping[str, Any], payload: Any) -> Call:
    """Return how Celery interprets a message, of protocol 1 or 2.

    In protocol 1, Celery reads the headers as well where the payload has `args`, and only the
    payload where it has none (celery.worker.strategy: `hybrid_to_proto2`, `proto1_to_proto2`).
    """
    if not isinstance(payload, Mapping):
        return Call(headers, payload)
    following = {name: payload[name] for name in FOLLOWING if payload.get(name)}
    body = (payload.get("args", ()), payload.get("kwargs", {}), following)
    fields = {**payload, "group": payload.get("taskset") or payload.get("group")}
    both = "task" in headers or "args" in payload
    return Call({**fields, **headers} if both else fields, body)


def is_ours(task: Any) -> bool:
    """Return whether the value is the name of a task of this app."""
    return isinstance(task, str) and task in OURS


def formats(accepted: Collection[str]) -> frozenset[str]:
    """Return the content types that messages of this app may have.

    Those are JSON and signed, where the worker accepts them. A project that accepts neither sends
    messages of this app as it sends its own.
    """
    names = {"json": JSON, "auth": SIGNED}
    content_types = {names.get(name, name) for name in accepted}
    return frozenset(content_types & {JSON, SIGNED} or content_types)


def unread(
    task: Any, content_type: Any, length: int, accepted: Collection[str], *, alone: bool
) -> str:
    """Return why the body of a message must not be decoded, or "".

    `alone`: the worker consumes this app's queues only.
    """
    if not is_ours(task):
        return "size" if alone and length > OTHER_BODY_MAX else ""
    if content_type not in formats(accepted):
        return "content type"
    return "size" if length > BODY_MAX else ""


def flaw(message: Call) -> str:
    """Return why no worker can run a message, or ""."""
    reason = _malformed(message)
    return reason or (_excess(message) if is_ours(message.headers["task"]) else "")


def _malformed(message: Call) -> str:
    """Return which part would end a worker, or make a process of its pool unusable; or ""."""
    headers, body = message
    for name, kind in HEADERS.items():
        if not isinstance(headers.get(name), kind):
            return f"header {name}"
    if abs(headers.get("retries") or 0) > RETRIES_MAX:
        return "header retries"
    if not _is_pair(headers.get("timelimit")):
        return "header timelimit"
    if not all(isinstance(stamp, str) for stamp in headers.get("stamped_headers") or ()):
        return "header stamped_headers"
    if not isinstance(body, list | tuple) or len(body) != len(BODY):
        return "body"
    return "" if all(map(isinstance, body, BODY)) else "body"


def _is_pair(limits: Any) -> bool:
    """Return whether the value is a hard and a soft time limit, in seconds, or nothing."""
    return not limits or (
        len(limits) == 2  # noqa: PLR2004 (a pair)
        and all(
            limit is None or (isinstance(limit, int | float) and 0 <= limit <= SECONDS_MAX)
            for limit in limits
        )
    )


def _excess(message: Call) -> str:
    """Return what a message of this app asks for beyond its database, or "". See the Note above."""
    headers, (args, kwargs, following) = message
    if len(repr(headers)) > HEADERS_MAX:
        return "size"
    for name in UNUSED:
        if headers.get(name):
            return f"header {name}"
    if len(headers["id"]) > ID_MAX or not headers["id"].isprintable():
        return "header id"
    if any(following.values()):
        return "other tasks"
    return "" if _is_argument([*args, *kwargs.values()]) else "arguments"


def _is_argument(given: list[Any]) -> bool:
    """Return whether the arguments are one alias, or none."""
    return not given or (
        len(given) == 1
        and (given[0] is None or (isinstance(given[0], str) and len(given[0]) <= ARGUMENT_MAX))
    )
