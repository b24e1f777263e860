"""Cascades: what workers claim, and how far it is."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models

from .fields import ExactCharField, JSONField, PlainCharField, PlainReasonsField, PlainTextField
from .ids import IdsField
from .indexes import PartialIndex
from .moments import MomentField, ServerNow
from .outcome import ENDED, CascadeState, InDatabase
from .querysets import LogModel


class Cascade(LogModel):
    """One batch of deletions applied to one child database: the unit of claim, retry and progress.

    It may be split, so that a part of its deletions goes on. The cascades of a batch in a database
    are always a partition of the batch: log/parts.py.
    """

    State = CascadeState

    #: States that a worker may claim after `due_at`, the end of the lease of a running one.
    CLAIMABLE: ClassVar = (State.PENDING, State.RUNNING, State.WAITING)
    #: Final states: only the purge follows.
    ENDED: ClassVar = ENDED
    #: States that count as backlog.
    OPEN: ClassVar = (*CLAIMABLE, State.BLOCKED)
    #: Rows were kept, and no operator has acknowledged that.
    UNACKNOWLEDGED: ClassVar = models.Q(kept_at__isnull=False, acknowledged_at__isnull=True)
    #: It counts as backlog. The condition of `integrity_cascade_backlog`.
    IN_BACKLOG: ClassVar = models.Q(state__in=OPEN, ended_at__isnull=True)

    id = models.BigAutoField(primary_key=True)
    #: The batch: the id of its first deletion.
    batch = models.BigIntegerField()
    database = ExactCharField(max_length=100)
    #: Those of the deletions, which all have the same.
    parent = ExactCharField(max_length=200)
    relation = ExactCharField(max_length=200, blank=True, default="", db_default="")
    deletions = IdsField()
    #: How many deletions it has.
    size = models.PositiveIntegerField()
    state = ExactCharField(
        max_length=10, choices=State.choices, default=State.PENDING, db_default=State.PENDING
    )
    #: When it may be claimed, or verified; null once it has ended or is blocked.
    due_at = MomentField(null=True, blank=True, default=None, db_default=ServerNow())
    claim = models.UUIDField(null=True, blank=True)
    owner = PlainCharField(max_length=100, blank=True, default="", db_default="")
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    #: The transaction and the server for which verification waits: backends/barriers.py.
    barrier = models.BigIntegerField(null=True, blank=True)
    barrier_server = ExactCharField(max_length=100, blank=True, default="", db_default="")
    reason = PlainTextField(blank=True, default="", db_default="")
    #: Relation → why its rows were left by the last failed attempt; null if none has failed.
    failing = PlainReasonsField(null=True, blank=True)
    #: Deletion → relation → rows changed. Deletions without any are left out.
    rows = JSONField(null=True, blank=True)
    #: The number under which its database counts these rows (`Tally`), the same for all parts of a
    #: batch. Null where it does not count them: then `rows` may be too low.
    tally = models.UUIDField(null=True, blank=True, default=uuid4)
    #: Deletion → relation → rows that were kept because a living row has their key.
    kept = JSONField(null=True, blank=True)
    #: What restores of its database have undone, and when it was put back to work: log/undone.py.
    undone = JSONField(null=True, blank=True)
    #: The `Scope` that it ended with; null before.
    scope = models.BigIntegerField(null=True, blank=True)
    #: When rows were first kept, and when an operator acknowledged it.
    kept_at = MomentField(null=True, blank=True)
    acknowledged_at = MomentField(null=True, blank=True)
    #: By when the first of its deletions has to be verified; null without a deadline.
    deadline = MomentField(null=True, blank=True)
    #: What orders claims where deadlines are used, else null: backends/deadlines.py.
    order_at = MomentField(null=True, blank=True)
    #: When the first of its deletions was recorded, and when it was dispatched.
    recorded_at = MomentField()
    dispatched_at = MomentField(db_default=ServerNow())
    done_at = MomentField(null=True, blank=True)
    verified_at = MomentField(null=True, blank=True)
    #: When it reached a final state. The purge counts from there.
    ended_at = MomentField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["batch"], name="integrity_cascade_batch"),
            # Includes the id, because many cascades can be due at the same moment.
            PartialIndex(
                fields=["database", "due_at", "id"],
                name="integrity_cascade_due",
                where=models.Q(state__in=["pending", "running", "waiting"]),
            ),
            # What is due, in the order of deadlines. Empty where no deadlines are used.
            PartialIndex(
                fields=["database", "order_at", "id", "due_at"],
                plain=["database", "ended_at", "done_at", "order_at", "id"],
                name="integrity_cascade_order",
                where=models.Q(state__in=["pending", "running", "waiting"], order_at__isnull=False),
            ),
            PartialIndex(
                fields=["database", "due_at", "id"],
                plain=["database", "state", "due_at", "id"],
                name="integrity_cascade_unverified",
                where=models.Q(state="done"),
            ),
            # Open cascades have not ended, so the second condition is redundant. It lets only
            # queries that repeat it use this index. Claims do not: with stale statistics, planners
            # would choose it, and read and sort all open cascades.
            PartialIndex(
                fields=["database", "recorded_at"],
                plain=["database", "ended_at", "state", "recorded_at"],
                name="integrity_cascade_backlog",
                where=models.Q(
                    state__in=["pending", "running", "waiting", "blocked"], ended_at__isnull=True
                ),
            ),
            # Cascades that failed before: few, and successful ones are never in this index.
            PartialIndex(
                fields=["due_at"],
                plain=["state", "due_at"],
                name="integrity_cascade_lost",
                where=models.Q(state="running", attempts__gt=1),
            ),
            # Blocked cascades are few; probes and pages look them up among any number of others.
            PartialIndex(
                fields=["database", "id"],
                plain=["state", "database", "id"],
                name="integrity_cascade_blocked",
                where=models.Q(state="blocked"),
            ),
            PartialIndex(
                fields=["database"],
                plain=["database", "acknowledged_at", "kept_at"],
                name="integrity_cascade_kept",
                where=models.Q(kept_at__isnull=False, acknowledged_at__isnull=True),
            ),
            PartialIndex(
                fields=["parent", "relation", "batch"],
                plain=["ended_at", "parent", "relation", "batch"],
                name="integrity_cascade_names",
                where=models.Q(ended_at__isnull=True),
            ),
            # Rare states.
            PartialIndex(
                fields=["state", "batch"],
                name="integrity_cascade_rare",
                where=models.Q(state__in=["kept", "cancelled", "waiting"]),
            ),
            # Recently finished cascades, without reading all finished ones.
            PartialIndex(
                fields=["database", "done_at"],
                name="integrity_cascade_done",
                where=models.Q(done_at__isnull=False),
            ),
            PartialIndex(
                fields=["ended_at"],
                name="integrity_cascade_ended",
                where=models.Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch} → {self.database}"

    def outcome_of(self, deletion: int) -> InDatabase:
        """Return what it did for one of its deletions."""
        return InDatabase(
            database=self.database,
            state=self.state,
            reason=self.reason,
            attempts=self.attempts,
            counted=self.tally is not None,
            rows=(self.rows or {}).get(str(deletion), {}),
            kept=(self.kept or {}).get(str(deletion), {}),
            kept_at=self.kept_at,
            acknowledged_at=self.acknowledged_at,
            due_at=self.due_at,
            left_rows=self.failing is not None,
            dispatched_at=self.dispatched_at,
            done_at=self.done_at,
            verified_at=self.verified_at,
            ended_at=self.ended_at,
            scope=self.scope,
            undone=[{**one, "lost": deletion in one["lost"]} for one in self.undone or ()],
        )
