"""What blocks cascades from being finished, and what becomes of them. Decisions only.

Takes errors and what they mean (backends/errors.py); returns blockers, and the fate of a blocked
cascade.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

from ..backends import missing_tables
from ..backends.errors import Trouble, trouble_of
from ..exceptions.loggers import Origin, origin_of
from ..exceptions.redaction import reason_of_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ..log.values import Claim
    from ..relations import Relation

#: The most relations that a reason names.
LABELS = 3
#: Why cascades are put back where another transaction was in the way.
LOCKED = "rows are locked by another transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """Why a relation's rows are not removed.

    With `bisect`, the blocked cascades are tried again in smaller groups.
    """

    relation: str
    trouble: Trouble
    reason: str
    code: Origin = Origin()  # noqa: RUF009 (as immutable as a str)
    bisect: bool = False


def blocker_along(error: Exception, relation: Relation, database: str) -> Blocker:
    """Return the blocker for a relation whose step raised `error`."""
    return blocker_of(error, [relation], database, relation=relation.label)


def blocker_of(
    error: Exception, along: Collection[Relation], database: str, *, relation: str = ""
) -> Blocker:
    """Return the blocker for cascades along those relations when work on them raised `error`.

    Looks up which tables are missing if that may be the cause.
    """
    try:
        reason, code = missing_tables.describe(error, along, database)
    except Exception:  # noqa: BLE001 (whatever the search for tables met: the first error counts)
        reason, code = reason_of_error(error), origin_of(error)
    trouble = trouble_of(error, connections[database].vendor, missing=not code)
    if trouble is Trouble.CONTENTION:
        reason = LOCKED
    return Blocker(relation=relation, trouble=trouble, reason=reason, code=code)


def unknown_value(relation: Relation) -> Blocker:
    """Return the blocker for a relation if the log lacks the value that its rows hold."""
    target = f"{relation.parent._meta.label}.{relation.target.name}"
    rename = "manage.py integrity rename"
    return Blocker(
        relation=relation.label,
        trouble=Trouble.SCHEMA,
        reason=(
            f"{relation.label}: the log does not say which {target} was deleted. If the field had"
            f" another name then, `{rename} {relation.parent._meta.label}.OLD {target} --field"
            " --apply` puts its values under the new name. If no relation used it then,"
            f" `{rename} {target} --field --close REASON --apply` ends the wait, and `manage.py"
            f" integrity scan --relation {relation.label} --full` finds rows that are left"
        ),
    )


def blockers_of(
    cascade: int,
    blockers: Mapping[str, Blocker],
    left: Mapping[str, set[int]],
    unknown: Mapping[str, set[int]],
    along: Iterable[Relation],
) -> tuple[Blocker, ...]:
    """Return what blocks a cascade `along` the relations of its claim. Pure.

    `left` holds, per relation, the cascades that still have rows; `unknown` those whose value the
    log does not have. An unknown value blocks a cascade only when all other rows are gone. So an
    operator who closes it leaves no rows along other relations.
    """
    known = [blocker for label, blocker in blockers.items() if cascade in left[label]]
    waiting = {label for label, cascades in left.items() if cascade in cascades} - blockers.keys()
    if waiting - {label for label, cascades in unknown.items() if cascade in cascades}:
        return tuple(known)
    lacking = [relation for relation in along if cascade in unknown[relation.label]]
    return (*known, *map(unknown_value, lacking))


class Fate(enum.Enum):
    """What becomes of a cascade that is stuck."""

    #: Put back, to be claimed again in a moment. Not counted.
    SOON = enum.auto()
    #: Put back until somebody has had time to see to the cause. Not counted.
    WAIT = enum.auto()
    #: Tried again with fewer others. Not counted.
    BISECT = enum.auto()
    #: The same; a failed attempt where it is alone.
    COUNT = enum.auto()


#: What each trouble means for one cascade; the worst of several counts.
FATES = {
    Trouble.HINDERED: Fate.SOON,
    Trouble.CONTENTION: Fate.SOON,
    Trouble.SCHEMA: Fate.WAIT,
    Trouble.TOO_LARGE: Fate.COUNT,
    Trouble.REFUSED: Fate.COUNT,
    Trouble.BUG: Fate.COUNT,
}


def fate(blockers: Collection[Blocker]) -> Fate:
    """Return what becomes of a cascade with those blockers. Pure."""
    fates = {Fate.BISECT if blocker.bisect else FATES[blocker.trouble] for blocker in blockers}
    return max(fates, key=lambda candidate: candidate.value)


def were_locked(claim: Claim) -> bool:
    """Return whether rows of the claim were locked when it was put back. Pure.

    The next attempt does not wait for them: a lock of an hour would hold up the whole claim.
    """
    return any(LOCKED in one.failing.values() for one in claim.deletions)


def reason_of(blockers: Collection[Blocker]) -> str:
    """Return why a cascade is stuck, in a line that names the relations. Pure."""
    by_reason: dict[str, list[str]] = {}
    for blocker in blockers:
        by_reason.setdefault(blocker.reason, []).append(blocker.relation)
    return "; ".join(_named(labels, reason) for reason, labels in by_reason.items())


def _named(labels: Sequence[str], reason: str) -> str:
    if any(label in reason for label in labels):  # which "" always is
        return reason
    more = f" and {len(labels) - LABELS} more" if len(labels) > LABELS else ""
    return f"{', '.join(labels[:LABELS])}{more}: {reason}"
