"""The deletion log: deleted parents, and what came of them; and suspects of scans."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from .cascades import Cascade
from .fields import ExactCharField, JSONField, PlainTextField, StatedField
from .indexes import PartialIndex, ValueIndex
from .moments import MomentField, ServerNow
from .outcome import CascadeState, DeletionState, InDatabase, last, state_of_batch
from .querysets import LogModel

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

#: The length of the longest key. Longer ones would not fit into an index of every engine.
KEY_CHARS = 255
#: The longest texts of what a project states: see `Stated`.
STATED_CHARS = {"actor": 200, "reference": 200, "because": 500}
#: A text that is empty unless one is given.
EMPTY: dict[str, Any] = {"blank": True, "default": "", "db_default": ""}
#: What is said of a deletion that has no other reason.
FOUND_BY_A_SCAN = "found by a scan, and confirmed"


class Stated(NamedTuple):
    """Who deleted, on whose request, why, and until when, as the project stated it."""

    actor: str = ""
    reference: str = ""
    because: str = ""
    #: Its deadline: seconds after the record, or "@" and seconds since 1970.
    deadline: str = ""


#: Those that are texts of a deletion.
STATED_TEXTS = ("actor", "reference", "because")


class Deletion(LogModel):
    """A row of the deletion log: this parent key is gone.

    It is inserted once, and updated once, when it gets its batch. Its state follows from the
    cascades of its batch: outcome.py.
    """

    State = DeletionState

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
    parent = ExactCharField(max_length=200)
    #: Null if a scan knows only the value of a `to_field`, which is in `targets` then.
    key = ExactCharField(max_length=KEY_CHARS, null=True)
    targets = JSONField(null=True, blank=True)
    #: If a scan found the deletion: the only relation along which it cascades.
    relation = ExactCharField(max_length=200, blank=True, default="", db_default="")
    source = ExactCharField(max_length=10, choices=Source.choices)
    #: The id of its batch, which is that of the batch's first deletion; null until it has one.
    batch = models.BigIntegerField(null=True, blank=True)
    recorded_at = MomentField(db_default=ServerNow())
    #: What the project stated around the delete (capture/stating.py); empty for what a scan found.
    actor = StatedField(max_length=STATED_CHARS["actor"], **EMPTY)
    reference = StatedField(max_length=STATED_CHARS["reference"], **EMPTY)
    because = StatedField(max_length=STATED_CHARS["because"], **EMPTY)
    #: By when it has to be verified; null without a deadline.
    deadline = MomentField(null=True, blank=True)
    #: When it ended without a cascade, or with all of its cascades cancelled, for `reason`.
    cancelled_at = MomentField(null=True, blank=True)
    reason = PlainTextField(blank=True, default="", db_default="")

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["parent", "key"], name="integrity_deletion_key"),
            PartialIndex(
                fields=["parent", "relation", "id"],
                plain=["batch", "cancelled_at", "parent", "relation", "id"],
                name="integrity_deletion_recorded",
                where=models.Q(batch__isnull=True, cancelled_at__isnull=True),
            ),
            PartialIndex(
                fields=["cancelled_at"],
                name="integrity_deletion_cancelled",
                where=models.Q(cancelled_at__isnull=False),
            ),
            PartialIndex(
                fields=["reference"],
                name="integrity_deletion_reference",
                where=models.Q(reference__gt=""),
            ),
            # Deletions by the values of `to_field` keys: log/pending.py.
            ValueIndex(
                fields=["targets"],
                opclasses=["jsonb_path_ops"],
                plain=["parent"],
                name="integrity_deletion_targets",
                where=models.Q(targets__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.parent} {self.key}"

    def refresh_from_db(self, *args: Any, **options: Any) -> None:
        """Read the row again, and what came of it."""
        self.__dict__.pop("databases", None)
        super().refresh_from_db(*args, **options)

    @functools.cached_property
    def databases(self) -> tuple[InDatabase, ...]:
        """What came of it in each child database; `read_outcomes` reads it for many at once."""
        read_outcomes([self], using=str(self._state.db))
        return self.databases

    @property
    def state(self) -> DeletionState:
        """Its state."""
        if self.cancelled_at is not None:
            return DeletionState.CANCELLED
        if self.batch is None:
            return DeletionState.RECORDED
        return state_of_batch(one.state for one in self.databases)

    @property
    def why(self) -> str:
        """Why it ended as it did, or how it was found."""
        ends = (CascadeState.CANCELLED, CascadeState.KEPT)
        found = FOUND_BY_A_SCAN if self.source == self.Source.SCAN else ""
        ended = (one.reason for one in self.databases if one.state in ends)
        return self.reason or next(ended, found)

    @property
    def dispatched_at(self) -> dt.datetime | None:
        """When it got its cascades."""
        return min((one.dispatched_at for one in self.databases), default=None)

    @property
    def cascaded_at(self) -> dt.datetime | None:
        """When the last child database was done."""
        return last(one.done_at for one in self.databases)

    @property
    def verified_at(self) -> dt.datetime | None:
        """When the last child database was verified."""
        return last(one.verified_at for one in self.databases)

    @property
    def ended_at(self) -> dt.datetime | None:
        """When it was over in the last child database, or ended without a cascade."""
        return last(one.ended_at for one in self.databases) or self.cancelled_at


class Suspect(LogModel):
    """A missing parent that a scan found, and that is not confirmed yet."""

    id = models.BigAutoField(primary_key=True)
    parent = ExactCharField(max_length=200)
    relation = ExactCharField(max_length=200)
    #: The field of the parent that holds `value`; "" is its primary key.
    field = ExactCharField(max_length=100, blank=True, default="", db_default="")
    value = ExactCharField(max_length=KEY_CHARS)
    #: Per parents' database, the barrier after all transactions that were open when the parent was
    #: missing.
    fence = JSONField(null=True, blank=True)
    recorded_at = MomentField(db_default=ServerNow())

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


def read_outcomes(deletions: Sequence[Deletion], *, using: str) -> None:
    """Read `databases` of those deletions of one log. One statement."""
    batches = {row.batch for row in deletions if row.batch is not None}
    wanted, held = {row.pk for row in deletions}, dict[int, list[InDatabase]]()
    cascades = Cascade.objects.using(using).filter(batch__in=batches).order_by("database", "pk")
    for cascade in cascades if batches else ():
        for pk in wanted.intersection(cascade.deletions):
            held.setdefault(pk, []).append(cascade.outcome_of(pk))
    for row in deletions:
        row.databases = tuple(held.get(row.pk, ()))


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
