"""The values of a claim: the deletions that one worker holds in one child database."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models import CascadeState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from ..backends.barriers import Barrier

#: What most deletions have instead of a document of their own.
NOTHING: Mapping[str, Any] = MappingProxyType({})


class ClaimedDeletion(NamedTuple):
    """A deletion that this worker cascades until its lease ends, as a part of `batch`.

    Which cascade holds it is not known here, because each split may change that: parts.py. A claim
    has a thousand of them, and a tuple is made in half the time of a frozen dataclass.
    """

    id: int
    batch: int
    key: str | None
    #: Values of `to_field` targets; None if the parent had none. An absent value is unknown.
    targets: Mapping[str, str | None]
    attempts: int
    #: `Cascade.tally`; None where the child's database does not count the rows.
    tally: UUID | None = None
    #: Relation → rows changed so far.
    rows: Mapping[str, int] = NOTHING
    #: The reason for each relation whose rows were left at the last attempt.
    failing: Mapping[str, str] = NOTHING
    #: Rows of each relation that were left because they refer to a living row.
    kept: Mapping[str, int] = NOTHING
    #: For which its verification waits, if it is done.
    barrier: Barrier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Deletions of one parent model in one child database, claimed together by one worker.

    It took whole cascades: those that were due and too large were split before.
    """

    #: What names it in the log; None for who only verifies.
    token: UUID | None
    using: str
    database: str
    #: The identity of the log, for the tallies; None where the database cannot hold them.
    log: UUID | None = None
    parent: str = ""
    #: The relation by which a scan found them; "" for all relations of the parent.
    relation: str = ""
    deletions: tuple[ClaimedDeletion, ...] = ()
    #: Cascade → its deletions, when they were read. Splits change that later: parts.py.
    cascades: Mapping[int, Sequence[int]] = field(default_factory=dict)
    state: CascadeState = CascadeState.RUNNING
    #: Who verifies: when the cascades were read, by the log's clock. See Note [No claim] in
    #: proofs.py.
    seen_at: dt.datetime | None = None

    @property
    def ids(self) -> list[int]:
        """Return the ids of the deletions."""
        return [deletion.id for deletion in self.deletions]

    @property
    def batches(self) -> list[int]:
        """Return the batches of the deletions."""
        return sorted({deletion.batch for deletion in self.deletions})

    @property
    def tallies(self) -> set[UUID]:
        """Return the tallies of the deletions that the child's database counts."""
        return {deletion.tally for deletion in self.deletions if deletion.tally}

    def only(self, ids: Collection[int]) -> Claim:
        """Return the claim with those of its deletions."""
        wanted = set(ids)
        part = tuple(deletion for deletion in self.deletions if deletion.id in wanted)
        return dataclasses.replace(self, deletions=part)

    def with_rows(self, rows: Mapping[int, Mapping[str, int]]) -> Claim:
        """Return the claim with the rows that were changed for each deletion so far."""
        deletions = tuple(
            deletion._replace(rows=dict(rows.get(deletion.id, deletion.rows)))
            for deletion in self.deletions
        )
        return dataclasses.replace(self, deletions=deletions)


def waited(due_at: dt.datetime, recorded_at: dt.datetime) -> dt.timedelta:
    """Return how long a cascade had waited when it became due."""
    return max(due_at - recorded_at, dt.timedelta())
