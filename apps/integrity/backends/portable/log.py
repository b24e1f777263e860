"""The ORM's statements on the log, for every engine that Django has."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import F, Q

from ...models.moments import ServerNow
from ...relations.generic import rows_of
from ...relations.relation import primary_key
from ...relations.stored import StoredIn, prepare_all
from .. import deadlines
from ..base import require_keys
from ..distinct import distinct
from ..texts import texts_for_log
from .chunks import PARAMETERS, chunks

#: Where the seconds of a point in time begin.
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ...models import Deletion, Stated, Tally
    from ...relations import Model
    from ..barriers import Barrier
    from ..base import HeldCascades, Rows


def _columns(stated: Stated) -> dict[str, Any]:
    """Return the columns of what is stated."""
    columns: dict[str, Any] = stated._asdict()
    if not columns.pop("deadline"):
        return columns
    is_moment, seconds = deadlines.stated(stated.deadline)
    length = dt.timedelta(seconds=seconds)
    return {**columns, "deadline": EPOCH + length if is_moment else ServerNow() + length}


class PortableLog:
    """See `LogBackend`."""

    distinct = staticmethod(distinct)

    def id_in(self, column: str, ids: Sequence[int]) -> Any:
        return Q(**{f"{column}__in": ids})

    def insert_deletions(
        self,
        parent: Model,
        keys: Sequence[Any],
        targets: Sequence[Any],
        source: str,
        stated: Stated | None = None,
        *,
        using: str,
    ) -> list[str]:
        from ...models import Deletion

        pk, texts = primary_key(parent), texts_for_log(parent, keys, targets)
        alive, prepared = set[Any](), prepare_all(pk, require_keys(keys), using)
        for chunk in chunks(prepared):
            rows = rows_of(pk, using).filter(StoredIn(F("pk"), chunk))
            alive |= {*prepare_all(pk, rows.values_list("pk", flat=True), using)}
        columns = _columns(stated) if stated else {}
        new = [
            Deletion(
                parent=parent._meta.label,
                key=text,
                targets=target,
                source=source,
                **columns,
            )
            for text, stored, target in zip(texts, prepared, targets, strict=True)
            if stored not in alive
        ]
        self._insert(new, using)
        return [str(deletion.key) for deletion in new]

    def _insert(self, new: Sequence[Deletion], using: str) -> None:
        """Write new deletions. How often the server is asked decides how long a request takes."""
        from ...models import Deletion

        Deletion.objects.using(using).bulk_create(new, batch_size=PARAMETERS // 5)

    def insert_confirmed(self, suspects: Sequence[int], *, using: str) -> list[int]:
        from ...models import Deletion, Suspect

        rows = Suspect.objects.using(using).filter(pk__in=require_keys(suspects)).order_by("pk")
        new: list[dict[str, Any]] = [
            {
                "parent": suspect.parent,
                "key": None if suspect.field else suspect.value,
                "targets": {suspect.field: suspect.value} if suspect.field else None,
                "relation": suspect.relation,
                "source": Deletion.Source.SCAN,
            }
            for suspect in rows
        ]
        if connections[using].features.can_return_rows_from_bulk_insert:
            made = Deletion.objects.using(using).bulk_create(Deletion(**each) for each in new)
        else:  # the database tells ids only one at a time
            made = [Deletion.objects.using(using).create(**each) for each in new]
        return [deletion.pk for deletion in made]

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:  # noqa: ARG002 (the protocol's)
        return set()  # only PostgreSQL has such triggers

    def dispatch_batch(self, *_: Any, **__: Any) -> dict[tuple[str, str], int] | None:
        return None  # as below

    def claim_new(self, *_: Any, **__: Any) -> HeldCascades | None:
        return None  # the ORM has no UPDATE that returns rows

    def finish_cascades(
        self,
        claim: UUID | None,
        rows: Mapping[int, Rows | None],
        sizes: Mapping[int, int],
        *,
        barrier: Barrier | None,
        grace_seconds: float,
        using: str,
    ) -> list[int]:
        from ...models import Cascade

        finished: list[int] = []
        with transaction.atomic(using=using):
            held = Cascade.objects.using(using).filter(claim=claim, state=Cascade.State.RUNNING)
            for pk in require_keys(list(rows)):
                changed = held.filter(pk=pk, size=sizes[pk]).update(
                    state=Cascade.State.DONE,
                    done_at=ServerNow(),
                    due_at=ServerNow() + dt.timedelta(seconds=grace_seconds),
                    barrier=barrier.number if barrier else None,
                    barrier_server=barrier.server if barrier else "",
                    claim=None,
                    reason="",
                    failing=None,
                    rows=rows[pk],
                )
                finished += [pk] * changed
        return finished

    def save_progress(
        self, claim: UUID | None, rows: Mapping[int, Rows | None], *, using: str
    ) -> None:
        from ...models import Cascade

        held = Cascade.objects.using(using).filter(claim=claim, state=Cascade.State.RUNNING)
        with transaction.atomic(using=using):
            for pk, changed in rows.items():
                held.filter(pk=pk).update(rows=changed)

    def write_tallies(self, tallies: Sequence[Tally], *, using: str) -> None:
        from ...models import Tally

        targeted = connections[using].features.supports_update_conflicts_with_target
        Tally.objects.using(using).bulk_create(
            tallies,
            update_conflicts=True,
            unique_fields=["id"] if targeted else None,
            update_fields=["counts", "keys", "targets", "at"],
        )

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        from ...models import Audit

        Audit.objects.using(using).create(**entry)
