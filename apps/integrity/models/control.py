"""What is known of databases and processes, and what operators did."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .fields import PlainCharField, PlainTextField


class Identity(models.Model):
    """Who a database is: its own row, and the databases of parents that its keys point into.

    The one table of this app that child databases have, too.
    """

    alias = models.CharField(max_length=100, primary_key=True)
    uuid = models.UUIDField(default=uuid4)

    class Meta:
        verbose_name_plural = _("identities")

    def __str__(self) -> str:
        return f"{self.alias} {self.uuid}"


class ChildDatabase(models.Model):
    """What this log knows of a child database: whether it may be worked on, and why not."""

    class Pause(models.TextChoices):
        """Who paused it: an operator, or the check of identities (control/identity.py)."""

        OPERATOR = "operator", _("operator")
        IDENTITY_MISMATCH = "identity_mismatch", _("identity mismatch")

    alias = models.CharField(max_length=100, primary_key=True)
    unreachable_since = models.DateTimeField(null=True, blank=True)
    probe_at = models.DateTimeField(null=True, blank=True)
    reason = PlainTextField(blank=True, default="", db_default="")
    paused_at = models.DateTimeField(null=True, blank=True)
    #: Empty where it is not paused.
    paused_kind = models.CharField(
        max_length=20, choices=Pause.choices, blank=True, default="", db_default=""
    )
    paused_reason = PlainTextField(blank=True, default="", db_default="")
    #: What verification waited for when it was tried last, beyond the grace period.
    held_reason = PlainTextField(blank=True, default="", db_default="")
    #: Relation → the most rows that one step may take there, where more have been too many.
    step_rows = models.JSONField(null=True, blank=True)

    class Meta:
        verbose_name = _("child database")

    def __str__(self) -> str:
        return self.alias


class Heartbeat(models.Model):
    """When a process last tended this log: `beat`, or a worker by its name."""

    name = PlainCharField(max_length=200, primary_key=True)
    seen_at = models.DateTimeField(db_default=Now())
    #: By how much the process's clock was ahead of this log's; null: it could not be told.
    clock_skew_seconds = models.FloatField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Alarm(models.Model):
    """Something that somebody was told of, and that is not over."""

    class Kind(models.TextChoices):
        """What is wrong."""

        STALLED = "stalled", _("stalled")
        BLOCKED = "blocked", _("blocked")
        BRAKE = "brake", _("brake")
        UNPROVEN = "unproven", _("unproven")
        KEPT = "kept", _("kept")
        UNKNOWN = "unknown", _("unknown")

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    #: A child database; for the brake, a relation; for what is unknown, the name.
    subject = PlainCharField(max_length=200)
    reason = PlainTextField(blank=True, default="", db_default="")
    raised_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject"], name="integrity_alarm_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Audit(models.Model):
    """Who steered what, when and why."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    actor = PlainCharField(max_length=200)
    verb = PlainCharField(max_length=50)
    target = PlainCharField(max_length=200)
    reason = PlainTextField(blank=True, default="", db_default="")

    def __str__(self) -> str:
        return f"{self.actor}: {self.verb} {self.target}"
