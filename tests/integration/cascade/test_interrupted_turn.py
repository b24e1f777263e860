"""What was removed before a database went away is told by the receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.integrity import cascade
from apps.integrity.models import Cascade, ChildDatabase
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")


class TimeLimit(Exception):
    pass


def test_rows_of_the_turn_that_was_cut_off_are_counted(
    tune: Tune, converge: Callable[[], Counter[str]]
) -> None:
    tune(statement_rows_max=2)
    owner = Owner.objects.create()
    Leaf.objects.bulk_create(Leaf(owner=owner) for _ in range(5))
    owner.delete()
    dispatch.sweep("default")
    deletes: list[str] = []

    def strike(execute: Any, sql: str, *rest: Any) -> Any:
        if "DELETE" in sql:
            deletes.append(sql)
            if len(deletes) == 2:
                raise TimeLimit
        return execute(sql, *rest)

    with connections["test_right"].execute_wrapper(strike):
        done = cascade.drain("test_right", interruptions=(TimeLimit,))
    assert done.unreachable == ""  # it is slow, and not away
    row = Cascade.objects.get(database="test_right")
    assert (row.state, row.attempts, row.claim) == ("pending", 0, None)
    assert [*row.rows.values()] == [{"right.Leaf.owner": 2}]
    ChildDatabase.objects.update(probe_at=timezone.now())
    assert converge() == {"right.Leaf.owner": 3}
    row.refresh_from_db()
    assert (row.state, [*row.rows.values()]) == ("done", [{"right.Leaf.owner": 5}])
