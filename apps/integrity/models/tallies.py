"""The rows that cascades have changed, counted in the child's database itself."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models

from .fields import ExactTextField, JSONField
from .moments import MomentField, ServerNow
from .querysets import LogModel


class Tally(LogModel):
    """What one time slice of a worker has changed for a batch, under one label.

    It is in the child's database, and is written in the transactions that change the rows. So it is
    exact whatever dies. The sums of all time slices become `Cascade.rows`: log/tallies.py.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    #: The identity of the log (control/identity.py), and the batch there.
    log = models.UUIDField()
    batch = models.BigIntegerField()
    #: That of the batch's cascades: `Cascade.tally`. The log uses ids again once it was restored
    #: from a backup, and never this number.
    tally = models.UUIDField()
    #: The relation, or the key below it, along which the rows were changed; as it was named then.
    label = ExactTextField()
    #: Deletion → rows.
    counts = JSONField()
    at = MomentField(db_default=ServerNow())

    class Meta:
        verbose_name_plural = "tallies"
        indexes: ClassVar = [
            models.Index(fields=["tally"], name="integrity_tally_tally"),
            models.Index(fields=["log", "at"], name="integrity_tally_newest"),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch} {self.label}"
