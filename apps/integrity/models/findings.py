"""What erasure steps found of rows that are gone, in the child's database itself."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models

from .fields import ExactCharField, JSONField
from .moments import MomentField, ServerNow
from .querysets import LogModel


class Finding(LogModel):
    """Some of the items that an erasure step has to erase for one deletion.

    It is in the child's database, and is written in the transaction that removes the rows: both
    happen, or neither. It goes when nothing is left of its items, by proof: log/findings.py.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    #: The identity of the log (control/identity.py), and the batch and the deletion there.
    log = models.UUIDField()
    batch = models.BigIntegerField()
    deletion = models.BigIntegerField()
    #: The name of the step in the settings.
    step = ExactCharField(max_length=50)
    items = JSONField()
    #: How many items there are.
    size = models.PositiveIntegerField()
    #: When they were erased; null before.
    erased_at = MomentField(null=True, blank=True)
    at = MomentField(db_default=ServerNow())

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["log", "batch", "step"], name="integrity_finding_batch"),
            models.Index(fields=["log", "at"], name="integrity_finding_at"),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch} {self.step}"
