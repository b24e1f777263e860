"""G11: what is done and not verified has a clock: pages and commands say since when, and why."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.blog.models import Post
from apps.integrity.cascade import verification
from apps.integrity.checks import doctor
from apps.integrity.control import actions, heartbeats
from apps.integrity.dashboard.text import verdict
from apps.integrity.models import Alarm, Cascade, Deletion
from apps.integrity.report import alarms, overview, rows, status
from apps.integrity.signals import alarm_cleared, alarm_raised
from sandbox.processes import eventually

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from django.test import Client

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

CLEAN, FINDINGS, INCOMPLETE = 0, 3, 4
BLOG = "blog_db"
NOBODY = "no worker has verified it"


@pytest.fixture
def done(converge: Callable[[], Counter[str]]) -> None:
    """A deletion that is done in blog_db, whose grace period is over, and nothing else."""
    user = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=user)
    user.delete()
    converge()
    Cascade.objects.exclude(database=BLOG).delete()
    Cascade.objects.update(due_at=timezone.now())


def aged(seconds: float) -> None:
    moment = timezone.now() - dt.timedelta(seconds=seconds)
    Cascade.objects.update(recorded_at=moment, done_at=moment)
    Deletion.objects.update(recorded_at=moment)


@contextmanager
def idle_writer() -> Iterator[str]:
    """A session that has written into blog_db, and does nothing more; its pid."""
    other = connections[BLOG].copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id(), pg_backend_pid()")
            _, pid = cursor.fetchone()
        yield f"pid {pid}"
    finally:
        other.close()


@pytest.fixture
def held(converge: Callable[[], Counter[str]], request: pytest.FixtureRequest) -> Iterator[str]:
    """As `done`, and an idle writer holds its verification, which was tried; the writer's pid."""
    with idle_writer() as pid:
        request.getfixturevalue("done")
        verification.verify(BLOG)
        yield pid


def row() -> rows.DatabaseRow:
    [found] = [each for each in status.collect_status()["databases"] if each["database"] == BLOG]
    return found


def card() -> overview.Card:
    [found] = [each for each in overview.collect_overview().cards if each["database"] == BLOG]
    return found


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code: Any = CLEAN
    try:
        call_command("integrity", *arguments)
    except SystemExit as error:
        code = error.code
    return code, *capsys.readouterr()


@pytest.mark.usefixtures("done")
class TestStatus:
    def test_within_its_grace_period_it_is_counted_and_no_reason_is_asked(self) -> None:
        found = row()
        assert (found["unproven"], found["overdue"], found["unproven_reason"]) == (1, False, "")
        assert 0 <= found["unproven_seconds"] < 30
        assert (found["state"], found["backlog"], found["lag_seconds"]) == ("idle", 0, None)

    @pytest.mark.parametrize(
        ("seconds", "reason", "overdue"),
        [(50, "", False), (70, NOBODY, False), (950, NOBODY, False), (970, NOBODY, True)],
    )
    def test_the_age_is_that_of_the_deletion(
        self,
        seconds: float,
        reason: str,
        overdue: bool,  # noqa: FBT001
    ) -> None:
        aged(seconds)
        found = row()
        assert found["unproven_seconds"] == pytest.approx(seconds, abs=5)
        assert (found["unproven_reason"], found["overdue"]) == (reason, overdue)
        assert found["state"] == ("unproven" if overdue else "idle")

    def test_what_was_late_when_it_was_done_has_its_grace_period(self) -> None:
        aged(5_000)
        Cascade.objects.update(done_at=timezone.now())
        found = row()
        assert found["unproven_seconds"] > 4_999
        assert (found["overdue"], found["unproven_reason"]) == (False, "")
        assert not card()["overdue"]

    def test_the_settings_say_how_long_is_too_long(self, tune: Tune) -> None:
        tune(grace_seconds=1, unproven_seconds=10)
        aged(12)
        assert row()["overdue"]

    def test_the_exit_code_is_that_of_a_finding(self, capsys: pytest.CaptureFixture[str]) -> None:
        heartbeats.record("beat", using="default")
        assert command(capsys, "status")[0] == CLEAN
        aged(1000)
        code, out, _ = command(capsys, "status")
        assert code == FINDINGS
        assert f"1 deletion is done in {BLOG} and not verified for 16 min" in " ".join(out.split())
        assert NOBODY in " ".join(out.split())
        code, out, _ = command(capsys, "status", "--json")
        document = json.loads(out)
        [found] = [each for each in document["databases"] if each["database"] == BLOG]
        assert (document["exit_reason"], code) == ("findings", FINDINGS)
        assert (found["unproven"], found["overdue"]) == (1, True)
        assert found["unproven_seconds"] > 999

    def test_a_pause_is_the_reason_while_it_lasts(self) -> None:
        aged(1000)
        actions.pause(BLOG, actor="op", reason="index build", using="default")
        assert row()["unproven_reason"] == card()["unproven_reason"] == "paused: index build"

    def test_verified_it_is_over(self, capsys: pytest.CaptureFixture[str]) -> None:
        heartbeats.record("beat", using="default")
        aged(1000)
        assert eventually(lambda: verification.verify(BLOG).verified == 1, timeout=30)
        found = row()
        assert (found["unproven"], found["unproven_seconds"], found["overdue"]) == (0, None, False)
        assert command(capsys, "status")[0] == CLEAN


@pytest.mark.postgresql
class TestWhatHoldsIt:
    def test_it_is_named_everywhere(
        self, held: str, client: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        aged(1000)
        assert held in row()["unproven_reason"]
        assert held in command(capsys, "status")[1]
        seen = overview.collect_overview()
        assert verdict(seen).level in {"attention", "trouble"}
        client.force_login(User.objects.create(username="op", is_staff=True, is_superuser=True))
        page = client.get("/admin/integrity/dashboard/").text
        assert held in page
        assert "Not verified for 16 min" in page
        wrong = {each.name: each.detail for each in doctor.examine(None) if not each.ok}
        assert held in wrong[f"unproven {BLOG}"]
        figures = {
            sample.name: sample.value
            for family in text_string_to_metric_families(client.get("/integrity/metrics").text)
            for sample in family.samples
            if sample.labels.get("database") == BLOG
        }
        assert figures["integrity_cascade_unproven"] == 1
        assert figures["integrity_cascade_unproven_seconds"] == pytest.approx(1000, abs=60)

    def test_an_alarm_is_raised_once_and_cleared_once(self, done: None) -> None:
        heard: list[tuple[str, str, str]] = []

        def raised(kind: str, subject: str, reason: str, **_: Any) -> None:
            heard.append((kind, subject, reason))

        def cleared(kind: str, subject: str, **_: Any) -> None:
            heard.append((kind, subject, "over"))

        alarm_raised.connect(raised)
        alarm_cleared.connect(cleared)
        try:
            alarms.watch("default")
            assert heard == []
            aged(1000)
            for _ in range(2):
                alarms.watch("default")
            [(kind, subject, reason)] = heard
            assert (kind, subject) == ("unproven", BLOG)
            assert reason.startswith("1 done but not verified for 1,0")
            assert reason.endswith(NOBODY)
            assert eventually(lambda: verification.verify(BLOG).verified == 1, timeout=30)
            for _ in range(2):
                alarms.watch("default")
            assert heard[1:] == [("unproven", BLOG, "over")]
        finally:
            alarm_raised.disconnect(raised)
            alarm_cleared.disconnect(cleared)
        assert not Alarm.objects.exists()

    def test_drain_names_it_in_place_of_the_grace_period(
        self, held: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ("drain", "--verify", "--timeout", "1", "--json")
        code, out, told = command(capsys, *arguments)
        assert code == INCOMPLETE
        assert f"1 not verified yet: {BLOG} waits for transaction " in told
        assert held in told
        assert "after its end" not in told
        document = json.loads(out)
        assert document["unproven"] == 1
        assert held in document["held"][BLOG]
        connections[BLOG].close()

    def test_drain_says_when_nothing_holds_it_but_the_grace_period(
        self, done: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Cascade.objects.update(due_at=timezone.now() + dt.timedelta(seconds=60))
        code, out, told = command(capsys, "drain", "--verify", "--timeout", "0.1", "--json")
        assert code == INCOMPLETE
        assert "1 not verified yet: cascades are verified 60 s after they are done" in told
        assert json.loads(out)["held"] == {}
