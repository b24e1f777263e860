"""The timetable in the database: created from code, and left alone afterwards."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from celery.beat import Scheduler
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from apps.integrity.queues import health
from workers.beat import CreateOnlyScheduler
from workers.celery import app

if TYPE_CHECKING:
    from pathlib import Path

# Beat drops connections that are inside a transaction.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def start() -> Scheduler:
    """Start a scheduler as `celery beat` does, without a broker."""
    scheduler: Scheduler = CreateOnlyScheduler(app=app)
    return scheduler


def timetable() -> dict[str, tuple[object, ...]]:
    rows = PeriodicTask.objects.select_related("interval")
    return {
        row.name: (
            row.task, row.interval.every, row.interval.period, row.queue, row.expire_seconds,
            row.enabled,
        )
        for row in rows
    }  # fmt: skip


FROM_CODE = {
    "integrity.dispatch": ("integrity.dispatch", 5, "seconds", "integrity", None, True),
    "integrity.maintain": ("integrity.maintain", 60, "seconds", "integrity", None, True),
    "integrity.scan": ("integrity.scan", 60, "seconds", "integrity", None, True),
}


def test_the_configured_scheduler_is_ours() -> None:
    assert app.conf.beat_scheduler == "workers.beat:CreateOnlyScheduler"


def test_the_first_start_creates_the_entries_and_nothing_else() -> None:
    start()
    assert timetable() == FROM_CODE


def test_starting_again_changes_nothing() -> None:
    start()
    before = list(PeriodicTask.objects.order_by("pk").values())
    start()
    assert list(PeriodicTask.objects.order_by("pk").values()) == before


def test_what_an_operator_changed_survives_a_restart() -> None:
    start()
    dispatch = PeriodicTask.objects.get(name="integrity.dispatch")
    dispatch.interval = IntervalSchedule.objects.create(every=7, period="minutes")
    dispatch.expire_seconds = 400
    dispatch.save()
    maintain = PeriodicTask.objects.get(name="integrity.maintain")
    maintain.enabled = False
    maintain.save()

    scheduler = start()

    assert timetable() == {
        "integrity.dispatch": ("integrity.dispatch", 7, "minutes", "integrity", 400, True),
        "integrity.maintain": ("integrity.maintain", 60, "seconds", "integrity", None, False),
        "integrity.scan": FROM_CODE["integrity.scan"],
    }
    assert set(scheduler.schedule) == {"integrity.dispatch", "integrity.scan"}
    assert str(scheduler.schedule["integrity.dispatch"].schedule) == "<freq: 7.00 minutes>"


def test_an_entry_that_is_new_in_the_code_joins_the_changed_ones() -> None:
    start()
    PeriodicTask.objects.filter(name="integrity.maintain").delete()
    PeriodicTask.objects.filter(name="integrity.dispatch").update(enabled=False)
    start()
    assert timetable()["integrity.maintain"] == FROM_CODE["integrity.maintain"]
    assert timetable()["integrity.dispatch"][-1] is False


def test_a_tick_is_sent_to_the_queue_and_does_not_expire() -> None:
    options = start().schedule["integrity.dispatch"].options
    assert options is not None
    assert options["queue"] == "integrity"
    assert options.get("expires") is None


@pytest.mark.parametrize("ahead", [20, 600, 86_400])
def test_what_a_clock_that_was_ahead_has_run_is_due_a_period_from_now(ahead: int) -> None:
    """Beat has moved to another machine, or its clock was set back: running, or between two."""
    start()
    later = timezone.now() + dt.timedelta(seconds=ahead)
    PeriodicTask.objects.update(last_run_at=later)
    entry = start().schedule["integrity.dispatch"]
    assert entry.is_due().next <= 5
    entry.last_run_at = later
    assert entry.is_due().next <= 5


def test_a_tick_shows_that_beat_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = start()
    assert health.main(["beat"]) == 1
    monkeypatch.setattr(Scheduler, "apply_entry", lambda *_args, **_kwargs: None)
    scheduler.tick()
    assert health.main(["beat"]) == 0
