"""Barriers: whether every transaction that was open at some moment has ended. Pure.

Takes what a server says of its transactions; returns whether a barrier noted before has passed, and
in words what holds it. PostgreSQL only; elsewhere there are no barriers.

Note [Numbers of one server]: the number of a transaction means nothing on another server. After a
restored dump, an upgrade or a switchover the same database may count from elsewhere, so a barrier
keeps the identity of its server. One that belongs to another server, or is above every number that
the server has given, is foreign: it is taken anew, never believed and never waited for.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Has passed once every writing transaction of `server` below `number` has ended."""

    number: int
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """What a server says now: its `oldest` open writing transaction, and the `following` number.

    Every transaction below `oldest` has ended; none that has ended is as high as `following`.
    """

    oldest: int
    following: int
    server: str


class Standing(enum.StrEnum):
    """How a barrier stands: see Note [Numbers of one server]."""

    PASSED = "passed"
    HELD = "held"
    FOREIGN = "foreign"


class Holder(enum.StrEnum):
    """What kind of transaction holds barriers."""

    SESSION = "session"
    PREPARED = "prepared"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """The oldest open writing transaction of a server, whatever database it writes to.

    `since` is a time in UTC as text. What the server hides from our role is empty; the text of a
    query is never asked for.
    """

    number: int
    kind: Holder
    pid: int | None = None
    application: str = ""
    database: str = ""
    owner: str = ""
    state: str = ""
    gid: str = ""
    since: str = ""


def standing(noted: Barrier | None, now: Horizon | None) -> Standing:
    """Return how the barrier that was noted stands; `now` is None where there are no barriers."""
    if now is None:
        return Standing.PASSED
    if noted is None or noted.server != now.server or noted.number > now.following:
        return Standing.FOREIGN
    return Standing.PASSED if noted.number <= now.oldest else Standing.HELD


def standing_of_all(noted: Mapping[str, Barrier], now: Mapping[str, Horizon | None]) -> Standing:
    """Return how the barriers of several databases stand together, by alias."""
    found = {standing(noted.get(alias), horizon) for alias, horizon in now.items()}
    for worst in (Standing.FOREIGN, Standing.HELD):
        if worst in found:
            return worst
    return Standing.PASSED


def packed(fence: Mapping[str, Barrier]) -> dict[str, dict[str, Any]]:
    """Return barriers by alias as the log's JSON keeps them."""
    return {alias: {"number": each.number, "server": each.server} for alias, each in fence.items()}


def unpacked(kept: object) -> dict[str, Barrier]:
    """Return what `packed` made; what it did not make is left out, and so is foreign."""
    if not isinstance(kept, Mapping):
        return {}
    return {
        alias: Barrier(number=each["number"], server=each["server"])
        for alias, each in kept.items()
        if isinstance(each, Mapping) and each.keys() >= {"number", "server"}
    }


def words(blocker: Blocker) -> str:
    """Return what holds verification, since when, and how to end it."""
    what = f"transaction {blocker.number}"
    where = f" in database {_plain(blocker.database)}" if blocker.database else ""
    since = f" since {blocker.since}" if blocker.since else ""
    if blocker.kind is Holder.PREPARED:
        owner = f" of {_plain(blocker.owner)}" if blocker.owner else ""
        gid = _plain(blocker.gid).replace("'", "''")
        return (
            f"waits for the prepared {what} '{gid}'{owner}{where}, prepared{since}:"
            f" COMMIT PREPARED or ROLLBACK PREPARED '{gid}' there"
        )
    if blocker.kind is Holder.UNSEEN:
        return (
            f"waits for {what}, which the server does not show to this role;"
            " grant pg_read_all_stats to see it"
        )
    application = f" ({_plain(blocker.application)})" if blocker.application else ""
    session = f"waits for {what} of pid {blocker.pid}{application}{where}"
    if not blocker.state:
        return f"{session}, a transaction of another role; grant pg_read_all_stats to see it"
    return (
        f"{session}, {blocker.state}{since}: end it there,"
        f" or with SELECT pg_terminate_backend({blocker.pid})"
    )


def _plain(text: str) -> str:
    """Return a name that somebody else chose, fit for one line."""
    return "".join(each if each.isprintable() else "?" for each in text[:200])
