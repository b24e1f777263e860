"""The ORM's form of the statements, for every backend that Django has."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError, connections, transaction
from django.db.models import F
from django.db.models.functions import Now

from ..relations.columns import columns_of
from ..relations.generic import rows_of
from ..relations.keys import format_key
from ..relations.relation import primary_key
from ..relations.stored import StoredIn, compares_alike, prepare_all, with_keys
from . import visibility
from .barriers import packed
from .base import NO_KEYS, need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from ..relations import Field, Model, Relation
    from .barriers import Barrier, Blocker, Horizon

#: Values in one list: two lists stay under the lowest limit of parameters (SQLite's old 999).
PARAMETERS = 450
#: Rows of one list's keys that are looked at, before the keys without one are asked for singly.
ROWS_SEEN = 2 * PARAMETERS


class Portable:
    """See `Statements`."""

    def insert_deletions(
        self, parent: Model, keys: Sequence[Any], targets: Sequence[Any], source: str, *, using: str
    ) -> list[str]:
        from ..models import Deletion

        pk = primary_key(parent)
        alive, prepared = set[Any](), prepare_all(pk, need(keys), using)
        for chunk in _chunks(prepared):
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

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:  # noqa: ARG002
        return set()  # no such triggers here

    def insert_suspects(
        self,
        relation: Relation,
        keys: Sequence[str],
        *,
        target: str | None,
        fence: Mapping[str, Barrier],
        using: str,
    ) -> None:
        from ..models import Deletion

        Deletion.objects.using(using).bulk_create(
            (
                Deletion(
                    parent=relation.parent._meta.label,
                    key=key if target is None else None,
                    targets=None if target is None else {target: key},
                    relation=relation.label,
                    fence=packed(fence),
                    source=Deletion.Source.SCAN,
                    state=Deletion.State.SUSPECT,
                )
                for key in need(keys)
            ),
            batch_size=PARAMETERS // 8,
        )

    def insert_cascades(
        self, deletions: Sequence[int], databases: Sequence[str], *, using: str
    ) -> None:
        from ..models import Cascade, Deletion

        for chunk in _chunks(deletions):
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
        from ..models import Cascade

        finished: list[int] = []
        with transaction.atomic(using=using):
            for chunk in _chunks(list(rows)):
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

    def keep_rows(self, claim: UUID, rows: Mapping[int, Mapping[str, int]], *, using: str) -> None:
        from ..models import Cascade

        held = Cascade.objects.using(using).filter(claim=claim, state=Cascade.State.RUNNING)
        with transaction.atomic(using=using):
            for pk, removed in rows.items():
                held.filter(pk=pk).update(rows=dict(removed))

    def lock_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        limit: int,
        *,
        using: str,
        patient: bool = False,
    ) -> dict[Any, Any]:
        can_skip = connections[using].features.has_select_for_update_skip_locked
        locked = rows_of(field, using).select_for_update(skip_locked=can_skip and not patient)
        pk, found = primary_key(field.model), dict[Any, Any]()
        for chunk in _chunks(keys):
            rows = locked.filter(StoredIn(F(field.attname), chunk))
            pairs = list(rows.values_list("pk", field.attname)[: limit - len(found)])
            if not pairs:
                continue
            pks = prepare_all(pk, (each for each, _ in pairs), using)
            held = prepare_all(field, (key for _, key in pairs), using)
            found.update(zip(pks, held, strict=True))
            if len(found) >= limit:
                break
        return found

    def take_rows(  # goes_first() is False everywhere
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        keys: Sequence[Any],  # noqa: ARG002
        limit: int,  # noqa: ARG002
        *,
        using: str,
    ) -> dict[Any, Any]:
        raise NotSupportedError(f"{using}: rows go after those that refer to them")

    def goes_first(self, leaf: Field, *, using: str) -> bool:  # noqa: ARG002 (the protocol's)
        return False

    def is_constrained(self, leaf: Field, *, using: str) -> bool:
        declared: bool = getattr(leaf, "db_constraint", False)
        return declared and connections[using].features.supports_foreign_keys

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        if connections[using].vendor == "mysql":
            with connections[using].cursor() as cursor:
                seconds = max(1, round(lock_seconds))
                cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [seconds])

    def end_step_reads(self, *, using: str) -> None:
        pass  # no row security here

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> Counter[Any]:
        with transaction.atomic(using=using):
            found = self.lock_rows(field, keys, limit, using=using, patient=patient)
            for chunk in _chunks(list(found)) if found else ():
                _still(field, found, chunk, using)._raw_delete(using)
        return Counter(found.values())

    def delete_number(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> int:
        return self.delete_rows(field, keys, limit, using=using, patient=patient).total()

    def update_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        value: Any,
        limit: int,
        *,
        using: str,
        patient: bool,
    ) -> Counter[Any]:
        with transaction.atomic(using=using):
            found = self.lock_rows(field, keys, limit, using=using, patient=patient)
            for chunk in _chunks(list(found)) if found else ():
                put = {each.name: value for each in columns_of(field)}
                _still(field, found, chunk, using).update(**put)
        return Counter(found.values())

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        name, referring = F(field.attname), rows_of(field, using)
        # A database may take texts for equal that Python does not.
        exact = compares_alike(field)
        held = set[Any]()
        for chunk in _chunks(keys):
            rows = referring.filter(StoredIn(name, chunk)).values_list(field.attname, flat=True)
            present = list(rows[:ROWS_SEEN])  # a key may have a million
            if present:
                held |= {*prepare_all(field, present, using)} & {*chunk}
            if len(present) == ROWS_SEEN or not exact:
                rest = {*chunk} - held
                held |= {k for k in rest if referring.filter(StoredIn(name, [k])).exists()}
        visibility.require_whole(using, field.model)
        return held

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        referring = rows_of(field, using)
        number = sum(
            referring.filter(StoredIn(F(field.attname), chunk)).count() for chunk in _chunks(keys)
        )
        visibility.require_whole(using, field.model)
        return number

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        from ..models import Audit

        Audit.objects.using(using).create(**entry)

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        referring, found = rows_of(field, using), dict[Any, int]()
        for key in need(keys):
            rows = referring.filter(StoredIn(F(field.attname), [key]))
            if number := rows.order_by()[:most].count():
                found[key] = number
        visibility.require_whole(using, field.model)
        return found

    def estimate_rows(self, model: Model, *, using: str) -> int:  # noqa: ARG002 (the protocol's)
        return 0

    def oldest_transaction(self, *, using: str) -> Horizon | None:  # noqa: ARG002 (the protocol's)
        return None

    def next_transaction(self, *, using: str) -> Barrier | None:  # noqa: ARG002 (the protocol's)
        return None

    def blocker(self, *, using: str) -> Blocker | None:  # noqa: ARG002 (the protocol's)
        return None


def _still(field: Field, found: dict[Any, Any], pks: Sequence[Any], using: str) -> QuerySet[Any]:
    """Those rows, as long as they hold the key that they were found by."""
    keys = [*{found[pk] for pk in pks}]
    rows = rows_of(field, using).filter(with_keys(primary_key(field.model), pks))
    return rows.filter(StoredIn(F(field.attname), keys))


def _chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the values in parts, each of which fits into one statement.

    Raises `ValueError` for none: a statement without its condition never runs.
    """
    if not values:
        raise ValueError(NO_KEYS)
    return [values[start : start + PARAMETERS] for start in range(0, len(values), PARAMETERS)]
