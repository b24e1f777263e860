"""Cascades that are due: which of them are claimed together, and which this process cannot judge.

Note [Only what is known]: this process's catalogue may not know the parent or the relation of a
cascade, because another release wrote it or a name changed. Such a cascade is postponed by a
quarter of the time that it has waited, and no attempt is counted. It blocks no other cascade, and a
process that knows it can claim it soon. So is a cascade whose relations all have a policy here that
leaves rows alone. After an hour, no other release is left, and it is cancelled: nothing would be
probed, so nothing may be called verified.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Q, QuerySet

from .. import relations
from ..models import Cascade
from ..models.moments import ServerNow
from . import names, tables
from .deletions import NOTHING_TO_DO, end
from .values import Claim, waited

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The shortest and the longest time that a cascade is set aside, in seconds.
ASIDE_SECONDS = (5.0, 300.0)
#: A cascade for which no policy leaves work is cancelled after so long.
IDLE_SECONDS = 3_600.0
#: The attempts that a cascade has had → how many deletions to take together with its own.
Size = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cascade that is due, without its deletions."""

    pk: int
    size: int
    parent: str
    relation: str
    attempts: int
    begun: bool
    #: It was put back at the end of a time slice because it has many rows.
    large: bool
    waited: dt.timedelta
    #: When it was read, by the clock of the log's server.
    seen_at: dt.datetime

    @property
    def kind(self) -> tuple[str, str, bool]:
        """Return what the cascades of one claim have in common.

        A cascade that already removed rows is not mixed with new ones, because it has many rows.
        """
        return self.parent, self.relation, self.begun


def nearest_first(due: QuerySet[Cascade]) -> QuerySet[Cascade]:
    """Return those cascades that have a place in the order of deadlines, in that order."""
    ordered = due.filter(order_at__isnull=False).order_by("order_at", "pk")
    if connections[due.db].features.supports_partial_indexes:
        return ordered
    return ordered.filter(ended_at__isnull=True, done_at__isnull=True)  # as the index has them


def read_candidates(
    due: QuerySet[Cascade], limit: int, *, nearest: bool = False
) -> list[Candidate]:
    """Return the cascades that are due longest, or nearest a deadline, without locking them."""
    columns = ("pk", "size", "parent", "relation", "attempts", "due_at", "recorded_at")
    begun = Q(rows__isnull=False, state__in=Cascade.CLAIMABLE)
    large = Q(begun, state=Cascade.State.PENDING, reason="")
    due = due.annotate(begun=begun, large=large, seen_at=ServerNow())
    rows = nearest_first(due) if nearest else due.order_by("due_at", "pk")
    return [
        Candidate(waited=waited(due_at, recorded_at), **row)
        for row in rows.values(*columns, "begun", "large", "seen_at")[:limit]
        for due_at, recorded_at in [(row.pop("due_at"), row.pop("recorded_at"))]
    ]


def chosen(candidates: Sequence[Candidate], size: Size) -> list[Candidate]:
    """Return the first candidate and others of its kind, fewer the more often one failed. Pure.

    Together they have at most the `size` of each; the first one alone may have more. A large one
    gets time slices of its own.
    """
    first, *others = candidates
    if first.large:
        return [first]
    picked, number, most = [first], first.size, size(first.attempts)
    for other in others:
        allowed = min(most, size(other.attempts))
        if other.kind == first.kind and not other.large and number + other.size <= allowed:
            picked.append(other)
            number, most = number + other.size, allowed
    return picked


def apart(candidates: list[Candidate], database: str) -> tuple[list[Candidate], list[Candidate]]:
    """Return the candidates that some relation of the catalogue cascades, and the others."""
    known = relations.catalogue().names_into.get(database, frozenset())
    ours = [one for one in candidates if (one.parent, one.relation) in known]
    return ours, [one for one in candidates if (one.parent, one.relation) not in known]


def set_aside(due: QuerySet[Cascade], others: list[Candidate], claim: Claim) -> None:
    """Postpone those cascades; keep their attempts and rows. See Note [Only what is known].

    Only those that are still due: another worker may have been faster.
    """
    waiting = {"state": Cascade.State.WAITING} if claim.state == Cascade.State.RUNNING else {}
    least, most = (dt.timedelta(seconds=seconds) for seconds in ASIDE_SECONDS)
    for reason in sorted({_why(candidate, claim.database) for candidate in others}):
        these = [other for other in others if _why(other, claim.database) == reason]
        wait = min(max(min(other.waited for other in these) / 4, least), most)
        idle = [other.pk for other in these if other.waited.total_seconds() >= IDLE_SECONDS]
        if idle and reason == NOTHING_TO_DO:
            end(due.filter(tables.id_in("pk", idle, claim.using)), reason)
        rows = due.filter(tables.id_in("pk", [other.pk for other in these], claim.using))
        rows.update(**waiting, claim=None, due_at=ServerNow() + wait, reason=reason)


def _why(candidate: Candidate, database: str) -> str:
    """Return what the catalogue does not know about the cascade, or that it leaves no work."""
    parent, relation = candidate.parent, candidate.relation
    if relations.catalogue().knows(parent, database, relation):
        return NOTHING_TO_DO
    return names.why_unknown(parent, relation, database)
