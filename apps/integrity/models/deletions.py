"""The deletion log: deleted parents, and the progress of their cascades."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.db.models.functions import Now
from django.db.models.lookups import In
from django.utils.translation import gettext_lazy as _

from .fields import PlainCharField, PlainReasonsField, PlainTextField
from .indexes import ValueIndex

if TYPE_CHECKING:
    from collections.abc import Collection


#: The number of characters of a key that its index holds. A key may have any length, and PostgreSQL
#: refuses index entries above 2,704 bytes. A literal in SQL, so that planners match the index.
HEAD_CHARS = 200
HEAD = f"SUBSTR(%(expressions)s, 1, {HEAD_CHARS})"
REST = f"SUBSTR(%(expressions)s, {HEAD_CHARS + 1})"


def of_keys(keys: Collection[str]) -> models.Q:
    """Return the condition that a deletion has one of those keys, to use with their index."""
    heads = sorted({key[:HEAD_CHARS] for key in keys})
    begins = In(models.Func("key", template=HEAD), heads)
    if len({*keys}) != 1:
        return models.Q(begins, key__in=keys)
    # SQLite replaces the column by a constant that it equals, and then misses the index.
    rests = [next(iter(keys))[HEAD_CHARS:]]
    return models.Q(begins, In(models.Func("key", template=REST), rests))


class Deletion(models.Model):
    """A row of the deletion log: this parent key is gone."""

    class State(models.TextChoices):
        """recorded → dispatched → cascaded → verified; or kept, cancelled; or suspect (of a scan).

        For kept, see Note [Keys that come back] in cascade/live_check.py.
        """

        SUSPECT = "suspect", _("suspect")
        RECORDED = "recorded", _("recorded")
        DISPATCHED = "dispatched", _("dispatched")
        CASCADED = "cascaded", _("cascaded")
        VERIFIED = "verified", _("verified")
        KEPT = "kept", _("kept")
        CANCELLED = "cancelled", _("cancelled")

    class Source(models.TextChoices):
        """What found the deletion."""

        SIGNAL = "signal", _("signal")
        API = "api", _("capture.record()")
        TRIGGER = "trigger", _("trigger")
        SCAN = "scan", _("scan")

    #: Final states: only the purge follows.
    ENDED: ClassVar = (State.VERIFIED, State.KEPT, State.CANCELLED)
    #: States that another one follows.
    OPEN: ClassVar = (State.SUSPECT, State.RECORDED, State.DISPATCHED, State.CASCADED)

    #: The condition of the index `integrity_deletion_names`. Only queries for names use it: in
    #: other queries, planners would choose that index and sort.
    UNDER_A_NAME: ClassVar = models.Q(state__in=OPEN, verified_at__isnull=True)

    id = models.BigAutoField(primary_key=True)
    parent = models.CharField(max_length=200)
    #: Null if a scan knows only the value of a `to_field`, which is in `targets` then.
    key = models.TextField(null=True)  # noqa: DJ001
    targets = models.JSONField(null=True, blank=True)
    #: If a scan found the deletion: the only relation along which it cascades, and per parents'
    #: database the barrier after all transactions that were open when the parent was missing.
    relation = models.CharField(max_length=200, blank=True, default="", db_default="")
    fence = models.JSONField(null=True, blank=True)
    source = models.CharField(max_length=10, choices=Source.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECORDED)
    reason = PlainTextField(blank=True, default="", db_default="")
    recorded_at = models.DateTimeField(db_default=Now())
    dispatched_at = models.DateTimeField(null=True, blank=True)
    cascaded_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    #: When it reached a final state. The purge counts from there.
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                "parent", models.Func("key", template=HEAD), name="integrity_deletion_key"
            ),
            models.Index(
                fields=["id"],
                name="integrity_deletion_recorded",
                condition=models.Q(state="recorded"),
            ),
            models.Index(
                fields=["id"],
                name="integrity_deletion_open",
                condition=models.Q(state__in=["dispatched", "cascaded"]),
            ),
            models.Index(
                fields=["relation", "id"],
                name="integrity_deletion_suspect",
                condition=models.Q(state="suspect"),
            ),
            # Rare final states.
            models.Index(
                fields=["state", "id"],
                name="integrity_deletion_cancelled",
                condition=models.Q(state__in=["kept", "cancelled"]),
            ),
            # Open deletions by the values of `to_field` keys: log/pending.py.
            ValueIndex(
                fields=["targets"],
                opclasses=["jsonb_path_ops"],
                name="integrity_deletion_targets",
                condition=models.Q(
                    state__in=["suspect", "recorded", "dispatched", "cascaded"],
                    targets__isnull=False,
                ),
            ),
            models.Index(
                fields=["parent", "relation"],
                name="integrity_deletion_names",
                condition=models.Q(
                    state__in=["suspect", "recorded", "dispatched", "cascaded"],
                    verified_at__isnull=True,
                ),
            ),
            models.Index(
                fields=["ended_at"],
                name="integrity_deletion_ended",
                condition=models.Q(state__in=["verified", "kept", "cancelled"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.parent} {self.key}"


class Cascade(models.Model):
    """One deletion applied to one child database: the unit of claim, retry and progress."""

    class State(models.TextChoices):
        """pending → running → done → verified; waiting (retry later); blocked; kept; cancelled."""

        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        WAITING = "waiting", _("waiting")
        BLOCKED = "blocked", _("blocked")
        DONE = "done", _("done")
        VERIFIED = "verified", _("verified")
        KEPT = "kept", _("kept")
        CANCELLED = "cancelled", _("cancelled")

    #: States that a worker may claim after `due_at`, the end of the lease of a running one.
    CLAIMABLE: ClassVar = (State.PENDING, State.RUNNING, State.WAITING)
    #: Final states: only the purge follows.
    ENDED: ClassVar = (State.VERIFIED, State.KEPT, State.CANCELLED)
    #: States that count as backlog.
    OPEN: ClassVar = (*CLAIMABLE, State.BLOCKED)
    #: Rows were kept, and no operator has acknowledged that.
    UNACKNOWLEDGED: ClassVar = models.Q(kept_at__isnull=False, acknowledged_at__isnull=True)
    #: The cascade counts as backlog. It is the condition of `integrity_cascade_backlog`.
    IN_BACKLOG: ClassVar = models.Q(state__in=OPEN, verified_at__isnull=True)

    id = models.BigAutoField(primary_key=True)
    # The index of the constraint below begins with it.
    deletion = models.ForeignKey(Deletion, models.CASCADE, related_name="cascades", db_index=False)
    database = models.CharField(max_length=100)
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.PENDING, db_default=State.PENDING
    )
    due_at = models.DateTimeField(db_default=Now())
    claim = models.UUIDField(null=True, blank=True)
    owner = PlainCharField(max_length=100, blank=True, default="", db_default="")
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    #: The transaction and the server for which verification waits: backends/barriers.py.
    barrier = models.BigIntegerField(null=True, blank=True)
    barrier_server = models.CharField(max_length=100, blank=True, default="", db_default="")
    reason = PlainTextField(blank=True, default="", db_default="")
    #: Relation → why its rows were left by the last failed attempt; null if none has failed.
    failing = PlainReasonsField(null=True, blank=True)
    rows = models.JSONField(null=True, blank=True)
    #: Relation → rows that were kept because a living row has their key; null if none were.
    kept = models.JSONField(null=True, blank=True)
    #: When rows were first kept, and when an operator acknowledged it.
    kept_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    recorded_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deletion", "database"], name="integrity_cascade_once_per_database"
            ),
        ]
        indexes: ClassVar = [
            # Includes the id, because many deletions can be due at the same moment.
            models.Index(
                fields=["database", "due_at", "id"],
                name="integrity_cascade_due",
                condition=models.Q(state__in=["pending", "running", "waiting"]),
            ),
            models.Index(
                fields=["database", "due_at", "id"],
                name="integrity_cascade_unverified",
                condition=models.Q(state="done"),
            ),
            # Open cascades are never verified, so the second condition is redundant. It lets only
            # queries that repeat it use this index. Claims do not: with stale statistics, planners
            # would choose it, and read and sort all open cascades.
            models.Index(
                fields=["database", "recorded_at"],
                name="integrity_cascade_backlog",
                condition=models.Q(
                    state__in=["pending", "running", "waiting", "blocked"], verified_at__isnull=True
                ),
            ),
            # Cascades that failed before: few, and successful ones are never in this index.
            models.Index(
                fields=["due_at"],
                name="integrity_cascade_lost",
                condition=models.Q(state="running", attempts__gt=1),
            ),
            # Blocked cascades are few; probes and pages look them up among any number of others.
            models.Index(
                fields=["database", "deletion"],
                name="integrity_cascade_blocked",
                condition=models.Q(state="blocked"),
            ),
            models.Index(
                fields=["database"],
                name="integrity_cascade_kept",
                condition=models.Q(kept_at__isnull=False, acknowledged_at__isnull=True),
            ),
            # Recently finished cascades, without reading all finished ones.
            models.Index(
                fields=["database", "done_at"],
                name="integrity_cascade_done",
                condition=models.Q(done_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.deletion_id} → {self.database}"


class Dashboard(Deletion):
    """A proxy without a table, to which the admin's pages and their permissions belong."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("operate_dashboard", _("Can retry, pause, resume and scan")),
            ("repair_dashboard", _("Can repair orphans and override the brake")),
        ]
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
