"""The rows that cascades have changed, counted and named in the child's database itself."""

from __future__ import annotations

from typing import ClassVar
from uuid import uuid4

from django.db import models

from .fields import ExactCharField, ExactTextField, JSONField
from .moments import MomentField, ServerNow
from .querysets import LogModel


class Tally(LogModel):
    """What one time slice of a worker has changed for a batch, under one label.

    It is in the child's database, and is written in the transactions that change the rows. So it is
    exact whatever dies. The sums of all time slices become `Cascade.rows`: log/tallies.py.

    All of them are the ledger of what was erased there: they name the parents by their keys, and
    stay for `ledger_days`, whatever becomes of the log. See log/ledger.py.
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
    #: The parent, and the relation along which a scan found the deletions, or "": as in `Cascade`.
    parent = ExactCharField(max_length=200, blank=True, default="", db_default="")
    relation = ExactCharField(max_length=200, blank=True, default="", db_default="")
    #: Deletion → the parent's key.
    keys = JSONField(null=True, blank=True)
    #: Deletion → the values of the `to_field` targets of relations into this database. Deletions
    #: without any are left out.
    targets = JSONField(null=True, blank=True)
    #: When a step has last changed rows: they were erased by then.
    at = MomentField(db_default=ServerNow())

    class Meta:
        verbose_name_plural = "tallies"
        indexes: ClassVar = [
            models.Index(fields=["tally"], name="integrity_tally_tally"),
            models.Index(fields=["log", "at"], name="integrity_tally_newest"),
        ]

    def __str__(self) -> str:
        return f"batch {self.batch} {self.label}"
