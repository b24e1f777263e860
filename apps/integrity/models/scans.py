"""The progress of scans."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from .fields import ExactCharField, ExactTextField, PlainTextField
from .moments import MomentField, ServerNow
from .querysets import LogModel


class Scan(LogModel):
    """The position of the scan of one relation in one child database, and its counts."""

    #: A pass is under way, or orphans were seen. As `is_open`.
    IS_OPEN: ClassVar = (
        models.Q(began_at__isnull=False) | models.Q(orphans__gt=0) | models.Q(last_orphans__gt=0)
    )

    id = models.BigAutoField(primary_key=True)
    relation = ExactCharField(max_length=200)
    database = ExactCharField(max_length=100)
    #: The last key that was read; null at the start of a pass.
    cursor = ExactTextField(null=True, blank=True)
    #: When the current pass began; null between two passes.
    began_at = MomentField(null=True, blank=True)
    keys = models.BigIntegerField(default=0, db_default=0)
    rows = models.BigIntegerField(default=0, db_default=0)
    missing = models.BigIntegerField(default=0, db_default=0)
    orphans = models.BigIntegerField(default=0, db_default=0)
    #: An estimate, made when the pass began, of the rows that it will read.
    expected = models.BigIntegerField(default=0, db_default=0)
    #: When the last complete pass began: it has seen every orphan that existed at that time.
    covers_at = MomentField(null=True, blank=True)
    finished_at = MomentField(null=True, blank=True)
    last_keys = models.BigIntegerField(default=0, db_default=0)
    last_rows = models.BigIntegerField(default=0, db_default=0)
    last_missing = models.BigIntegerField(default=0, db_default=0)
    last_orphans = models.BigIntegerField(default=0, db_default=0)
    #: The number of keys in the next step, adapted to the duration of steps.
    step_keys = models.PositiveIntegerField(default=0, db_default=0)
    claim = models.UUIDField(null=True, blank=True)
    due_at = MomentField(db_default=ServerNow())
    reason = PlainTextField(blank=True, default="", db_default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["relation", "database"], name="integrity_scan_once_per_database"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.relation} in {self.database}"

    @property
    def is_open(self) -> bool:
        """Return whether a pass is under way, or orphans were seen."""
        return bool(self.began_at or self.orphans or self.last_orphans)
