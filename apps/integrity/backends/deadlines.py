"""How deadlines order the log's work: what is stated in text, groups of a batch, and their order.

Note [Nearest first]: where the setting `deadline_days` is on, each cascade has an `order_at`: the
deadline of the first of its deletions, or WITHOUT_DAYS after its record for those that have none.
So none waits forever. A claim takes what is due in that order. One claim in OTHERWISE goes by
`due_at` alone, as all claims do where the setting is off: so what has no place in the order (it was
dispatched before the setting was on) and what was moved to its end (many rows) goes on as well.

Note [Groups of a batch]: deletions of one batch may have very different deadlines. The remaining
times of one cascade differ by at most half, so that no nearer deadline waits with a later one.
Where all have the same number of days, a batch has one cascade in each database, as ever.
"""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from ..models.moments import ServerNow
from . import clocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from ..models import Cascade

#: The order of what has no deadline: as if it had one of so many days.
WITHOUT_DAYS = 30.0
DAY_SECONDS = 86_400
#: One claim in so many goes by `due_at` alone.
OTHERWISE = 16
#: The ends of the groups of remaining times, in seconds: from a minute to three years.
THRESHOLDS = tuple(round(60 * 1.5**number) for number in range(36))
#: How a point in time begins that is stated as text; seconds from the record have no mark.
AT = "@"


#: Parent → within how many days its deletions have to be verified; None without a deadline.
Days = Mapping[str, "float | None"]


class Part(NamedTuple):
    """The deletions of one cascade of a batch."""

    ids: list[int]
    recorded_at: dt.datetime
    deadline: dt.datetime | None = None
    order_at: dt.datetime | None = None


def in_order(token: UUID) -> bool:
    """Return whether the claim with that token goes by deadlines: see Note [Nearest first]. Pure.

    The token is random, so no process has to count its claims.
    """
    return token.int % OTHERWISE != 0


def group_of(remaining: dt.timedelta) -> int:
    """Return the group of a remaining time. Pure."""
    return bisect.bisect_right(THRESHOLDS, remaining.total_seconds())


def parts(
    recorded: Mapping[int, tuple[dt.datetime, dt.datetime | None]],
    days: float | None,
    now: dt.datetime,
) -> list[Part]:
    """Return the cascades of a batch: see Note [Groups of a batch]. Pure.

    `recorded` holds when each was recorded, and its own deadline; others get one of `days`.
    """
    groups = dict[int, list[tuple[int, dt.datetime, dt.datetime | None, dt.datetime]]]()
    for pk, (at, own) in sorted(recorded.items()):
        deadline = own or (None if days is None else at + dt.timedelta(days=days))
        order_at = deadline or at + dt.timedelta(days=WITHOUT_DAYS)
        groups.setdefault(group_of(order_at - now), []).append((pk, at, deadline, order_at))
    return [
        Part(
            [pk for pk, *_ in group],
            min(at for _, at, _, _ in group),
            min((deadline for *_, deadline, _ in group if deadline), default=None),
            min(order_at for *_, order_at in group),
        )
        for _, group in sorted(groups.items())
    ]


def cascades_of(
    name: tuple[str, str],
    recorded: Mapping[int, Sequence[dt.datetime | None]],
    databases: Iterable[str],
    days: Days | None,
    *,
    using: str,
) -> list[Cascade]:
    """Return the cascades of a batch that has those deletions of a parent and a relation.

    `recorded` holds when each was recorded and, with `days`, its own deadline.
    """
    from ..models import Cascade

    if days is None:  # only when it was recorded was asked, which is never null
        found = [Part(sorted(recorded), min(recorded.values())[0])]  # type: ignore[type-var, arg-type]
    else:
        found = _parts(recorded, days[name[0]], using)
    tallies = {database: uuid4() for database in databases}  # the same for all parts of a batch
    return [
        Cascade(
            batch=min(recorded),
            database=database,
            parent=name[0],
            relation=name[1],
            deletions=part.ids,
            size=len(part.ids),
            due_at=ServerNow(),
            recorded_at=part.recorded_at,
            dispatched_at=ServerNow(),
            deadline=part.deadline,
            order_at=part.order_at,
            tally=tally,
        )
        for database, tally in tallies.items()
        for part in found
    ]


def _parts(
    recorded: Mapping[int, Sequence[dt.datetime | None]], days: float | None, using: str
) -> list[Part]:
    known = {pk: (at, own) for pk, (at, own) in recorded.items() if at}
    return parts(known, days, clocks.now(using))


def stated(text: str) -> tuple[bool, float]:
    """Return whether a stated deadline is a point in time, and its seconds. Pure."""
    return text.startswith(AT), float(text.removeprefix(AT))
