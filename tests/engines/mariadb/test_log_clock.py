"""The log's clock is UTC on MariaDB, whatever zone the server, the alias or the project have."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.models import F
from django.test import override_settings
from django.utils import timezone

from apps.integrity import capture
from apps.integrity.backends import clocks
from apps.integrity.checks import doctor
from apps.integrity.control import heartbeats
from apps.integrity.log import claims, deletions, outcomes, proofs
from apps.integrity.models import Cascade, Deletion, Heartbeat
from apps.integrity.models.moments import ServerNow
from apps.integrity.report import receipts, status

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("committed")

#: More than this is not the time of a test: it is an offset of a zone.
MOMENT = dt.timedelta(seconds=120)
#: Of the project or of the alias. In the first one, an hour of each autumn comes twice.
ZONES = ("Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago")


def raw(sql: str, alias: str = "default") -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def stored_utc(column: str) -> dt.datetime:
    """The time in the only cascade's column, as the table has it."""
    found: dt.datetime = raw(f"SELECT {column} FROM integrity_cascade")  # noqa: S608
    return found.replace(tzinfo=found.tzinfo or dt.UTC)


@contextmanager
def zone_of_alias(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connection = connections["default"]
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", name)
    for cached in ("timezone", "timezone_name"):
        connection.__dict__.pop(cached, None)
    try:
        yield
    finally:
        monkeypatch.undo()
        for cached in ("timezone", "timezone_name"):
            connection.__dict__.pop(cached, None)


def life_of_a_deletion() -> None:
    """Check each time that the log writes, compares and reads."""
    capture.record((User, [41]), using="default")
    (recorded,) = Deletion.objects.annotate(age=clocks.age("recorded_at"), now=ServerNow())
    assert recorded.age < MOMENT
    assert abs(recorded.now - clocks.now("default")) < MOMENT
    deletions.dispatch(using="default", limit=10)
    assert claims.due_databases(using="default") >= {"blog_db"}
    Cascade.objects.exclude(database="blog_db").delete()
    held = claims.claim("blog_db", using="default", limit=10, lease_seconds=600)
    assert held is not None
    assert claims.claim("blog_db", using="default", limit=10, lease_seconds=600) is None
    lease = Cascade.objects.annotate(rest=F("due_at") - ServerNow()).values_list("rest", flat=True)
    assert abs(lease.get() - dt.timedelta(seconds=600)) < MOMENT
    outcomes.finish(held, {held.ids[0]: {}}, barrier=None)
    (row,) = (row for row in status.collect_status()["databases"] if row["database"] == "blog_db")
    assert 0 <= row["unproven_seconds"] < MOMENT.total_seconds()
    Cascade.objects.update(due_at=ServerNow())
    probed = proofs.due_done("blog_db", now=None, using="default", limit=10)
    assert probed is not None
    assert outcomes.verify(probed, probed.ids) == 1
    (row,) = Cascade.objects.all()
    times = (row.recorded_at, row.dispatched_at, row.done_at, row.verified_at, row.ended_at)
    assert list(times) == sorted(times)
    for name in ("recorded_at", "done_at", "ended_at"):
        assert abs(stored_utc(name) - timezone.now().astimezone(dt.UTC)) < MOMENT
        shown = dt.datetime.fromisoformat(str(receipts.iso(getattr(row, name))))
        assert abs(shown - dt.datetime.now(dt.UTC)) < MOMENT
    # A time that this process read finds its row again.
    assert Cascade.objects.filter(done_at=row.done_at, ended_at__lte=row.ended_at).exists()


def test_the_servers_own_time_is_another_one() -> None:
    """Else none of these tests would show anything."""
    for alias in ("default", "blog_db"):
        if connections[alias].vendor == "mysql":
            assert abs(raw("SELECT timestampdiff(HOUR, utc_timestamp(), now())", alias)) >= 5


def test_a_deletion_has_the_same_times_everywhere() -> None:
    life_of_a_deletion()


@pytest.mark.parametrize("zone", ZONES)
def test_so_it_has_where_the_alias_has_a_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if connections["default"].vendor != "mysql":
        pytest.skip("the log is on PostgreSQL")
    with zone_of_alias(zone, monkeypatch):
        life_of_a_deletion()


@pytest.mark.parametrize("zone", ZONES)
def test_so_it_has_in_a_project_without_zones(zone: str) -> None:
    if connections["default"].vendor != "mysql":
        pytest.skip("the log is on PostgreSQL")
    with override_settings(USE_TZ=False, TIME_ZONE=zone):
        try:
            life_of_a_deletion()
        finally:
            connections["default"].__dict__.pop("timezone", None)


@pytest.mark.parametrize("wall", ["02:30", "03:30"])
def test_a_session_in_a_zone_whose_hour_comes_twice_tells_the_time(wall: str) -> None:
    """The statement that reads the clock does not pass through local time at all."""
    for alias in ("default", "blog_db"):
        if connections[alias].vendor != "mysql":
            continue
        with connections[alias].cursor() as cursor:
            # 2026-10-25 in Berlin: 02:30 comes at 00:30 and at 01:30 UTC.
            at = dt.datetime.fromisoformat(f"2026-10-25T{wall}+02:00").timestamp()
            cursor.execute("SET timestamp = %s, time_zone = '+02:00'", [at])
            try:
                assert abs(clocks.read(alias).at.timestamp() - at) < 1
                cursor.execute(f"SELECT {ServerNow().as_mysql(*_compiler(alias))[0]}")
                (now,) = cursor.fetchone()
                assert abs(now.replace(tzinfo=dt.UTC).timestamp() - at) < 1
            finally:
                cursor.execute("SET timestamp = DEFAULT, time_zone = DEFAULT")


def _compiler(alias: str) -> tuple[Any, Any]:
    compiler = Cascade.objects.using(alias).query.get_compiler(alias)
    return compiler, connections[alias]


def test_doctor_compares_the_clocks_of_all_servers() -> None:
    heartbeats.write("worker@here", using="default")
    assert Heartbeat.objects.get().clock_skew_seconds == pytest.approx(0, abs=2)
    (check,) = [check for check in doctor.examine(None) if check.name == "clocks"]
    assert check.ok, check.detail
