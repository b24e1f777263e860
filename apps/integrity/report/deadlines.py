"""How much time is left until deadlines, and whether the work is likely to be done by then.

Nothing is read where the setting `deadline_days` is off. What is read is bounded: in each database
the cascades that come first in the order of deadlines, those that are done, and those blocked.

Note [The estimate]: work is done in the order of deadlines. So what has to be finished before a
deadline is what comes before it in that order, and the time that it takes follows from what was
finished in the last five minutes. That rate counts once work has waited for as long: before, a part
of the five minutes was idle. Deadlines are compared in groups whose remaining times differ by at
most half; in each, all of the group counts, and its nearest deadline. The estimate errs towards an
alarm that is too early.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import (
    Case,
    Count,
    DurationField,
    ExpressionWrapper,
    IntegerField,
    Min,
    Q,
    Value,
    When,
)

from .. import conf, relations
from ..backends import clocks
from ..backends.deadlines import DAY_SECONDS, THRESHOLDS, WITHOUT_DAYS, group_of
from ..backends.first_rows import first_rows
from ..log import tables
from ..log.candidates import nearest_first
from ..models import Cascade
from ..models.moments import ServerNow
from . import limits
from .lengths import number_of, span
from .totals import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.db.models import QuerySet

#: The columns that are read.
READ = ("order_at", "deadline", "recorded_at", "size")
#: Cascades past their deadlines whose deletions are counted one by one.
COUNTED_MAX = 200


class Due(NamedTuple):
    """Work in a database whose places in the order are alike.

    `number` deletions wait for a worker. `left` is until the nearest deadline, less than 0 where it
    has passed; None where none has one. The oldest was recorded `age` ago.
    """

    group: int
    number: int
    left: float | None
    age: float


class Margins(NamedTuple):
    """The deadlines of what is not verified in one database, by group, and how many are late."""

    due: Sequence[Due]
    late: int


class Verdict(NamedTuple):
    """What is said of a database: see `DatabaseRow`."""

    margin_seconds: float | None = None
    late: int = 0
    risk: float | None = None
    risk_reason: str = ""


def margins_of(logs: Iterable[str], databases: Sequence[str]) -> dict[str, Margins]:
    """Return child database → its deadlines in all logs; nothing where no deadlines are used."""
    if not conf.current().uses_deadlines:
        return {}
    due, late = defaultdict[str, list[Due]](list), Counter[str]()
    for using in logs:
        for database, found in _cascades(using, databases):
            due[database].append(found)
        behind = [alias for alias in databases if any(_is_late(one) for one in due[alias])]
        late.update(_late(using, behind) if behind else {})
        for names, found, number in _recorded(using):
            for database in relations.catalogue().databases_of(*names):
                due[database].append(found)
                late[database] += number
    return {database: Margins(due[database], late[database]) for database in due}


def _is_late(found: Due) -> bool:
    return found.left is not None and found.left < 0


def _sources(using: str) -> Iterator[tuple[QuerySet[Cascade], bool]]:
    """Yield cascades that are not verified, each in the order of an index; and if they wait."""
    cascades = tables.cascades(using)
    yield nearest_first(cascades.filter(state__in=Cascade.CLAIMABLE)), True
    yield cascades.filter(state=Cascade.State.BLOCKED).order_by("pk"), False
    yield cascades.filter(state=Cascade.State.DONE).order_by("due_at", "pk"), False


def _cascades(using: str, databases: Sequence[str]) -> Iterator[tuple[str, Due]]:
    for rows, waits in _sources(using):
        found = first_rows(rows, databases, limits.COUNT_MAX + 1, *READ).order_by()
        groups = found.annotate(group=_group("order_at")).values("database", "group")
        for row in groups.annotate(number=total("size"), **_times()):
            yield row["database"], _due(row["group"], row["number"] if waits else 0, row)


def _late(using: str, databases: Sequence[str]) -> Counter[str]:
    """Return database → deletions whose deadline has passed, of the first cascades of each kind."""
    ids = defaultdict[str, list[int]](list)
    for rows, _ in _sources(using):
        passed = rows.filter(deadline__lte=ServerNow())
        found = first_rows(passed, databases, COUNTED_MAX, "deletions")
        for database, deletions in found.values_list("database", "deletions"):
            ids[database] += deletions
    counts = Counter[str]()
    for database, pks in ids.items():
        named = tables.deletions(using).filter(tables.id_in("pk", pks, using))
        counts[database] = named.filter(deadline__lte=ServerNow()).count()
    return counts


def _recorded(using: str) -> Iterator[tuple[tuple[str, str], Due, int]]:
    """Yield parent and relation of what is not dispatched yet, as one group, and how many are late.

    What a trigger has recorded gets the deadline of its parent when it is dispatched.
    """
    rows = tables.recorded(using).order_by().values("parent", "relation")
    passed = Count("pk", filter=Q(deadline__lte=ServerNow()))
    unset = Count("pk", filter=Q(deadline__isnull=True))
    for row in rows.annotate(number=Count("pk"), passed=passed, unset=unset, **_times()):
        days = conf.current().deadline_days_of(row["parent"])
        found = _due(0, row["number"], row)
        if days is not None and row["unset"]:
            left = days * DAY_SECONDS - found.age
            found = found._replace(left=left if found.left is None else min(left, found.left))
        group = group_of(dt.timedelta(seconds=WITHOUT_DAYS * DAY_SECONDS))
        if found.left is not None:
            group = group_of(dt.timedelta(seconds=found.left))
        late = row["passed"]
        if days is not None and row["unset"] and (found.left or 0.0) < 0:
            since = ServerNow() - dt.timedelta(days=days)
            named = tables.recorded(using).filter(parent=row["parent"], relation=row["relation"])
            late += named.filter(deadline__isnull=True, recorded_at__lte=since).count()
        yield (row["parent"], row["relation"]), found._replace(group=group), late


def _group(column: str) -> Case:
    """Return the group of what is left until a column's time: see `backends.deadlines`."""
    ends = enumerate(THRESHOLDS)
    cases = [
        When(Q(**{f"{column}__lt": ServerNow() + dt.timedelta(seconds=end)}), then=Value(number))
        for number, end in ends
    ]
    return Case(*cases, default=Value(len(THRESHOLDS)), output_field=IntegerField())


def _times() -> dict[str, Any]:
    left = ExpressionWrapper(Min("deadline") - ServerNow(), output_field=DurationField())
    return {"left": left, "age": clocks.age(Min("recorded_at"))}


def _due(group: int, number: int, times: Mapping[str, Any]) -> Due:
    left = times["left"]
    seconds = None if left is None else left.total_seconds()
    return Due(group, number, seconds, clocks.seconds(times["age"]) or 0.0)


def verdict(margins: Margins | None, rate: float | None, stuck: str) -> Verdict:
    """Return what is said of a database; see Note [The estimate]. Pure.

    `rate` is in deletions per second; None where it is not known or nothing is worked on, because
    the database is `stuck` or for another reason.
    """
    if margins is None or not any(one.left is not None for one in margins.due):
        return Verdict()
    nearest = min(one.left for one in margins.due if one.left is not None)
    share, before, worst = conf.current().deadline_margin_share, 0, Verdict(nearest, margins.late)
    for group in sorted({one.group for one in margins.due}):
        same = [one for one in margins.due if one.group == group]
        before += sum(one.number for one in same)
        ahead = [one for one in same if one.left is not None and one.left > 0]
        if not ahead:
            continue
        moves = [one for one in ahead if one.number and rate]
        found = [_unmeasured(one, share, stuck if one.number else "") for one in ahead]
        if rate and moves:
            left = min(one.left for one in moves if one.left is not None)
            found = [_measured(before, rate, left)]
            found += [_unmeasured(one, share, "") for one in ahead if not one.number]
        for risk, reason in found:
            if risk > (worst.risk or 0.0):
                worst = worst._replace(risk=risk, risk_reason=reason)
    return worst


def _measured(before: int, rate: float, left: float) -> tuple[float, str]:
    """Return the share of the remaining time that the work takes, and that in words. Pure."""
    takes = before / rate + conf.current().grace_seconds
    until = f"{number_of(before, 'deletion')} before a deadline in {span(left)}"
    return takes / left, f"{until}: that takes about {span(takes)} at {rate:,.2g} per second"


def _unmeasured(due: Due, share: float, stuck: str) -> tuple[float, str]:
    """Return the same where no rate is known: above 1 once less than the margin is left. Pure."""
    left = due.left or 0.0
    why = stuck or "the rate of its work is not known"
    return share * (left + due.age) / left, f"a deadline is in {span(left)}, and {why}"
