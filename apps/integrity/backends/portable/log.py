"""The ORM's statements on the log, for every engine that Django has."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from ...relations.generic import rows_of
from ...relations.keys import format_key
from ...relations.relation import primary_key
from ...relations.stored import StoredIn, prepare_all
from ..barriers import barriers_to_json
from ..base import require_keys
from .chunks import PARAMETERS, chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ...relations import Model, Relation
    from ..barriers import Barrier


class PortableLog:
    """See `LogBackend`."""

    def id_in(self, column: str, ids: Sequence[int]) -> Any:
        return Q(**{f"{column}__in": ids})

    def insert_deletions(
        self, parent: Model, keys: Sequence[Any], targets: Sequence[Any], source: str, *, using: str
    ) -> list[str]:
        from ...models import Deletion

        pk = primary_key(parent)
        alive, prepared = set[Any](), prepare_all(pk, require_keys(keys), using)
        for chunk in chunks(prepared):
            rows = rows_of(pk, using).filter(StoredIn(F("pk"), chunk))
            alive |= {*prepare_all(pk, rows.values_list("pk", flat=True), using)}
        new = [
            Deletion(
                parent=parent._meta.label,
                key=format_key(pk, key),
                targets=target,
                source=source,
            )
            for key, stored, target in zip(keys, prepared, targets, strict=True)
            if stored not in alive
        ]
        Deletion.objects.using(using).bulk_create(new, batch_size=PARAMETERS // 5)
        return [str(deletion.key) for deletion in new]

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:  # noqa: ARG002 (the protocol's)
        return set()  # only PostgreSQL has such triggers

    def insert_suspects(
        self,
        relation: Relation,
        keys: Sequence[str],
        *,
        target: str | None,
        fence: Mapping[str, Barrier],
        using: str,
    ) -> None:
        from ...models import Deletion

        Deletion.objects.using(using).bulk_create(
            (
                Deletion(
                    parent=relation.parent._meta.label,
                    key=key if target is None else None,
                    targets=None if target is None else {target: key},
                    relation=relation.label,
                    fence=barriers_to_json(fence),
                    source=Deletion.Source.SCAN,
                    state=Deletion.State.SUSPECT,
                )
                for key in require_keys(keys)
            ),
            batch_size=PARAMETERS // 8,
        )

    def insert_cascades(
        self, deletions: Sequence[int], databases: Sequence[str], *, using: str
    ) -> None:
        from ...models import Cascade, Deletion

        for chunk in chunks(deletions):
            recorded = dict(
                Deletion.objects.using(using).filter(pk__in=chunk).values_list("pk", "recorded_at")
            )
            Cascade.objects.using(using).bulk_create(
                (
                    Cascade(deletion_id=pk, database=database, recorded_at=recorded_at)
                    for pk, recorded_at in recorded.items()
                    for database in databases
                ),
                batch_size=PARAMETERS // 6,
                ignore_conflicts=True,
            )

    def finish_cascades(
        self,
        claim: UUID,
        rows: Mapping[int, Mapping[str, int]],
        *,
        barrier: Barrier | None,
        grace_seconds: float,
        using: str,
    ) -> list[int]:
        from ...models import Cascade

        finished: list[int] = []
        with transaction.atomic(using=using):
            for chunk in chunks(list(rows)):
                held = Cascade.objects.using(using).filter(
                    pk__in=chunk, claim=claim, state=Cascade.State.RUNNING
                )
                for pk, deletion in held.values_list("pk", "deletion_id"):
                    changed = held.filter(pk=pk).update(
                        state=Cascade.State.DONE,
                        done_at=Now(),
                        due_at=Now() + dt.timedelta(seconds=grace_seconds),
                        barrier=barrier.number if barrier else None,
                        barrier_server=barrier.server if barrier else "",
                        claim=None,
                        reason="",
                        failing=None,
                        rows=dict(rows[pk]),
                    )
                    finished += [deletion] * changed
        return finished

    def save_progress(
        self, claim: UUID, rows: Mapping[int, Mapping[str, int]], *, using: str
    ) -> None:
        from ...models import Cascade

        held = Cascade.objects.using(using).filter(claim=claim, state=Cascade.State.RUNNING)
        with transaction.atomic(using=using):
            for pk, removed in rows.items():
                held.filter(pk=pk).update(rows=dict(removed))

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        from ...models import Audit

        Audit.objects.using(using).create(**entry)
