"""G2: a row that moves to a living parent while a statement waits for it is left alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import statements
from sandbox.processes import eventually
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("committed")

GONE, LIVING, VALUE = 1, 2, 3
ALIAS = "test_right"
KEY = Leaf._meta.get_field("owner")


def delete() -> Counter[Any]:
    return statements.on(ALIAS).delete_rows(KEY, [GONE], 9, using=ALIAS, patient=True)


def update() -> Counter[Any]:
    return statements.on(ALIAS).update_rows(KEY, [GONE], VALUE, 9, using=ALIAS, patient=True)


@pytest.mark.parametrize("change", [delete, update])
def test_it_is_left_alone(change: Callable[[], Counter[Any]]) -> None:
    moved, stays = (Leaf.objects.create(owner_id=GONE) for _ in range(2))
    found: list[Counter[Any]] = []

    def work() -> None:
        try:
            # Past the usual limit, because this machine may be slow.
            with connections[ALIAS].cursor() as cursor:
                cursor.execute("SET lock_timeout = '30s'")
            found.append(change())
        finally:
            connections.close_all()

    other = connections[ALIAS].copy()
    thread = threading.Thread(target=work)
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("UPDATE right_leaf SET owner_id = %s WHERE id = %s", [LIVING, moved.pk])
            thread.start()
            assert eventually(somebody_waits, timeout=30)
            other.commit()
    finally:
        other.close()
        thread.join()
    assert found == [{GONE: 1}]
    assert Leaf.objects.get(pk=moved.pk).owner_id == LIVING
    assert not Leaf.objects.filter(pk=stays.pk, owner_id=GONE).exists()


def somebody_waits() -> bool:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        return bool(cursor.fetchone()[0])
