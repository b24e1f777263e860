"""What the deletion log of the sample project says: how far it is, and whether it may say so."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from apps.integrity.models import Cascade, Deletion, Suspect, read_outcomes

from . import truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.models import QuerySet


def open_work() -> int:
    """Suspects, deletions without cascades, and cascades that are not done or are blocked."""
    return (
        Suspect.objects.count()
        + undispatched()
        + Cascade.objects.filter(state__in=Cascade.OPEN).count()
    )


def entries(rows: QuerySet[Deletion] | None = None) -> list[Deletion]:
    """Those deletions (or all), with what came of them, as it is now."""
    found = list(Deletion.objects.order_by("pk") if rows is None else rows)
    read_outcomes(found, using="default")
    return found


def of_users(users: Iterable[int]) -> list[Deletion]:
    """The deletions of those users."""
    return entries(Deletion.objects.filter(key__in=[str(user) for user in users]).order_by("pk"))


def held(rows: QuerySet[Cascade]) -> list[tuple[Deletion, Cascade]]:
    """Each deletion that those cascades hold, with the cascade."""
    cascades = list(rows.order_by("pk"))
    known = Deletion.objects.in_bulk([pk for each in cascades for pk in each.deletions])
    # Between two reads, what was purged is gone.
    return [(known[pk], each) for each in cascades for pk in each.deletions if pk in known]


def deletions() -> Counter[str]:
    """State → number of deletions."""
    return Counter(str(deletion.state) for deletion in entries())


def blocked() -> list[str]:
    """What waits for an operator, and why."""
    rows = Cascade.objects.filter(state=Cascade.State.BLOCKED)
    return [f"{gone.key} → {it.database}: {it.reason}" for gone, it in held(rows)]


def running() -> Counter[str]:
    """Database → deletions that a worker holds, or held when it died."""
    rows = Cascade.objects.filter(state=Cascade.State.RUNNING)
    found: Counter[str] = Counter()
    for database, size in rows.values_list("database", "size"):
        found[database] += size
    return found


def unverified() -> int:
    """Deletions that are done in some database and still to be verified there."""
    rows = Cascade.objects.filter(state=Cascade.State.DONE).values_list("deletions", flat=True)
    return len({pk for deletions in rows for pk in deletions})


def undispatched() -> int:
    """Deletions that nobody has begun with."""
    return Deletion.objects.filter(Deletion.IS_RECORDED).count()


def bad_receipts(**aliases: str) -> Iterator[str]:
    """Yield deletions whose cascades do not bear their state out.

    `aliases` are databases by other names that they had for a while.
    """
    cascades: dict[int, list[Cascade]] = {}
    for deletion, cascade in held(Cascade.objects.all()):
        cascades.setdefault(deletion.pk, []).append(cascade)
    for deletion in entries():
        found = cascades.get(deletion.pk, [])
        # What is verified keeps the alias that it was verified under.
        states = [(aliases.get(it.database, it.database), it.state) for it in found]
        once = len({database for database, _ in states}) == len(states)
        if not (once and truth.holds(deletion.state, states) and all(map(_in_order, found))):
            listed = ", ".join(sorted({state for _, state in states}))
            yield f"{deletion.pk} (user {deletion.key}, {deletion.state}: {listed})"


def _in_order(cascade: Cascade) -> bool:
    """Whether it was recorded, done and verified in this order, and nobody holds it."""
    claimed = cascade.claim is not None
    if claimed or truth.oddity(cascade.state, claimed=claimed, reason=cascade.reason):
        return False
    moments = [cascade.recorded_at, cascade.done_at, cascade.verified_at]
    known = [moment for moment in moments if moment is not None]
    verified = len(known) == len(moments) and known == sorted(known)
    return verified or cascade.state != Cascade.State.VERIFIED
