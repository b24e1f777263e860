"""G11: ages are told by the clock of the database that wrote the moment, and by no reader's."""

from __future__ import annotations

import ast
import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models.functions import Now
from django.utils import timezone

from apps.integrity import control, relations, report
from apps.integrity.backends import clocks
from apps.integrity.models import Cascade, Deletion, Heartbeat, Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

PRODUCT = Path(relations.__file__).parent
#: Seconds by which the reader's clock is off.
OFF = (-600.0, -20.0, 20.0, 600.0)


@pytest.fixture(params=OFF)
def off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """This process's clock is so many seconds ahead."""
    now, seconds, ahead = timezone.now, time.time, float(request.param)
    monkeypatch.setattr(timezone, "now", lambda: now() + dt.timedelta(seconds=ahead))
    monkeypatch.setattr(time, "time", lambda: seconds() + ahead)
    return ahead


@pytest.fixture
def aged(committed: None) -> None:
    """Everything that has an age is 300 s old, by the clock of its database."""
    ago = Now() - dt.timedelta(seconds=300)
    for key, state in ((1, "recorded"), (2, "dispatched"), (3, "cascaded"), (4, "suspect")):
        row = Deletion.objects.create(
            parent="auth.User", key=str(key), state=state, source="signal", recorded_at=ago,
            relation="blog.Post.author" if state == "suspect" else "",
        )  # fmt: skip
        if state in {"dispatched", "cascaded"}:
            done = state == "cascaded"
            Cascade.objects.create(
                deletion=row, database="blog_db", recorded_at=ago,
                state="done" if done else "waiting", done_at=ago if done else None,
            )  # fmt: skip
    for name in ("beat", "worker@host"):
        Heartbeat.objects.create(name=name, seen_at=ago)
    for each in relations.catalogue().relations:
        for database in each.child_databases:
            Scan.objects.using(each.parent_databases[0]).create(
                relation=each.label, database=database, covers_at=ago, finished_at=ago,
                began_at=ago, rows=50, expected=100,
            )  # fmt: skip


def _status() -> Iterator[float | None]:
    found = report.status()
    [row] = [each for each in found["databases"] if each["database"] == "blog_db"]
    yield from (row["lag_seconds"], row["unproven_seconds"], row["waits_seconds"])
    yield from (each["seconds_ago"] for each in [*found["workers"], found["beat"]])
    yield from (each["age_seconds"] for each in found["scans"])
    yield from (each["eta_seconds"] for each in found["scans"])


def _overview() -> Iterator[float | None]:
    found = report.overview()
    [card] = [each for each in found.cards if each.database == "blog_db"]
    yield from (card.lag_seconds, card.unverified_seconds, found.orphan_age_seconds)
    yield from (each["seconds_ago"] for each in [*found.workers, found.beat])


def _suspected() -> Iterator[float | None]:
    for each in report.suspected():
        yield from (each.oldest_seconds, *(one.seconds for one in each.first))


@pytest.mark.parametrize("ages", [_status, _overview, _suspected])
def test_ages_are_right_whatever_the_clock_of_the_reader_says(
    aged: None, off: float, ages: Callable[[], Iterator[float | None]]
) -> None:
    told = list(ages())
    assert told
    assert [each for each in told if each is None or not 300 <= each < 301] == []


def test_so_are_they_on_the_pages(aged: None, off: float, client: Client) -> None:
    client.force_login(User.objects.create_superuser("ann"))
    for page in ("", "scans/"):
        body = client.get(f"/admin/integrity/dashboard/{page}").content.decode()
        assert "5 min" in body, page
        assert all(wrong not in body for wrong in ("15 min", "5 min 20 s", "4 min 40 s")), page


def test_what_ended_lately_did_so_by_the_clock_of_the_log(committed: None, off: float) -> None:
    row = Deletion.objects.create(parent="auth.User", key="1", source="signal", state="verified")
    for number, seconds in enumerate((290, 310)):
        ago = Now() - dt.timedelta(seconds=seconds)
        Cascade.objects.create(
            deletion=row, database=f"{number}", state="verified", recorded_at=ago, done_at=ago
        )
    speed = report.throughput([Cascade.objects.all()])
    assert speed.rate == 1 / report.RATE_SECONDS
    assert (speed.bars[-1], sum(speed.bars)) == (2, 2)


def test_a_receipt_of_several_logs_begins_with_the_newest(
    committed: None, off: float, converge: Callable[[], Any]
) -> None:
    for _ in range(2):
        User.objects.create(pk=77, username="ann").delete()
    ids = [each["deletion"]["id"] for each in report.receipts("auth.User", "77")]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 2


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("using", ["default", "blog_db", "test_lite"])
class TestReadings:
    """What a server's clock says, beside that of this process."""

    def test_both_tell_the_same_on_one_machine(self, using: str) -> None:
        reading = clocks.read(using)
        assert abs(reading.ahead_seconds) <= reading.within_seconds + 0.1
        assert abs((reading.at - timezone.now()).total_seconds()) < 1

    def test_a_clock_that_is_off_is_known_by_how_much(self, using: str, off: float) -> None:
        assert clocks.read(using).ahead_seconds == pytest.approx(off, abs=0.5)


def test_no_module_of_the_product_asks_the_clock_of_its_process() -> None:
    """But the one that compares it with the servers' clocks."""
    asked = {
        f"{path.relative_to(PRODUCT)}:{node.lineno}"
        for path in PRODUCT.rglob("*.py")
        if path.relative_to(PRODUCT) != Path("backends/clocks.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in {"timezone.now", "datetime.now", "dt.datetime.now", "time.time", "datetime.utcnow"}
    }
    assert asked == set()


def test_the_status_of_a_terminal_tells_them_too(
    aged: None, off: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call_command("integrity", "status")
    assert "beat: last seen 300 s ago" in capsys.readouterr().out


def test_a_heartbeat_is_noted_by_the_clock_of_the_log(committed: None, off: float) -> None:
    control.beat("worker@host", using="default")
    [pulse] = report.status()["workers"]
    assert pulse["seconds_ago"] < 1
