"""Barriers: whether every transaction that was open at some moment has ended. Pure.

The values are read by a `BarrierBackend`. Only PostgreSQL has barriers.

Note [Numbers of one server]: a transaction id means nothing on another server. After a restored
dump, an upgrade or a switchover the same database may count from another number, so a barrier keeps
the identity of its server. A barrier of another server, or one above every id that the server has
assigned, is foreign: a new one is taken in its place, and the old one never counts as passed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..relations import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Has passed once every writing transaction of `server` below `number` has ended."""

    number: int
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """What a server says now: its `oldest` open writing transaction, and the `following` id.

    Every transaction below `oldest` has ended; none that has ended is as high as `following`.
    """

    oldest: int
    following: int
    server: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a child database says of itself in one statement.

    `identities` are those of the parents' databases that it knows: control/identity.py. It has a
    new barrier or the horizon, and None where it has no barriers.
    """

    identities: Mapping[str, str]
    barrier: Barrier | None = None
    horizon: Horizon | None = None


class BarrierState(enum.StrEnum):
    """Whether a barrier has passed: see Note [Numbers of one server]."""

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

    `since` is a time in UTC as text. What the server hides from our role is empty. The text of a
    query is never read.
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


class BarrierBackend(Protocol):
    """What a server says of its transactions. Methods return None where it has no barriers.

    Where it has none, it can be asked which keys have uncommitted rows.
    """

    def horizon(self, *, using: str) -> Horizon | None:
        """Return which transactions have ended, and on which server."""

    def new_barrier(self, *, using: str) -> Barrier | None:
        """Return a barrier behind every transaction that has begun to write.

        It takes a transaction id of its own, so call it outside of transactions. PostgreSQL's
        `pg_snapshot_xmax` would not do: it is one past the last transaction that has *ended*, and
        one that is open may be above it.
        """

    def blocker(self, *, using: str) -> Blocker | None:
        """Return the oldest open transaction that writes; None where there is none."""

    def sighting(self, *, barrier: bool, using: str) -> Sighting:
        """Return the identities that a database knows, with a new barrier or else the horizon."""

    def uncommitted_keys(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        """Return those of `keys` whose rows an open transaction has added, moved or removed.

        Call it for keys that no row holds, outside of transactions. A key that got a row meanwhile
        is returned, too. Returns none where barriers tell whether such transactions have ended, and
        where none is open while another one reads (SQLite).
        """

    def describe_holder(self, *, using: str) -> str:
        """Return a sentence on the transaction that most likely has these rows, or how to see it.

        "" where `uncommitted_keys` returns none.
        """


def state_of(noted: Barrier | None, now: Horizon | None) -> BarrierState:
    """Return the state of a barrier; `now` is None where the server has no barriers."""
    if now is None:
        return BarrierState.PASSED
    if noted is None or noted.server != now.server or noted.number > now.following:
        return BarrierState.FOREIGN
    return BarrierState.PASSED if noted.number <= now.oldest else BarrierState.HELD


def state_of_all(noted: Mapping[str, Barrier], now: Mapping[str, Horizon | None]) -> BarrierState:
    """Return the worst state of the barriers of several databases, by alias."""
    states = {state_of(noted.get(alias), horizon) for alias, horizon in now.items()}
    for worst in (BarrierState.FOREIGN, BarrierState.HELD):
        if worst in states:
            return worst
    return BarrierState.PASSED


def barriers_to_json(barriers: Mapping[str, Barrier]) -> dict[str, dict[str, Any]]:
    """Return barriers by alias as the log's JSON keeps them."""
    return {
        alias: {"number": barrier.number, "server": barrier.server}
        for alias, barrier in barriers.items()
    }


def barriers_from_json(document: object) -> dict[str, Barrier]:
    """Return the barriers of a document; leave out what is malformed, which makes it foreign."""
    if not isinstance(document, Mapping):
        return {}
    return {
        alias: Barrier(number=entry["number"], server=entry["server"])
        for alias, entry in document.items()
        if isinstance(entry, Mapping) and entry.keys() >= {"number", "server"}
    }


def describe_blocker(blocker: Blocker) -> str:
    """Return a sentence on the transaction that holds verification, with the remedy."""
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
    """Return a name from the server, fit for one line."""
    return "".join(character if character.isprintable() else "?" for character in text[:200])
