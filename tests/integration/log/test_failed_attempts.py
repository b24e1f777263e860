"""The history of failed attempts: what is written, how much of it, and what is no failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction
from django.db.models.signals import pre_delete

from apps.integrity import cascade
from apps.integrity.log import claims, failures, outcomes, retry
from apps.integrity.models import Cascade, FailedAttempt
from apps.shop.models import Order
from tests import log_rows

if TYPE_CHECKING:
    from apps.integrity.log.values import Claim
    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

LOGS = ("default", "test_lite")
DATABASE = "shop_db"


def claimed(using: str = "default", limit: int = 1_000) -> Claim:
    Cascade.objects.using(using).filter(due_at__isnull=False).update(due_at="2020-01-01 00:00Z")
    held = claims.claim(DATABASE, using=using, limit=limit, lease_seconds=60)
    assert held is not None
    return held


def noted(using: str = "default") -> list[tuple[Any, ...]]:
    rows = FailedAttempt.objects.using(using).order_by("pk")
    return list(rows.values_list("batch", "database", "attempt", "deletions", "reason"))


@pytest.mark.parametrize("using", LOGS)
def test_each_failed_attempt_is_noted_with_its_reason(using: str) -> None:
    first, *_ = log_rows.make("auth.User", [1, 2], [DATABASE], using=using)
    for number in (1, 2):
        outcomes.postpone(claimed(using), f"error {number}")
    assert noted(using) == [
        (first.pk, DATABASE, 1, 2, "error 1"),
        (first.pk, DATABASE, 2, 2, "error 2"),
    ]
    latest, *_ = failures.of_batch(first.pk, most=1, using=using)
    assert (latest.reason, latest.at.tzinfo is not None) == ("error 2", True)


@pytest.mark.parametrize("using", LOGS)
def test_what_waits_uncounted_is_no_failure(using: str) -> None:
    log_rows.make("auth.User", [1], [DATABASE], using=using)
    held = claimed(using)
    outcomes.release(held, reason="its rows are locked")
    outcomes.postpone(held, "late")  # its claim is gone
    assert noted(using) == []


def test_a_failure_counts_where_its_history_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The role has no right on the table yet: else the attempt would look like a lost worker."""
    log_rows.make("auth.User", [1], [DATABASE])
    with monkeypatch.context() as patch:
        patch.setattr(FailedAttempt._meta, "db_table", "denied")
        outcomes.postpone(claimed(), "broken")
    one = Cascade.objects.get()
    assert (one.state, one.reason, one.claim) == ("waiting", "broken", None)
    assert noted() == []


@pytest.mark.parametrize("using", LOGS)
def test_a_claim_that_fails_in_parts_is_one_row_for_each_reason(using: str) -> None:
    """As a worker does that bisects: one row at a time."""
    first, *_ = log_rows.make("auth.User", range(30), [DATABASE], using=using)
    held = claimed(using)
    for pk in held.ids:
        outcomes.postpone(held.only([pk]), "IntegrityError" if pk % 10 else "ValueError")
    several = sorted(row[3:] for row in noted(using))
    assert several == [(3, "ValueError"), (27, "IntegrityError")]
    assert {row[:3] for row in noted(using)} == {(first.pk, DATABASE, 1)}
    retry.retry_blocked(None, using=using)
    outcomes.postpone(claimed(using), "IntegrityError")  # another claim has rows of its own
    assert len(noted(using)) == 3


def test_the_rows_and_statements_of_one_claim_are_bounded(captured: Captured) -> None:
    log_rows.make("auth.User", range(60), [DATABASE], apart=True)
    held = claimed()
    assert len(held.deletions) == 60
    with transaction.atomic(), captured:
        failures.note(held, "broken")
    assert len(noted()) == failures.WRITTEN
    assert len(captured["default"]) == 2
    with transaction.atomic(), captured:
        failures.note(held, "broken")
    assert [row[3] for row in noted()] == [2] * failures.WRITTEN
    assert len(captured["default"]) == 2
    with captured:
        failures.note(held.only([]), "broken")
    assert captured["default"] == []


@pytest.mark.usefixtures("new_log")
def test_one_failure_costs_two_statements_and_no_scan_of_the_table(
    captured: Captured, tune: Tune
) -> None:
    tune(purge_keys=500)
    FailedAttempt.objects.bulk_create(
        FailedAttempt(batch=number, database=DATABASE, attempt=1, deletions=1)
        for number in range(10_000)
    )
    log_rows.make("auth.User", [1], [DATABASE])
    held = claimed()
    with transaction.atomic(), captured:
        failures.note(held, "broken")
        failures.of_batch(held.batches[0], most=50, using="default")
        failures.purge(using="default")
        list(failures.past_retention(using="default"))
    assert len(captured["default"]) == 5
    with connections["default"].cursor() as cursor:
        for sql in captured["default"]:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on integrity_failedattempt" not in plan, plan


def test_a_worker_that_fails_leaves_its_history_without_rows(tune: Tune) -> None:
    """The reason is what the pages show elsewhere: no text of an error, which may quote rows."""
    tune(attempts=2, backoff_seconds=0.01, backoff_seconds_max=0.01)
    [made] = log_rows.make("auth.User", [1], [DATABASE])
    Order.objects.create(order_number="x", customer_id=1, total=1)

    def refuse(**_: object) -> None:
        raise ValueError("CRM refused ann@example.org")

    pre_delete.connect(refuse, sender=Order)
    try:
        for _ in range(2):
            Cascade.objects.filter(due_at__isnull=False).update(due_at="2020-01-01 00:00Z")
            cascade.drain(DATABASE)
    finally:
        pre_delete.disconnect(refuse, sender=Order)
    assert Cascade.objects.get().state == "blocked"
    rows = noted()
    assert [row[:4] for row in rows] == [(made.pk, DATABASE, 1, 1), (made.pk, DATABASE, 2, 1)]
    for row in rows:
        assert "ValueError" in row[4]
        assert "ann@" not in row[4]
