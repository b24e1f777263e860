"""What a deletion did along each relation in each child database: the lines of its receipt.

What has ended is said from its scope, so that a later change of the models changes no receipt. What
is still open is said from the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..conf.steps import is_step
from ..log import scopes
from ..log.renaming import Kind
from ..models import Cascade

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterator, Mapping

    from ..log.scopes import Along, Covered
    from ..models import Deletion, InDatabase

#: States of a cascade along whose free values no row is left.
PROBED = (Cascade.State.DONE, Cascade.State.VERIFIED, Cascade.State.KEPT)
#: Policy → what it made of the rows.
OUTCOMES = {"CASCADE": "deleted", "SET_NULL": "set to null"}
#: What became of rows under a name that is in no scope: it is not known what its policy was.
CHANGED = "changed"
#: What became of rows that the database itself deletes or changes: see relations/plan.py.
BY_DATABASE = "left to the database, not counted"
#: What became of what an erasure step found.
ERASED = "erased"
#: What became of the rows along a relation that no cascade follows.
NOT_COVERED = "not covered"
#: Why a relation is not covered in a database whose cascade ended without it.
ADDED = "the relation was not known when the deletion ended there"
#: Why one is not covered in a database that the deletion was not dispatched to.
NO_CASCADE = "the deletion was dispatched to other databases only"
#: Why none is covered where a deletion ended without a cascade.
NOT_DISPATCHED = "the deletion ended without being dispatched"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLine:
    """What one deletion did along one relation in one child database.

    `rows` is None if it has not begun. `kept` counts the rows that were left alone because a living
    row has the value; None if no row has it. Counting stops above `log.kept.COUNTED_MAX`. `does` is
    what the policy makes of the rows. Without a `cascade`, the deletion does not cover the
    relation, for that `reason`.
    """

    relation: str
    database: str
    policy: str
    does: str = ""
    rows: int | None = None
    kept: int | None = None
    cascade: InDatabase | None = None
    reason: str = ""

    @property
    def outcome(self) -> str:
        """Return what became of the rows, in a word."""
        if self.cascade is None:
            return NOT_COVERED
        if self.kept is not None:
            return "kept"
        if self.cascade.state not in PROBED:
            return "given up" if self.cascade.state == Cascade.State.CANCELLED else "open"
        return self.does

    @property
    def kept_at(self) -> dt.datetime | None:
        """Return when rows were first kept."""
        return self.cascade.kept_at if self.cascade and self.kept is not None else None


def frozen(deletions: Collection[Deletion]) -> dict[int, Covered]:
    """Return the scopes that those deletions ended with, except today's.

    At most one statement for each log, besides that for `Deletion.databases`.
    """
    ids = {
        one.scope
        for row in deletions
        for one in row.databases
        if one.scope is not None and not scopes.is_today(one.scope, row.parent, row.relation)
    }
    logs = {str(row._state.db) for row in deletions}  # noqa: SLF001 (it is documented)
    return {pk: one for using in logs for pk, one in scopes.read(ids, using=using).items()}


def covered(of: Deletion, cascade: InDatabase, known: Mapping[int, Covered]) -> Covered | None:
    """Return what a cascade covers, or covered when it ended; None if that is not known."""
    if cascade.ended_at is None:
        return scopes.today(of.parent, of.relation)
    if cascade.scope is None:
        return None
    if scopes.is_today(cascade.scope, of.parent, of.relation):
        return scopes.today(of.parent, of.relation)
    return known.get(cascade.scope)


def receipt_lines(of: Deletion, known: Mapping[int, Covered]) -> list[ReceiptLine]:
    """Return a line for each child database and relation of a deletion's parent."""
    views = {cascade.database: covered(of, cascade, known) for cascade in of.databases}
    lines = [line for one in of.databases for line in _of_cascade(one, views[one.database])]
    return lines + list(_uncovered(of, views, {(line.relation, line.database) for line in lines}))


def _of_cascade(cascade: InDatabase, view: Covered | None) -> Iterator[ReceiptLine]:
    """Yield a line for each relation that a cascade follows, and for each name it has rows of.

    For an erasure step, yield one line: its rows are the items that it erased.
    """
    if is_step(cascade.database):
        yield _of_step(cascade)
        return
    followed = {
        label: along
        for label, along in (view or {}).items()
        if cascade.database in along.databases and not along.unfollowed
    }
    done = cascade.done_at is not None
    for label in dict.fromkeys([*followed, *cascade.rows, *cascade.kept]):
        yield ReceiptLine(
            relation=label,
            database=cascade.database,
            policy=followed[label].policy if label in followed else "",
            does=_does(label, followed),
            rows=cascade.rows.get(label, 0 if done else None),
            kept=cascade.kept.get(label),
            cascade=cascade,
        )
    uncounted = (label for along in followed.values() for label in along.uncounted)
    for label in dict.fromkeys(uncounted):
        if label not in followed and label not in cascade.rows:
            yield ReceiptLine(
                relation=label,
                database=cascade.database,
                policy="",
                does=BY_DATABASE,
                cascade=cascade,
            )


def _of_step(cascade: InDatabase) -> ReceiptLine:
    place = cascade.database
    erased = cascade.rows.get(place, 0 if cascade.done_at is not None else None)
    return ReceiptLine(
        relation=place, database=place, policy="", does=ERASED, rows=erased, cascade=cascade
    )


def _does(label: str, followed: Mapping[str, Along]) -> str:
    """Return what became of rows under that name. Under a model's, they went along with others."""
    if label in followed:
        return OUTCOMES.get(followed[label].policy, "replaced")
    below = any(label in along.below for along in followed.values())
    return "deleted" if below or Kind.of(label) is Kind.MODEL else CHANGED


def _uncovered(
    of: Deletion, views: Mapping[str, Covered | None], followed: Collection[tuple[str, str]]
) -> Iterator[ReceiptLine]:
    """Yield a line for each relation and child database that the deletion does not cover.

    Where cascades have different views of a relation, the first counts. Of a database whose view is
    not known, nothing is said.
    """
    seen = {*followed}
    for view in views.values() if views else [scopes.today(of.parent, of.relation)]:
        for label, along in (view or {}).items():
            for database in along.databases:
                reason = along.unfollowed or _why_not(of, dispatched=database in views)
                unknown = database in views and views[database] is None
                if reason and not unknown and (label, database) not in seen:
                    seen.add((label, database))
                    yield ReceiptLine(
                        relation=label, database=database, policy=along.policy, reason=reason
                    )


def _why_not(of: Deletion, *, dispatched: bool) -> str:
    """Return why a relation is not covered that cascades follow; "" if it may be yet."""
    if dispatched:
        return ADDED
    if of.databases:
        return NO_CASCADE
    return NOT_DISPATCHED if of.cancelled_at else ""
