"""The work of one log, counted by what it is in: open work, kept rows, and what was done lately.

Note [One statement, several indexes]: each part of the statement reads an index that holds only its
rows, or few others. So its cost grows with the open work, and not with the log.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import Count, DurationField, F, Min, QuerySet, Value
from django.db.models.functions import Coalesce, Now

from .. import relations
from ..backends import clocks
from ..log import tables
from ..models import Cascade, Scan
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
#: Columns of groups; those without a database, a parent or an age.
PARENT, NOWHERE, NO_AGE = F("parent"), Value(""), Value(None, output_field=DurationField())
#: States of cascades that are not done, or not verified.
GOING_ON = (*Cascade.OPEN, Cascade.State.DONE)


class Group(NamedTuple):
    """Work of one kind that has the same names: `number` deletions, suspects or open scans.

    `kind` is the state of a cascade that has not ended, or one of the kinds above. The ages are
    those of the oldest: since its record, and since it was done.
    """

    kind: str
    database: str
    parent: str
    relation: str
    number: int
    age: dt.timedelta | None
    done: dt.timedelta | None


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
    age, a_while_ago = clocks.age(Min("recorded_at")), Now() - dt.timedelta(seconds=RATE_SECONDS)
    lately = cascades.filter(
        database__in=relations.catalogue().child_databases, done_at__gte=a_while_ago
    )
    scans = Scan.objects.using(using).filter(Scan.IS_OPEN)
    rows = _grouped(
        cascades.filter(ended_at__isnull=True),
        F("state"),
        in_database,
        total("size"),
        age=age,
        done=clocks.age(Min(Coalesce("done_at", "recorded_at"))),
    ).union(
        _grouped(
            cascades.filter(Cascade.UNACKNOWLEDGED), Value(KEPT_ROWS), in_database, total("size")
        ),
        _grouped(lately, Value(LATELY), in_database, total("size")),
        _grouped(tables.recorded(using), Value(RECORDED), NOWHERE, Count("pk"), age=age),
        _grouped(tables.suspects(using), Value(SUSPECT), NOWHERE, Count("pk")),
        _grouped(scans, Value(SCAN), in_database, Count("pk"), parent=NOWHERE),
        all=True,
    )
    return Work([Group(*row) for row in rows])


def _grouped(
    rows: QuerySet[Any],
    kind: Combinable,
    database: Combinable,
    number: Expression,
    *,
    parent: Combinable = PARENT,
    age: Expression = NO_AGE,
    done: Expression = NO_AGE,
) -> QuerySet[Any, Any]:
    """Return the columns of `Group`, which have other names than any column of a table."""
    names: dict[str, Any] = {"by_kind": kind, "by_database": database, "by_parent": parent}
    names |= {"by_relation": F("relation")}
    groups: QuerySet[Any, Any] = rows.order_by().values(**names)
    figures = {"group_number": number, "group_age": age, "group_done": done}
    groups = groups.annotate(**figures)
    return groups.values_list(*names, *figures)
