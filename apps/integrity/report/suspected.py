"""Missing parents that scans found, for the pages; counting stops at a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import relations
from ..backends import clocks
from ..control import circuit_breaker
from ..models import Suspect
from . import limits

if TYPE_CHECKING:
    from django.db.models import QuerySet


def capped(rows: QuerySet[Any]) -> int:
    """Return the number of rows, at most `limits.COUNT_MAX + 1`."""
    return rows.order_by()[: limits.COUNT_MAX + 1].count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A missing parent: its key, or the values that children hold; `seconds` since it was found."""

    id: int
    key: str | None
    targets: dict[str, Any] | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Keys without a parent that scans of one relation found; `first` are the oldest of them."""

    relation: str
    policy: str
    parent: str
    using: str
    number: int
    oldest_seconds: float
    first: list[Missing]


def suspected() -> list[Suspects]:
    """Return the suspects of each relation, in the logs that answer."""
    suspects, logs = [], circuit_breaker.answering_logs()
    for relation in relations.catalogue().relations:
        using = relation.parent_databases[0]
        if using not in logs:
            continue
        rows = Suspect.objects.using(using).filter(relation=relation.label)
        first = [
            Missing(
                id=row.pk,
                key=None if row.field else row.value,
                targets={row.field: row.value} if row.field else None,
                seconds=clocks.age_of(row) or 0.0,
            )
            for row in rows.annotate(age=clocks.age("recorded_at")).order_by("pk")[
                : limits.SUSPECTS_SHOWN
            ]
        ]
        if first:
            suspects.append(
                Suspects(
                    relation=relation.label,
                    policy=str(relation.policy),
                    parent=relation.parent._meta.label,
                    using=using,
                    number=capped(rows),
                    oldest_seconds=max(suspect.seconds for suspect in first),
                    first=first,
                )
            )
    return suspects
