"""The state of databases and processes, alarms, and the audit of operator actions."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models
from django.utils.translation import gettext_lazy as _

from .fields import ExactCharField, JSONField, PlainCharField, PlainTextField
from .moments import MomentField, ServerNow
from .querysets import LogModel


class Identity(LogModel):
    """The identity of a database, and of the parents' databases to which its keys refer."""

    alias = ExactCharField(max_length=100, primary_key=True)
    uuid = models.UUIDField(default=uuid4)

    class Meta:
        verbose_name_plural = _("identities")

    def __str__(self) -> str:
        return f"{self.alias} {self.uuid}"


class ChildDatabase(LogModel):
    """The state of a child database in this log: whether it is unreachable or paused, and why."""

    class Pause(models.TextChoices):
        """Who paused it: an operator, or a check (control/identity.py, control/restores.py)."""

        OPERATOR = "operator", _("operator")
        IDENTITY_MISMATCH = "identity_mismatch", _("identity mismatch")
        RESTORED = "restored", _("restored")

    #: Pauses by a check: the rows may be those of another database, or of another time.
    REFUSALS: ClassVar = (Pause.IDENTITY_MISMATCH, Pause.RESTORED)

    alias = ExactCharField(max_length=100, primary_key=True)
    unreachable_since = MomentField(null=True, blank=True)
    probe_at = MomentField(null=True, blank=True)
    reason = PlainTextField(blank=True, default="", db_default="")
    paused_at = MomentField(null=True, blank=True)
    #: Empty where it is not paused.
    paused_kind = ExactCharField(
        max_length=20, choices=Pause.choices, blank=True, default="", db_default=""
    )
    paused_reason = PlainTextField(blank=True, default="", db_default="")
    #: What held the last attempt at verification up after the grace period.
    held_reason = PlainTextField(blank=True, default="", db_default="")
    #: Relation → the most rows of one step there, set after a larger step has failed.
    step_rows = JSONField(null=True, blank=True)
    #: The `Pace` of the last sample of its load, and when that sample began (control/pacing.py).
    pace = JSONField(null=True, blank=True)
    paced_at = MomentField(null=True, blank=True)
    #: Before this time, no step may begin.
    rests_until = MomentField(null=True, blank=True)

    class Meta:
        verbose_name = _("child database")

    def __str__(self) -> str:
        return str(self.alias)


class Heartbeat(LogModel):
    """When a process was last active: `beat`, or a worker by its name."""

    name = PlainCharField(max_length=200, primary_key=True)
    seen_at = MomentField(db_default=ServerNow())
    #: How far the process's clock was ahead of the log database's; null if it is unknown.
    clock_skew_seconds = models.FloatField(null=True, blank=True)
    #: The queues that it consumes; null where it does not know them.
    queues = JSONField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.name)


class Alarm(LogModel):
    """An alarm that was raised and is not cleared yet."""

    class Kind(models.TextChoices):
        """What is wrong."""

        STALLED = "stalled", _("stalled")
        BLOCKED = "blocked", _("blocked")
        BRAKE = "brake", _("brake")
        UNPROVEN = "unproven", _("unproven")
        KEPT = "kept", _("kept")
        UNKNOWN = "unknown", _("unknown")
        RESTORED = "restored", _("restored")
        LATE = "late", _("late")
        AT_RISK = "at_risk", _("at risk")

    id = models.BigAutoField(primary_key=True)
    kind = ExactCharField(max_length=10, choices=Kind.choices)
    #: A child database; for `brake` a relation; for `unknown` the unknown name.
    subject = PlainCharField(max_length=200)
    reason = PlainTextField(blank=True, default="", db_default="")
    raised_at = MomentField(db_default=ServerNow())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject"], name="integrity_alarm_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Audit(LogModel):
    """An operator action: who did what, when and why."""

    id = models.BigAutoField(primary_key=True)
    at = MomentField(db_default=ServerNow())
    actor = PlainCharField(max_length=200)
    verb = PlainCharField(max_length=50)
    target = PlainCharField(max_length=200)
    reason = PlainTextField(blank=True, default="", db_default="")

    def __str__(self) -> str:
        return f"{self.actor}: {self.verb} {self.target}"
