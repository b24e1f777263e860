"""The work of one log, counted by what it is in: open work, kept rows, and what was done lately.

Note [One statement, several indexes]: each part of the statement reads an index that holds only its
rows, or few others. So its cost grows with the open work, and not with the log.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import (
    Case,
    CharField,
    Count,
    DurationField,
    F,
    Max,
    Min,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from .. import relations
from ..backends import clocks
from ..log import tables
from ..models import Cascade, Scan
from ..models.moments import ServerNow
from .totals import total

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from django.db.models import Expression
    from django.db.models.expressions import Combinable

#: The window over which the rate of finished deletions is measured.
RATE_SECONDS = 300
#: Kinds of work other than the states of cascades that have not ended.
RECORDED, SUSPECT, SCAN = "recorded", "suspect", "scan"
KEPT_ROWS, LATELY = "kept rows", "lately"
#: A running cascade whose last attempt failed, or left rows.
RETRIED = "retried"
#: Kinds of open work; of these, what has failed, and what a worker has claimed.
OPEN = (RECORDED, RETRIED, *Cascade.OPEN)
FAILED = (Cascade.State.WAITING, RETRIED)
CLAIMED = (Cascade.State.RUNNING, RETRIED)
#: Which running cascades are retried.
IS_RETRIED = Q(state=Cascade.State.RUNNING) & (Q(attempts__gt=1) | Q(failing__isnull=False))
#: Cascades of which an attempt failed, and that wait for the next one or are in it.
HAS_FAILED = Q(state=Cascade.State.WAITING) | IS_RETRIED
#: Columns of groups; those without a database, a parent or an age.
PARENT, RELATION, NOWHERE = F("parent"), F("relation"), Value("")
NO_AGE = Value(None, output_field=DurationField())
#: States of cascades that are not done, or not verified.
GOING_ON = (RETRIED, *Cascade.OPEN, Cascade.State.DONE)
#: Columns of a cascade that `open_groups` needs.
READ = ("state", "size", "recorded_at", "due_at", "done_at", "attempts", "failing", "owner")


class Group(NamedTuple):
    """Work of one kind that has the same names: `number` deletions, suspects or open scans.

    `kind` is the state of a cascade that has not ended, or one of the kinds above. `age` and `done`
    are those of the oldest: since its record, and since it was done. `due` is how long the first of
    them has been due, less than 0 where it will be; `due_last` is that of the last one. Of what a
    worker has claimed, these are the ends of leases, and `owner` is who claimed it.
    """

    kind: str
    database: str
    parent: str
    relation: str
    number: int
    age: dt.timedelta | None
    done: dt.timedelta | None = None
    due: dt.timedelta | None = None
    due_last: dt.timedelta | None = None
    owner: str = ""


class OpenNames(NamedTuple):
    """The names in open work of one log.

    Parent and relation of deletions and suspects, the databases of cascades, and relation and
    database of scans.
    """

    names: Sequence[tuple[str, str]]
    databases: Sequence[str]
    places: Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Work:
    """All groups of one log."""

    groups: Sequence[Group]

    def of(self, *kinds: str) -> Iterator[Group]:
        """Yield the groups of those kinds."""
        return (group for group in self.groups if group.kind in kinds)

    @property
    def open_names(self) -> OpenNames:
        """Return the names in open work."""
        over = {KEPT_ROWS, LATELY, SCAN}
        named = (group for group in self.groups if group.kind not in over)
        return OpenNames(
            sorted({(group.parent, group.relation) for group in named}),
            sorted({group.database for group in self.of(*GOING_ON)}),
            {(group.relation, group.database) for group in self.of(SCAN)},
        )

    @property
    def suspects(self) -> Counter[str]:
        """Return relation → suspects."""
        counts = Counter[str]()
        for group in self.of(SUSPECT):
            counts[group.relation] += group.number
        return counts


def work_of(using: str) -> Work:
    """Count the work of one log. One statement: Note [One statement, several indexes]."""
    cascades, in_database = tables.cascades(using), F("database")
    age, a_while_ago = (
        clocks.age(Min("recorded_at")),
        ServerNow() - dt.timedelta(seconds=RATE_SECONDS),
    )
    lately = cascades.filter(database__in=relations.catalogue().places, done_at__gte=a_while_ago)
    scans = Scan.objects.using(using).filter(Scan.IS_OPEN)
    rows = open_groups(cascades.filter(ended_at__isnull=True), parent=PARENT, relation=RELATION)
    rows = rows.union(
        _grouped(
            cascades.filter(Cascade.UNACKNOWLEDGED), Value(KEPT_ROWS), in_database, total("size")
        ),
        _grouped(lately, Value(LATELY), in_database, total("size")),
        _grouped(tables.recorded(using), Value(RECORDED), NOWHERE, Count("pk"), age=age, due=age),
        _grouped(tables.suspects(using), Value(SUSPECT), NOWHERE, Count("pk")),
        _grouped(scans, Value(SCAN), in_database, Count("pk"), parent=NOWHERE),
        all=True,
    )
    return Work([Group(*row) for row in rows])


def open_groups(
    cascades: QuerySet[Cascade],
    *,
    parent: Combinable = NOWHERE,
    relation: Combinable = NOWHERE,
) -> QuerySet[Any, Any]:
    """Return the groups of cascades that have not ended, as rows of `Group`."""
    claimed = When(state=Cascade.State.RUNNING, then=F("owner"))
    return _grouped(
        cascades,
        Case(When(IS_RETRIED, then=Value(RETRIED)), default=F("state"), output_field=CharField()),
        F("database"),
        total("size"),
        parent=parent,
        relation=relation,
        age=clocks.age(Min("recorded_at")),
        done=clocks.age(Min(Coalesce("done_at", "recorded_at"))),
        due=clocks.age(Min("due_at")),
        due_last=clocks.age(Max("due_at")),
        owner=Case(claimed, default=NOWHERE, output_field=CharField()),
    )


def _grouped(
    rows: QuerySet[Any],
    kind: Combinable,
    database: Combinable,
    number: Expression,
    *,
    parent: Combinable = PARENT,
    relation: Combinable = RELATION,
    owner: Combinable = NOWHERE,
    **ages: Expression,
) -> QuerySet[Any, Any]:
    """Return the columns of `Group`, which have other names than any column of a table."""
    names: dict[str, Any] = {"by_kind": kind, "by_database": database, "by_parent": parent}
    names |= {"by_relation": relation}
    groups: QuerySet[Any, Any] = rows.order_by().values(**names, by_owner=owner)
    figures = {"group_number": number}
    figures |= {f"group_{age}": ages.get(age, NO_AGE) for age in ("age", "done", "due", "due_last")}
    groups = groups.annotate(**figures)
    return groups.values_list(*names, *figures, "by_owner")
