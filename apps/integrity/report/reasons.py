"""Why open cascades into a child database are not done, although the database can be worked on.

It is one sentence of numbers and reasons, which the last attempts have written to the cascades.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import F, Sum, Window
from django.db.models.functions import RowNumber

from ..models import Cascade

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The sentence has at most this many reasons.
REASONS_MAX = 3
#: Tried before. One that is RUNNING again keeps the reason of its last attempt.
TRIED = (Cascade.State.WAITING, Cascade.State.RUNNING)
STUCK = (*TRIED, Cascade.State.BLOCKED)


def reasons_of(logs: Iterable[str]) -> dict[str, str]:
    """Return database → why cascades of several logs wait or are blocked."""
    numbers = dict[str, Counter[str]]()
    for using in logs:
        stuck = Cascade.objects.using(using).filter(Cascade.IN_BACKLOG, state__in=STUCK)
        groups = stuck.exclude(reason="").order_by().values("database", "reason")
        place = Window(RowNumber(), [F("database")], [F("number").desc(), F("reason")])
        ranked = groups.annotate(number=Sum("size")).annotate(place=place)
        ranked = ranked.filter(place__lte=REASONS_MAX + 1)
        for database, reason, number in ranked.values_list("database", "reason", "number"):
            numbers.setdefault(database, Counter())[reason] += number
    return {database: most_frequent(counts) for database, counts in numbers.items()}


def most_frequent(numbers: Counter[str]) -> str:
    """Return the most frequent reasons in one line, each with its number. Pure."""
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{number:,} waiting: {reason}" for reason, number in ranked[:REASONS_MAX]]
    return "; ".join([*lines, "and others"] if len(ranked) > REASONS_MAX else lines)
