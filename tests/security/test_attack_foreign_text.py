"""Hostile text of servers, receivers and people: it is stored as plain text, and stops nothing."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import json
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import IntegrityError, connections, models
from django.db.models.signals import pre_delete
from django.utils import timezone

from apps.integrity import cascade, relations, scan
from apps.integrity.capture import triggers
from apps.integrity.cascade import live_check, verification
from apps.integrity.control import (
    actions,
    circuit_breaker,
    heartbeats,
    pacing,
    pressure,
    sampling,
)
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.exceptions.redaction import reason_of_error
from apps.integrity.log import claims, deletions, outcomes, proofs, values
from apps.integrity.models import Alarm, Cascade, ChildDatabase, Deletion
from apps.integrity.models.fields import PlainCharField, PlainReasonsField, PlainTextField
from apps.integrity.queues import celery, dispatch, maintenance
from apps.integrity.queues.in_process import Worker
from apps.integrity.relations import catalogue
from apps.integrity.report import alarms
from apps.integrity.scan import Mode, Scanned, repair, scan_pass
from apps.integrity.signals import alarm_raised, cascade_finished, deletion_recorded, orphan_found
from sandbox.processes import eventually
from tests import log_rows
from tests.kinds.left.models import Shelf
from tests.kinds.parents.models import Owner, Root
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = Path(__file__).resolve().parents[2] / "apps" / "integrity"
PLAIN = (PlainCharField, PlainReasonsField, PlainTextField)

PERSONAL = "ann@example.com"
ON_BOTH_ENGINES = ("default", "test_lite")


@pytest.mark.parametrize("alias", ON_BOTH_ENGINES)
def test_a_servers_refusal_is_described_without_the_row(committed, alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE hostile (email text CONSTRAINT one UNIQUE)")
        try:
            cursor.execute("INSERT INTO hostile VALUES (%s)", [PERSONAL])
            with pytest.raises(IntegrityError) as caught:
                cursor.execute("INSERT INTO hostile VALUES (%s)", [PERSONAL])
        finally:
            cursor.execute("DROP TABLE hostile")
    said = {
        "default": "IntegrityError 23505 (table hostile, constraint one)",
        "test_lite": "IntegrityError SQLITE_CONSTRAINT_UNIQUE",
    }
    assert reason_of_error(caught.value) == said[alias]


# Writers of the log

HOSTILE = f"a\0b\ud800c\x1b[31m\u202e\u2028d {PERSONAL}\n2026 ERROR forged " + "x" * 50_000
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
#: Columns of text that are no foreign prose: names and keys that work goes by, as they were given.
AS_THEY_ARE = {
    # What is stated is checked by capture.because(), and is plain when it is read.
    "Deletion": {"parent", "key", "targets", "relation", "source", "actor", "reference", "because"},
    "Suspect": {"parent", "relation", "field", "value"},
    "Cascade": {"database", "parent", "relation", "state", "barrier_server", "rows", "undone"},
    "Finding": {"step", "items"},
    "Scan": {"relation", "database", "cursor"},
    "Identity": {"alias"},
    "Tally": {"label", "parent", "relation", "counts", "keys", "targets"},
    "ChildDatabase": {"alias", "step_rows", "paused_kind", "pace"},
    "Alarm": {"kind"},
    "FailedAttempt": {"database"},
    "Scope": {"digest", "parent", "relation", "document"},
    "Heartbeat": {"queues"},  # of this app's own names
}
TEXT = (models.CharField, models.TextField, models.JSONField)


def own_models() -> list[Any]:
    return [each for each in apps.get_app_config("integrity").get_models() if not each._meta.proxy]


def test_each_column_of_text_is_plain_or_known_to_be_none():
    """A new column of text has to be a plain one, or to be listed here with good reason."""
    for model in own_models():
        known = AS_THEY_ARE.get(model.__name__, set()) | {"fence", "kept"}
        for field in model._meta.concrete_fields:
            if isinstance(field, TEXT) and field.name not in known:
                assert isinstance(field, PLAIN), field


def test_no_statement_of_its_own_writes_them_past_the_fields():
    """What SQL writes by itself is a constant, or it has asked the fields before, as tested below.

    These are the audit's entry and the owner of a claim.
    """
    names = {
        field.name
        for model in own_models()
        for field in model._meta.concrete_fields
        if isinstance(field, PLAIN)
    }
    written = re.compile(rf"\b({'|'.join(names)})\s*=\s*(?!'')(?!NULL)[%\w:]", re.IGNORECASE)
    inserted = re.compile(r"INSERT INTO integrity_(\w+) \(([^)]*)\)")
    found = set()
    for path in APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if "UPDATE integrity_" in node.value:
                    found |= {(path.name, each) for each in written.findall(node.value)}
                for table, columns in inserted.findall(node.value):
                    found |= {
                        (path.name, table)
                        for each in columns.split(",")
                        if each.strip().strip('"') in names
                    }
    assert found == {("log.py", "audit"), ("log_sql.py", "owner")}


@pytest.fixture
def claim() -> values.Claim:
    return claimed("default")


def claimed(using: str) -> values.Claim:
    log_rows.make("parents.Root", ["1"], ["test_left"], recorded_at=NOW, using=using)
    found = claims.claim("test_left", using=using, limit=9, lease_seconds=60, owner=HOSTILE)
    assert found
    return found


def released(using: str) -> None:
    held = claimed(using)
    outcomes.release(held, {pk: {} for pk in held.ids}, reason=HOSTILE, failing={HOSTILE: HOSTILE})


def reopened(using: str) -> None:
    held = claimed(using)
    outcomes.finish(held, {pk: {} for pk in held.ids}, barrier=None)
    Cascade.objects.using(using).update(due_at=NOW)
    done = proofs.due_done("test_left", now=None, using=using, limit=9)
    assert done
    outcomes.reopen(done, done.ids, HOSTILE)


def scan_released(using: str) -> None:
    [relation] = [each for each in catalogue().relations if each.label == "left.Shelf.root"]
    scanned = Scanned(relation=relation.label, database="test_left")
    run = scan_pass.Pass(relation, using, scanned, Mode())
    assert run.claim()
    run.release(HOSTILE)


def alarmed(using: str) -> None:
    Alarm.objects.using(using).bulk_create([Alarm(kind="unknown", subject=HOSTILE, reason=HOSTILE)])


WRITERS = {
    "a claim's owner": claimed,
    "the same task again": lambda using: claims.take_over("test_left", owner=HOSTILE, using=using),
    "released": released,
    "postponed": lambda using: outcomes.postpone(claimed(using), HOSTILE, {HOSTILE: HOSTILE}),
    "reopened": reopened,
    "cancelled": lambda using: deletions.cancel(claimed(using).ids, HOSTILE, using=using),
    "a scan released": scan_released,
    "a database that is away": lambda using: circuit_breaker.write_outage(
        DatabaseUnreachable("test_left", HOSTILE), using=using
    ),
    "what holds verification": lambda using: circuit_breaker.write_held_reason(
        "test_left", HOSTILE, using=using
    ),
    "paused": lambda using: actions.pause("test_left", actor=HOSTILE, reason=HOSTILE, using=using),
    "resumed": lambda using: actions.resume(
        "test_left", actor=HOSTILE, reason=HOSTILE, using=using
    ),
    "audited": lambda using: actions.audit(
        HOSTILE, HOSTILE, actor=HOSTILE, reason=HOSTILE, using=using
    ),
    "a heartbeat": lambda using: heartbeats.record(HOSTILE, using=using),
    "an alarm": alarmed,
}


@pytest.mark.parametrize("using", ON_BOTH_ENGINES)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_each_writer_of_the_log_writes_plain_text(committed, write, using):
    write(using)
    for text in texts(using):
        assert text.isprintable()
        assert len(text) <= 500


@pytest.mark.parametrize("using", ON_BOTH_ENGINES)
def test_the_reason_in_a_pace_is_written_as_plain_text(committed, tune, monkeypatch, using):
    """Such as the name of a replica, or what the project's own function answers."""
    busy = pressure.Sample(unknown=(HOSTILE,))
    monkeypatch.setattr(sampling, "sample", lambda *_: busy)
    tune(pressure={"test_left": {"busy": lambda _alias: 0.0}})
    assert pacing.Pacer("test_left", using=using).rest(time.monotonic() + 60)
    [row] = ChildDatabase.objects.using(using)
    assert row.pace["reason"].isprintable()
    assert row.pace["reason"].startswith(r"a\x00b\ud800c\x1b[31m")
    assert len(row.pace["reason"]) <= 500


def texts(using: str) -> list[str]:
    """All that the log's plain columns hold, as the server says it."""
    found: list[str] = []
    for model in own_models():
        names = [each.column for each in model._meta.concrete_fields if isinstance(each, PLAIN)]
        if names and relations.holds(using, model._meta.model_name):
            with connections[using].cursor() as cursor:
                cursor.execute(f"SELECT {', '.join(names)} FROM {model._meta.db_table}")  # noqa: S608
                found += [text for row in cursor.fetchall() for each in row for text in told(each)]
    return found


def told(value: Any) -> list[str]:
    if isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    return [*value, *value.values()] if isinstance(value, dict) else [value or ""]


@pytest.mark.parametrize("using", ON_BOTH_ENGINES)
def test_what_somebody_wrote_past_this_app_is_read_as_plain_text(committed, using):
    hostile = "\x1b[31m\u202e forged"
    with connections[using].cursor() as cursor:
        cursor.execute(
            "INSERT INTO integrity_alarm (kind, subject, reason, raised_at)"
            " VALUES ('blocked', %s, %s, %s)",
            [hostile, hostile, NOW.isoformat()],
        )
    alarm = Alarm.objects.using(using).get()
    assert alarm.reason == alarm.subject == r"\x1b[31m\u202e forged"


# Receivers


class Refused(Exception):
    pass


class Mute(Exception):
    def __str__(self):
        raise ValueError(PERSONAL)

    __repr__ = __str__


RAISED: dict[str, Callable[[], BaseException]] = {
    "a NUL": lambda: Refused("CRM refused ann@example.com\0"),
    "a lone surrogate": lambda: Refused("\ud800 ann@example.com"),
    "50 MB": lambda: Refused("x" * 50_000_000),
    "mute": Mute,
    "a group": lambda: ExceptionGroup(HOSTILE, [Refused(HOSTILE), Mute()]),
    "a base group": lambda: BaseExceptionGroup(HOSTILE, [SystemExit(HOSTILE)]),
    "an exit": lambda: SystemExit(HOSTILE),
    "a generator's end": lambda: GeneratorExit(HOSTILE),
    "a database's": lambda: IntegrityError(HOSTILE),
}
EACH = pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)


@pytest.fixture
def refuses(committed) -> Iterator[Callable[..., Root]]:
    """Three roots are deleted, and a receiver raises for the shelf of one; gives its key."""
    state: dict[str, Any] = {}

    def refuse(instance: Shelf, **_: object) -> None:
        if instance.root_id == state["bad"]:
            make: Callable[[], BaseException] = state["make"]
            raise make()

    def begin(make: Callable[[], BaseException]) -> int:
        roots = [Root.objects.create() for _ in range(3)]
        for each in roots:
            Shelf.objects.create(root=each)
        state.update(make=make, bad=roots[1].pk)
        Root.objects.all().delete()
        return state["bad"]

    pre_delete.connect(refuse, sender=Shelf)
    yield begin
    pre_delete.disconnect(refuse, sender=Shelf)


def assert_only_it_is_left(bad: int, caplog: pytest.LogCaptureFixture) -> None:
    assert [each.root_id for each in Shelf.objects.all()] == [bad]
    row = Cascade.objects.get(state__in=["waiting", "blocked", "running", "pending"])
    assert row.deletions == [log_rows.deletion_of(bad).pk]
    assert row.reason.startswith("left.Shelf.root: ")
    assert row.reason.isprintable()
    assert "ann" not in row.reason
    assert "ann@" not in caplog.text


@EACH
def test_drain_forever_goes_on(refuses, make, caplog, tune):
    tune(backoff_seconds=60)
    bad = refuses(make)
    run = Worker(["test_left"], progress=lambda _line: None)
    others_are_gone = threading.Thread(target=_stop_when_done, args=(run,))
    others_are_gone.start()
    run.run()
    others_are_gone.join()
    assert_only_it_is_left(bad, caplog)


def _stop_when_done(run: Worker) -> None:
    try:
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            if Shelf.objects.count() == 1 and Cascade.objects.filter(state="waiting"):
                break
            time.sleep(0.1)
        time.sleep(0.3)
    finally:
        run.stopping.set()
        connections.close_all()


@EACH
def test_a_task_called_in_place_ends_well(refuses, make, caplog, tune):
    tune(backoff_seconds=60)
    bad = refuses(make)
    dispatch.sweep_all()
    done = celery.cascade_into.apply(args=("test_left",))
    assert done.state == "SUCCESS"
    assert_only_it_is_left(bad, caplog)


@pytest.fixture
def around_shelf(monkeypatch):
    """The relation of shelves, with three before and three after it."""
    known = [each for each in relations.discover().relations if "test_left" in each.child_databases]
    at = [each.label for each in known].index("left.Shelf.root")
    assert 3 <= at < len(known) - 3
    chosen = relations.Catalogue(tuple(known[at - 3 : at + 4]))
    monkeypatch.setattr(relations.discovery, "_known", [chosen])


@EACH
def test_a_scan_goes_on_whatever_a_receiver_raises(committed, around_shelf, make, caplog):
    def refuse(**_: object) -> None:
        raise make()

    for each in Shelf.objects.bulk_create(Shelf(root_id=900_000 + n) for n in range(2)):
        assert each.pk
    orphan_found.connect(refuse)
    try:
        found, unreachable = scan.scan("test_left", mode=scan.Mode(full=True))
    finally:
        orphan_found.disconnect(refuse)
    assert unreachable == ""
    seen = {each.relation: each for each in found}
    assert len(seen) == len(found) == 7
    assert (seen["left.Shelf.root"].suspects, seen["left.Shelf.root"].complete) == (2, True)
    assert "ann" not in caplog.text


@EACH
@pytest.mark.parametrize("signal", [deletion_recorded, cascade_finished])
def test_a_listener_of_this_app_fails_no_delete_and_no_cascade(
    committed, converge, make, signal, caplog
):
    def refuse(**_: object) -> None:
        raise make()

    Shelf.objects.create(root=Root.objects.create())
    signal.connect(refuse)
    try:
        Root.objects.all().delete()
        assert converge() == {"left.Shelf.root": 1}
    finally:
        signal.disconnect(refuse)
    assert "ann" not in caplog.text


@EACH
def test_a_listener_to_alarms_fails_no_maintenance(committed, make, caplog, tune):
    tune(stalled_seconds=0.001)
    heard = []

    def refuse(reason: str, subject: str, **_: object) -> None:
        heard.append((subject, reason))
        raise make()

    log_rows.make(
        "parents.Root", ["1"], ["test_left"], recorded_at=NOW, state="blocked", reason=HOSTILE
    )
    Deletion.objects.create(parent="gone.\nBcc: all@example.com", key="1")
    alarm_raised.connect(refuse)
    try:
        maintenance.maintain("default")
    finally:
        alarm_raised.disconnect(refuse)
    assert {"test_left", "gone. Bcc: all@example.com"} <= {subject for subject, _ in heard}
    assert all(text.isprintable() for each in heard for text in each)
    assert Alarm.objects.count() == len(heard)
    assert "ann" not in caplog.text


# A failure that cannot be noted


@pytest.fixture
def unwritable(committed) -> Iterator[Callable[[str, str], None]]:
    """Let the server refuse some rows of one of the log's tables, for no reason that we know."""
    made: list[str] = []

    def refuse(table: str, condition: str) -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION refuse_note() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE EXCEPTION 'no note of {PERSONAL}'; END $$"
            )
            cursor.execute(
                f"CREATE TRIGGER refuse_note BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
                f" WHEN ({condition}) EXECUTE FUNCTION refuse_note()"
            )
        made.append(table)

    yield refuse
    with connections["default"].cursor() as cursor:
        for table in made:
            cursor.execute(f"DROP TRIGGER refuse_note ON {table}")
        cursor.execute("DROP FUNCTION IF EXISTS refuse_note()")


def test_a_failure_that_cannot_be_noted_stops_no_other_cascade(refuses, unwritable, caplog, tune):
    tune(claim_keys=1)
    bad = refuses(RAISED["a NUL"])
    unwritable("integrity_cascade", "NEW.reason <> ''")
    dispatch.sweep_all()
    done = cascade.drain("test_left")
    assert (done.finished, done.failed, done.unreachable) == (2, 1, "")
    assert [each.root_id for each in Shelf.objects.all()] == [bad]
    row = log_rows.cascade_of(bad, "test_left")
    assert (row.state, row.reason, row.due_at > timezone.now()) == ("running", "", True)
    assert "noting a failure in test_left failed: " in caplog.text
    assert "Error P0001 (function refuse_note())" in caplog.text
    assert "ann@" not in caplog.text


def run_until(run: Worker, condition: Callable[[], bool]) -> None:
    """Let the worker run until the condition holds, and for some more rounds."""

    def watch() -> None:
        try:
            eventually(condition, timeout=60, pause=0.1)
            time.sleep(1)
        finally:
            run.stopping.set()
            connections.close_all()

    watching = threading.Thread(target=watch)
    watching.start()
    run.run()
    watching.join()


def test_nor_does_it_end_drain_forever(refuses, unwritable, caplog):
    bad = refuses(RAISED["an exit"])
    unwritable("integrity_cascade", "NEW.reason <> ''")
    run = Worker(["test_left"], progress=lambda _line: None)
    run_until(run, lambda: Shelf.objects.count() == 1)
    assert [each.root_id for each in Shelf.objects.all()] == [bad]


def test_an_exit_of_one_database_ends_no_other(refuses, monkeypatch):
    refuses(RAISED["an exit"])
    claim = claims.claim

    def failing(database: str, **options: Any) -> Any:
        if database == "test_right":
            raise SystemExit(HOSTILE)
        return claim(database, **options)

    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    owner.delete()
    monkeypatch.setattr(claims, "claim", failing)
    run = Worker(["test_right", "test_left"], progress=lambda _line: None)
    run_until(run, lambda: Shelf.objects.count() == 1)
    assert (Shelf.objects.count(), Leaf.objects.count()) == (1, 1)


@pytest.mark.parametrize("which", range(3))
def test_a_probe_whose_failure_cannot_be_noted_stops_no_other(
    committed, converge, unwritable, caplog, tune, monkeypatch, which
):
    tune(claim_keys=1, grace_seconds=0.001)
    for _ in range(3):
        Shelf.objects.create(root=Root.objects.create())
    bad = Root.objects.order_by("pk")[which].pk
    Root.objects.all().delete()
    converge()
    probe = live_check.LiveClaim.unfinished

    def failing(live: live_check.LiveClaim, wanted: Any) -> set[int]:
        if {each.key for each in live.deletions.values()} == {str(bad)}:
            raise Refused(HOSTILE)
        return probe(live, wanted)

    monkeypatch.setattr(live_check.LiveClaim, "unfinished", failing)
    unwritable("integrity_cascade", "NEW.reason <> ''")
    assert verification.verify("test_left").verified == 2
    assert log_rows.cascade_of(bad, "test_left").state == "done"
    assert "ann@" not in caplog.text


def test_a_scan_that_cannot_be_released_stops_no_other(committed, unwritable, monkeypatch, caplog):
    step = scan_pass.Pass.run

    def failing(run: scan_pass.Pass, *arguments: Any) -> None:
        if run.relation.label == "left.Shelf.root":
            raise Refused(HOSTILE)
        step(run, *arguments)

    monkeypatch.setattr(scan_pass.Pass, "run", failing)
    unwritable("integrity_scan", "NEW.reason <> ''")
    found, _ = scan.scan("test_left", mode=scan.Mode(full=True))
    seen = {each.relation: each for each in found}
    assert seen["left.Shelf.root"].reason
    others = [each for each in found if each.relation != "left.Shelf.root"]
    assert len(others) > 5
    assert [each for each in others if not (each.complete or "no index" in each.reason)] == []
    assert "ann@" not in caplog.text


def test_a_heartbeat_that_cannot_be_noted_stops_no_work(refuses, unwritable, caplog, tune):
    bad = refuses(RAISED["a NUL"])
    unwritable("integrity_heartbeat", "true")
    dispatch.sweep_all()
    assert celery.cascade_into.apply(args=("test_left",)).state == "SUCCESS"
    assert [each.root_id for each in Shelf.objects.all()] == [bad]
    maintenance.maintain("default")
    assert "a heartbeat in default failed" in caplog.text
    assert "ann@" not in caplog.text


def test_a_step_of_maintenance_that_fails_stops_no_other(committed, monkeypatch, caplog, tune):
    def fail(*_: object, **__: object) -> None:
        raise Refused(HOSTILE)

    tune(retention_days=1e-9)
    for module, name in ((triggers, "report_missing"), (repair, "repair"), (alarms, "watch")):
        monkeypatch.setattr(module, name, fail)
    at = timezone.now() - dt.timedelta(days=1)
    log_rows.make("parents.Root", ["1"], ["test_left"], state="verified", recorded_at=at)
    maintenance.maintain("default")
    assert not Deletion.objects.exists()
    assert caplog.text.count("failed: ") == 3
    assert "ann" not in caplog.text


# Terminals


@pytest.mark.parametrize("verb", ["status", "doctor", "drain", "receipt"])
def test_no_code_of_others_reaches_a_terminal(committed, verb, capsys):
    """Whoever may write the log's rows may name a model, a key and a reason."""
    hostile, database = "\x1b[31mgone\u202e.Model", "\x1b]0;owned\x07"
    log_rows.make(hostile, ["1"], [], recorded_at=NOW)
    log_rows.make(hostile, ["2"], [database], recorded_at=NOW)
    [made] = log_rows.make("auth.User", ["7"], [database], recorded_at=NOW)
    rows = {str(made.pk): {"\x1b[2J": 1}}
    Cascade.objects.filter(batch=made.batch).update(rows=rows)
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE integrity_cascade SET reason = %s, state = 'blocked'", ["\x1b[31m"])
    words = ("auth.User", "7") if verb == "receipt" else ()
    with contextlib.suppress(SystemExit):
        call_command("integrity", verb, *words, no_color=True)
    shown = "".join(capsys.readouterr())
    assert {each for each in shown if not each.isprintable()} <= {"\n"}
    assert r"\x1b" in shown
