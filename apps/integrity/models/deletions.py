"""The deletion log: deleted parents, and the progress of their cascades."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .fields import PlainCharField, PlainReasonsField, PlainTextField
from .ids import IdsField
from .indexes import ValueIndex

#: The length of the longest key. Longer ones would not fit into an index of every engine.
KEY_CHARS = 255


class Deletion(models.Model):
    """A row of the deletion log: this parent key is gone.

    It is inserted once, and updated once, when it gets its batch. Its state follows from the
    cascades of its batch: log/states.py.
    """

    class State(models.TextChoices):
        """recorded → dispatched → cascaded → verified; or kept; or cancelled.

        For kept, see Note [Keys that come back] in cascade/live_check.py.
        """

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
    OPEN: ClassVar = (State.RECORDED, State.DISPATCHED, State.CASCADED)
    #: It waits to be dispatched. The condition of `integrity_deletion_recorded`.
    IS_RECORDED: ClassVar = models.Q(batch__isnull=True, cancelled_at__isnull=True)

    id = models.BigAutoField(primary_key=True)
    parent = models.CharField(max_length=200)
    #: Null if a scan knows only the value of a `to_field`, which is in `targets` then.
    key = models.CharField(max_length=KEY_CHARS, null=True)  # noqa: DJ001
    targets = models.JSONField(null=True, blank=True)
    #: If a scan found the deletion: the only relation along which it cascades.
    relation = models.CharField(max_length=200, blank=True, default="", db_default="")
    source = models.CharField(max_length=10, choices=Source.choices)
    #: The id of its batch, which is that of the batch's first deletion; null until it has one.
    batch = models.BigIntegerField(null=True, blank=True)
    recorded_at = models.DateTimeField(db_default=Now())
    #: When it ended without a cascade, or with all of its cascades cancelled, for `reason`.
    cancelled_at = models.DateTimeField(null=True, blank=True)
    reason = PlainTextField(blank=True, default="", db_default="")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["parent", "key"], name="integrity_deletion_key"),
            models.Index(
                fields=["parent", "relation", "id"],
                name="integrity_deletion_recorded",
                condition=models.Q(batch__isnull=True, cancelled_at__isnull=True),
            ),
            models.Index(
                fields=["cancelled_at"],
                name="integrity_deletion_cancelled",
                condition=models.Q(cancelled_at__isnull=False),
            ),
            # Deletions by the values of `to_field` keys: log/pending.py.
            ValueIndex(
                fields=["targets"],
                opclasses=["jsonb_path_ops"],
                name="integrity_deletion_targets",
                condition=models.Q(targets__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.parent} {self.key}"


class Suspect(models.Model):
    """A missing parent that a scan found, and that is not confirmed yet."""

    id = models.BigAutoField(primary_key=True)
    parent = models.CharField(max_length=200)
    relation = models.CharField(max_length=200)
    #: The field of the parent that holds `value`; "" is its primary key.
    field = models.CharField(max_length=100, blank=True, default="", db_default="")
    value = models.CharField(max_length=KEY_CHARS)
    #: Per parents' database, the barrier after all transactions that were open when the parent was
    #: missing.
    fence = models.JSONField(null=True, blank=True)
    recorded_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["relation", "field", "value"], name="integrity_suspect_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["relation", "id"], name="integrity_suspect_relation"),
            models.Index(fields=["parent", "relation"], name="integrity_suspect_names"),
        ]

    def __str__(self) -> str:
        return f"{self.relation} {self.value}"


class Cascade(models.Model):
    """One batch of deletions applied to one child database: the unit of claim, retry and progress.

    It may be split, so that a part of its deletions goes on. The cascades of a batch in a database
    are always a partition of the batch: log/parts.py.
    """

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
    #: It counts as backlog. The condition of `integrity_cascade_backlog`.
    IN_BACKLOG: ClassVar = models.Q(state__in=OPEN, ended_at__isnull=True)

    id = models.BigAutoField(primary_key=True)
    #: The batch: the id of its first deletion.
    batch = models.BigIntegerField()
    database = models.CharField(max_length=100)
    #: Those of the deletions, which all have the same.
    parent = models.CharField(max_length=200)
    relation = models.CharField(max_length=200, blank=True, default="", db_default="")
    deletions = IdsField()
    #: How many deletions it has.
    size = models.PositiveIntegerField()
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.PENDING, db_default=State.PENDING
    )
    #: When it may be claimed, or verified; null once it has ended or is blocked.
    due_at = models.DateTimeField(null=True, blank=True, default=None, db_default=Now())
    claim = models.UUIDField(null=True, blank=True)
    owner = PlainCharField(max_length=100, blank=True, default="", db_default="")
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    #: The transaction and the server for which verification waits: backends/barriers.py.
    barrier = models.BigIntegerField(null=True, blank=True)
    barrier_server = models.CharField(max_length=100, blank=True, default="", db_default="")
    reason = PlainTextField(blank=True, default="", db_default="")
    #: Relation → why its rows were left by the last failed attempt; null if none has failed.
    failing = PlainReasonsField(null=True, blank=True)
    #: Deletion → relation → rows changed. Deletions without any are left out.
    rows = models.JSONField(null=True, blank=True)
    #: Deletion → relation → rows that were kept because a living row has their key.
    kept = models.JSONField(null=True, blank=True)
    #: When rows were first kept, and when an operator acknowledged it.
    kept_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    #: When the first of its deletions was recorded, and when it was dispatched.
    recorded_at = models.DateTimeField()
    dispatched_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    #: When it reached a final state. The purge counts from there.
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["batch"], name="integrity_cascade_batch"),
            # Includes the id, because many cascades can be due at the same moment.
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
            # Open cascades have not ended, so the second condition is redundant. It lets only
            # queries that repeat it use this index. Claims do not: with stale statistics, planners
            # would choose it, and read and sort all open cascades.
            models.Index(
                fields=["database", "recorded_at"],
                name="integrity_cascade_backlog",
                condition=models.Q(
                    state__in=["pending", "running", "waiting", "blocked"], ended_at__isnull=True
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
                fields=["database", "id"],
                name="integrity_cascade_blocked",
                condition=models.Q(state="blocked"),
            ),
            models.Index(
                fields=["database"],
                name="integrity_cascade_kept",
                condition=models.Q(kept_at__isnull=False, acknowledged_at__isnull=True),
            ),
            models.Index(
                fields=["parent", "relation"],
                name="integrity_cascade_names",
                condition=models.Q(ended_at__isnull=True),
            ),
            # Recently finished cascades, without reading all finished ones.
            models.Index(
                fields=["database", "done_at"],
                name="integrity_cascade_done",
                condition=models.Q(done_at__isnull=False),
            ),
            models.Index(
                fields=["ended_at"],
                name="integrity_cascade_ended",
                condition=models.Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch} → {self.database}"


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
