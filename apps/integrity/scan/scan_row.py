"""The row of `Scan` of one relation in one child database: its lease, cursor and figures.

The only writer of `Scan`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, QuerySet

from ..log.renaming import Renaming
from ..models import Scan
from ..models.moments import ServerNow

if TYPE_CHECKING:
    from ..log.renaming import Kind

#: A scan that has saved no step for so long is taken for dead, and another process continues it.
LEASE_SECONDS = 60.0
#: Columns of `Scan` that count a pass; the last finished one's begin with `last_`.
FIGURES = ("keys", "rows", "missing", "orphans")


class ScanRow:
    """The row of one relation in one child database, as one process claims and updates it.

    Updates reach the row only while this process holds the claim.
    """

    def __init__(self, relation: str, database: str, using: str) -> None:
        self.relation, self.database, self.using = relation, database, using
        self.token = uuid.uuid4()

    def claim(self) -> Scan | None:
        """Claim the scan, and return its row; None where another process is at work on it."""
        rows = Scan.objects.using(self.using)
        row, _ = rows.get_or_create(relation=self.relation, database=self.database)
        free = rows.filter(pk=row.pk).filter(Q(claim=None) | Q(due_at__lte=ServerNow()))
        if not free.update(claim=self.token, due_at=_lease(), reason=""):
            return None
        row.refresh_from_db(using=self.using)
        return row

    def begin(self, expected_rows: int) -> None:
        """Begin a pass at the first key."""
        self._claimed().update(
            **dict.fromkeys(FIGURES, 0), cursor=None, began_at=ServerNow(), expected=expected_rows
        )

    def renew(self) -> bool:
        """Renew the lease; return whether this process still holds the claim."""
        return bool(self._claimed().update(due_at=_lease()))

    def advance(self, cursor: str, *, step_keys: int, **figures: int) -> None:
        """Move the cursor and add to the figures of the pass."""
        self._claimed().update(
            cursor=cursor,
            step_keys=step_keys,
            **{name: F(name) + number for name, number in figures.items()},
        )

    def finish(self) -> int:
        """End the pass: what it promises holds from now on. Return how many orphans it has seen."""
        claimed = self._claimed()
        orphans: int = claimed.values_list("orphans", flat=True)[0]
        claimed.update(
            **{f"last_{name}": F(name) for name in FIGURES},
            covers_at=F("began_at"),
            finished_at=ServerNow(),
            began_at=None,
            cursor=None,
        )
        return orphans

    def release(self, *, reason: str, step_keys: int) -> None:
        """Let the next run continue. `reason` says why this one could not, or ""."""
        self._claimed().update(claim=None, due_at=ServerNow(), reason=reason, step_keys=step_keys)

    def _claimed(self) -> QuerySet[Scan]:
        return Scan.objects.using(self.using).filter(
            relation=self.relation, database=self.database, claim=self.token
        )


def _lease() -> Any:
    return ServerNow() + dt.timedelta(seconds=LEASE_SECONDS)


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Move scans to their new names, and return how many have one.

    A scan that already exists under the new name stays as it is; the old one is deleted.
    """
    rows, changed = Scan.objects.using(using), 0
    for row in rows.order_by("pk"):
        relation, database = change.relation(row.relation), change.alias(row.database)
        if (relation, database) == (row.relation, row.database):
            continue
        changed += 1
        if apply and rows.filter(relation=relation, database=database).exists():
            rows.filter(pk=row.pk).delete()
        elif apply:
            rows.filter(pk=row.pk).update(relation=relation, database=database)
    return changed


def forget(kind: Kind, name: str, *, using: str, apply: bool) -> int:
    """Delete the scans of an alias, a model or a relation that no longer exists; return how many.

    Without `apply`, nothing is deleted.
    """
    gone = Renaming(kind=kind, old=name, new="")
    rows = Scan.objects.using(using)
    pks = [
        row.pk
        for row in rows
        if (gone.relation(row.relation), gone.alias(row.database)) != (row.relation, row.database)
    ]
    return rows.filter(pk__in=pks).delete()[0] if apply else len(pks)
