"""No statement that writes the log ends a worker's run when a deadlock ends it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, heartbeats
from apps.integrity.log import retry
from apps.integrity.models import Cascade, Deletion, Heartbeat
from apps.integrity.queues import dispatch, maintenance
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

WRITE = re.compile(r"(INSERT|UPDATE|DELETE|SELECT .* FOR UPDATE)\b.*integrity_", re.DOTALL)
LABEL, CHILD, LOG = "right.Leaf.owner", "test_right", "default"


class Deadlocks:
    """Ends each statement that writes the log in a deadlock, the first time."""

    def __init__(self) -> None:
        self.met = set[str]()

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 (Django's)
        shape = re.sub(r"(%s|\d+)(, (%s|\d+))*", "?", str(sql))
        if WRITE.match(shape) and shape not in self.met:
            self.met.add(shape)
            context["connection"].connection.rollback()  # as the server does
            sql, params, many = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213", None, False
        return execute(sql, params, many, context)


@pytest.fixture
def deadlocks() -> Iterator[Deadlocks]:
    if connections[LOG].vendor != "mysql":
        pytest.skip("the log is on another engine")
    found = Deadlocks()
    with connections[LOG].execute_wrapper(found):
        yield found


def _clean() -> None:
    dispatch.sweep(LOG)
    done = cascade.drain(CHILD)
    assert done.failed == 0
    verification.verify(CHILD)
    maintenance.maintain(LOG)


def _pause() -> None:
    assert actions.pause(CHILD, actor="op", reason="r", using=LOG)
    assert actions.resume(CHILD, actor="op", reason="r", using=LOG)


def _retry() -> None:
    Cascade.objects.update(state=Cascade.State.BLOCKED, ended_at=None, verified_at=None)
    actions.retry(None, actor="op", using=LOG)
    retry.make_due_now(using=LOG)
    retry.block_lost(using=LOG)


def _beat() -> None:
    heartbeats.record("worker", using=LOG)


def _scan() -> None:
    scan.scan(CHILD, labels=[LABEL], seconds=math.inf, mode=scan.Mode(full=True))


def test_rows_of_a_generator_are_all_there_after_it(deadlocks: Deadlocks) -> None:
    Heartbeat.objects.bulk_create(Heartbeat(name=str(number)) for number in range(3))
    assert (len(deadlocks.met), Heartbeat.objects.count()) == (1, 3)


@pytest.mark.parametrize("act", [_clean, _pause, _retry, _beat, _scan])
def test_a_deadlock_ends_no_act(
    act: Callable[[], None],
    tune: Tune,
    converge: Any,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tune(grace_seconds=0.001)
    owners = Owner.objects.bulk_create(Owner() for _ in range(3))
    Leaf.objects.bulk_create(Leaf(owner=owner) for owner in owners for _ in range(2))
    Leaf.objects.bulk_create([Leaf(owner_id=99)])
    Owner.objects.filter(pk__in=[owner.pk for owner in owners[:2]]).delete()
    if act is _retry:
        dispatch.sweep(LOG)
    met = request.getfixturevalue("deadlocks")
    act()
    assert met.met
    assert "1213" not in caplog.text
    if act is _clean:
        assert converge() == {}
        assert Leaf.objects.count() == 3
        assert {*Cascade.objects.values_list("attempts", flat=True)} == {1}
        receipts = [one.rows for row in Deletion.objects.all() for one in row.databases]
        assert sum(sum(rows.values()) for rows in receipts) == 4
