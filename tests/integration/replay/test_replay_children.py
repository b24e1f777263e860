"""A child database was restored from a backup: what was erased since is erased again."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from apps.integrity import cascade
from apps.integrity.cascade import verification
from apps.integrity.control import actions, refusals, restores
from apps.integrity.log import tallies, undone
from apps.integrity.models import Audit, Cascade, ChildDatabase, Deletion, Tally
from apps.integrity.queues import dispatch
from apps.integrity.report import receipt_text, receipts
from apps.integrity.scan.replay import children
from apps.integrity.scan.replay.children import Replayed
from tests.kinds.lite.models import Note
from tests.kinds.parents.models import Mixed, Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from django.db import models

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

#: Longer than the grace period.
ENOUGH = dt.timedelta(hours=1)

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch, tune: Tune) -> None:
    monkeypatch.setattr(restores, "SECONDS", 0.0)
    tune(grace_seconds=0.001)


@dataclass
class Place:
    """A child database, and backups of it: its rows and its ledger."""

    database: str
    parent: type[models.Model]
    child: type[models.Model]
    field: str

    def make(self, *rows: int) -> list[Any]:
        made = [self.parent._base_manager.create() for _ in rows]
        for parent, number in zip(made, rows, strict=True):
            self.child._base_manager.bulk_create(
                self.child(**{self.field: parent}) for _ in range(number)
            )
        return made

    def delete(self, *parents: Any) -> None:
        self.parent._base_manager.filter(pk__in=[one.pk for one in parents]).delete()
        dispatch.sweep_all()

    def backup(self) -> list[list[models.Model]]:
        return [
            list(model._base_manager.using(self.database).all()) for model in (Tally, self.child)
        ]

    def restore(self, backup: list[list[models.Model]]) -> None:
        for model, rows in zip((Tally, self.child), backup, strict=True):
            model._base_manager.using(self.database).all()._raw_delete(self.database)
            model._base_manager.using(self.database).bulk_create(rows)

    def replay(self, since: dt.datetime | None = None) -> Replayed:
        return children.replay(self.database, using="default", since=since, actor="me")

    @property
    def left(self) -> int:
        return int(self.child._base_manager.count())

    def holders(self) -> list[Any]:
        """Return the parents that rows refer to."""
        return sorted({*self.child._base_manager.values_list(f"{self.field}_id", flat=True)})


PLACES = {
    "test_right": Place("test_right", Owner, Leaf, "owner"),
    "test_lite": Place("test_lite", Mixed, Note, "mixed"),
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


@pytest.fixture(name="converge")
def _converge(converge: Converge, place: Place) -> Converge:
    """Cascade and verify, until nothing is due."""

    def run() -> Counter[str]:
        rows = converge()
        for _ in range(100):
            Cascade.objects.filter(state="done").update(due_at=timezone.now() - ENOUGH)
            verification.verify(place.database)
            if "done" not in states(place):
                return rows
            time.sleep(0.05)
        raise AssertionError("not verified")

    return run


def states(place: Place) -> set[str]:
    rows = Cascade.objects.filter(database=place.database)
    return {*rows.values_list("state", flat=True)}


def test_what_was_erased_since_the_backup_is_erased_again(place: Place, converge: Converge) -> None:
    before, first, second, living = place.make(1, 2, 3, 4)
    place.delete(before)
    converge()
    backup = place.backup()
    place.delete(first)
    converge()
    place.delete(second)
    converge()
    assert place.left == 4
    place.restore(backup)
    assert place.left == 9
    place.delete(place.make(1)[0])
    cascade.drain(place.database)  # notices it
    assert actions.is_refused(place.database, using="default")
    done = place.replay()
    assert (done.lost, done.deletions, len(done.batches)) == (2, 3, 3)  # `before` as well: Note
    assert (done.resumed, done.reason) == (True, "")
    converge()
    assert place.holders() == [living.pk]
    assert restores.reason(place.database, using="default") == ""
    assert states(place) == {"verified"}
    assert [row.verb for row in Audit.objects.order_by("pk")] == ["pause", "replay", "resume"]
    totals = {
        row.key: sum(sum(one.rows.values()) for one in row.databases)
        for row in Deletion.objects.all()
    }
    assert [totals[str(one.pk)] for one in (before, first, second)] == [1, 2, 3]


def test_running_it_twice_has_the_effect_of_once(place: Place, converge: Converge) -> None:
    backup, began = place.backup(), timezone.now() - dt.timedelta(hours=1)
    (gone,) = place.make(2)
    rows = place.backup()[1]
    place.delete(gone)
    converge()
    place.restore([backup[0], rows])
    assert place.replay(began).deletions == 1
    assert place.replay(began).deletions == 0  # it is open
    converge()
    assert place.replay(began).deletions == 0  # it is done
    assert place.replay().deletions == 0
    (row,) = Cascade.objects.filter(database=place.database)
    assert (row.state, len(row.undone), place.left) == ("verified", 1, 0)


def test_a_second_restore_is_replayed_as_well(place: Place, converge: Converge) -> None:
    began = timezone.now() - dt.timedelta(hours=1)
    (gone,) = place.make(2)
    backup = place.backup()
    place.delete(gone)
    converge()
    for times in (1, 2):
        place.restore(backup)
        assert place.replay(began).deletions == 1
        converge()
        (row,) = Cascade.objects.filter(database=place.database)
        assert (row.state, len(row.undone), place.left) == ("verified", times, 0)


def test_rows_that_had_moved_away_are_back_and_go_as_well(place: Place, converge: Converge) -> None:
    """The cascade of their parent had no rows, so nothing is counted."""
    first, gone, empty, living = place.make(1, 1, 1, 0)
    place.delete(first)
    converge()
    backup = place.backup()
    place.child._base_manager.filter(**{place.field: empty}).update(**{place.field: living})
    place.delete(empty)
    place.delete(gone)
    converge()
    assert place.holders() == [living.pk]
    place.restore(backup)
    place.replay()
    converge()
    assert (place.left, states(place)) == (0, {"verified"})


def test_what_finished_before_is_not_put_back(place: Place, converge: Converge) -> None:
    old, held, gone = place.make(1, 1, 1)
    for one in (old, held):
        place.delete(one)
        converge()
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    done = place.replay()
    assert (done.lost, done.deletions) == (1, 2)
    untouched = Cascade.objects.get(database=place.database, undone__isnull=True)
    assert untouched.deletions == [Deletion.objects.get(key=str(old.pk)).pk]


def test_it_is_bound_by_since(place: Place, converge: Converge) -> None:
    old, gone = place.make(1, 1)
    place.delete(old)
    converge()
    between = timezone.now()
    place.delete(gone)
    converge()
    assert place.replay(between).deletions == 1
    (row,) = Cascade.objects.filter(database=place.database, undone__isnull=True)
    assert row.deletions == [Deletion.objects.get(key=str(old.pk)).pk]
    assert place.replay(timezone.now() + dt.timedelta(hours=1)).deletions == 0


def test_a_parent_that_is_alive_again_keeps_its_rows(place: Place, converge: Converge) -> None:
    (gone,) = place.make(2)
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    place.parent._base_manager.create(pk=gone.pk)
    place.replay()
    converge()
    (row,) = Cascade.objects.filter(database=place.database)
    assert (row.state, place.left) == ("kept", 2)


@pytest.mark.parametrize("pages", [0, 1, 2])
def test_a_replay_that_dies_is_noticed_and_the_next_finds_the_rest(
    pages: int, place: Place, converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SIGKILL between two of its transactions."""
    first, second, empty, living = place.make(1, 1, 1, 0)
    backup = place.backup()
    place.child._base_manager.filter(**{place.field: empty}).update(**{place.field: living})
    for one in (first, empty, second):
        place.delete(one)
        converge()
    place.restore(backup)
    place.delete(place.make(1)[0])
    cascade.drain(place.database)
    monkeypatch.setattr(undone, "PAGE", 1)
    real, calls = undone.put_back, [0]

    def dying(*args: Any, **options: Any) -> Any:
        if calls[0] == pages:
            raise KeyboardInterrupt
        calls[0] += 1
        return real(*args, **options)

    monkeypatch.setattr(undone, "put_back", dying)
    with pytest.raises(KeyboardInterrupt):
        place.replay()
    assert actions.is_refused(place.database, using="default")
    assert restores.reason(place.database, using="default")
    monkeypatch.setattr(undone, "put_back", real)
    assert place.replay().resumed
    converge()
    assert (place.left, states(place)) == (0, {"verified"})
    assert {len(row.undone or []) for row in Cascade.objects.filter(database=place.database)} <= {
        *(0, 1)
    }


def lost(place: Place, converge: Converge) -> None:
    """Restore a backup from before a deletion, and give a worker something to look at."""
    backup = place.backup()
    place.delete(place.make(2)[0])
    converge()
    place.restore(backup)
    place.delete(place.make(1)[0])


def test_a_restore_that_is_noticed_while_it_is_replayed_does_not_pause_for_good(
    place: Place, converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(place, converge)
    real = undone.put_back

    def noticed(*args: Any, **options: Any) -> Any:
        cascade.drain(place.database)
        assert actions.is_refused(place.database, using="default")
        return real(*args, **options)

    monkeypatch.setattr(undone, "put_back", noticed)
    assert place.replay().resumed
    assert not actions.is_refused(place.database, using="default")
    converge()
    assert (place.left, states(place)) == (0, {"verified"})


def test_a_pause_that_comes_after_the_replay_ends_at_once(
    place: Place, converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(place, converge)
    real, replayed = refusals.pause, list[Replayed]()

    def late(*args: Any, **options: Any) -> bool:
        replayed.append(place.replay())
        return real(*args, **options)

    monkeypatch.setattr(refusals, "pause", late)
    cascade.drain(place.database)
    assert [(one.deletions, one.resumed) for one in replayed] == [(1, False)]
    assert not actions.is_refused(place.database, using="default")
    converge()
    assert (place.left, states(place)) == (0, {"verified"})


def test_a_pause_by_verification_that_comes_after_the_replay_ends_at_once(
    place: Place, converge: Converge, monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> None:
    backup = place.backup()
    place.delete(place.make(2)[0])
    cascade.drain(place.database)
    place.restore(backup)
    real, replayed = refusals.pause, list[Replayed]()

    def late(*args: Any, **options: Any) -> bool:
        replayed.append(place.replay())
        return real(*args, **options)

    monkeypatch.setattr(refusals, "pause", late)
    Cascade.objects.filter(state="done").update(due_at=timezone.now() - ENOUGH)
    verification.verify(place.database)
    assert [(one.deletions, one.resumed) for one in replayed] == [(1, False)]
    assert not actions.is_refused(place.database, using="default")


def test_work_under_way_is_put_back_with_what_it_had_changed(
    place: Place, converge: Converge
) -> None:
    (gone,) = place.make(3)
    backup = place.backup()
    place.delete(gone)
    converge()
    Cascade.objects.filter(database=place.database).update(
        state="waiting", done_at=None, ended_at=None
    )
    place.restore(backup)
    began = timezone.now() - dt.timedelta(hours=1)
    done = place.replay(began)
    assert done.deletions == 1
    (row,) = Cascade.objects.filter(database=place.database)
    assert (row.state, row.rows) == ("pending", None)


def test_a_pause_of_an_operators_stays(place: Place, converge: Converge) -> None:
    (gone,) = place.make(1)
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    actions.pause(place.database, actor="me", reason="mine", using="default")
    done = place.replay()
    assert (done.deletions, done.resumed) == (1, False)
    assert ChildDatabase.objects.get(alias=place.database).paused_kind == "operator"


def test_the_pause_stays_while_the_log_lacks_something(place: Place, converge: Converge) -> None:
    (gone,) = place.make(1)
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    place.delete(place.make(1)[0])
    cascade.drain(place.database)
    rows = Tally.objects.using(place.database)
    rows.bulk_create(
        [
            Tally(
                log=children.identity.of_log("default"),
                batch=10**6,
                tally="7f6c2f5e-0d5e-4a3c-9d57-8e9d2f6f5f11",
                label="x",
                counts={"1": 1},
            )
        ]
    )
    done = place.replay()
    assert (done.deletions, done.resumed) == (1, False)
    assert "the log in 'default' was restored" in done.reason
    assert actions.is_refused(place.database, using="default")


def test_another_database_is_left_alone(place: Place, converge: Converge) -> None:
    (gone,) = place.make(1)
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    ChildDatabase.objects.update_or_create(
        alias=place.database,
        defaults={
            "paused_at": timezone.now(),
            "paused_kind": "identity_mismatch",
            "paused_reason": "another",
        },
    )
    done = place.replay()
    assert (done.deletions, done.reason) == (0, "paused: another")


def test_the_command_and_the_receipt(place: Place, converge: Converge) -> None:
    (gone,) = place.make(2)
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    ran = ["--database", place.database]
    document, code = run(*ran)
    (row,) = document["databases"]
    assert (row["lost"], row["deletions"], row["batches"]) == (1, 1, 1)
    assert [one["rows"] for one in document["effects"]] == [2]
    assert (document["applied"], code) == (False, 3)
    assert "a dry run" in printed(*ran)
    document, code = run(*ran, "--apply")
    assert (document["databases"][0]["deletions"], document["applied"], code) == (1, True, 0)
    label, key = place.parent._meta.label, str(gone.pk)
    assert "perhaps" not in said(label, key)
    assert f"undone by a restore of {place.database} that was noticed at" in said(label, key)
    assert "not erased again yet" in said(label, key)
    converge()
    assert "erased again at" in said(label, key)
    (cascade_,) = [
        one
        for one in receipts.receipts_of(label, key)[0]["cascades"]
        if one["database"] == place.database
    ]
    assert {*cascade_["undone"][0]} == {"noticed_at", "done_at", "verified_at", "lost"}
    assert sum(cascade_["rows"].values()) == 2
    assert run(*ran) == (
        {
            "schema_version": 1,
            "exit_reason": "clean",
            "databases": [],
            "effects": [],
            "applied": False,
        },
        0,
    )
    assert "nothing to do" in printed(*ran)


def said(label: str, key: str) -> str:
    return " ".join(receipt_text.statement(receipts.receipts_of(label, key)[0]))


def printed(*options: str) -> str:
    out = io.StringIO()
    with contextlib.suppress(SystemExit):
        call_command("integrity", "replay", *options, stdout=out)
    return out.getvalue()


def run(*options: str) -> tuple[dict[str, Any], int]:
    out, code = io.StringIO(), 0
    try:
        call_command("integrity", "replay", *options, "--json", stdout=out)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return json.loads(out.getvalue()), code


def test_the_outlook_changes_nothing(place: Place, converge: Converge) -> None:
    (gone,) = place.make(2)
    backup = place.backup()
    place.delete(gone)
    converge()
    place.restore(backup)
    before = list(Cascade.objects.values())
    done = children.outlook(place.database, using="default", since=None)
    assert (done.lost, done.deletions) == (1, 1)
    assert list(Cascade.objects.values()) == before
    assert not Tally.objects.using(place.database).filter(batch=tallies.REPLAYED).exists()
