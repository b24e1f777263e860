"""Which receipts have been exported: an entry of the audit, since an export discloses keys.

Note [Until when]: an export without a gap before it moves a mark, up to which all receipts of a log
are in some export. A deletion may end in a transaction that is committed while an export runs. So
the mark stays `SETTLED_SECONDS` behind the log's clock, and the next export begins there.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from django.utils import timezone

from ..log import deletions
from ..log.kept import COUNTED_MAX
from ..models import Audit
from .actions import audit

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from ..models import Cascade, Deletion

#: The verb in the audit.
VERB = "export receipts"
#: How the target of an entry begins whose export had no gap before it.
UNTIL = "until "
#: See Note [Until when].
SETTLED_SECONDS = 60.0


class Exported(NamedTuple):
    """The number of receipts of one log that were exported, of what ended in which time.

    `began` is the log's clock before the first of them was read.
    """

    using: str
    since: dt.datetime | None
    until: dt.datetime
    began: dt.datetime
    number: int


class Purgeable(NamedTuple):
    """How many deletions are past a retention, and how many of these no export has.

    Counting stops above `log.kept.COUNTED_MAX`.
    """

    deletions: int
    unexported: int


def exported_until(*, using: str) -> dt.datetime | None:
    """Return up to when all receipts of a log were exported; None if none was."""
    entries = Audit.objects.using(using).filter(verb=VERB, target__startswith=UNTIL)
    target = entries.order_by("-pk").values_list("target", flat=True).first()
    return in_zone(dt.datetime.fromisoformat(target.removeprefix(UNTIL))) if target else None


def note(done: Exported, *, actor: str) -> None:
    """Write an export into the audit, once it is where it belongs. See Note [Until when]."""
    since, until, using = done.since, done.until, done.using
    mark = exported_until(using=using)
    target = f"since {since and since.isoformat()} until {until.isoformat()}"
    if since is None or (mark and since <= mark) or not _ended_between(mark, since, using):
        settled = min(until, done.began - dt.timedelta(seconds=SETTLED_SECONDS))
        target = f"{UNTIL}{max(mark or settled, settled).isoformat()}"
    reason = f"{done.number} receipt{'' if done.number == 1 else 's'}"
    audit(VERB, target, actor=actor, reason=reason, using=using)


def purgeable(days: float | None, *, using: str, exported: bool = True) -> Purgeable:
    """Return what a purge would remove of a log, with that retention or the setting's.

    Unless `exported`, nothing counts as exported.
    """
    until = exported_until(using=using) if exported else None
    cancelled, ended = deletions.past_retention(days, using=using)
    number = _count(cancelled, ended)
    if until is None:
        return Purgeable(number, number)
    later = cancelled.filter(cancelled_at__gte=until), ended.filter(ended_at__gte=until)
    return Purgeable(number, _count(*later))


def in_zone(at: dt.datetime) -> dt.datetime:
    """Return a moment as the project's columns hold it: without USE_TZ, it has no zone."""
    if settings.USE_TZ or timezone.is_naive(at):
        return at
    return timezone.make_naive(at, timezone.get_default_timezone())


def _ended_between(since: dt.datetime | None, until: dt.datetime, using: str) -> bool:
    """Return whether a deletion in the log has ended in that time."""
    cancelled, ended = deletions.past_retention(0, using=using)
    cancelled, ended = cancelled.filter(cancelled_at__lt=until), ended.filter(ended_at__lt=until)
    if since is not None:
        cancelled, ended = (
            cancelled.filter(cancelled_at__gte=since),
            ended.filter(ended_at__gte=since),
        )
    return cancelled.exists() or ended.exists()


def _count(cancelled: QuerySet[Deletion], ended: QuerySet[Cascade]) -> int:
    """Return the number of deletions without a batch, and of those in the cascades."""
    number, ids = cancelled.order_by()[: COUNTED_MAX + 1].count(), set[int]()
    for held in ended.order_by().values_list("deletions", flat=True).iterator(chunk_size=100):
        if number + len(ids) > COUNTED_MAX:
            break
        ids.update(held)
    return min(number + len(ids), COUNTED_MAX + 1)
