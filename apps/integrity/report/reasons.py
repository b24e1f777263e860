"""Why open cascades into a child database are not done, although the database can be worked on.

Takes cascades; gives a sentence with numbers and reasons, as the last attempts have left them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import Count

from ..models import Cascade

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

#: A sentence tells so many reasons.
TOLD = 3
#: Tried before; one that runs was put back with its reason the last time.
TRIED = (Cascade.State.WAITING, Cascade.State.RUNNING)
STUCK = (*TRIED, Cascade.State.BLOCKED)


def reasons_of(logs: Iterable[QuerySet[Cascade]]) -> str:
    """Return why cascades of several logs wait or are blocked, or ""."""
    found: Counter[str] = Counter()
    for cascades in logs:
        stuck = cascades.filter(Cascade.IN_BACKLOG, state__in=STUCK).exclude(reason="")
        groups = stuck.order_by().values_list("reason").annotate(number=Count("pk"))
        found.update(dict(groups.order_by("-number", "reason")[: TOLD + 1]))
    return told(found)


def told(found: Counter[str]) -> str:
    """Return the most frequent reasons in one line, each with its number. Pure."""
    ranked = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    lines = [f"{number:,} waiting: {reason}" for reason, number in ranked[:TOLD]]
    return "; ".join([*lines, "and others"] if len(ranked) > TOLD else lines)
