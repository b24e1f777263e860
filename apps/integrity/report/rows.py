"""How far one child database is: one row, from figures that are counted exactly or to a bound.

The first page, `status`, the health probe, the metrics and the alarms all make their rows here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..control import actions
from ..models import Cascade, ChildDatabase
from .deadlines import verdict
from .pressure import awake_seconds, speed_of
from .reasons import Reasons, commonest
from .unproven import held_of, oldest, unproven_of
from .work import CLAIMED, FAILED, KEPT_ROWS, OPEN, RATE_SECONDS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .deadlines import Margins
    from .work import Group

#: Due work that no worker has claimed for so long waits for one. A page, which may show figures of
#: some seconds ago, is to say so within 10 s.
UNCLAIMED_SECONDS = 5.0


class Claim(TypedDict):
    """Running cascades that one worker has claimed: how many deletions, and until when.

    `lease_seconds` is until the claim ends unless it is renewed, less than 0 where it has ended.
    `worker` is the name of its heartbeat, or "" where that is unknown.
    """

    worker: str
    number: int
    lease_seconds: float


class OpenWork(TypedDict):
    """Deletions that are not done in a child database."""

    backlog: int
    lag_seconds: float | None
    failing: int
    failing_reason: str
    failing_seconds: float | None
    next_try_seconds: float | None
    blocked: int
    blocked_reason: str
    blocked_seconds: float | None
    unclaimed_seconds: float | None
    claims: list[Claim]


class Hindrance(TypedDict):
    """What keeps work on a child database from going on."""

    unreachable: bool
    unreachable_seconds: float | None
    paused: bool
    paused_kind: str
    paused_seconds: float | None


class Unverified(TypedDict):
    """Deletions that are done in a child database and not verified."""

    unproven: int
    unproven_seconds: float | None
    unproven_reason: str
    waits_seconds: float | None
    overdue: bool


class Deadlines(TypedDict):
    """The deadlines of what is not verified in a child database."""

    margin_seconds: float | None
    late: int
    risk: float | None
    risk_reason: str


class DatabaseRow(OpenWork, Hindrance, Unverified, Deadlines):
    """How far one child database is behind.

    `state` is one of idle, working, failing, hindered, paused, blocked, unproven and unknown.
    `reason` is why the database cannot be worked on; else why cascades into it fail or are blocked.
    `failing` deletions have failed at least once and are tried again, the next of them in
    `next_try_seconds`; `failing_reason` and `blocked_reason` are the most frequent ones.
    `unclaimed_seconds` is how long the oldest due work has had no worker; None where nothing is due
    or a worker has claimed some. `claims` are those of workers.
    `unproven` deletions are done and not verified; `unproven_seconds` is the age of the oldest of
    them. The oldest has been done for `waits_seconds`. `overdue` is whether that is too
    long, and `unproven_reason` says why it is not verified (unproven.py).
    `unknown` counts deletions in the backlog, other than blocked ones, under names that the
    catalogue does not know. No worker does them.
    `paused_kind` is one of `ChildDatabase.Pause`, or "" if it is not paused.
    `pace` is the share of full speed that the setting `pressure` allows now, 0 in quiet hours;
    `pace_reason` says why it is less (pressure.py).
    `eta_seconds` is until what is due is done, from what was finished lately: what has failed or is
    blocked is left out, and there is none where no worker has claimed due work.
    `margin_seconds` is until the nearest deadline, less than 0 where it has passed; None without
    one, or where the setting `deadline_days` is off. `late` deletions are past theirs. `risk` is
    the share of the remaining time that the work before a deadline takes, for the deadline where it
    is greatest: above 1 it is likely to be missed, and `risk_reason` says why (deadlines.py).
    `kept` counts deletions that left rows alone because the value was taken over (Note [Keys that
    come back] in cascade/live_check.py), and that no operator has acknowledged.
    """

    database: str
    state: str
    reason: str
    unknown: int
    kept: int
    rate: float
    eta_seconds: float | None
    pace: float
    pace_reason: str


def database_row(
    alias: str,
    groups: Sequence[Group],
    known: Sequence[ChildDatabase],
    *,
    reasons: Reasons | None = None,
    rate: float = 0.0,
    margins: Margins | None = None,
) -> DatabaseRow:
    """Return the row of a child database, by its work and its rows in all logs. Pure."""
    why = reasons or Reasons()
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    hindrance = "; ".join(hindrances.values())
    waiting, speed = _open_work(groups, why), speed_of(alias, known)
    done = _of(groups, Cascade.State.DONE)
    unproven = unproven_of(done, hindrance, held_of(known), awake_seconds(alias))
    going_on = waiting["backlog"] - waiting["blocked"] - waiting["failing"]
    unclaimed = waiting["unclaimed_seconds"] or 0.0
    is_steady = (waiting["lag_seconds"] or 0.0) >= RATE_SECONDS
    can_tell = rate and speed.share and not hindrances and unclaimed < UNCLAIMED_SECONDS
    return {
        "database": alias,
        "state": state_of(
            hindrances,
            blocked=waiting["blocked"],
            failing=waiting["failing"],
            overdue=unproven.overdue,
            backlog=waiting["backlog"],
        ),
        "reason": hindrance or why.line,
        "unreachable": "unreachable" in hindrances,
        "unreachable_seconds": oldest(getattr(row, "unreachable_age", None) for row in known),
        "paused": "paused" in hindrances,
        "paused_kind": kind_of_pause(known),
        "paused_seconds": oldest(getattr(row, "paused_age", None) for row in known),
        **waiting,
        "unknown": 0,
        "kept": _sum(_of(groups, KEPT_ROWS)),
        **verdict(margins, rate if can_tell and is_steady else None, hindrance)._asdict(),  # type: ignore[typeddict-item]
        "unproven": unproven.number,
        "unproven_seconds": unproven.seconds,
        "unproven_reason": unproven.reason,
        "waits_seconds": unproven.waits_seconds,
        "overdue": unproven.overdue,
        "rate": rate,
        "eta_seconds": going_on / rate if going_on and can_tell else None,
        "pace": speed.share,
        "pace_reason": speed.reason,
    }


def _open_work(groups: Sequence[Group], why: Reasons) -> OpenWork:
    open_, failed = _of(groups, *OPEN), _of(groups, *FAILED)
    blocked = _of(groups, Cascade.State.BLOCKED)
    return {
        "backlog": _sum(open_),
        "lag_seconds": oldest(group.age for group in open_),
        "failing": _sum(failed),
        "failing_reason": commonest(why.failing),
        "failing_seconds": oldest(group.age for group in failed),
        "next_try_seconds": _next_try(failed),
        "blocked": _sum(blocked),
        "blocked_reason": commonest(why.blocked),
        "blocked_seconds": oldest(group.age for group in blocked),
        "unclaimed_seconds": unclaimed_seconds(open_),
        "claims": [_claim(group) for group in _of(groups, *CLAIMED)],
    }


def state_of(
    hindrances: Mapping[str, str], *, blocked: int, failing: int, overdue: bool, backlog: int
) -> str:
    """Return the state of a child database as one word: the worst of them. Pure."""
    states = {
        "hindered": "unreachable" in hindrances,
        "paused": "paused" in hindrances,
        "blocked": blocked,
        "failing": failing,
        "unproven": overdue,
        "working": backlog,
    }
    return next((state for state, holds in states.items() if holds), "idle")


def hindrances_of(row: ChildDatabase) -> Iterator[tuple[str, str]]:
    """Yield "paused" or "unreachable", and the reason, of what keeps work from a database. Pure."""
    if reason := actions.reason_of_pause(row):
        yield "paused", reason
    if row.unreachable_since is not None:
        yield "unreachable", row.reason


def kind_of_pause(known: Iterable[ChildDatabase]) -> str:
    """Return why a child database is paused, by its rows in several logs: the worst of them. Pure.

    One of `ChildDatabase.Pause`, or "" where none has paused it.
    """
    kinds = {row.paused_kind for row in known}
    refusals = [str(kind) for kind in ChildDatabase.REFUSALS if kind in kinds]
    return refusals[0] if refusals else max(kinds, default="")


def unclaimed_seconds(open_: Sequence[Group]) -> float | None:
    """Return how long the oldest due work has been due, if no worker has claimed any. Pure."""
    if any(_until(group.due_last) > 0 for group in open_ if group.kind in CLAIMED):
        return None
    due = [
        -_until(group.due)
        for group in open_
        if group.due is not None and group.kind != Cascade.State.BLOCKED
    ]
    return max((seconds for seconds in due if seconds >= 0), default=None)


def _of(groups: Iterable[Group], *kinds: str) -> list[Group]:
    return [group for group in groups if group.kind in kinds]


def _sum(groups: Iterable[Group]) -> int:
    return sum(group.number for group in groups)


def _until(due: dt.timedelta | None) -> float:
    """Return the seconds until that moment, less than 0 where it is past."""
    return 0.0 if due is None else -due.total_seconds()


def _next_try(failed: Iterable[Group]) -> float | None:
    """Return the seconds until the next attempt at what failed; None where all are in one."""
    waits = [_until(group.due) for group in failed if group.kind == Cascade.State.WAITING]
    return max(0.0, min(waits)) if waits else None


def _claim(group: Group) -> Claim:
    worker = group.owner.partition(" ")[2]
    return {"worker": worker, "number": group.number, "lease_seconds": _until(group.due_last)}
