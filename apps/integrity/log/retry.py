"""When a failed cascade is tried again, and when it is not."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .. import conf
from ..models import Cascade
from ..models.moments import ServerNow
from . import parts, tables

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

#: What a retry changes.
AGAIN = {"state": Cascade.State.PENDING, "attempts": 0, "due_at": ServerNow()}


def backoff(attempts: int, settings: conf.Settings) -> float:
    """Return the seconds to wait after that many failures: doubling, capped, with 25 % jitter."""
    wait: float = min(settings.backoff_seconds * 2 ** (attempts - 1), settings.backoff_seconds_max)
    return wait * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)


def claim_size(limit: int, last: int, attempts: int) -> int:
    """Return how many deletions to claim together with one that had so many attempts.

    It halves with each attempt, or shrinks faster where these are few: it is 1 before the `last`
    one (on it, if there is no other). So a deletion that kills its worker is blocked alone. Pure.
    """
    if attempts + 1 >= last:
        return 1
    bits = -(-limit.bit_length() // max(1, last - 2))
    return max(1, limit >> bits * attempts)


def probe_size(limit: int, attempts: int) -> int:
    """Return how many deletions to probe together with one that took so many attempts. Pure."""
    return max(1, limit >> max(0, attempts - 1))


def attempts_before(limit: int, size: int) -> int:
    """Return the count of attempts after which a probe takes at most `size` deletions. Pure."""
    return (limit // size).bit_length() + 1


def retry_blocked(
    deletions: Collection[int] | None, *, database: str | None = None, using: str
) -> int:
    """Make blocked deletions pending again: those or all, in one child database or in each.

    Return deletions times databases.
    """
    if deletions is None:
        return parts.change_all(_blocked(database, using), AGAIN, using)
    return len(retry_those(deletions, database=database, using=using))


def retry_those(
    deletions: Collection[int], *, database: str | None = None, using: str
) -> list[int]:
    """Make those deletions pending again where they are blocked, in one child database or in each.

    Return those that were blocked, once for each database.
    """
    return parts.change_those(_blocked(database, using), deletions, AGAIN, using)


def _blocked(database: str | None, using: str) -> QuerySet[Cascade]:
    blocked = tables.cascades(using).filter(state=Cascade.State.BLOCKED)
    return blocked if database is None else blocked.filter(database=database)


def make_due_now(*, using: str) -> int:
    """Make cascades due at once that wait or failed; return their number."""
    states = [Cascade.State.WAITING, Cascade.State.PENDING]
    waiting = Cascade.objects.using(using).filter(state__in=states, due_at__gt=ServerNow())
    return waiting.update(due_at=ServerNow())


def block_lost(*, using: str) -> int:
    """Block cascades whose worker died on each of their attempts; return their number."""
    lost = tables.cascades(using).filter(
        state=Cascade.State.RUNNING,
        due_at__lte=ServerNow(),
        attempts__gte=conf.current().attempts,
    )
    reason = "the worker was lost on every attempt"
    return lost.update(state=Cascade.State.BLOCKED, claim=None, due_at=None, reason=reason)
