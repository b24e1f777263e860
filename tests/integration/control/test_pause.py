"""What an operator paused is left alone by everything that works there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from apps.integrity import cascade, relations, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured

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
