"""What receipts and pages say later: what a cascade covered, and why its attempts failed."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from .fields import ExactCharField, JSONField, PlainTextField
from .moments import MomentField, ServerNow
from .querysets import LogModel


class Scope(LogModel):
    """The relations of a parent as the catalogue knew them when cascades ended: `Cascade.scope`.

    So a receipt says what was followed, whatever becomes of the models. Each scope is written once
    and never changes; they are few, and are kept. See log/scopes.py.
    """

    #: It follows from the hash.
    id = models.BigAutoField(primary_key=True)
    #: A hash of the rest.
    digest = ExactCharField(max_length=64, unique=True)
    parent = ExactCharField(max_length=200)
    #: That of the deletions which a scan found, or "".
    relation = ExactCharField(max_length=200, blank=True, default="", db_default="")
    #: Relation → its policy, its child databases, why no cascade follows it, or "", and the keys
    #: below it.
    document = JSONField()

    def __str__(self) -> str:
        return f"{self.parent} {self.digest[:12]}"


class FailedAttempt(LogModel):
    """One failed attempt at the cascades of a batch in a child database.

    A worker that bisects a claim fails several times; what it says for the same reason is one row.
    """

    id = models.BigAutoField(primary_key=True)
    batch = models.BigIntegerField()
    database = ExactCharField(max_length=100)
    at = MomentField(db_default=ServerNow())
    #: The claim whose attempt it was.
    claim = models.UUIDField(null=True)
    #: Which attempt it was. A retry by an operator begins with 1 again.
    attempt = models.PositiveIntegerField()
    #: How many deletions it concerned.
    deletions = models.PositiveIntegerField()
    reason = PlainTextField(blank=True, default="", db_default="")

    class Meta:
        indexes: ClassVar = [models.Index(fields=["batch"], name="integrity_failedattempt_batch")]

    def __str__(self) -> str:
        return f"attempt {self.attempt} of batch {self.batch} in {self.database}"
