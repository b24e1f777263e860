"""What a worker may take: one pure question, answered with the reason against it, or "".

Celery takes the form of a message for granted in places: its consumer ends at a list for a task's
name, and a time limit that is no pair takes a process out of the pool for good. Such a message is
refused whatever its task is. Otherwise the project's own tasks keep all that Celery offers.

Note [Messages of this app]: they say "look after database X", and nothing else. So one that asks
for more was not sent by this app: work at a later time (150 messages for the year 2099 fill the
places of a worker), other tasks afterwards. It is dropped. Nothing is lost by it, for work is
found in the database. What an honest publisher may add is not believed instead: time limits (the
task of this worker has its own), an expiry by the clock of another machine, a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ...routing import PER_DATABASE, PERIODS

#: The tasks of this app.
OURS = PERIODS.keys() | PER_DATABASE
#: Of those, in characters: an alias and Celery's own headers are far below.
BODY_MAX, HEADERS_MAX, ARGUMENT_MAX, ID_MAX = 8_192, 16_384, 255, 255
#: Of other tasks in a worker that takes from this app's queues alone: decoded, it is 20 times that.
OTHER_BODY_MAX = 1_048_576
#: Larger numbers overflow in a worker's timer.
SECONDS_MAX, RETRIES_MAX = 366 * 86_400, 2**31

JSON, SIGNED = "application/json", "application/data"

#: The headers that Celery uses without a look, and what its publishers put into them.
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
#: Positional arguments, keyword arguments, and what is to follow.
BODY = (list | tuple, dict, dict)
#: What is to follow a task.
FOLLOWING = ("callbacks", "errbacks", "chain", "chord")
#: Headers that no message of ours has.
UNUSED = ("eta", "retries", "group", "shadow", "stamped_headers", "stamps")
#: What holds of ours instead of what their headers say.
DISBELIEVED: dict[str, Any] = {
    "expires": None,
    "ignore_result": True,
    "timelimit": [None, None],
}


class Call(NamedTuple):
    """A message as Celery will understand it, whatever its protocol is."""

    headers: Mapping[str, Any]
    body: Any


def call(headers: Mapping[str, Any], payload: Any) -> Call:
    """Return what Celery makes of a message; of its first protocol, too.

    Of that one it reads the headers as well where the payload has `args`, and the payload alone
    where it has none (celery.worker.strategy: `hybrid_to_proto2`, `proto1_to_proto2`).
    """
    if not isinstance(payload, Mapping):
        return Call(headers, payload)
    following = {each: payload[each] for each in FOLLOWING if payload.get(each)}
    body = (payload.get("args", ()), payload.get("kwargs", {}), following)
    fields = {**payload, "group": payload.get("taskset") or payload.get("group")}
    both = "task" in headers or "args" in payload
    return Call({**fields, **headers} if both else fields, body)


def is_ours(task: Any) -> bool:
    """Return whether that names a task of this app."""
    return isinstance(task, str) and task in OURS


def formats(accepted: Collection[str]) -> frozenset[str]:
    """Return the content types of our messages, where a worker accepts those.

    JSON, or signed. A project that accepts neither sends ours as it sends its own.
    """
    names = {"json": JSON, "auth": SIGNED}
    found = {names.get(each, each) for each in accepted}
    return frozenset(found & {JSON, SIGNED} or found)


def unread(
    task: Any, content_type: Any, length: int, accepted: Collection[str], *, alone: bool
) -> str:
    """Return why the body of a message is not to be decoded, or "".

    `alone`: the worker takes from this app's queues alone.
    """
    if not is_ours(task):
        return "size" if alone and length > OTHER_BODY_MAX else ""
    if content_type not in formats(accepted):
        return "content type"
    return "size" if length > BODY_MAX else ""


def flaw(found: Call) -> str:
    """Return why no worker can take a message, or ""."""
    return _form(found) or (_more(found) if is_ours(found.headers["task"]) else "")


def _form(found: Call) -> str:
    """Return what would end a worker, or keep a process of its pool."""
    headers, body = found
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
    """Return whether those are a hard and a soft time limit, in seconds."""
    return not limits or (
        len(limits) == 2  # noqa: PLR2004 (a pair)
        and all(
            each is None or (isinstance(each, int | float) and 0 <= each <= SECONDS_MAX)
            for each in limits
        )
    )


def _more(found: Call) -> str:
    """Return what a message of ours asks for beyond its database. See the Note above."""
    headers, (args, kwargs, following) = found
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
    """Return whether that is one alias, or nothing."""
    return not given or (
        len(given) == 1
        and (given[0] is None or (isinstance(given[0], str) and len(given[0]) <= ARGUMENT_MAX))
    )
