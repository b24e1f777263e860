"""Deadlines: recorded with the deletion, and what is nearest its deadline is claimed first."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from apps.integrity import capture
from apps.integrity.backends import deadlines
from apps.integrity.backends.portable.log import PortableLog
from apps.integrity.backends.postgresql.log import PostgreSQLLog
from apps.integrity.capture import triggers
from apps.integrity.exceptions import InvalidBecause
from apps.integrity.log import claims, joint, outcomes
from apps.integrity.models import Cascade, Deletion
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from benchmarks.lib import deadline_scene
from tests.kinds.parents.models import Owner
from tests.log_rows import check_partitions, make

if TYPE_CHECKING:
    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

DAY = dt.timedelta(days=1)
NAIVE = dt.datetime(2100, 1, 1)  # noqa: DTZ001 (it has no zone)


@pytest.fixture(params=["statement", "orm"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both forms of dispatch and claim: one statement, and the ORM's."""
    if request.param == "orm" and connection.vendor == "postgresql":
        monkeypatch.setattr(PostgreSQLLog, "claim_new", PortableLog.claim_new)
        monkeypatch.setattr(PostgreSQLLog, "dispatch_batch", PortableLog.dispatch_batch)
    return str(request.param)


@pytest.fixture
def nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """No claim is the one in sixteen that goes by `due_at`."""
    monkeypatch.setattr(deadlines, "in_order", lambda _: True)


def left(days: float | None, lasts: dt.timedelta | None) -> bool:
    """Whether about so many days were left when it was recorded."""
    if days is None or lasts is None:
        return lasts is days
    return abs(lasts - dt.timedelta(days=days)) < dt.timedelta(seconds=5)


def spans() -> list[dt.timedelta | None]:
    """What lies between the record of each deletion and its deadline."""
    rows = Deletion.objects.order_by("pk").values_list("recorded_at", "deadline")
    return [deadline and deadline - at for at, deadline in rows]


def claimed(database: str = "shop_db", limit: int = 1) -> list[str | None]:
    """The keys of a claim."""
    claim = claims.claim(database, using="default", limit=limit, lease_seconds=60)
    return [] if claim is None else [one.key for one in claim.deletions]


def record(key: int, days: float | None = None) -> None:
    if days is None:
        capture.record((User, [key]), using="default")
    else:
        with capture.because(deadline=days):
            capture.record((User, [key]), using="default")


def test_a_deletion_has_the_deadline_of_its_parent_or_what_is_stated(tune: Tune) -> None:
    tune(deadline_days={"auth.User": 30})
    record(1)
    record(2, 0.5)
    with capture.because(deadline=dt.timedelta(hours=6), reference="DSR-1"):
        record(3)
        with capture.because(reason="inside"):
            record(4)
    with capture.because(deadline=timezone.now() + 3 * DAY):
        record(5)
    found = spans()
    assert all(left(days, span) for days, span in zip([30, 0.5, 0.25, 0.25, 3], found, strict=True))
    assert Deletion.objects.filter(reference="DSR-1").count() == 2


def test_what_is_stored_wins_over_a_later_setting(tune: Tune, engine: str) -> None:
    tune(deadline_days=30)
    record(1)
    tune(deadline_days=None)
    record(2)
    tune(deadline_days=60)
    dispatch.sweep("default")
    first, second = spans()
    assert left(30, first)
    assert left(60, second)  # it had none when it was dispatched
    tune(deadline_days=1)
    dispatch.sweep("default")
    assert left(30, spans()[0])


@pytest.mark.parametrize("mode", ["trigger", "both"])
def test_a_trigger_records_what_is_stated_and_the_dispatch_the_rest(tune: Tune, mode: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("no triggers there")
    tune(capture={"parents.Owner": mode}, deadline_days={"parents.Owner": 30})
    triggers.install("default")
    try:
        with capture.because(deadline=2), transaction.atomic():
            Owner.objects.create().delete()
        at = timezone.now() + 5 * DAY
        with capture.because(deadline=at):
            Owner.objects.filter(pk=Owner.objects.create().pk).delete()
        with connection.cursor() as cursor:
            Owner.objects.create()
            cursor.execute("SELECT set_config('integrity.deadline', 'tomorrow', false)")
            cursor.execute("DELETE FROM parents_owner")
            cursor.execute("SELECT set_config('integrity.deadline', '', false)")
        dispatch.sweep("default")
        assert all(left(days, span) for days, span in zip([2, 5, 30], spans(), strict=True))
    finally:
        tune(capture="signal")
        triggers.install("default")


def test_without_the_setting_nothing_has_a_deadline_or_an_order(
    captured: Captured, engine: str
) -> None:
    record(1)
    with captured:
        dispatch.sweep("default")
        assert claimed() == ["1"]
    assert not [sql for sql in captured["default"] if "order_at IS" in sql.replace('"', "")]
    assert Cascade.objects.filter(order_at__isnull=True, deadline__isnull=True).exists()
    assert spans() == [None]
    with pytest.raises(InvalidBecause, match="deadline_days"):
        capture.because(deadline=3)


@pytest.mark.parametrize(
    "given",
    [0, -1, True, "30", float("nan"), float("inf"), 1e9, dt.timedelta(), NAIVE],
)
def test_a_deadline_that_is_none_is_refused(tune: Tune, given: Any) -> None:
    tune(deadline_days={})
    with pytest.raises(InvalidBecause, match="deadline"):
        capture.because(deadline=given)
    with pytest.raises(InvalidBecause, match="in the past"):
        capture.because(deadline=timezone.now() - DAY)


@pytest.mark.usefixtures("nearest")
@pytest.mark.parametrize("one_batch", [True, False])
def test_what_is_nearest_its_deadline_is_claimed_first(
    tune: Tune, engine: str, *, one_batch: bool
) -> None:
    tune(deadline_days={})
    for key, days in enumerate([20, 40, 0.01, None, 3], start=1):
        record(key, days)
        if not one_batch:
            dispatch.sweep("default")
    dispatch.sweep("default")
    check_partitions()
    assert [claimed() for _ in range(6)] == [["3"], ["5"], ["1"], ["4"], ["2"], []]


@pytest.mark.usefixtures("nearest")
def test_deadlines_that_are_alike_share_a_cascade(tune: Tune, engine: str) -> None:
    tune(deadline_days={"auth.User": 30})
    for key in range(1, 9):
        record(key)
    record(9, 1)
    dispatch.sweep("default")
    sizes = Cascade.objects.filter(database="shop_db").order_by("order_at")
    assert [*sizes.values_list("size", flat=True)] == [1, 8]
    assert len({*sizes.values_list("tally", flat=True)}) == 1
    assert claimed(limit=1_000) == ["9", *map(str, range(1, 9))]


@pytest.mark.usefixtures("nearest")
def test_a_part_that_is_split_off_has_its_own_deadline(tune: Tune) -> None:
    tune(deadline_days={})
    for key, days in [(1, 10), (2, 10.5), (3, 11)]:
        record(key, days)
    dispatch.sweep("default")
    claim = claims.claim("shop_db", using="default", limit=3, lease_seconds=60)
    assert claim is not None
    first, *others = claim.deletions
    outcomes.finish(claim, {first.id: {}}, barrier=None)
    check_partitions()
    own = {one.pk: one.deadline for one in Deletion.objects.all()}
    rows = Cascade.objects.filter(database="shop_db")
    assert rows.get(state="done").deadline == own[first.id]
    rest = rows.get(state="running")
    assert rest.deadline == rest.order_at == own[others[0].id]


@pytest.mark.usefixtures("nearest")
def test_many_rows_go_behind_all_that_is_due(tune: Tune, engine: str) -> None:
    tune(deadline_days={})
    record(1, 1)
    dispatch.sweep("default")
    claim = claims.claim("shop_db", using="default", limit=1, lease_seconds=60)
    assert claim is not None
    for key in (2, 3):
        record(key, 10 * key)
        dispatch.sweep("default")
    outcomes.release(claim, {claim.ids[0]: {"shop.Order.user": 1_000}})
    assert [claimed() for _ in range(3)] == [["2"], ["3"], ["1"]]
    deadline = Deletion.objects.get(key="1").deadline
    moved = Cascade.objects.get(database="shop_db", deadline=deadline)
    assert moved.order_at is not None
    assert deadline is not None
    assert moved.order_at > deadline


def test_what_has_no_place_in_the_order_is_claimed_as_well(
    tune: Tune, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was dispatched before the setting was on: one claim in sixteen is its, or an idle one."""
    make("auth.User", [1, 2], ["shop_db"], apart=True, recorded_at=timezone.now() - DAY)
    tune(deadline_days={})
    for key in (3, 4):
        record(key, 1)
    dispatch.sweep("default")
    turns = itertools.cycle([True, False])
    monkeypatch.setattr(deadlines, "in_order", lambda _: next(turns))
    assert [claimed() for _ in range(4)] == [["3"], ["1"], ["4"], ["2"]]


@pytest.mark.usefixtures("nearest")
def test_a_claim_that_finds_nothing_in_the_order_takes_what_is_due(tune: Tune, engine: str) -> None:
    make("auth.User", [1], ["shop_db"], recorded_at=timezone.now() - DAY)
    tune(deadline_days={})
    assert [claimed(), claimed()] == [["1"], []]


def test_one_claim_in_sixteen_goes_by_age() -> None:
    tokens = [uuid.UUID(int=number) for number in range(1_600)]
    assert sum(not deadlines.in_order(token) for token in tokens) == 100


@pytest.mark.usefixtures("nearest")
def test_a_joint_claim_goes_by_deadlines(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "EACH_MAX", 1)
    tune(deadline_days={})
    for key, days in [(1, 20), (2, 1)]:
        record(key, days)
    dispatch.sweep("default")
    parts = joint.claim(["shop_db", "blog_db"], using="default", lease_seconds=60)
    assert {one.key for part in parts.values() for one in part.deletions} == {"2"}


@pytest.mark.postgresql
@pytest.mark.usefixtures("new_log", "nearest")
@pytest.mark.parametrize("is_counted", [True, False])
def test_a_claim_reads_the_index_of_the_order_whatever_was_counted(
    tune: Tune, captured: Captured, engine: str, *, is_counted: bool
) -> None:
    tune(deadline_days={})
    old = timezone.now() - 40 * DAY
    make("auth.User", range(4_000), ["shop_db"], apart=True, state="verified", order_at=old)
    with connection.cursor() as cursor:
        if not is_counted:
            cursor.execute("ANALYZE integrity_cascade")
        make("auth.User", range(4_000, 8_000), ["shop_db"], apart=True, order_at=timezone.now())
        # Nearest, and not due: they wait for their next attempt.
        waits = {"due_at": ServerNow() + DAY, "state": "waiting", "order_at": old}
        make("auth.User", range(8_000, 8_500), ["shop_db"], apart=True)
        Cascade.objects.filter(order_at__isnull=True).update(**waits)
        if is_counted:
            cursor.execute("ANALYZE integrity_cascade")
        with captured:
            assert len(claimed(limit=10)) == 10
        asked = [sql for sql in captured["default"] if "order_at IS NOT NULL" in bare(sql)]
        looks = [sql for sql in asked if "ORDER BY" in sql]
        assert looks
        for sql in looks:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "using integrity_cascade_order on" in plan, plan
            assert "Seq Scan on integrity_cascade" not in plan, plan


def test_on_mysql_a_claim_reads_no_more_than_what_is_open(tune: Tune, captured: Captured) -> None:
    if connection.vendor != "mysql":
        pytest.skip("plans of MySQL")
    tune(deadline_days={})
    old = timezone.now() - 40 * DAY
    make("auth.User", range(4_000), ["shop_db"], apart=True, state="verified", order_at=old)
    make("auth.User", range(4_000, 6_000), ["shop_db"], apart=True, order_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE integrity_cascade")
        cursor.fetchall()
        with captured:
            assert claims.claim("shop_db", using="default", limit=10, lease_seconds=60)
        [looks] = [sql for sql in captured["default"] if "ORDER BY" in sql and "order_at" in sql][
            :1
        ]
        cursor.execute(f"EXPLAIN {looks}")
        columns = [column[0] for column in cursor.description]
        plans = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    used = [plan["key"] for plan in plans if plan["table"] == "integrity_cascade"]
    assert used == ["integrity_cascade_order"], plans
    assert "filesort" not in str([plan["Extra"] for plan in plans]), plans


def bare(sql: str) -> str:
    return sql.replace('"', "").replace("integrity_cascade.", "")


def test_no_deadline_is_missed_that_could_be_met(tune: Tune) -> None:
    """2,500 deletions at 95 % load. The oldest first, hundreds of them are late."""
    tune(deadline_days={}, wakeups=False)
    ticks = deadline_scene.arrivals(2_500, seed=1)
    assert deadline_scene.least_late(ticks) == 0
    assert deadline_scene.play(ticks, nearest=True).late == 0
    Cascade.objects.all().delete()
    Deletion.objects.all().delete()
    assert deadline_scene.play(ticks, nearest=False).late > 100
