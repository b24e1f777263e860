"""The deletion log. It lives in the database of the parents it is about, and in no other.

Only `log.py` writes these tables.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Deletion(models.Model):
    """A row of the deletion log: this parent key is gone."""

    class State(models.TextChoices):
        """recorded → dispatched → cascaded → verified; or cancelled; or suspect (from a scan)."""

        SUSPECT = "suspect", _("suspect")
        RECORDED = "recorded", _("recorded")
        DISPATCHED = "dispatched", _("dispatched")
        CASCADED = "cascaded", _("cascaded")
        VERIFIED = "verified", _("verified")
        CANCELLED = "cancelled", _("cancelled")

    class Source(models.TextChoices):
        """What found the deletion."""

        SIGNAL = "signal", _("signal")
        API = "api", _("capture.record()")
        TRIGGER = "trigger", _("trigger")
        SCAN = "scan", _("scan")

    #: States that are followed by another one.
    OPEN: ClassVar = (State.SUSPECT, State.RECORDED, State.DISPATCHED, State.CASCADED)

    id = models.BigAutoField(primary_key=True)
    parent = models.CharField(max_length=200)
    key = models.TextField()
    targets = models.JSONField(null=True, blank=True)
    source = models.CharField(max_length=10, choices=Source.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECORDED)
    reason = models.TextField(blank=True, default="", db_default="")
    recorded_at = models.DateTimeField(db_default=Now())
    dispatched_at = models.DateTimeField(null=True, blank=True)
    cascaded_at = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["parent", "key"], name="integrity_deletion_key"),
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
        ]

    def __str__(self) -> str:
        return f"{self.parent} {self.key}"


class Cascade(models.Model):
    """One deletion applied to one child database: the unit of claim, retry and progress."""

    class State(models.TextChoices):
        """pending → running → done → verified; waiting (retry later); blocked; cancelled."""

        PENDING = "pending", _("pending")
        RUNNING = "running", _("running")
        WAITING = "waiting", _("waiting")
        BLOCKED = "blocked", _("blocked")
        DONE = "done", _("done")
        VERIFIED = "verified", _("verified")
        CANCELLED = "cancelled", _("cancelled")

    #: States that a worker may claim once `due_at` has passed; a running one when its lease ended.
    CLAIMABLE: ClassVar = (State.PENDING, State.RUNNING, State.WAITING)
    #: States that count as backlog.
    OPEN: ClassVar = (*CLAIMABLE, State.BLOCKED)

    id = models.BigAutoField(primary_key=True)
    deletion = models.ForeignKey(Deletion, models.CASCADE, related_name="cascades")
    database = models.CharField(max_length=100)
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.PENDING, db_default=State.PENDING
    )
    due_at = models.DateTimeField(db_default=Now())
    claim = models.UUIDField(null=True, blank=True)
    owner = models.CharField(max_length=100, blank=True, default="", db_default="")
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    barrier = models.BigIntegerField(null=True, blank=True)
    reason = models.TextField(blank=True, default="", db_default="")
    rows = models.JSONField(null=True, blank=True)
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
            models.Index(
                fields=["database", "due_at"],
                name="integrity_cascade_due",
                condition=models.Q(state__in=["pending", "running", "waiting"]),
            ),
            models.Index(
                fields=["database", "due_at"],
                name="integrity_cascade_unverified",
                condition=models.Q(state="done"),
            ),
            models.Index(
                fields=["database", "recorded_at"],
                name="integrity_cascade_backlog",
                condition=models.Q(state__in=["pending", "running", "waiting", "blocked"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.deletion_id} → {self.database}"


class ChildDatabase(models.Model):
    """What this log knows of a child database: whether it may be worked on, and why not."""

    alias = models.CharField(max_length=100, primary_key=True)
    unreachable_since = models.DateTimeField(null=True, blank=True)
    probe_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, default="", db_default="")
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_reason = models.TextField(blank=True, default="", db_default="")

    class Meta:
        verbose_name = _("child database")

    def __str__(self) -> str:
        return self.alias


class Heartbeat(models.Model):
    """When a process last tended this log: `beat`, or a worker by its name."""

    name = models.CharField(max_length=200, primary_key=True)
    seen_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.name


class Audit(models.Model):
    """Who steered what, when and why."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=200)
    verb = models.CharField(max_length=50)
    target = models.CharField(max_length=200)
    reason = models.TextField(blank=True, default="", db_default="")

    def __str__(self) -> str:
        return f"{self.actor}: {self.verb} {self.target}"
