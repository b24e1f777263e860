"""The rows in receipts are exact, whatever dies between a child's commit and the log."""

from __future__ import annotations

import datetime as dt
import random
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connections, models
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from apps.integrity import cascade, failpoints
from apps.integrity.cascade import verification
from apps.integrity.control import identity, restores
from apps.integrity.control.retention import purge_tallies
from apps.integrity.failpoints import Failpoint
from apps.integrity.log import deletions, tallies
from apps.integrity.models import Cascade, Deletion, Tally
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from apps.integrity.report.receipts import receipt_of
from tests import log_rows
from tests.kinds.lite.models import Line, Note
from tests.kinds.parents.models import Mixed, Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


class Killed(BaseException):
    """As SIGKILL: nobody catches it, and the log hears nothing."""


@dataclass(frozen=True)
class Place:
    """A child on PostgreSQL, or on SQLite."""

    database: str
    parent: type[models.Model]
    child: type[models.Model]
    field: str

    @property
    def label(self) -> str:
        return f"{self.child._meta.label}.{self.field}"

    def parents(self, *rows: int) -> list[Any]:
        """Make a parent for each number, with so many rows."""
        made = [self.parent._base_manager.create() for _ in rows]
        for parent, number in zip(made, rows, strict=True):
            children = [self.child(**{self.field: parent}) for _ in range(number)]
            self.child._base_manager.bulk_create(children)
        return made

    @property
    def left(self) -> int:
        """Return how many rows there are."""
        return int(self.child._base_manager.count())

    def delete(self, *rows: int) -> list[Deletion]:
        """Delete parents with so many rows, in one batch; return their deletions, in order."""
        return self.removed(self.parents(*rows))

    def removed(self, parents: list[Any]) -> list[Deletion]:
        """Delete those parents in one batch; return their deletions, in order."""
        keys = [parent.pk for parent in parents]
        self.parent._base_manager.filter(pk__in=keys).delete()
        dispatch.sweep_all()
        found = {row.key: row for row in Deletion.objects.filter(key__in=keys)}
        return [found[str(key)] for key in keys]

    def counts(self, deletions: list[Deletion]) -> list[int]:
        """Return what the receipts say."""
        fresh = [Deletion.objects.get(pk=row.pk) for row in deletions]
        return [
            sum(one.rows.values())
            for row in fresh
            for one in row.databases
            if one.database == self.database
        ]


PLACES = [
    Place("test_right", Owner, Leaf, "owner"),
    Place("test_lite", Mixed, Note, "mixed"),
]


@pytest.fixture(params=PLACES, ids=lambda place: place.database)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the worker die at a failpoint, each time that it is hit with this probability."""

    def arm(*points: Failpoint, share: float = 1.0) -> None:
        chance = random.Random(20)  # noqa: S311 (no secret)

        def hit(point: Failpoint) -> None:
            if point in points and chance.random() < share:
                raise Killed

        monkeypatch.setattr(failpoints, "hit", hit)

    return arm


def die(database: str) -> None:
    """Work until the worker dies; its lease is over at once."""
    with pytest.raises(Killed):
        cascade.drain(database)
    Cascade.objects.filter(state="running").update(due_at=ServerNow())


def test_the_rows_of_a_killed_worker_are_counted(
    place: Place, killed_at: Any, converge: Converge, tune: Tune
) -> None:
    tune(statement_rows=3, statement_rows_max=3)
    gone = place.delete(7, 0, 4)
    killed_at(Failpoint.REMOVAL_COMMITTED)
    die(place.database)
    die(place.database)
    killed_at()
    assert sum(place.counts(gone)) == 0  # the log has not heard of them
    assert 0 < (left := place.left) < 11
    assert converge()[place.label] == left
    assert place.counts(gone) == [7, 0, 4]
    receipt = receipt_of(Deletion.objects.get(pk=gone[0].pk))
    (line,) = [each for each in receipt["cascades"] if each["database"] == place.database]
    assert line["rows_exact"]
    assert log_rows.cascade_of(gone[0], place.database).attempts == 3


@pytest.mark.parametrize("seed", range(3))
def test_workers_that_die_anywhere_change_no_count(
    seed: int, place: Place, killed_at: Any, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(statement_rows=4, statement_rows_max=4, attempts=500, claim_keys=6)
    chance = random.Random(seed)  # noqa: S311 (no secret)
    numbers = [chance.choice([0, 1, 2, 5, 17]) for _ in range(20)]
    gone = place.delete(*numbers)
    points = (Failpoint.REMOVED, Failpoint.REMOVAL_COMMITTED, Failpoint.FINISHED)
    killed_at(*points, share=0.4)
    deaths = 0
    while Cascade.objects.filter(database=place.database, state__in=Cascade.OPEN).exists():
        Cascade.objects.filter(state__in=["running", "waiting"]).update(due_at=ServerNow())
        try:
            cascade.drain(place.database)
        except Killed:
            deaths += 1
    assert deaths > 5
    assert place.counts(gone) == numbers


def test_rows_below_are_counted_too(killed_at: Any, converge: Converge) -> None:
    mixed = Mixed.objects.create()
    for _ in range(3):
        note = Note.objects.create(mixed=mixed)
        Line.objects.bulk_create(Line(note=note) for _ in range(2))
    mixed.delete()
    dispatch.sweep_all()
    killed_at(Failpoint.REMOVAL_COMMITTED)
    die("test_lite")
    killed_at()
    converge()
    (row,) = Cascade.objects.filter(database="test_lite")
    assert [*(row.rows or {}).values()] == [{"lite.Note.mixed": 3, "lite.Line.note": 6}]


def test_a_step_that_is_rolled_back_counts_nothing(
    place: Place, killed_at: Any, converge: Converge
) -> None:
    gone = place.delete(2)
    killed_at(Failpoint.REMOVED)
    die(place.database)
    assert not Tally.objects.using(place.database).exists()
    killed_at()
    converge()
    assert place.counts(gone) == [2]


def test_a_step_that_fails_once_is_counted_once(place: Place, tune: Tune) -> None:
    """Its transaction has counted it, and is rolled back."""
    gone, failures = place.delete(3), [OperationalError("no room")]

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        done = execute(sql, *rest)
        if "INSERT" in sql and Tally._meta.db_table in sql and failures:
            raise locked(failures.pop(), place.database)
        return done

    with connections[place.database].execute_wrapper(fail):
        cascade.drain(place.database)
    assert not failures
    assert place.counts(gone) == [3]
    (tally,) = Tally.objects.using(place.database).all()
    assert tally.counts == {str(gone[0].pk): 3}


def locked(error: Exception, database: str) -> Exception:
    """As when a lock was waited for in vain, which the step is tried again for."""
    if connections[database].vendor == "postgresql":
        error.__cause__ = LockNotAvailable("locked")
    elif connections[database].vendor == "mysql":
        error.__cause__ = connections[database].Database.OperationalError(1205, "locked")
    else:
        cause = sqlite3.OperationalError("locked")
        cause.sqlite_errorname, cause.sqlite_errorcode = "SQLITE_BUSY", 5
        error.__cause__ = cause
    return error


def test_a_step_takes_one_statement_more_and_a_claim_another(place: Place) -> None:
    place.delete(3, 2)
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        if Tally._meta.db_table in sql:
            statements.append(sql.split(maxsplit=1)[0])
        return execute(sql, *rest)

    assert tallies.is_kept_in(place.database)
    cascade.drain(place.database)  # also looks for a restore, once in a while
    place.delete(3, 2)
    with connections[place.database].execute_wrapper(note):
        cascade.drain(place.database)
    assert statements == ["INSERT", "SELECT"]


def test_two_workers_at_once_count_each_row_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> None:
    """The first one lost its lease in the middle of its work, and goes on: a zombie."""
    tune(statement_rows=2, statement_rows_max=2)
    gone, others = place.delete(9), list[int]()

    def hit(point: Failpoint) -> None:
        if point is Failpoint.REMOVAL_COMMITTED and not others:
            others.append(1)
            Cascade.objects.filter(state="running").update(due_at=ServerNow())
            tune(turn_seconds=0.000_1, statement_rows=2, statement_rows_max=2)
            cascade.drain(place.database, seconds=0.000_1)

    monkeypatch.setattr(failpoints, "hit", hit)
    cascade.drain(place.database)
    Cascade.objects.filter(state__in=["running", "pending"]).update(due_at=ServerNow())
    cascade.drain(place.database)
    assert others
    assert place.counts(gone) == [9]
    assert Tally.objects.using(place.database).count() >= 2


def test_what_a_zombie_removes_after_the_end_is_counted_by_the_verification(
    place: Place, tune: Tune, converge: Converge
) -> None:
    tune(grace_seconds=0.001)
    (gone,) = deleted = place.delete(2)
    converge()
    (done,) = Cascade.objects.filter(database=place.database)
    Tally.objects.using(place.database).create(
        log=identity.of_log("default"),
        batch=done.batch,
        tally=done.tally,
        label=place.label,
        counts={str(gone.pk): 3},
    )
    Cascade.objects.update(due_at=ServerNow())
    assert verified(place.database)
    assert place.counts(deleted) == [5]


def verified(database: str) -> bool:
    return any(verification.verify(database).verified for _ in range(200))


def test_a_split_while_it_runs_loses_no_count(
    place: Place, killed_at: Any, converge: Converge, tune: Tune
) -> None:
    tune(statement_rows=2, statement_rows_max=2)
    gone = place.delete(3, 3, 3)
    killed_at(Failpoint.REMOVAL_COMMITTED)
    die(place.database)
    deletions.cancel([gone[1].pk], "given up", using="default")
    killed_at()
    before = place.child._base_manager.count()
    converge()
    left = place.child._base_manager.count()
    assert Cascade.objects.filter(database=place.database).count() >= 2
    verification.verify(place.database)  # counts what the cancelled one has lost
    assert sum(place.counts(gone)) == 9 - left
    assert before > left


def test_what_was_cancelled_while_it_ran_is_counted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone,) = deleted = place.delete(4)

    def hit(point: Failpoint) -> None:
        if point is Failpoint.REMOVAL_COMMITTED:
            deletions.cancel([gone.pk], "given up", using="default")

    monkeypatch.setattr(failpoints, "hit", hit)
    cascade.drain(place.database)
    assert place.counts(deleted) == [0]
    verification.verify(place.database)
    assert place.counts(deleted) == [4]


def test_bisecting_counts_each_half(converge: Converge, tune: Tune) -> None:
    """A poison row among eight: the others are found by halves of one claim."""
    tune(backoff_seconds=0.001, attempts=2)
    place, numbers = PLACES[0], [*range(1, 9)]
    parents = place.parents(*numbers)
    condition = f"OLD.owner_id = {parents[3].pk}"
    made, undone = (
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN IF {condition} THEN RAISE ''no''; END IF; RETURN OLD; END';"
            " CREATE TRIGGER refuse BEFORE DELETE ON right_leaf FOR EACH ROW"
            " EXECUTE FUNCTION refuse()"
        ),
        "DROP TRIGGER refuse ON right_leaf; DROP FUNCTION refuse()",
    )
    if connections[place.database].vendor == "mysql":
        made, undone = (
            (
                "CREATE TRIGGER refuse BEFORE DELETE ON right_leaf FOR EACH ROW"
                f" IF {condition} THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF"
            ),
            "DROP TRIGGER refuse",
        )
    with connections[place.database].cursor() as cursor:
        cursor.execute(made)
    try:
        gone = place.removed(parents)
        converge()
    finally:
        with connections[place.database].cursor() as cursor:
            cursor.execute(undone)
    assert place.counts(gone) == [1, 2, 3, 0, 5, 6, 7, 8]


def test_a_kept_deletion_counts_what_went_before(
    place: Place, killed_at: Any, converge: Converge, tune: Tune
) -> None:
    tune(statement_rows=2, statement_rows_max=2)
    (gone,) = deleted = place.delete(5)
    killed_at(Failpoint.REMOVAL_COMMITTED)
    die(place.database)
    killed_at()
    place.parent._base_manager.create(pk=gone.key)
    converge()
    (row,) = Cascade.objects.filter(database=place.database)
    assert row.state == "kept"
    assert 0 < place.left < 5
    assert place.counts(deleted) == [5 - place.left]


def test_renamed_labels_are_still_counted(
    place: Place, killed_at: Any, converge: Converge, tune: Tune
) -> None:
    """The tally keeps the label of the day that it was written."""
    tune(statement_rows=2, statement_rows_max=2)
    (gone,) = place.delete(5)
    killed_at(Failpoint.REMOVAL_COMMITTED)
    die(place.database)
    Tally.objects.using(place.database).update(label="old.Name.field")
    killed_at()
    left = place.left
    converge()
    (row,) = Cascade.objects.filter(database=place.database)
    assert row.rows == {str(gone.pk): {"old.Name.field": 5 - left, place.label: left}}


@pytest.fixture
def without_table(committed: None, place: Place, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The child's database was not migrated."""
    monkeypatch.setattr(tallies, "_migrated", set())
    table = connections[place.database].ops.quote_name(Tally._meta.db_table)

    def run(sql: str) -> None:
        with connections[place.database].cursor() as cursor:
            cursor.execute(sql)

    run(f"ALTER TABLE {table} RENAME TO set_aside")
    yield
    run(f"ALTER TABLE set_aside RENAME TO {table}")


def test_without_the_table_work_goes_on_and_the_receipt_says_what_that_means(
    place: Place,
    without_table: None,
    killed_at: Any,
    converge: Converge,
    tune: Tune,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tune(statement_rows=2, statement_rows_max=2)
    gone = place.delete(5)
    killed_at(Failpoint.REMOVAL_COMMITTED)
    die(place.database)
    killed_at()
    converge()
    assert 0 < sum(place.counts(gone)) < 5  # too few, and it says so
    receipt = receipt_of(Deletion.objects.get(pk=gone[0].pk))
    (line,) = [each for each in receipt["cascades"] if each["database"] == place.database]
    assert line["rows_exact"] is False
    Cascade.objects.update(attempts=1)  # as after an operator's retry
    receipt = receipt_of(Deletion.objects.get(pk=gone[0].pk))
    (line,) = [each for each in receipt["cascades"] if each["database"] == place.database]
    assert line["rows_exact"] is False
    assert f"run `manage.py migrate --database {place.database}`" in caplog.text


def test_a_table_that_came_later_takes_no_count_away(
    place: Place, converge: Converge, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What began without it is counted by its workers to the end."""
    tune(statement_rows=2, statement_rows_max=2, turn_seconds=0.000_001)
    gone = place.delete(5)
    with monkeypatch.context() as patch:
        patch.setattr(tallies, "is_kept_in", lambda _: False)
        cascade.drain(place.database, seconds=0.000_001)
    assert 0 < sum(place.counts(gone)) < 5
    assert not Tally.objects.using(place.database).exists()
    converge()
    assert place.counts(gone) == [5]
    (row,) = Cascade.objects.filter(database=place.database)
    assert row.tally is None


def test_the_purge_of_the_log_is_followed_by_that_of_the_tallies(
    place: Place, converge: Converge, tune: Tune
) -> None:
    tune(grace_seconds=0.001)
    place.delete(2)
    converge()
    Tally.objects.using(place.database).update(at=timezone.now() - dt.timedelta(hours=1))
    assert purge_tallies(using="default") == 0
    tune(retention_days=0.01, ledger_days=0.01)
    assert purge_tallies(using="default") == 0  # the log still has them
    Cascade.objects.all().delete()
    assert purge_tallies(using="default") == 1
    assert not Tally.objects.using(place.database).exists()


def test_the_ledger_stays_after_the_retention_of_the_log(
    place: Place, converge: Converge, tune: Tune
) -> None:
    tune(grace_seconds=0.001)
    place.delete(2)
    converge()
    Cascade.objects.all().delete()
    rows = Tally.objects.using(place.database)
    rows.update(at=timezone.now() - dt.timedelta(days=399))
    assert purge_tallies(using="default") == 0
    rows.update(at=timezone.now() - dt.timedelta(days=401))
    tune(retention_days=1_000.0)
    assert purge_tallies(using="default") == 0
    tune()
    assert purge_tallies(using="default") == 1


def test_the_ledger_names_the_parents_in_the_statement_that_counts(
    place: Place, captured: Captured
) -> None:
    deletions = place.delete(2, 3, 0)
    with captured:
        cascade.drain(place.database)
    written = [sql for sql in captured.inserts(place.database) if "integrity_tally" in sql]
    assert len(written) == 1
    (row,) = Tally.objects.using(place.database)
    assert row.counts == {str(deletions[0].pk): 2, str(deletions[1].pk): 3}
    assert row.keys == {str(one.pk): one.key for one in deletions[:2]}
    assert (row.parent, row.relation, row.targets or {}) == (place.parent._meta.label, "", {})


def test_ids_that_are_used_again_share_no_count(
    place: Place, converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore of the log: the same batch, another deletion."""
    (gone,) = place.delete(2)
    converge()
    Cascade.objects.all().delete()
    Deletion.objects.all().delete()
    (again,) = deleted = place.delete(3)
    Deletion.objects.filter(pk=again.pk).update(id=gone.pk, batch=gone.pk)
    Cascade.objects.all().update(batch=gone.pk, deletions=[gone.pk])
    tallies_before = Tally.objects.using(place.database).count()
    monkeypatch.setattr(restores, "reason", lambda *_, **__: "")  # which would see it
    converge()
    deleted[0].pk = gone.pk
    assert place.counts(deleted) == [3]
    assert Tally.objects.using(place.database).count() == tallies_before + 1
