"""What an operator paused is left alone by everything that works there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from apps.integrity import cascade, failpoints, relations, scan
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.backends.postgresql.log import PostgreSQLLog
from apps.integrity.cascade import verification
from apps.integrity.control import actions
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

DATABASE = "test_right"


def pause() -> None:
    for using in relations.catalogue().log_databases:
        actions.pause(DATABASE, actor="test", reason="maintenance", using=using)


@pytest.fixture
def busy(converge: Callable[[], Counter[str]]) -> None:
    """One cascade to verify and one to carry out, and a scan that is due."""
    Owner.objects.create().delete()
    converge()
    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    owner.delete()
    dispatch.sweep("default")
    Cascade.objects.update(due_at=timezone.now())


@pytest.mark.parametrize("work", [cascade.drain, verification.verify, scan.scan])
def test_a_paused_database_gets_no_statement(
    busy: None, captured: Captured, work: Callable[[str], Any]
) -> None:
    pause()
    with captured:
        work(DATABASE)
    assert captured[DATABASE] == []
    assert Leaf.objects.count() == 1
    states = Cascade.objects.filter(database=DATABASE).order_by("pk")
    assert list(states.values_list("state", "attempts")) == [("done", 1), ("pending", 0)]


def test_a_pause_in_one_log_leaves_the_work_of_the_others(busy: None) -> None:
    actions.pause(DATABASE, actor="test", reason="maintenance", using="test_left")
    assert cascade.drain(DATABASE).rows == {"right.Leaf.owner": 1}


@pytest.mark.parametrize("one_statement", [True, False])
def test_work_under_way_ends_with_the_claim_at_hand(
    one_statement: bool,  # noqa: FBT001 (a parameter of the cases)
    busy: None,
    tune: Tune,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tune(claim_keys=1)
    for _ in range(2):
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        owner.delete()
        dispatch.sweep("default")
    if not one_statement:
        monkeypatch.setattr(PostgreSQLLog, "claim_new", PortableLog.claim_new)
    reached = failpoints.hit

    def hit(failpoint: Failpoint) -> None:
        reached(failpoint)
        if failpoint is Failpoint.FINISHED:
            pause()

    monkeypatch.setattr(failpoints, "hit", hit)
    assert cascade.drain(DATABASE).rows == {"right.Leaf.owner": 1}
    assert Leaf.objects.count() == 2
    states = Cascade.objects.filter(database=DATABASE).order_by("pk")
    assert list(states.values_list("state", "attempts"))[1:] == [
        ("done", 1),
        ("pending", 0),
        ("pending", 0),
    ]
