"""Why open cascades into a child database are not done, although the database can be worked on.

It is what the last attempts have written to the cascades, by number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import BooleanField, ExpressionWrapper, F, Q, Sum, Window
from django.db.models.functions import RowNumber

from ..models import Cascade
from .work import HAS_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

#: The sentence has at most this many reasons.
REASONS_MAX = 3
IS_BLOCKED = Q(state=Cascade.State.BLOCKED)


@dataclass(slots=True)
class Reasons:
    """Reason → number of deletions that failed and are tried again, and of blocked ones."""

    failing: Counter[str] = field(default_factory=Counter)
    blocked: Counter[str] = field(default_factory=Counter)

    @property
    def line(self) -> str:
        """Return the most frequent reasons of both in one line, each with its number."""
        return most_frequent(self.failing + self.blocked)


def reasons_of(logs: Iterable[QuerySet[Cascade]]) -> dict[str, Reasons]:
    """Return database → why those open cascades, of each log, are tried again or are blocked.

    One statement for each log.
    """
    numbers = dict[str, Reasons]()
    blocked = ExpressionWrapper(IS_BLOCKED, output_field=BooleanField())
    for cascades in logs:
        stuck = cascades.filter(HAS_FAILED | IS_BLOCKED).exclude(reason="").order_by()
        groups = stuck.annotate(is_blocked=blocked).values("database", "is_blocked", "reason")
        each = [F("database"), F("is_blocked")]
        place = Window(RowNumber(), each, [F("number").desc(), F("reason")])
        ranked = groups.annotate(number=Sum("size")).annotate(place=place)
        ranked = ranked.filter(place__lte=REASONS_MAX + 1)
        for database, is_blocked, reason, number in ranked.values_list(
            "database", "is_blocked", "reason", "number"
        ):
            found = numbers.setdefault(database, Reasons())
            (found.blocked if is_blocked else found.failing)[reason] += number
    return numbers


def most_frequent(numbers: Counter[str]) -> str:
    """Return the most frequent reasons in one line, each with its number. Pure."""
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{number:,} waiting: {reason}" for reason, number in ranked[:REASONS_MAX]]
    return "; ".join([*lines, "and others"] if len(ranked) > REASONS_MAX else lines)


def commonest(numbers: Counter[str]) -> str:
    """Return the most frequent reason, or "". Pure."""
    return min(numbers, key=lambda reason: (-numbers[reason], reason), default="")
