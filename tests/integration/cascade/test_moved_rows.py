"""G2: a row that moves to a living parent while a statement waits for it is left alone."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction

from apps.integrity import backends, relations
from apps.integrity.relations import generic
from sandbox.processes import eventually
from tests.kinds.left.models import Chisel, Fence, Note
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("committed")

GONE, LIVING, VALUE, OTHER = 1, 2, 3, 4
KEY: Any = Leaf._meta.get_field("owner")


def delete(field: Any, key: Any, using: str) -> Counter[Any]:
    """One key alone: see Note [All or some] in backends/postgresql/rows.py."""
    return backends.row_backend(using).delete_rows(field, [key], 9, using=using, skip_locked=False)


def delete_of_several(field: Any, key: Any, using: str) -> Counter[Any]:
    keys = [key, OTHER]
    return backends.row_backend(using).delete_rows(field, keys, 9, using=using, skip_locked=False)


def delete_by_blocks(field: Any, key: Any, using: str) -> Counter[Any]:
    gone = backends.row_backend(using).delete_in_blocks(
        field, key, range(99), 9, pks=True, using=using
    )
    assert gone
    assert len(gone.pks) == gone.numbers.total()
    return gone.numbers


def lock(field: Any, key: Any, using: str) -> Counter[Any]:
    """As if the other session committed between the look and the lock: waits, and looks again."""

    def wait(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        return execute(sql.replace(" SKIP LOCKED", ""), *rest)

    with transaction.atomic(using=using), connections[using].execute_wrapper(wait):
        found = backends.row_backend(using).lock_rows(field, [key], 9, using=using)
    return Counter(found.values())


def update(field: Any, key: Any, using: str) -> Counter[Any]:
    value = VALUE if field is KEY else None
    return backends.row_backend(using).update_rows(
        field, [key], value, 9, using=using, skip_locked=False
    )


def generic_key(label: str) -> Any:
    return generic.with_content_type(relations.catalogue().relation(label)).field


def left_alone(change: Callable[[], Counter[Any]], move: str, using: str) -> Counter[Any]:
    """What `change` does while another session moves a row and commits."""
    found: list[Counter[Any]] = []

    def work() -> None:
        try:
            # Past the usual limit, because this machine may be slow.
            with connections[using].cursor() as cursor:
                cursor.execute("SET lock_timeout = '30s'")
            found.append(change())
        finally:
            connections.close_all()

    other = connections[using].copy()
    thread = threading.Thread(target=work)
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(move)
            thread.start()
            assert eventually(lambda: somebody_waits(using), timeout=30)
            other.commit()
    finally:
        other.close()
        thread.join()
    return found[0]


def test_it_is_not_locked_for_its_old_parent() -> None:
    moved, _ = (Leaf.objects.create(owner_id=GONE) for _ in range(2))
    move = f"UPDATE right_leaf SET owner_id = {LIVING} WHERE id = {moved.pk}"  # noqa: S608 (ours)
    assert left_alone(partial(lock, KEY, GONE, "test_right"), move, "test_right") == {GONE: 1}


@pytest.mark.parametrize("change", [delete, delete_of_several, delete_by_blocks, update])
def test_it_is_left_alone(change: Callable[..., Counter[Any]]) -> None:
    moved, stays = (Leaf.objects.create(owner_id=GONE) for _ in range(2))
    move = f"UPDATE right_leaf SET owner_id = {LIVING} WHERE id = {moved.pk}"  # noqa: S608 (ours)
    work = partial(change, KEY, GONE, "test_right")
    assert left_alone(work, move, "test_right") == {GONE: 1}
    assert Leaf.objects.get(pk=moved.pk).owner_id == LIVING
    assert not Leaf.objects.filter(pk=stays.pk, owner_id=GONE).exists()


@pytest.mark.parametrize(
    ("change", "model", "label"),
    [
        (delete, Note, "left.Note.content_object@parents.Plant"),
        (delete_of_several, Note, "left.Note.content_object@parents.Plant"),
        (delete_by_blocks, Note, "left.Note.content_object@parents.Plant"),
        (delete, Fence, "left.Fence.content_object@parents.Weed"),  # by text
        (update, Chisel, "left.Chisel.content_object@parents.Stone"),
    ],
)
def test_so_is_one_that_moves_to_a_parent_of_another_model(
    change: Callable[..., Counter[Any]], model: Any, label: str
) -> None:
    field = generic_key(label)
    [(_, own)] = generic.content_type_condition(field).items()
    key: Any = {Note: 7, Fence: "7", Chisel: uuid.uuid4()}[model]
    moved, _ = (model.objects.create(content_type_id=own, object_id=key) for _ in range(2))
    table = model._meta.db_table
    move = f"UPDATE {table} SET content_type_id = {own + 1} WHERE id = {moved.pk}"  # noqa: S608 (ours)
    work = partial(change, field, key, "test_left")
    assert left_alone(work, move, "test_left") == {key: 1}
    moved.refresh_from_db()
    assert (moved.content_type_id, moved.object_id) == (own + 1, key)
    assert not model.objects.filter(content_type_id=own).exists()


def somebody_waits(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        return bool(cursor.fetchone()[0])
