"""Why open cascades into a child database are not done, although the database can be worked on.

It is one sentence of numbers and reasons, which the last attempts have written to the cascades.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import Sum

from ..models import Cascade

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

#: The sentence has at most this many reasons.
REASONS_MAX = 3
#: Tried before. One that is RUNNING again keeps the reason of its last attempt.
TRIED = (Cascade.State.WAITING, Cascade.State.RUNNING)
STUCK = (*TRIED, Cascade.State.BLOCKED)


def reasons_of(logs: Iterable[QuerySet[Cascade]]) -> str:
    """Return why cascades of several logs wait or are blocked, or ""."""
    numbers: Counter[str] = Counter()
    for cascades in logs:
        stuck = cascades.filter(Cascade.IN_BACKLOG, state__in=STUCK).exclude(reason="")
        groups = stuck.order_by().values_list("reason").annotate(number=Sum("size"))
        numbers.update(dict(groups.order_by("-number", "reason")[: REASONS_MAX + 1]))
    return most_frequent(numbers)


def most_frequent(numbers: Counter[str]) -> str:
    """Return the most frequent reasons in one line, each with its number. Pure."""
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{number:,} waiting: {reason}" for reason, number in ranked[:REASONS_MAX]]
    return "; ".join([*lines, "and others"] if len(ranked) > REASONS_MAX else lines)
