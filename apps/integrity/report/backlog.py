"""How far each child database is behind: backlog, lag, rate, and why it is behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import relations
from ..log.renaming import Kind
from ..models import Cascade, ChildDatabase
from .deadlines import margins_of
from .names import unknown_among, waiting
from .reasons import reasons_of
from .rows import database_row
from .small_tables import SmallTables
from .work import FAILED, LATELY, RATE_SECONDS, RECORDED, RETRIED, Group, Work, work_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.db.models import QuerySet

    from .names import Unknown
    from .reasons import Reasons
    from .rows import DatabaseRow


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFigures:
    """What the rows of the child databases and of the scans are made of, in one log."""

    small: SmallTables
    work: Work

    @classmethod
    def of(cls, using: str) -> LogFigures:
        """Read the work, and the small tables when they are needed: at most three statements."""
        return cls(small=SmallTables(using), work=work_of(using))


def database_rows(logs: Mapping[str, LogFigures]) -> tuple[list[DatabaseRow], list[Unknown]]:
    """Return a row for each child database, and for each unknown alias that has open work."""
    unknown = [
        entry
        for using, log in logs.items()
        for entry in unknown_among(using, log.small.children, log.work.open_names)
    ]
    reasons = {entry["name"]: entry["reason"] for entry in unknown if entry["kind"] == Kind.ALIAS}
    aliases = dict.fromkeys([*relations.catalogue().places, *reasons])
    groups = by_database(group for log in logs.values() for group in log.work.groups)
    children = dict[str, list[ChildDatabase]]()
    for child in (child for log in logs.values() for child in log.small.children):
        children.setdefault(child.alias, []).append(child)
    why = stuck_reasons([*logs], groups.values(), _cascades)
    margins = margins_of(logs, [*aliases])
    rows = [
        database_row(
            alias,
            groups.get(alias, []),
            children.get(alias, []),
            reasons=why.get(alias),
            rate=_rate(groups.get(alias, [])),
            margins=margins.get(alias),
        )
        for alias in aliases
    ]
    stuck = waiting((log.work for log in logs.values()), (RETRIED, *Cascade.CLAIMABLE))
    for row in rows:
        row["unknown"] = stuck[row["database"]]
        if reason := reasons.get(row["database"]):
            row["state"], row["reason"], row["eta_seconds"] = "unknown", reason, None
            row["unknown"] = row["backlog"] - row["blocked"]
    return rows, unknown


def with_silences(rows: Iterable[DatabaseRow], silent: Mapping[str, tuple[str, float]]) -> None:
    """Change the rows of databases that do not answer; `silent` says why, and since when.

    What a log notes of a database stays, because it says since when.
    """
    for row in rows:
        found = silent.get(row["database"])
        if found and not row["unreachable"] and row["state"] != "unknown":
            row["state"], row["unreachable"], row["eta_seconds"] = "hindered", True, None
            row["reason"], row["unreachable_seconds"] = found


def stuck_reasons(
    logs: Iterable[str],
    groups: Iterable[Iterable[Group]],
    cascades: Callable[[str], QuerySet[Cascade]],
) -> dict[str, Reasons]:
    """Return database → why work fails or is blocked; nothing is asked where none does."""
    stuck = {*FAILED, Cascade.State.BLOCKED}
    if not any(group.kind in stuck for some in groups for group in some):
        return {}
    return reasons_of(cascades(using) for using in logs)


def _cascades(using: str) -> QuerySet[Cascade]:
    return Cascade.objects.using(using).filter(Cascade.IN_BACKLOG)


def _rate(groups: Iterable[Group]) -> float:
    return sum(group.number for group in groups if group.kind == LATELY) / RATE_SECONDS


def by_database(work: Iterable[Group]) -> dict[str, list[Group]]:
    """Return child database → the work in it, with what has to be dispatched into it. Pure."""
    catalogue, groups = relations.catalogue(), dict[str, list[Group]]()
    for group in work:
        aliases: Sequence[str] = [group.database]
        if group.kind == RECORDED:
            aliases = catalogue.databases_of(group.parent, group.relation)
        for alias in aliases:
            groups.setdefault(alias, []).append(group)
    return groups
