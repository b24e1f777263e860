"""A cascade that kills its worker each time is blocked in the end, and shows why."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from apps.integrity import capture
from apps.integrity.log import claims, outcomes
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from tests.log_rows import check_partitions

if TYPE_CHECKING:
    from tests.conftest import Tune

ATTEMPTS = 3


@pytest.fixture(autouse=True)
def _dispatched(committed: None, tune: Tune) -> None:
    tune(attempts=ATTEMPTS)
    capture.record((User, [1]), using="default")
    dispatch.sweep("default")


def die(times: int) -> None:
    """So many workers claim it, one after the other, and die."""
    for _ in range(times):
        Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
        assert claims.claim("shop_db", using="default", limit=9, lease_seconds=60) is not None


def row() -> Cascade:
    return Cascade.objects.get(database="shop_db")


def test_it_is_blocked_by_the_next_sweep_once_its_last_lease_is_over() -> None:
    die(ATTEMPTS)
    _, due = dispatch.sweep("default")
    assert (row().state, "shop_db" in due) == ("running", False)  # it may be alive
    Cascade.objects.update(due_at=timezone.now())
    _, due = dispatch.sweep("default")
    found = row()
    assert (found.state, found.claim, found.attempts) == ("blocked", None, ATTEMPTS)
    assert found.reason == "the worker was lost on every attempt"
    assert "shop_db" not in due


def test_before_that_another_worker_may_have_it() -> None:
    die(ATTEMPTS - 1)
    Cascade.objects.update(due_at=timezone.now())
    _, due = dispatch.sweep("default")
    assert row().state == "running"
    assert "shop_db" in due


def test_what_waits_after_failures_is_not_taken_for_lost() -> None:
    Cascade.objects.update(state="waiting", attempts=ATTEMPTS, due_at=timezone.now())
    dispatch.sweep("default")
    assert row().state == "waiting"


def test_a_task_that_is_delivered_again_does_not_claim_it_past_its_last_attempt() -> None:
    for _ in range(ATTEMPTS):
        assert claims.claim("shop_db", using="default", limit=9, lease_seconds=60, owner="task")
        assert claims.take_over("shop_db", owner="task", using="default") == 1
    assert claims.claim("shop_db", using="default", limit=9, lease_seconds=60, owner="task") is None
    dispatch.sweep("default")
    assert row().state == "blocked"


@pytest.mark.parametrize("attempts", [2, ATTEMPTS, 8])
def test_a_deletion_that_kills_its_worker_is_blocked_alone(tune: Tune, attempts: int) -> None:
    tune(attempts=attempts)
    capture.record((User, range(2, 101)), using="default")
    dispatch.sweep("default")
    killer = Deletion.objects.get(key="50").pk
    while "shop_db" in dispatch.sweep("default")[1]:
        held = claims.claim("shop_db", using="default", limit=100, lease_seconds=60)
        assert held is not None
        assert not Cascade.objects.filter(state="running", claim=None).exists()
        if killer not in held.ids:
            outcomes.finish(held, {pk: {} for pk in held.ids}, barrier=None)
        running = Cascade.objects.filter(database="shop_db", state="running")
        running.update(due_at=timezone.now() - dt.timedelta(seconds=1))
    rows = Cascade.objects.filter(database="shop_db").exclude(state="done")
    assert [(one.state, one.deletions) for one in rows] == [("blocked", [killer])]
    check_partitions()
