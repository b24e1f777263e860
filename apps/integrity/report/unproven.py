"""How long cascades into a child database have been done and not verified, and why.

Note [Two clocks]: the age is that of the deletion, as the lag's is: it runs from the record until
the verification. Whether it is overdue counts from when the cascade was done, so that a
cascade that was late does not raise an alarm before its grace period is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Min
from django.db.models.functions import Coalesce

from .. import conf
from ..backends import clocks
from ..models import Cascade
from .totals import total
from .work import Group

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from ..models import ChildDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class Unproven:
    """Deletions that are done and not verified: how many, and the age of the oldest.

    `waits_seconds` is how long the oldest has been done. It is `overdue` after the grace period and
    the setting `unproven_seconds`; `reason` says why, once the grace period is over.
    """

    number: int
    seconds: float | None
    waits_seconds: float | None
    overdue: bool
    reason: str


def overdue_seconds() -> float:
    """Return how long after it was done a cascade has to be verified, in seconds."""
    settings = conf.current()
    return settings.grace_seconds + settings.unproven_seconds


def done_in(cascades: QuerySet[Cascade]) -> dict[str, Group]:
    """Return database → those cascades, which are done, as one group. One statement."""
    figures = {
        "number": total("size"),
        "age": clocks.age(Min("recorded_at")),
        "done": clocks.age(Min(Coalesce("done_at", "recorded_at"))),
    }
    rows = cascades.order_by().values("database").annotate(**figures)
    return {
        database: Group(Cascade.State.DONE, database, "", "", *found)
        for database, *found in rows.values_list("database", *figures)
    }


def held_of(known: Iterable[ChildDatabase]) -> str:
    """Return what verification waited for at its last attempt, or "". Pure."""
    return next((row.held_reason for row in known if row.held_reason), "")


def unproven_of(done: Sequence[Group], hindrance: str, held: str, awake: float) -> Unproven:
    """Return what is unproven by its groups in several logs, and why.

    The reason is why the database cannot be worked on, or what verification waits for. Nothing is
    overdue before work has been allowed for so long: for `awake` seconds.
    """
    waits = oldest(group.done for group in done)
    waited = waits or 0.0
    reason = hindrance or held or "no worker has verified it"
    return Unproven(
        number=sum(group.number for group in done),
        seconds=oldest(group.age for group in done),
        waits_seconds=waits,
        overdue=min(waited, awake) > overdue_seconds(),
        reason=reason if waited > conf.current().grace_seconds else "",
    )


def oldest(ages: Iterable[dt.timedelta | None]) -> float | None:
    """Return the greatest of several ages in seconds, None if there is none. Pure."""
    return clocks.seconds(max((age for age in ages if age is not None), default=None))
