"""The ORM's statements on rows of the project, for every engine that Django has."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError, connections, transaction
from django.db.models import F

from ...relations.columns import columns_of
from ...relations.generic import rows_of
from ...relations.relation import primary_key
from ...relations.stored import StoredIn, compares_alike, prepare_all, with_keys
from .. import visibility
from ..base import require_keys
from ..collations import Holding, as_asked
from ..deleted import Gone
from .chunks import PARAMETERS, chunks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from django.db.models import QuerySet

    from ...relations import Field, Model
    from ..deleted import Deleted, Dense

#: Rows read for one list of keys, before each key without a row among them is asked for singly.
ROWS_SEEN = 2 * PARAMETERS


class PortableRows:
    """See `RowBackend`."""

    locks_in_blocks = False

    def lock_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        limit: int,
        *,
        using: str,
        skip_locked: bool = True,
    ) -> dict[Any, Any]:
        can_skip = connections[using].features.has_select_for_update_skip_locked
        referring = rows_of(field, using).select_for_update(skip_locked=can_skip and skip_locked)
        pk, locked = primary_key(field.model), dict[Any, Any]()
        for chunk in chunks(keys):
            rows = referring.filter(Holding(field, chunk))
            pairs = list(rows.values_list("pk", field.attname)[: limit - len(locked)])
            if not pairs:
                continue
            pks = prepare_all(pk, (pk_value for pk_value, _ in pairs), using)
            held = prepare_all(field, (key for _, key in pairs), using)
            found = dict(zip(pks, held, strict=True))
            if connections[using].vendor == "mysql":
                found = as_asked(field, chunk, found, pk, using)
            locked.update(found)
            if len(locked) >= limit:
                break
        return locked

    def delete_returning_keys(  # can_delete_before() is never true
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        keys: Sequence[Any],  # noqa: ARG002 (the protocol's)
        limit: int,  # noqa: ARG002 (the protocol's)
        *,
        using: str,
    ) -> Deleted:
        raise NotSupportedError(f"{using}: rows go after those that refer to them")

    def dense_blocks(
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        key: Any,  # noqa: ARG002 (the protocol's)
        *,
        using: str,  # noqa: ARG002 (the protocol's)
    ) -> Dense | None:
        return None

    def delete_in_blocks(  # dense_blocks() is never true
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        key: Any,  # noqa: ARG002 (the protocol's)
        blocks: range,  # noqa: ARG002 (the protocol's)
        limit: int,  # noqa: ARG002 (the protocol's)
        *,
        pks: bool,  # noqa: ARG002 (the protocol's)
        using: str,
    ) -> Deleted | None:
        raise NotSupportedError(f"{using}: rows are found by an index")

    def lock_in_blocks(  # dense_blocks() is never true
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        key: Any,  # noqa: ARG002 (the protocol's)
        blocks: range,  # noqa: ARG002 (the protocol's)
        limit: int,  # noqa: ARG002 (the protocol's)
        *,
        using: str,
    ) -> dict[Any, Any]:
        raise NotSupportedError(f"{using}: rows are found by an index")

    def can_delete_before(self, leaf: Field, *, using: str) -> bool:  # noqa: ARG002 (the protocol's)
        return False

    def is_constrained(self, leaf: Field, *, using: str) -> bool:
        declared: bool = getattr(leaf, "db_constraint", False)
        return declared and connections[using].features.supports_foreign_keys

    def own_session(self, *, using: str) -> AbstractContextManager[None]:  # noqa: ARG002 (as above)
        return nullcontext()

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        pass  # the ORM has no setting for it

    def require_current(self, model: Model, *, using: str) -> None:
        pass  # reads show what was committed, or locks fail

    def restore_row_security(self, *, using: str) -> None:
        pass  # the ORM knows no row level security

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> Gone:
        with transaction.atomic(using=using):
            locked = self.lock_rows(field, keys, limit, using=using, skip_locked=skip_locked)
            for chunk in chunks(list(locked)) if locked else ():
                _unchanged(field, locked, chunk, using)._raw_delete(using)
        return Gone(locked.values())

    def delete_total(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> int:
        return self.delete_rows(field, keys, limit, using=using, skip_locked=skip_locked).total()

    def update_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        value: Any,
        limit: int,
        *,
        using: str,
        skip_locked: bool,
    ) -> Counter[Any]:
        with transaction.atomic(using=using):
            locked = self.lock_rows(field, keys, limit, using=using, skip_locked=skip_locked)
            for chunk in chunks(list(locked)) if locked else ():
                values = {column.name: value for column in columns_of(field)}
                rows = _unchanged(field, locked, chunk, using)
                rows.update(**values)
                kept = rows.values_list("pk", flat=True)  # by a trigger
                for pk in prepare_all(primary_key(field.model), kept, using):
                    del locked[pk]
        return Counter(locked.values())

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        name, referring = F(field.attname), rows_of(field, using)
        # A database may treat texts as equal that differ in Python.
        exact = compares_alike(field)
        held = set[Any]()
        for chunk in chunks(keys):
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
        number = sum(referring.filter(Holding(field, chunk)).count() for chunk in chunks(keys))
        visibility.require_whole(using, field.model)
        return number

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        referring, counts = rows_of(field, using), dict[Any, int]()
        for key in require_keys(keys):
            rows = referring.filter(Holding(field, [key]))
            if number := rows.order_by()[:most].count():
                counts[key] = number
        visibility.require_whole(using, field.model)
        return counts

    def estimate_rows(self, model: Model, *, using: str) -> int:  # noqa: ARG002 (the protocol's)
        return 0

    def number_of_rows(self, model: Model, exact: int, *, using: str) -> int:  # noqa: ARG002 (as above)
        return model._meta.base_manager.using(using).count()


def _unchanged(
    field: Field, locked: dict[Any, Any], pks: Sequence[Any], using: str
) -> QuerySet[Any]:
    """Return those rows that still hold the key that they were locked for."""
    keys = [*{locked[pk] for pk in pks}]
    rows = rows_of(field, using).filter(with_keys(primary_key(field.model), pks))
    return rows.filter(Holding(field, keys))
