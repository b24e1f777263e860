"""A child database, or a log, that was restored from a backup is seen, and nothing goes on."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.utils import timezone

from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, identity, restores
from apps.integrity.models import Alarm, Audit, Cascade, ChildDatabase, Deletion, Tally
from apps.integrity.queues import dispatch
from apps.integrity.relations import catalogue
from apps.integrity.report import alarms, health, status
from apps.integrity.scan import brake
from tests.kinds.lite.models import Note
from tests.kinds.parents.models import Mixed, Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

LOST = "it was restored from a backup: '{}' has lost what 1 cascade of"
UNKNOWN = "the log in 'default' was restored from a backup: '{}' has counted rows of 1 cascade that"


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restores, "SECONDS", 0.0)


@pytest.fixture(params=["test_right", "test_lite"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def deleted(database: str, rows: int = 1) -> None:
    """Delete a parent with rows in that child database."""
    if database == "test_right":
        owner = Owner.objects.create()
        Leaf.objects.bulk_create(Leaf(owner=owner) for _ in range(rows))
        owner.delete()
    else:
        mixed = Mixed.objects.create()
        Note.objects.bulk_create(Note(mixed=mixed) for _ in range(rows))
        mixed.delete()
    dispatch.sweep_all()


@pytest.fixture
def done(database: str, converge: Converge) -> None:
    """Two cascades are done."""
    for _ in range(2):
        deleted(database)
        converge()


def restore_child(database: str) -> None:
    """As from a backup of before the last cascade."""
    rows = Tally.objects.using(database)
    rows.filter(batch=rows.latest("batch").batch).delete()


def restore_log(database: str) -> None:
    """As from a backup of before the last deletion."""
    batch = Tally.objects.using(database).latest("batch").batch
    Cascade.objects.filter(batch=batch).delete()
    Deletion.objects.filter(batch=batch).delete()


def reason(database: str) -> str:
    return ChildDatabase.objects.get(alias=database).paused_reason


@pytest.mark.usefixtures("done")
def test_nothing_is_found_where_nothing_was_restored(database: str) -> None:
    assert restores.reason(database, using="default") == ""
    deleted(database)
    assert restores.reason(database, using="default") == ""
    cascade.drain(database)
    assert restores.reason(database, using="default") == ""
    assert not ChildDatabase.objects.exclude(paused_kind="").exists()


@pytest.mark.usefixtures("done")
def test_a_restored_child_is_paused_before_anything_else(database: str) -> None:
    restore_child(database)
    deleted(database)
    assert cascade.drain(database).rows == {}
    assert reason(database).startswith(LOST.format(database))
    assert f"resume --database {database} --accept-restore" in reason(database)
    assert Cascade.objects.filter(database=database, state="pending").count() == 1
    assert (Leaf.objects.count(), Note.objects.count()) in {(1, 0), (0, 1)}
    assert [row.actor for row in Audit.objects.filter(verb="pause")] == ["integrity"]


@pytest.mark.usefixtures("done")
def test_a_restored_log_is_seen_by_its_children(database: str) -> None:
    restore_log(database)
    tallied = Tally.objects.using(database).count()
    assert verification.verify(database).verified == 0
    assert reason(database).startswith(UNKNOWN.format(database))
    assert Tally.objects.using(database).count() == tallied


@pytest.mark.usefixtures("done")
def test_a_restored_log_uses_its_ids_again(database: str, converge: Converge) -> None:
    last = Deletion.objects.latest("pk")
    restore_log(database)
    deleted(database)
    Cascade.objects.filter(batch=F("batch"), state="pending").update(batch=last.pk)
    assert restores.seen(database, using="default").unknown == 1


@pytest.mark.usefixtures("done")
def test_it_shows_everywhere_and_no_other_database_is_touched(database: str) -> None:
    restore_child(database)
    scan.scan(database)
    shown = {row["database"]: row for row in status.collect_status()["databases"]}
    assert LOST.format(database) in shown[database]["reason"]
    assert (shown[database]["paused_kind"], shown[database]["state"]) == ("restored", "paused")
    assert {row["paused_kind"] for alias, row in shown.items() if alias != database} == {""}
    alarms.watch("default")
    alarm = Alarm.objects.get(kind="restored")
    assert (alarm.subject, LOST.format(database) in alarm.reason) == (database, True)
    assert health._health().databases[database] == "paused"
    relation = next(
        found
        for found in catalogue().relations
        if database in found.child_databases and "default" in found.parent_databases
    )
    assert LOST.format(database) in brake.asked(relation, 0)


@pytest.mark.usefixtures("done")
@pytest.mark.parametrize("restore", [restore_child, restore_log])
def test_an_operator_goes_on_once_he_has_looked(
    restore: Callable[[str], None], database: str, converge: Converge
) -> None:
    restore(database)
    deleted(database)
    cascade.drain(database)
    with pytest.raises(CommandError) as refused:
        call_command("integrity", "resume", "--database", database, "--reason", "go on")
    assert refused.value.returncode == 6
    assert "accept-restore" in str(refused.value)
    call_command(
        *("integrity", "resume", "--database", database, "--reason", "compared"), "--accept-restore"
    )
    assert sum(converge().values()) == 1
    assert restores.reason(database, using="default") == ""
    verbs = list(Audit.objects.values_list("verb", flat=True))
    assert verbs == ["pause", "accept restore", "resume"]
    deleted(database)
    assert sum(converge().values()) == 1


@pytest.mark.usefixtures("done")
def test_what_is_found_again_needs_no_word_of_an_operators(
    database: str, converge: Converge
) -> None:
    """As when the right backup was brought back since."""
    lost = list(Tally.objects.using(database).all())
    restore_child(database)
    cascade.drain(database)
    Tally.objects.using(database).bulk_create(lost, ignore_conflicts=True)
    actions.resume(database, actor="me", reason="brought back", using="default")
    deleted(database)
    assert sum(converge().values()) == 1


@pytest.mark.usefixtures("done")
def test_verification_proves_nothing_where_the_child_counts_less(
    database: str, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restores, "reason", lambda *_, **__: "")  # it is too old to be compared
    last = Tally.objects.using(database).latest("batch")
    Tally.objects.using(database).filter(pk=last.pk).update(counts=dict.fromkeys(last.counts, 0))
    Cascade.objects.update(due_at=timezone.now() - dt.timedelta(hours=1))
    for _ in range(50):
        verification.verify(database)
        if actions.is_refused(database, using="default"):
            break
    assert reason(database).startswith(LOST.format(database))
    (row,) = Cascade.objects.filter(database=database, batch=last.batch)
    assert (row.state, sum(sum(counts.values()) for counts in row.rows.values())) == ("done", 1)


@pytest.mark.usefixtures("done")
def test_what_the_purge_took_is_no_evidence(database: str, tune: Tune) -> None:
    month = timezone.now() - dt.timedelta(days=31)
    Cascade.objects.update(state="verified", ended_at=month, due_at=None)
    Tally.objects.using(database).update(at=month)
    assert restores.reason(database, using="default") == ""
    Tally.objects.using(database).all().delete()
    assert restores.reason(database, using="default") == ""
    tune(retention_days=1_000.0)
    assert restores.reason(database, using="default")


def test_both_sides_are_read_by_one_statement_each(
    database: str, done: None, captured: Any
) -> None:
    identity.of_log("default")
    with captured as statements:
        restores.reason(database, using="default")
    assert len(statements["default"]) == len(statements[database]) == 1


@pytest.mark.parametrize(
    ("uncounted", "unknown", "begins"),
    [(0, 0, ""), (2, 0, "it was restored"), (0, 3, "the log in 'log' was"), (1, 1, "it was")],
)
def test_the_decision(uncounted: int, unknown: int, begins: str) -> None:
    evidence = restores.Evidence(uncounted=uncounted, unknown=unknown)
    found = restores.reason_of(evidence, "child", "log")
    assert found.startswith(begins)
    assert bool(found) == bool(begins)
