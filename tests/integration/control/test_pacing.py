"""Work on a busy database: slowed down, one worker at a time, and visible."""

from __future__ import annotations

import datetime as dt
import io
import json
import reprlib
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import cascade, conf, scan
from apps.integrity.backends import batch_size
from apps.integrity.cascade import verification
from apps.integrity.checks import doctor, pressure
from apps.integrity.control import pacing
from apps.integrity.control.pacing import Pacer
from apps.integrity.control.pressure import BUSY_SHARE, CAUTIOUS_SHARE
from apps.integrity.log import claims
from apps.integrity.models import Alarm, Cascade, ChildDatabase, Scan
from apps.integrity.queues import dispatch, in_process
from apps.integrity.report import alarms, metrics, overview, status
from apps.shop.models import Order
from sandbox.processes import eventually
from tests import superuser

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

BLOG = "blog_db"
#: How busy the databases are, for the dotted path of a function.
LOAD: dict[str, object] = {}


def load(alias: str) -> object:
    if isinstance(answer := LOAD.get(alias, 0), Exception):
        raise answer
    return answer


class Hostile:
    def __repr__(self) -> str:
        return "\x1b[31m\ud800\0"


class Mute:
    def __repr__(self) -> str:
        raise ValueError("row of ann@example.com")


MUTE = Mute()
HERE = f"{__name__}.load"


@pytest.fixture(autouse=True)
def idle() -> Iterator[None]:
    LOAD.clear()
    yield
    pacing.stopping.clear()


def recorded(rows: int, users: int = 1) -> None:
    """Delete users with so many posts each."""
    for number in range(users):
        user = User.objects.create(username=f"user {number} {time.monotonic_ns()}")
        Post.objects.bulk_create([Post(author=user, title="t", content="c") for _ in range(rows)])
        user.delete()
    dispatch.sweep("default")


def row() -> ChildDatabase:
    return ChildDatabase.objects.get(alias=BLOG)


def card() -> overview.Card:
    return next(one for one in overview.collect_overview().cards if one["database"] == BLOG)


def status_of(alias: str = BLOG) -> dict[str, Any]:
    rows = status.collect_status()["databases"]
    return dict(next(one for one in rows if one["database"] == alias))


class TestBusy:
    def test_full_speed_and_no_token_where_it_is_idle(self, tune: Tune, captured: Captured) -> None:
        tune(pressure={"*": {"busy": HERE}})
        recorded(10)
        with captured:
            cascade.drain(BLOG)
        assert not Post.objects.exists()
        assert not [sql for sql in captured[BLOG] if "advisory" in sql]
        assert row().rests_until is None
        assert status_of()["pace_reason"] == ""

    @pytest.mark.parametrize("limited", [False, True])
    def test_batches_grow_anew_where_there_are_limits(self, tune: Tune, *, limited: bool) -> None:
        """What fitted at the end of the last run may be too much for what a replica does now."""
        pressed = {BLOG: {"max_rows_per_second": 1_000_000}}
        tune(pressure=pressed if limited else None)
        batch_size.forget()
        recorded(rows=5)
        cascade.drain(BLOG)
        assert not Post.objects.exists()
        kept = {database for database, *_ in batch_size._recent}
        assert kept == (set() if limited else {BLOG})

    def test_a_database_without_limits_is_not_asked_for(self, captured: Captured) -> None:
        recorded(10)
        with captured:
            cascade.drain(BLOG)
        pace = [sql for sql in captured["default"] if "rests_until" in sql and "SELECT" not in sql]
        assert not pace
        assert not [sql for sql in captured[BLOG] if "advisory" in sql]

    @pytest.mark.postgresql
    def test_a_busy_one_is_slowed_with_a_token_short_steps_and_rests(
        self, tune: Tune, captured: Captured
    ) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = 0.8
        recorded(200)
        with captured:
            cascade.drain(BLOG)
        assert not Post.objects.exists()
        assert [sql for sql in captured[BLOG] if "pg_try_advisory_xact_lock" in sql]
        assert row().rests_until is not None
        pacer = Pacer(BLOG, using="default")
        assert pacer.rest(time.monotonic() + 5)
        assert pacer.pace.share == pytest.approx(0.2)
        assert pacer.step_seconds(0.1) == pacing.STEP_SECONDS

    def test_everybody_sees_why(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"busy": HERE, "max_rows_per_second": 5_000}})
        LOAD[BLOG] = 0.8
        recorded(10)
        Pacer(BLOG, using="default").rest(time.monotonic() + 5)
        words = "slowed to 20 %: it is 80 % busy; limited to 5,000 rows/s"
        assert (status_of()["pace"], status_of()["pace_reason"]) == (pytest.approx(0.2), words)
        assert card()["pace_reason"] == words
        assert b'integrity_pace_ratio{database="blog_db"} 0.2' in metrics.exposition()
        assert b'integrity_pace_ratio{database="shop_db"} 1.0' in metrics.exposition()
        out = io.StringIO()
        with pytest.raises(SystemExit):
            call_command("integrity", "status", stdout=out, stderr=io.StringIO(), no_color=True)
        assert f"{BLOG}: {words}" in out.getvalue()

    def test_an_old_sample_says_nothing(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = 0.8
        Pacer(BLOG, using="default").rest(time.monotonic() + 5)
        ChildDatabase.objects.update(paced_at=timezone.now() - dt.timedelta(seconds=30))
        assert status_of()["pace_reason"] == ""

    def test_a_sample_is_taken_once_a_second_for_all_workers(self, tune: Tune) -> None:
        asked = list[str]()

        def ask(alias: str) -> float:
            asked.append(alias)
            return 0.5

        tune(pressure={BLOG: {"busy": ask}})
        pacers = [Pacer(BLOG, using="default") for _ in range(3)]
        until = time.monotonic() + 1.3
        while time.monotonic() < until:
            for pacer in pacers:
                assert pacer.rest(until + 5)
                assert pacer.pace.share == pytest.approx(0.5)
        assert asked == [BLOG, BLOG]

    def test_nobody_takes_an_old_pace_for_todays(self, tune: Tune) -> None:
        """While one worker takes the first sample after a long time, the others go slowly."""
        tune(pressure={BLOG: {"busy": HERE}})
        Pacer(BLOG, using="default").rest(time.monotonic() + 5)
        ChildDatabase.objects.update(paced_at=timezone.now() - dt.timedelta(hours=1))
        first, second = (Pacer(BLOG, using="default") for _ in range(2))
        assert first._takes_turn(None)
        second.rest(time.monotonic() + 5)
        assert second.pace == pacing.UNSAMPLED
        assert second.pace.share == CAUTIOUS_SHARE


@contextmanager
def slow_deletes(seconds: float) -> Iterator[None]:
    with superuser.session(BLOG) as session:
        session.execute(
            "CREATE OR REPLACE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END$$;"
            "CREATE TRIGGER slowly AFTER DELETE ON blog_post FOR EACH STATEMENT"
            " EXECUTE FUNCTION slowly()"
        )
        try:
            yield
        finally:
            session.execute("DROP TRIGGER slowly ON blog_post; DROP FUNCTION slowly()")


class Watch:
    """The most sessions that were deleting posts at the same time."""

    def __init__(self) -> None:
        self.most = self.looks = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        with superuser.session(BLOG) as session:
            while not self.over.is_set():
                found = session.execute(
                    "SELECT count(DISTINCT pid) FROM pg_locks WHERE granted AND mode ="
                    " 'RowExclusiveLock' AND relation = 'blog_post'::regclass"
                ).fetchone()
                self.looks += 1
                self.most = max(self.most, found[0] if found else 0)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


@pytest.mark.postgresql
class TestOneAtATime:
    @pytest.mark.parametrize(("busy", "most"), [(0.3, 1), (0, 2)])
    def test_two_workers_never_overlap_in_a_busy_database(
        self, tune: Tune, at_once: Callable[..., list[Any]], busy: float, most: int
    ) -> None:
        tune(pressure={BLOG: {"busy": HERE}}, claim_keys=1)
        LOAD[BLOG] = busy
        recorded(3, users=12)
        with slow_deletes(0.08), Watch() as watch:
            done = at_once(*[lambda: cascade.drain(BLOG)] * 2)
        assert watch.looks > 50
        assert watch.most == most
        assert not Post.objects.exists()
        assert sum(one.finished for one in done) == 12

    def test_who_finds_the_token_taken_changes_nothing_and_comes_back(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"busy": HERE}}, turn_seconds=0.3)
        LOAD[BLOG] = 0.3
        recorded(5)
        from apps.integrity.backends.postgresql.load import TOKEN

        with superuser.session(BLOG) as session:
            session.execute("SELECT pg_advisory_lock(%s)", [TOKEN])
            done = cascade.drain(BLOG, seconds=0.5)
        assert (done.finished, done.failed, done.more) == (0, 0, True)
        assert Post.objects.count() == 5
        (waiting,) = Cascade.objects.filter(database=BLOG)
        assert (waiting.state, waiting.attempts, waiting.reason) == ("pending", 0, "")
        assert cascade.drain(BLOG).finished == 1
        assert not Post.objects.exists()


class TestRows:
    def test_the_rows_per_second_are_kept(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"max_rows_per_second": 1_000}})
        recorded(4_000)
        began = time.monotonic()
        assert cascade.drain(BLOG, seconds=60).finished == 1
        assert 500 <= 4_000 / (time.monotonic() - began) <= 1_150

    def test_by_all_workers_together(self, tune: Tune, at_once: Callable[..., list[Any]]) -> None:
        tune(pressure={BLOG: {"max_rows_per_second": 1_000}}, claim_keys=1)
        recorded(200, users=20)
        began = time.monotonic()
        at_once(*[lambda: cascade.drain(BLOG, seconds=60)] * 2)
        assert not Post.objects.exists()
        assert 500 <= 4_000 / (time.monotonic() - began) <= 1_150


class TestRests:
    @pytest.mark.postgresql
    def test_a_rest_outlives_no_lease(self, tune: Tune) -> None:
        tune(
            pressure={BLOG: {"busy": HERE}},
            lease_seconds=1.5,
            turn_seconds=60,
            statement_rows=50,
        )
        LOAD[BLOG] = 0.9
        recorded(50)
        stolen = list[object]()
        over = threading.Event()

        def steal() -> None:
            while not over.wait(0.05):
                stolen.append(claims.claim(BLOG, using="default", limit=9, lease_seconds=9))
            connections.close_all()

        thread = threading.Thread(target=steal)
        with slow_deletes(0.25):
            done = threading.Thread(target=_drain_here)
            done.start()
            claimed = Cascade.objects.filter(state=Cascade.State.RUNNING)
            assert eventually(claimed.exists, timeout=30)
            thread.start()
            done.join()
            over.set()
            thread.join()
        assert len(stolen) > 5
        assert not any(stolen)
        assert not Post.objects.exists()

    def test_stopping_ends_a_rest_at_once(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"max_rows_per_second": 1}})
        recorded(30)

        def stop() -> None:
            try:
                assert eventually(lambda: Post.objects.count() < 30, timeout=30)
            finally:
                pacing.stopping.set()
                connections.close_all()

        stops = threading.Thread(target=stop)
        stops.start()
        began = time.monotonic()
        done = cascade.drain(BLOG, seconds=60)
        assert time.monotonic() - began < 30
        stops.join()
        assert done.more
        assert 0 < Post.objects.count() < 30

    def test_sigterm_stops_a_process_without_celery(self) -> None:
        worker = in_process.Worker([BLOG], progress=lambda _: None)
        worker._stop(15, None)
        assert pacing.stopping.is_set()

    def test_time_limits_hold(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"max_rows_per_second": 1}})
        recorded(30)
        began = time.monotonic()
        assert cascade.drain(BLOG, seconds=1).more
        assert time.monotonic() - began < 15

    def test_a_rest_ends_when_the_database_is_idle_again(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = 0.99
        pacer = Pacer(BLOG, using="default")
        assert pacer.rest(time.monotonic() + 9)
        time.sleep(0.1)
        pacer.record(1)
        LOAD[BLOG] = 0
        began = time.monotonic()
        assert pacer.rest(began + 60)
        assert time.monotonic() - began < 20
        assert not pacer.is_slowed

    def test_a_step_along_several_relations_is_followed_by_one_rest(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = 0.5
        record, began = Pacer.record, list[float]()

        def recording(self: Pacer, rows: int = 0) -> None:
            began.append(self._began)
            record(self, rows)

        monkeypatch.setattr(Pacer, "record", recording)
        ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
        Post.objects.create(author=ann, title="t", content="c")
        of_bob = Post.objects.create(author=bob, title="t", content="c")
        Comment.objects.create(post=of_bob, author=ann, content="c")
        ann.delete()
        dispatch.sweep("default")
        assert cascade.drain(BLOG).rows == {"blog.Post.author": 1, "blog.Comment.author": 1}
        assert began
        assert len(began) == len(set(began))

    def test_other_workers_learn_of_the_rests_of_a_run_that_is_over(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        monkeypatch.setattr(pacing, "SHARE_SECONDS", 3600)  # so that only the end of a run writes
        LOAD[BLOG] = 0.99
        recorded(50)
        began = timezone.now()
        cascade.drain(BLOG, seconds=0.05)
        rests_until = row().rests_until
        assert rests_until is not None
        assert rests_until > began

    def test_the_outcome_is_exact(self, tune: Tune, converge: Converge) -> None:
        tune(pressure={"*": {"busy": HERE}}, turn_seconds=0.05)
        LOAD[BLOG] = 0.6
        recorded(300)
        rows = converge()
        while Cascade.objects.filter(Cascade.IN_BACKLOG).exists():
            rows += converge()
        assert rows["blog.Post.author"] == 300


def _drain_here() -> None:
    try:
        cascade.drain(BLOG, seconds=60)
    finally:
        connections.close_all()


class TestUnknown:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (RuntimeError("row of ann@example.com"), "failed: RuntimeError"),
            (7, "returned 7, not a number from 0 to 1"),
            (-0.1, "returned -0.1, not a number from 0 to 1"),
            (float("nan"), "returned nan, not a number from 0 to 1"),
            (None, "returned None, not a number from 0 to 1"),
            ("much", "returned 'much', not a number from 0 to 1"),
            (Hostile(), r"returned \x1b[31m\ud800\x00, not a number from 0 to 1"),
            (MUTE, f"returned {reprlib.repr(MUTE)}, not a number from 0 to 1"),
        ],
        ids=["error", "seven", "negative", "nan", "none", "text", "hostile", "mute"],
    )
    def test_nonsense_is_not_idle_and_stops_nothing(
        self, tune: Tune, answer: object, reason: str
    ) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = answer
        recorded(10)
        done = cascade.drain(BLOG)
        assert (done.finished, done.failed) == (1, 0)
        words = f"slowed to 25 %: INTEGRITY['pressure']['blog_db']['busy'] {reason}"
        assert status_of()["pace_reason"] == words
        (message,) = pressure.told([BLOG])
        assert message.id == "integrity.W027"
        assert f"['blog_db']['busy'] {reason}" in message.msg
        assert "ann@" not in message.msg + words
        assert pressure.told(["shop_db"]) == []
        found = {check.name: check for check in doctor.examine(None)}
        assert not found[f"pressure {BLOG}"].ok
        assert reason in found[f"pressure {BLOG}"].detail

    def test_another_database_is_not_held_up(self, tune: Tune) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = RuntimeError()
        user = User.objects.create(username="ann")
        Order.objects.create(customer=user, order_number="1", total=1)
        user.delete()
        dispatch.sweep("default")
        cascade.drain("shop_db")
        assert not Order.objects.exists()
        assert status_of("shop_db")["pace_reason"] == ""

    def test_a_time_limit_is_no_answer(self, tune: Tune) -> None:
        class TimeIsUp(Exception):
            pass

        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = TimeIsUp()
        recorded(1)
        cascade.drain(BLOG, interruptions=(TimeIsUp,))
        assert Post.objects.exists()
        LOAD[BLOG] = 0
        ChildDatabase.objects.update(paced_at=None, pace=None)
        cascade.drain(BLOG)
        assert not Post.objects.exists()

    def test_without_rights_on_the_log_work_goes_on_slowly(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(pressure={BLOG: {"busy": HERE}})
        recorded(10)

        def refuse(self: Pacer) -> None:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT no_such_column FROM integrity_childdatabase")

        monkeypatch.setattr(Pacer, "_read", refuse)
        assert cascade.drain(BLOG).finished == 1
        assert not Post.objects.exists()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def put(hour: str) -> None:
        now = dt.datetime.fromisoformat(f"2026-06-10T{hour}+00:00")
        monkeypatch.setattr(pacing, "now", lambda: now)

    return put


class TestQuietHours:
    HOURS = "22:00-06:00 UTC"

    def test_nothing_works_in_them_and_everything_after_them(
        self, tune: Tune, captured: Captured, clock: Callable[[str], None], converge: Converge
    ) -> None:
        tune(pressure={BLOG: {"quiet_hours": self.HOURS}}, grace_seconds=0.001)
        recorded(3)
        clock("23:00")
        with captured:
            drained, verified = cascade.drain(BLOG), verification.verify(BLOG)
            scanned, unreachable = scan.scan(BLOG)
        words = "quiet hours until 06:00 (UTC)"
        assert captured[BLOG] == []
        assert (drained.quiet, verified.quiet, drained.more) == (words, words, False)
        assert {one.reason for one in scanned} == {words}
        assert not any(one.complete for one in scanned)
        assert unreachable == ""
        assert not Scan.objects.filter(database=BLOG).exists()
        assert (status_of()["pace"], status_of()["pace_reason"]) == (0.0, words)
        assert card()["pace_reason"] == words
        clock("06:00")
        converge()
        assert not Post.objects.exists()

    def test_they_end_work_that_has_begun(
        self, tune: Tune, clock: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(pressure={BLOG: {"quiet_hours": self.HOURS}}, statement_rows=50, statement_rows_max=50)
        recorded(500)
        clock("21:59")
        record, steps = Pacer.record, list[int]()

        def after(self: Pacer, rows: int = 0) -> None:
            record(self, rows)
            steps.append(rows)
            if len(steps) == 3:
                clock("22:00")

        monkeypatch.setattr(Pacer, "record", after)
        done = cascade.drain(BLOG)
        assert (len(steps), done.more, done.quiet != "") == (3, False, True)
        assert Post.objects.count() == 500 - sum(steps) > 0
        (waiting,) = Cascade.objects.filter(database=BLOG)
        assert (waiting.state, waiting.attempts) == ("pending", 0)

    def test_the_commands_say_so(self, tune: Tune, clock: Callable[[str], None]) -> None:
        tune(pressure={BLOG: {"quiet_hours": self.HOURS}})
        recorded(3)
        clock("23:00")
        out, err = io.StringIO(), io.StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command(
                "integrity", "drain", "--verify", "--json", database=BLOG, stdout=out, stderr=err
            )
        assert ended.value.code == 4
        assert json.loads(out.getvalue())["pending"] == 1
        assert f"{BLOG}: quiet hours until 06:00 (UTC)" in err.getvalue()

    def test_they_raise_no_alarm(self, tune: Tune, clock: Callable[[str], None]) -> None:
        recorded(3)
        ago = timezone.now() - dt.timedelta(hours=6)
        Cascade.objects.update(recorded_at=ago)
        clock("05:00")
        alarms.watch("default")
        assert Alarm.objects.filter(kind="stalled", subject=BLOG).exists()
        tune(pressure={BLOG: {"quiet_hours": self.HOURS}})
        for hour in ("05:00", "06:10"):
            clock(hour)
            alarms.watch("default")
            assert not Alarm.objects.filter(kind="stalled", subject=BLOG).exists()
        clock("07:00")
        alarms.watch("default")
        assert Alarm.objects.filter(kind="stalled", subject=BLOG).exists()


class TestScan:
    @pytest.mark.postgresql
    def test_it_is_slowed_as_well(self, tune: Tune, captured: Captured) -> None:
        tune(pressure={BLOG: {"busy": HERE}}, scan_step_keys_max=50)
        users = [User.objects.create(username=f"{number}") for number in range(160)]
        Post.objects.bulk_create([Post(author=user, title="t", content="c") for user in users])
        LOAD[BLOG] = 0.5
        with captured:
            scanned, _ = scan.scan(BLOG, labels=["blog.Post.author"], seconds=60)
        assert [(one.complete, one.keys_scanned) for one in scanned] == [(True, 160)]
        assert len([sql for sql in captured[BLOG] if "advisory" in sql]) >= 4
        assert row().rests_until is not None

    @pytest.mark.postgresql
    def test_it_waits_for_its_turn(self, tune: Tune) -> None:
        from apps.integrity.backends.postgresql.load import TOKEN

        tune(pressure={BLOG: {"busy": HERE}})
        LOAD[BLOG] = 0.5
        Post.objects.create(author=User.objects.create(username="ann"), title="t", content="c")
        with superuser.session(BLOG) as session:
            session.execute("SELECT pg_advisory_lock(%s)", [TOKEN])
            (scanned,), _ = scan.scan(BLOG, labels=["blog.Post.author"], seconds=0.3)
        assert (scanned.complete, scanned.keys_scanned) == (False, 0)
        (scanned,), _ = scan.scan(BLOG, labels=["blog.Post.author"], seconds=60)
        assert scanned.complete


class TestSettings:
    def test_an_unknown_database_and_an_unknown_function(self, tune: Tune) -> None:
        tune(pressure={"blog": {}, "*": {"busy": "no.such.function"}})
        texts = [message.msg for message in pressure.limited()]
        assert texts[0] == "INTEGRITY['pressure'] names 'blog', which is no child database or step."
        assert "INTEGRITY['pressure']['*']['busy'] is 'no.such.function', which cannot" in texts[1]
        assert len([text for text in texts if "busy" in text]) == 1

    def test_an_engine_that_cannot_tell_the_lag(self, tune: Tune) -> None:
        tune(pressure={"*": {"max_replica_lag_seconds": 2}})
        (message,) = [each for each in pressure.limited() if "'test_lite'" in each.msg]
        assert message.id == "integrity.E023"
        assert message.msg == (
            "SQLite does not tell the lag of the replicas of 'test_lite':"
            " set INTEGRITY['pressure']['*']['replica_lag']."
        )
        tune(pressure={"*": {"max_replica_lag_seconds": 2, "replica_lag": HERE}})
        assert pressure.limited() == []

    def test_the_defaults_are_silent(self) -> None:
        assert pressure.limited() == pressure.told([BLOG]) == []
        assert conf.current().pressure_on(BLOG) == conf.pressures.NONE
        assert BUSY_SHARE < 1
