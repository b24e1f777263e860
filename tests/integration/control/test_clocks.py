"""G11: ages are told by the clock of the database that wrote the moment, and by no reader's."""

from __future__ import annotations

import ast
import datetime as dt
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from apps.integrity import relations
from apps.integrity.backends import clocks
from apps.integrity.checks import doctor
from apps.integrity.checks.doctor import clock_skew
from apps.integrity.control import heartbeats, identity
from apps.integrity.log import ledger
from apps.integrity.models import Heartbeat, Scan, Suspect, Tally
from apps.integrity.models.moments import ServerNow
from apps.integrity.relations import relation
from apps.integrity.report import backlog, overview, receipts, status, suspected, throughput
from tests import log_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

PRODUCT = Path(relation.__file__).parent
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
def aged(committed: None) -> float:
    """Everything that has an age is 300 s old, by the clock of its database; gives when it was."""
    begun = time.monotonic()
    ago = ServerNow() - dt.timedelta(seconds=300)
    log_rows.make("auth.User", [1], [], recorded_at=ago)
    log_rows.make("auth.User", [2], ["blog_db"], state="waiting", recorded_at=ago)
    log_rows.make("auth.User", [3], ["blog_db"], state="done", recorded_at=ago)
    Suspect.objects.create(
        parent="auth.User", relation="blog.Post.author", value="4", recorded_at=ago
    )
    for name in ("beat", "worker@host"):
        Heartbeat.objects.create(name=name, seen_at=ago)
    for each in relations.catalogue().relations:
        for database in each.child_databases:
            Scan.objects.using(each.parent_databases[0]).create(
                relation=each.label, database=database, covers_at=ago, finished_at=ago,
                began_at=ago, rows=50, expected=100,
            )  # fmt: skip
    return begun


def _status() -> Iterator[float | None]:
    found = status.collect_status()
    [row] = [each for each in found["databases"] if each["database"] == "blog_db"]
    yield from (row["lag_seconds"], row["unproven_seconds"], row["waits_seconds"])
    yield from (each["seconds_ago"] for each in [*found["workers"], found["beat"]])
    yield from (each["age_seconds"] for each in found["scans"])
    yield from (each["eta_seconds"] for each in found["scans"])


def _overview() -> Iterator[float | None]:
    found = overview.collect_overview()
    [card] = [each for each in found.cards if each["database"] == "blog_db"]
    yield from (card["lag_seconds"], card["waits_seconds"], found.orphan_age_seconds)
    yield from (each["seconds_ago"] for each in [*found.workers, found.beat])


def _suspected() -> Iterator[float | None]:
    for each in suspected.suspected():
        yield from (each.oldest_seconds, *(one.seconds for one in each.first))


@pytest.mark.parametrize("ages", [_status, _overview, _suspected])
def test_ages_are_right_whatever_the_clock_of_the_reader_says(
    aged: float, off: float, ages: Callable[[], Iterator[float | None]]
) -> None:
    told = list(ages())
    most = 301 + time.monotonic() - aged
    assert told
    assert [each for each in told if each is None or not 300 <= each < most] == []


def test_so_are_they_on_the_pages(aged: float, off: float, client: Client) -> None:
    client.force_login(User.objects.create_superuser("ann"))
    for page in ("", "scans/"):
        body = client.get(f"/admin/integrity/dashboard/{page}").content.decode()
        assert "5 min" in body, page
        assert all(wrong not in body for wrong in ("15 min", "5 min 20 s", "4 min 40 s")), page


def test_what_ended_lately_did_so_by_the_clock_of_the_log(committed: None, off: float) -> None:
    for number, seconds in enumerate((290, 310)):
        ago = ServerNow() - dt.timedelta(seconds=seconds)
        log_rows.make("auth.User", [number], ["blog_db"], state="verified", recorded_at=ago)
    speed = throughput.throughput_of(["default"], ["blog_db"])["blog_db"]
    assert speed.rate == 1 / backlog.RATE_SECONDS
    assert (speed.bars[-1], sum(speed.bars)) == (2, 2)


def test_a_receipt_of_several_logs_begins_with_the_newest(
    committed: None, off: float, converge: Callable[[], Any]
) -> None:
    for _ in range(2):
        User.objects.create(pk=77, username="ann").delete()
    ids = [each["deletion"]["id"] for each in receipts.receipts_of("auth.User", "77")]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 2


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("using", ["default", "test_lite"])
class TestATimeOfTheServer:
    """SQLite compares times as texts, and those that it writes itself have another form."""

    def test_is_equal_to_itself_after_it_was_read(self, using: str) -> None:
        for number in range(5):
            Heartbeat.objects.using(using).create(name=f"beat {number}")
            time.sleep(0.002)
        _is_found(using)

    def test_is_so_at_a_full_second(self, using: str) -> None:
        if using != "test_lite":
            pytest.skip("about SQLite")
        connection = connections[using]
        connection.ensure_connection()

        def full_second(form: str, _: str) -> str:
            return form.replace("%Y-%m-%d %H:%M:%f", "2026-12-01 02:15:47.000")

        connection.connection.create_function("strftime", 2, full_second)
        try:
            Heartbeat.objects.using(using).create(name="beat")
            _is_found(using)
        finally:
            connection.close()

    def test_pages_of_a_ledger_end(self, using: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger, "PAGE", 2)
        log = identity.of_log("default")
        for number in range(5):
            Tally.objects.using(using).create(
                log=log, batch=10**9 + number, tally=uuid4(), label="x", counts={"1": 1},
                parent="auth.User", keys={"1": str(number)},
            )  # fmt: skip
        pages = ledger.unknown_to_log(
            using, log=log, using="default", since=timezone.now() - dt.timedelta(days=1)
        )
        found = [one.key for page in itertools.islice(pages, 10) for one in page]
        assert sorted(key or "" for key in found) == ["0", "1", "2", "3", "4"]


def _is_found(using: str) -> None:
    rows = Heartbeat.objects.using(using)
    for one in rows.all():
        same = rows.filter(pk=one.pk)
        assert same.filter(seen_at=one.seen_at).exists(), one.seen_at
        assert not same.filter(seen_at__lt=one.seen_at).exists(), one.seen_at
        assert not same.filter(seen_at__gt=one.seen_at).exists(), one.seen_at


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("using", ["default", "blog_db", "test_lite"])
class TestReadings:
    """What a server's clock says, beside that of this process."""

    def test_both_tell_the_same_on_one_machine(self, using: str) -> None:
        reading = clocks.read(using)
        assert abs(reading.ahead_seconds) <= reading.within_seconds + 0.1
        assert abs((reading.at - timezone.now()).total_seconds()) < 5

    def test_a_clock_that_is_off_is_known_by_how_much(self, using: str, off: float) -> None:
        assert clocks.read(using).ahead_seconds == pytest.approx(off, abs=0.5)


def clock(said: doctor.Broker | None = None) -> doctor.Check:
    [found] = [each for each in doctor.examine(said) if each.name == "clocks"]
    return found


class TestDoctor:
    """Who is off, by how much, and what that means."""

    def test_nobody_is(self, committed: None) -> None:
        heartbeats.record("beat", using="default")
        heartbeats.record("worker@host", using="default")
        assert clock().ok, clock().detail

    def test_the_process_itself(self, committed: None, off: float) -> None:
        word = "ahead of" if off > 0 else "behind"
        assert not clock().ok
        assert clock().detail.startswith(f"this process is {abs(off):,.1f} s {word} default: its")

    def test_a_worker_whose_heartbeat_says_so(
        self, committed: None, off: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heartbeats.record("worker@host", using="default")
        monkeypatch.undo()
        found = clock()
        assert not found.ok
        assert f"worker@host is {abs(off):,.1f} s" in found.detail
        assert "this process" not in found.detail

    def test_not_one_that_is_long_gone(self, committed: None) -> None:
        long_ago = ServerNow() - dt.timedelta(seconds=200)
        Heartbeat.objects.create(name="w", seen_at=long_ago, clock_skew_seconds=600)
        assert clock().ok

    def test_a_clock_that_nobody_told_is_not_right_and_not_wrong(self, committed: None) -> None:
        heartbeats.record("beat", using="default", clock=lambda: None)
        assert Heartbeat.objects.get().clock_skew_seconds is None
        assert clock().ok


def reading(ahead: float, within: float = 0.001) -> clocks.Reading:
    return clocks.Reading(at=timezone.now(), ahead_seconds=ahead, within_seconds=within)


@pytest.mark.parametrize(
    ("readings", "ok", "told"),
    [
        ({"default": reading(0), "blog_db": reading(0)}, True, "no clock is more than 2 s off"),
        ({"default": reading(1.9), "blog_db": reading(0)}, True, "no clock"),
        ({"default": reading(0), "blog_db": reading(-600)}, False, "blog_db is 600.0 s ahead of"),
        ({"default": reading(0), "blog_db": reading(20)}, False, "blog_db is 20.0 s behind"),
        ({"default": reading(0), "blog_db": reading(3, 2)}, True, "no clock"),
        (
            {"default": reading(0), "blog_db": reading(3, 2.1)},
            True,
            "blog_db answered too slowly to compare",
        ),
        ({"default": reading(0), "blog_db": reading(20, 5)}, False, "blog_db is 20.0 s behind"),
    ],
)
def test_a_database_is_off_by_what_the_round_trip_cannot_explain(
    *, readings: dict[str, clocks.Reading], ok: bool, told: str
) -> None:
    found = clock_skew.clocks("default", readings, [])
    assert found.ok is ok
    assert told in found.detail


@pytest.mark.parametrize(
    ("ahead", "told"),
    [(-20.0, "or its last tick waited as long in the queue"), (20.0, "its log lines")],
)
def test_a_late_tick_may_have_waited(ahead: float, told: str) -> None:
    beat = {"name": "beat", "seconds_ago": 1.0, "clock_skew_seconds": ahead}
    assert told in clock_skew.clocks("default", {"default": reading(0)}, [beat]).detail


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
    aged: float, off: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call_command("integrity", "status")
    assert "beat: last seen 30" in capsys.readouterr().out


def test_a_heartbeat_is_noted_by_the_clock_of_the_log(committed: None, off: float) -> None:
    heartbeats.record("worker@host", using="default")
    [pulse] = status.collect_status()["workers"]
    assert pulse["seconds_ago"] < 5
