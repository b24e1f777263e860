"""What ended long ago leaves the log, in batches; what is not over never does."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from apps.integrity.checks.doctor import verdicts
from apps.integrity.control import heartbeats, retention
from apps.integrity.log import deletions, failures, outcomes, parts, proofs
from apps.integrity.log.kept import acknowledge_kept
from apps.integrity.models import Audit, Cascade, Deletion, FailedAttempt, Heartbeat
from apps.integrity.models.querysets import LogQuerySet
from apps.integrity.report import receipt_text, receipts
from tests import log_rows, superuser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

DAYS = 30


@pytest.fixture(autouse=True)
def _retention(tune: Tune) -> None:
    tune(retention_days=DAYS, purge_keys=3)


def deletion(state: str, *, days: float, key: str = "1", using: str = "default") -> Deletion:
    """With one cascade, recorded so many days ago, and ended then if that is what it did."""
    at = timezone.now() - dt.timedelta(days=days)
    named = {"recorded": "pending", "dispatched": "pending", "cascaded": "done"}
    [made] = log_rows.make(
        "auth.User",
        [key],
        [] if state == "recorded" else ["shop_db"],
        state=named.get(state, state),
        recorded_at=at,
        using=using,
    )
    return made


def kept(using: str = "default") -> list[str]:
    return sorted(Deletion.objects.using(using).values_list("key", flat=True))


@pytest.mark.parametrize("using", ["default", "test_lite"])
@pytest.mark.parametrize("state", Deletion.ENDED)
def test_what_ended_before_the_retention_goes_with_its_cascades(state: str, using: str) -> None:
    deletion(state, days=DAYS + 1, key="old", using=using)
    deletion(state, days=DAYS - 1, key="young", using=using)
    assert deletions.purge(using=using) == 1
    assert kept(using) == ["young"]
    [young] = Deletion.objects.using(using).values_list("pk", flat=True)
    assert Cascade.objects.using(using).get().deletions == [young]
    assert deletions.purge(using=using) == 0


@pytest.mark.parametrize("using", ["default", "test_lite"])
def test_rows_that_were_left_alone_are_told_of_until_somebody_acknowledges_them(using: str) -> None:
    made = deletion("kept", days=DAYS + 1, using=using)
    rows = {str(made.pk): {"blog.Post.author": 3}}
    Cascade.objects.using(using).update(kept=rows, kept_at=timezone.now())
    deletion("kept", days=DAYS + 1, key="nobody's", using=using)
    assert deletions.purge(using=using) == 1
    assert kept(using) == ["1"]
    assert acknowledge_kept([made.pk], using=using) == 1
    assert deletions.purge(using=using) == 1


@pytest.mark.parametrize("state", ["recorded", "dispatched", "cascaded"])
def test_what_is_not_over_stays_however_old_it_is(state: str) -> None:
    deletion(state, days=1_000)
    assert deletions.purge(using="default") == 0
    assert (Deletion.objects.count(), Cascade.objects.count()) == (1, int(state != "recorded"))


@pytest.mark.parametrize("state", ["pending", "running", "waiting", "blocked", "done"])
@pytest.mark.parametrize("using", ["default", "test_lite"])
def test_a_batch_of_which_a_part_is_not_over_stays_whole(state: str, using: str) -> None:
    at = timezone.now() - dt.timedelta(days=1_000)
    _, second = log_rows.make(
        "auth.User", ["1", "2"], ["shop_db"], state="verified", recorded_at=at, using=using
    )
    with transaction.atomic(using=using):
        rows = Cascade.objects.using(using).all()
        [part] = parts.separate(rows, [second.pk], using=using, holder=False)
        Cascade.objects.using(using).filter(pk=part).update(state=state, ended_at=None)
    assert deletions.purge(using=using) == 0
    assert kept(using) == ["1", "2"]
    Cascade.objects.using(using).update(state="verified", ended_at=at)
    assert deletions.purge(using=using) == 2
    assert not Cascade.objects.using(using).exists()


@pytest.mark.parametrize("using", ["default", "test_lite"])
def test_what_was_cancelled_before_it_was_dispatched_goes_too(using: str) -> None:
    for key, days in (("old", DAYS + 1), ("young", DAYS - 1)):
        made = deletion("recorded", days=DAYS + 1, key=key, using=using)
        at = timezone.now() - dt.timedelta(days=days)
        Deletion.objects.using(using).filter(pk=made.pk).update(cancelled_at=at)
    assert deletions.purge(using=using) == 1
    assert kept(using) == ["young"]


def test_one_call_purges_at_most_a_batch_the_oldest_first() -> None:
    for number in range(7):
        deletion("verified", days=DAYS + 100 - number, key=str(number))
    assert deletions.purge(using="default") == 3
    assert kept() == ["3", "4", "5", "6"]
    assert [deletions.purge(using="default") for _ in range(3)] == [3, 1, 0]
    assert not Cascade.objects.exists()


def test_each_log_is_purged_for_itself() -> None:
    deletion("verified", days=DAYS + 1, using="test_left")
    assert deletions.purge(using="default") == 0
    assert kept("test_left") == ["1"]


def test_what_somebody_just_reads_under_a_lock_is_passed_over_without_waiting(locked: Any) -> None:
    for key in ("held", "free"):
        deletion("verified", days=DAYS + 1, key=key)
    held = Deletion.objects.get(key="held")
    with locked(Cascade.objects.filter(batch=held.batch)):
        assert deletions.purge(using="default") == 1
        assert kept() == ["held"]
    assert deletions.purge(using="default") == 1


def test_two_at_once_purge_everything_once(at_once: Callable[..., list[int]]) -> None:
    for number in range(12):
        deletion("verified", days=DAYS + 1, key=str(number))

    def all_of_it() -> int:
        total = 0
        while number := deletions.purge(using="default"):
            total += number
        return total

    numbers = at_once(all_of_it, all_of_it)
    assert sum(numbers) + deletions.purge(using="default") == 12
    assert (Deletion.objects.count(), Cascade.objects.count()) == (0, 0)


@pytest.mark.parametrize("using", ["default", "test_lite"])
@pytest.mark.parametrize("end", ["verified", "cancelled"])
def test_the_retention_counts_from_the_end(end: str, using: str) -> None:
    """What waited for 31 days stays for 30 more."""
    made = deletion("cascaded", days=DAYS + 1, using=using)
    if end == "verified":
        due = timezone.now() - dt.timedelta(days=1)
        Cascade.objects.using(using).update(due_at=due)
        claim = proofs.due_done("shop_db", now=None, using=using, limit=1)
        assert claim is not None
        assert outcomes.verify(claim, claim.ids) == 1
    else:
        assert deletions.cancel([made.pk], "the parent is alive", using=using) == 1
    made.refresh_from_db(using=using)
    assert made.state == end
    assert deletions.purge(using=using) == 0
    Cascade.objects.using(using).update(ended_at=F("ended_at") - dt.timedelta(days=DAYS))
    assert deletions.purge(using=using) == 1


@pytest.mark.postgresql
def test_the_purge_reads_its_own_index() -> None:
    for number in range(50):
        deletion("verified", days=DAYS + 1, key=str(number))
    old = timezone.now() - dt.timedelta(days=DAYS)
    rows = Cascade.objects.filter(ended_at__lte=old)
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "integrity_cascade_ended" in rows.order_by("ended_at").values("pk")[:3].explain()


def seen(name: str, *, days: float) -> None:
    at = timezone.now() - dt.timedelta(days=days)
    Heartbeat.objects.create(name=name, seen_at=at)


def names() -> set[str]:
    return set(Heartbeat.objects.values_list("name", flat=True))


def test_processes_that_are_gone_are_forgotten_in_batches(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(heartbeat_retention_days=7)
    monkeypatch.setattr(retention, "PURGED", 2)
    for number in range(5):
        seen(f"celery@{number}", days=8 + number)
    seen("celery@late", days=6)
    assert [retention.purge_heartbeats(using="default") for _ in range(4)] == [2, 2, 1, 0]
    assert names() == {"celery@late"}


def test_beat_and_the_worker_seen_last_stay(tune: Tune) -> None:
    """So that alarms, and whoever looks, can say since when nobody was seen."""
    tune(heartbeat_retention_days=7)
    for name, days in (("beat", 100), ("celery@1", 50), ("celery@2", 60)):
        seen(name, days=days)
    assert retention.purge_heartbeats(using="default") == 1
    assert names() == {"beat", "celery@1"}


def test_one_that_is_seen_again_meanwhile_stays(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen("celery@1", days=50)
    seen("celery@2", days=49)
    plain = LogQuerySet._raw_delete

    def seen_again(rows: Any, using: str) -> int:
        heartbeats.record("celery@1", using="default")
        return plain(rows, using)

    monkeypatch.setattr(LogQuerySet, "_raw_delete", seen_again)
    assert retention.purge_heartbeats(using="default") == 0
    assert names() == {"celery@1", "celery@2"}


def audited(*, days: float) -> None:
    at = timezone.now() - dt.timedelta(days=days)
    Audit.objects.create(actor="ann", verb="pause", target="blog_db", at=at)


def test_old_rows_of_the_audit_go_the_oldest_first(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(audit_retention_days=365)
    monkeypatch.setattr(retention, "PURGED", 2)
    for days in (500, 400, 366, 364, 1):
        audited(days=days)
    assert [retention.purge_audit(using="default") for _ in range(3)] == [2, 1, 0]
    assert Audit.objects.count() == 2


@pytest.mark.parametrize("name", ["heartbeat_retention_days", "audit_retention_days"])
def test_none_keeps_for_ever(tune: Tune, name: str) -> None:
    tune(**{name: None})
    for days in (10_000, 9_000):
        seen(f"celery@{days}", days=days)
        audited(days=days)
    purged = retention.purge("default")
    which = {"heartbeat_retention_days": "heartbeats", "audit_retention_days": "audit"}
    assert purged == {
        **dict.fromkeys(["deletions", "failures", "tallies"], 0),
        "heartbeats": 1,
        "audit": 2,
        which[name]: 0,
    }


#: What is past its retention → what makes it.
OLD: dict[str, Callable[[], object]] = {
    "a cancelled deletion": lambda: deletion("recorded", days=DAYS + 1),
    "a verified deletion": lambda: deletion("verified", days=DAYS + 1),
    "a failed attempt": lambda: failed(days=DAYS + 1),
    "a heartbeat": lambda: seen("celery@1", days=50),
    "a row of the audit": lambda: audited(days=1_000),
}


def failed(*, days: float, **columns: object) -> None:
    at = timezone.now() - dt.timedelta(days=days)
    values = {"batch": 1, "database": "blog_db", "attempt": 1, "deletions": 1, **columns}
    FailedAttempt.objects.create(at=at, **values)


def test_failed_attempts_go_in_batches_the_oldest_first(tune: Tune) -> None:
    tune(retention_days=DAYS, purge_keys=2)
    for days in (DAYS + 3, DAYS + 2, DAYS + 1, DAYS - 1):
        failed(days=days)
    assert [failures.purge(using="default") for _ in range(3)] == [2, 1, 0]
    assert FailedAttempt.objects.count() == 1
    assert retention.purge("default", days=1)["failures"] == 1


def rows_of_the_log() -> int:
    workers = Heartbeat.objects.exclude(name="celery@new")
    models = (Deletion, Cascade, Audit, FailedAttempt)
    return workers.count() + sum(model.objects.count() for model in models)


@pytest.mark.parametrize("what", OLD)
def test_what_is_past_its_retention_is_seen_and_goes(what: str) -> None:
    seen("celery@new", days=0)
    OLD[what]()
    Deletion.objects.filter(batch__isnull=True).update(cancelled_at=F("recorded_at"))
    assert rows_of_the_log()
    retention.purge_due(using="default")
    assert not rows_of_the_log()


def test_a_purge_that_fails_keeps_no_other_from_its_table(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> int:
        raise ValueError("no")

    for make in OLD.values():
        make()
    seen("celery@new", days=0)
    monkeypatch.setattr(deletions, "purge", fail)
    retention.purge_due(using="default")
    assert "the purge of deletions in default" in caplog.text
    assert names() == {"celery@new"}
    assert not Audit.objects.exists()


def test_where_nothing_is_old_the_purges_ask_once(captured: Captured) -> None:
    deletion("verified", days=DAYS - 1)
    with captured:
        retention.purge_due(using="test_lite")
        retention.purge_due(using="default")
    assert len(captured["test_lite"]) == 1
    asked = {"postgresql": 2}.get(connections["default"].vendor, 1)  # the rights of the role
    assert len(captured["default"]) == asked


@pytest.fixture
def worker() -> Iterator[None]:
    """The session goes on as a role that may add to the audit, and see it."""
    with superuser.logged_in("default"), connections["default"].cursor() as cursor:
        cursor.execute("CREATE ROLE retention_worker NOLOGIN")
        try:
            cursor.execute("GRANT SELECT, INSERT ON integrity_audit TO retention_worker")
            tables = "integrity_deletion, integrity_cascade, integrity_heartbeat"
            tables += ", integrity_failedattempt"
            cursor.execute(f"GRANT SELECT ON {tables} TO retention_worker")
            cursor.execute("SET ROLE retention_worker")
            yield
        finally:
            cursor.execute("RESET ROLE; DROP OWNED BY retention_worker; DROP ROLE retention_worker")


@pytest.mark.postgresql
def test_a_role_that_may_not_remove_from_the_audit_leaves_it(tune: Tune, worker: None) -> None:
    audited(days=1_000)
    assert retention.purge_audit(using="default") == 0
    retention.purge_due(using="default")
    assert Audit.objects.count() == 1
    assert retention.has_old_audit(365, using="default")


def test_doctor_says_who_removes_it() -> None:
    def judged(days: float | None, **seen: bool) -> verdicts.Check:
        return verdicts.audit("default", days, **seen)

    assert judged(None, removes=False, old=True).ok
    assert judged(365, removes=True, old=True).ok
    assert judged(365, removes=False, old=False).ok
    bad = judged(365, removes=False, old=True)
    assert not bad.ok
    assert (
        "`manage.py integrity purge` does, as the tables' owner: some rows are older" in bad.detail
    )


def test_the_owner_purges_all_of_it_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        deletion("verified", days=DAYS + 1, key=str(number))
        audited(days=1_000)
        seen(f"celery@{number}", days=1_000)
    call_command("integrity", "purge", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["purged"] == {
        "deletions": 7,
        "failures": 0,
        "heartbeats": 6,
        "audit": 7,
        "tallies": 0,
    }
    call_command("integrity", "purge")
    assert capsys.readouterr().out == "nothing to do: no row is past its retention\n"


class TestExport:
    @pytest.fixture
    def old(self) -> list[Deletion]:
        """More than one transaction removes."""
        return [deletion("verified", days=DAYS - 10, key=str(number)) for number in range(5)]

    def lines(self, path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    def test_receipts_are_written_before_their_deletions_go(
        self, old: list[Deletion], tmp_path: Path
    ) -> None:
        young, file = deletion("verified", days=DAYS - 25, key="young"), tmp_path / "receipts"
        expected = [
            json.loads(json.dumps(receipt_text.document(receipts.receipt_of(row)))) for row in old
        ]
        call_command("integrity", "purge", "--days", "10", "--export", str(file))
        lines = self.lines(file)
        for receipt in (*lines, *expected):
            assert receipt.pop("issued")["by"] == receipts.DISTRIBUTION  # at its own second
        assert lines == [{"log": "default", **receipt} for receipt in expected]
        assert kept() == [young.key]
        assert file.stat().st_mode & 0o777 == 0o600
        call_command("integrity", "purge", "--days", "10", "--export", str(file))
        assert len(self.lines(file)) == len(old)

    def test_what_cannot_be_written_stays(
        self, old: list[Deletion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_number: int) -> None:
            raise ValueError("no space is left")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(ValueError, match="no space"):
            call_command(
                "integrity", "purge", "--days", "10", "--export", str(tmp_path / "receipts")
            )
        assert len(kept()) == len(old)
        assert Cascade.objects.count() == len(old)

    def test_without_days_the_retention_decides(self, old: list[Deletion], tmp_path: Path) -> None:
        call_command("integrity", "purge", "--export", str(tmp_path / "receipts"))
        assert len(kept()) == len(old)

    @pytest.mark.parametrize(
        "given", [["--days", "-1"], ["--export", "/nowhere/receipts"]], ids=["days", "file"]
    )
    def test_what_cannot_be_done_is_refused(self, old: list[Deletion], given: list[str]) -> None:
        with pytest.raises(CommandError):
            call_command("integrity", "purge", *given)
        assert len(kept()) == len(old)
