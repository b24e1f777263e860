"""How much time is left: status, pages, metrics, doctor, alarms and receipts say the same."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.blog.models import Post
from apps.integrity import capture
from apps.integrity.checks.doctor import verdicts
from apps.integrity.checks.settings import named, timely
from apps.integrity.control import actions
from apps.integrity.models import Alarm, Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report import alarms, overview, receipt_text, receipts, status
from apps.integrity.report.rows import RATE_SECONDS
from apps.integrity.signals import alarm_cleared, alarm_raised
from tests import snippets
from tests.log_rows import make

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from django.test import Client

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

BLOG, DAY, HOUR = "blog_db", dt.timedelta(days=1), dt.timedelta(hours=1)


@pytest.fixture
def days(tune: Tune) -> None:
    tune(deadline_days={"auth.User": 30})


@pytest.fixture
def told() -> Iterator[list[tuple[str, str, str]]]:
    """The alarms that were sent: word, kind, subject."""
    sent = list[tuple[str, str, str]]()

    def hear(signal: Any, kind: str, subject: str, **_: object) -> None:
        sent.append(("raised" if signal is alarm_raised else "cleared", kind, subject))

    for signal in (alarm_raised, alarm_cleared):
        signal.connect(hear, weak=False)
    yield sent
    for signal in (alarm_raised, alarm_cleared):
        signal.disconnect(hear)


def backlog(number: int, left: dt.timedelta, *, age: dt.timedelta = DAY, **columns: Any) -> None:
    """Make open work in blog_db, each with a deadline."""
    deadline = timezone.now() + left
    deadlines = {"deadline": deadline, "order_at": deadline}
    at = timezone.now() - age
    made = make("auth.User", range(number), [BLOG], recorded_at=at, **deadlines | columns)
    Deletion.objects.filter(pk__in=[row.pk for row in made]).update(deadline=deadline)


def finished_lately(number: int) -> None:
    """Make a rate."""
    make("auth.User", range(number), [BLOG], state="verified")
    ended = Cascade.objects.filter(state="verified")
    ended.update(done_at=timezone.now() - dt.timedelta(seconds=5))


def blog() -> Any:
    rows = status.collect_status()["databases"]
    return next(row for row in rows if row["database"] == BLOG)


def test_the_margin_is_that_of_the_nearest_deadline_everywhere(days: None, client: Client) -> None:
    backlog(3, 2 * DAY)
    backlog(2, 9 * DAY)
    row = blog()
    assert row["margin_seconds"] == pytest.approx(2 * 86_400, abs=60)
    assert row["late"] == 0
    [card] = [card for card in overview.collect_overview().cards if card["database"] == BLOG]
    assert card["margin_seconds"] == pytest.approx(row["margin_seconds"], abs=60)
    samples = {
        (sample.name, sample.labels.get("database")): sample.value
        for family in text_string_to_metric_families(client.get("/integrity/metrics").text)
        for sample in family.samples
    }
    seconds = samples["integrity_deadline_margin_seconds", BLOG]
    assert seconds == pytest.approx(row["margin_seconds"], abs=60)
    assert ("integrity_deadline_margin_seconds", "shop_db") not in samples
    [check] = [one for one in verdicts.work(row) if one.kind == "deadlines"]
    assert check.ok
    assert check.detail.startswith("the nearest deadline is in 1 d 23 h")


@pytest.mark.parametrize("where", ["recorded", "pending", "done", "blocked"])
def test_what_is_late_is_counted_wherever_it_is(days: None, where: str) -> None:
    """Of two deletions of one cascade, the deadline of one has passed."""
    if where == "recorded":
        capture.record((User, [1, 2]), using="default")
        Deletion.objects.filter(key="1").update(deadline=timezone.now() - HOUR)
    else:
        backlog(2, -HOUR, state=where)
        Deletion.objects.filter(key="1").update(deadline=timezone.now() + DAY)
    row = blog()
    assert row["late"] == 1
    assert row["margin_seconds"] == pytest.approx(-3_600, abs=60)
    [fault] = [one for one in status.collect_status()["faults"] if one["kind"] == "late"][:1]
    assert fault["number"] == 1
    [check] = [one for one in verdicts.work(row) if one.kind == "deadlines"]
    assert not check.ok
    assert "1 deletion past the deadline, the first for 1 h" in check.detail


def test_what_a_trigger_recorded_has_a_margin_before_its_dispatch(days: None) -> None:
    capture.record((User, [1]), using="default")
    Deletion.objects.update(deadline=None)
    assert blog()["margin_seconds"] == pytest.approx(30 * 86_400, abs=60)
    Deletion.objects.update(recorded_at=timezone.now() - 31 * DAY)
    assert blog()["margin_seconds"] == pytest.approx(-86_400, abs=60)
    assert blog()["late"] == 1


def test_the_alarm_comes_before_it_is_late_and_ends(
    days: None, told: list[tuple[str, str, str]]
) -> None:
    """600 deletions at 0.1 per second take 100 min: an hour is too short, three are enough."""
    finished_lately(RATE_SECONDS // 10)
    backlog(600, HOUR)
    Cascade.objects.filter(state="pending").update(due_at=timezone.now())
    alarms.watch("default")
    assert ("raised", "at_risk", BLOG) in told
    reason = Alarm.objects.get(kind="at_risk").reason
    assert reason.startswith("600 deletions before a deadline in 59 min")
    told.clear()
    deadline = timezone.now() + 3 * HOUR
    Cascade.objects.filter(state="pending").update(deadline=deadline, order_at=deadline)
    alarms.watch("default")
    assert told == [("cleared", "at_risk", BLOG)]


def test_a_paused_database_near_a_deadline_is_no_silence(
    days: None, told: list[tuple[str, str, str]]
) -> None:
    backlog(1, 10 * DAY, age=20 * DAY)
    actions.pause(BLOG, actor="test", reason="upgrade", using="default")
    alarms.watch("default")
    assert ("raised", "at_risk", BLOG) not in told
    Cascade.objects.update(deadline=timezone.now() + 4 * DAY)
    alarms.watch("default")
    assert ("raised", "at_risk", BLOG) in told
    assert "paused" in Alarm.objects.get(kind="at_risk").reason


def test_a_missed_deadline_is_an_alarm(days: None, told: list[tuple[str, str, str]]) -> None:
    backlog(2, -HOUR)
    alarms.watch("default")
    assert ("raised", "late", BLOG) in told


def test_without_the_setting_nothing_is_asked_and_nothing_said(
    captured: Captured, client: Client
) -> None:
    backlog(2, -HOUR)
    with captured:
        row = blog()
        overview.collect_overview()
        alarms.watch("default")
    assert not [sql for sql in captured["default"] if 'MIN("integrity_cascade"."deadline")' in sql]
    assert not [sql for sql in captured["default"] if "order_at" in sql]
    assert (row["margin_seconds"], row["late"], row["risk"]) == (None, 0, None)
    assert "integrity_deadline_margin_seconds{" not in client.get("/integrity/metrics").text


def said_of(key: object) -> list[str]:
    [receipt] = receipts.receipts_of("auth.User", str(key))
    return [line for line in receipt_text.statement(receipt) if "deadline" in line]


def test_a_receipt_says_whether_the_deadline_was_met(
    tune: Tune, converge: Callable[[], Counter[str]]
) -> None:
    tune(deadline_days={})
    user = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=user)
    key = user.pk
    with capture.because(deadline=3):
        user.delete()
    [line] = said_of(key)
    assert line.endswith(("is in 2 d 23 h.", "is in 3 d."))
    converge()
    moment = timezone.now()
    Cascade.objects.update(state="verified", verified_at=moment, ended_at=moment, due_at=None)
    [line] = said_of(key)
    assert "was met: it was verified 2 d 23 h before it." in line
    Cascade.objects.update(verified_at=moment + 4 * DAY)
    [line] = said_of(key)
    assert "was missed: it was verified 1 d" in line
    assert line.endswith("too late.")
    Cascade.objects.update(state="kept")
    [line] = said_of(key)
    assert line.endswith("was not met: the deletion ended without being verified.")


def test_the_page_on_deadlines_is_true(tune: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    page = snippets.ROOT / "docs" / "how-to" / "meet-deadlines.md"
    [block] = [one for one in snippets.blocks(page, "python") if one.run_by]
    tune(deadline_days={"auth.User": 30, "*": 90})
    for name in ("ann", "ben"):
        User.objects.create(username=name)
    snippets.run(block, {"__name__": "page", "User": User})
    rows = Deletion.objects.order_by("pk").values_list("recorded_at", "deadline")
    assert [round((deadline - at).total_seconds() / 3_600) for at, deadline in rows] == [168, 36]
    dispatch.sweep("default")
    with pytest.raises(SystemExit):
        call_command("integrity", "status", "--json")
    [row] = [
        row for row in json.loads(capsys.readouterr().out)["databases"] if row["database"] == BLOG
    ]
    assert row["margin_seconds"] == pytest.approx(36 * 3_600, abs=60)


def test_the_status_has_two_more_columns_while_there_are_deadlines(
    days: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for shown in (False, True):
        with pytest.raises(SystemExit):
            call_command("integrity", "status")
        assert ("MARGIN" in capsys.readouterr().out) is shown
        backlog(1, DAY)


def test_a_deadline_that_none_can_meet_and_one_of_nobody_are_findings(tune: Tune) -> None:
    tune(deadline_days={"auth.User": 0.0001, "auth.Usr": 30}, grace_seconds=60)
    [warning] = timely()
    assert warning.id == "integrity.W041"
    assert "8.64 s" in warning.msg or "9 s" in warning.msg
    [error] = named()
    assert "auth.Usr" in error.msg
    assert "auth.User" in str(error.hint)
    tune(deadline_days=30)
    assert timely() == named() == []
