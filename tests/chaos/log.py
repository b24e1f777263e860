"""What the deletion log of the sample project says: how far it is, and whether it may say so."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from apps.integrity.models import Cascade, Deletion

from . import truth

if TYPE_CHECKING:
    from collections.abc import Iterator


def open_work() -> int:
    """Deletions without all cascades done, and cascades that are not done; blocked ones count."""
    states = (Deletion.State.SUSPECT, Deletion.State.RECORDED, Deletion.State.DISPATCHED)
    return (
        Deletion.objects.filter(state__in=states).count()
        + Cascade.objects.filter(state__in=Cascade.OPEN).count()
    )


def deletions() -> Counter[str]:
    """State → number of deletions."""
    return Counter(Deletion.objects.values_list("state", flat=True))


def blocked() -> list[str]:
    """What waits for an operator, and why."""
    cascades = Cascade.objects.filter(state=Cascade.State.BLOCKED).select_related("deletion")
    return [f"{it.deletion.key} → {it.database}: {it.reason}" for it in cascades]


def running() -> Counter[str]:
    """Database → cascades that a worker holds, or held when it died."""
    held = Cascade.objects.filter(state=Cascade.State.RUNNING)
    return Counter(held.values_list("database", flat=True))


def unverified() -> int:
    """Deletions that are cascaded and still to be verified."""
    return Deletion.objects.filter(state=Deletion.State.CASCADED).count()


def undispatched() -> int:
    """Deletions that nobody has begun with."""
    return Deletion.objects.filter(state=Deletion.State.RECORDED).count()


def bad_receipts(**aliases: str) -> Iterator[str]:
    """Yield deletions whose cascades do not bear their state out.

    `aliases` are databases by other names that they had for a while.
    """
    for deletion in Deletion.objects.prefetch_related("cascades").iterator(chunk_size=1_000):
        cascades = list(deletion.cascades.all())
        # What is verified keeps the alias that it was verified under.
        states = [(aliases.get(it.database, it.database), it.state) for it in cascades]
        if not (truth.holds(deletion.state, states) and all(map(_in_order, cascades))):
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
