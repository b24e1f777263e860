"""What was removed before a database went away is told by the receipt."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.integrity import cascade
from apps.integrity.models import Cascade, ChildDatabase, Deletion
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


def test_one_row_that_is_too_slow_costs_no_other_deletion_an_attempt(
    tune: Tune, converge: Callable[[], Counter[str]]
) -> None:
    """G7: the claim of its whole batch is cut off again and again, at one row in the end."""
    tune(attempts=2, backoff_seconds=0.01, statement_rows_max=2)
    owners = [Owner.objects.create() for _ in range(5)]
    Leaf.objects.bulk_create(Leaf(owner=owner) for owner in owners for _ in range(2))
    slow = owners[2].pk
    Owner.objects.filter(pk__in=[owner.pk for owner in owners]).delete()
    dispatch.sweep("default")

    def strike(execute: Any, sql: str, parameters: Any, *rest: Any) -> Any:
        result = execute(sql, parameters, *rest)
        if "DELETE" in sql and not Leaf.objects.filter(owner=slow).count() == 2:
            raise TimeLimit
        return result

    for _ in range(12):
        Cascade.objects.exclude(due_at=None).update(due_at=timezone.now())
        with (
            connections["test_right"].execute_wrapper(strike),
            contextlib.suppress(TimeLimit),
        ):
            cascade.drain("test_right", interruptions=(TimeLimit,))
    ended = {
        pk: row for row in Cascade.objects.filter(database="test_right") for pk in row.deletions
    }
    keys = dict(Deletion.objects.values_list("pk", "key"))
    found = {keys[pk]: (row.state, row.attempts) for pk, row in ended.items()}
    others = {str(owner.pk): ("done", 1) for owner in owners if owner.pk != slow}
    assert found == others | {str(slow): ("blocked", 2)}
    assert "a single row takes longer" in Cascade.objects.get(state="blocked").reason
    assert Leaf.objects.count() == 2
