"""`integrity doctor`: each fault made real, found, and told with its remedy."""

from __future__ import annotations

import datetime as dt
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from django.core.management import call_command
from django.db import connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from apps.integrity import relations
from apps.integrity.checks import doctor
from apps.integrity.control import actions, heartbeats
from apps.integrity.management.verbs.doctor import exit_code
from apps.integrity.models import Cascade, Heartbeat, Identity, Scan, Suspect
from apps.integrity.queues import celery_broker
from apps.integrity.relations import discovery
from apps.integrity.routers import AppLabelRouter
from sandbox.processes import free_port
from tests import log_rows
from workers.celery import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import Settings

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

CLEAN, FINDINGS, UNREACHABLE, BRAKE = 0, 3, 5, 6
AUTHOR = "blog.Post.author"
BUSY = doctor.Broker(
    consumers={
        "integrity": 1,
        **{f"integrity.{a}": 1 for a in ("blog_db", "shop_db", "default")},
        **{f"integrity.test_{a}": 1 for a in ("left", "right", "lite")},
    }
)


@pytest.fixture
def sound(committed: None) -> None:
    """Everything alive and scanned."""
    for using in relations.catalogue().log_databases:
        heartbeats.record("beat", using=using)
        heartbeats.record("worker", using=using)
    for relation in relations.catalogue().relations:
        for database in relation.child_databases:
            Scan.objects.using(relation.parent_databases[0]).create(
                relation=relation.label, database=database, covers_at=timezone.now()
            )


def wrong(said: doctor.Broker | None = BUSY) -> dict[str, str]:
    return {each.name: each.detail for each in doctor.examine(said) if not each.ok}


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code: Any = 0
        try:
            call_command("integrity", "doctor", *arguments)
        except SystemExit as error:
            code = error.code
        return code, capsys.readouterr().out

    return run


@pytest.mark.usefixtures("sound")
class TestDatabases:
    def test_nothing_is_wrong(self) -> None:
        assert wrong() == {}

    def test_one_that_cannot_be_reached(self, refuse: Any, command: Any) -> None:
        with refuse("blog_db"):
            assert "cannot be reached" in wrong()["database blog_db"]
            code, _ = command("--json")
        assert code == UNREACHABLE

    def test_a_log_without_tables(self) -> None:
        with _renamed("default", "integrity_audit"):
            assert wrong() == {
                "tables default": (
                    "missing: integrity_audit. Run `manage.py migrate --database default`"
                )
            }

    @pytest.mark.parametrize("table", ["integrity_identity", "integrity_tally"])
    def test_a_child_database_without_its_table(self, table: str) -> None:
        with _renamed("blog_db", table):
            assert (
                f"missing: {table}. Run `manage.py migrate --database blog_db`"
                == (wrong()["tables blog_db"])
            )

    def test_a_table_of_the_project_that_is_not_there(self) -> None:
        with _renamed("shop_db", "shop_order"):
            found = wrong()
            assert (broken := doctor.broken()) is not None
        assert "shop_order" in found[broken.name]
        assert "migrate --database shop_db" in found["rows shop.Order in shop_db"]
        assert doctor.broken() is None

    def test_a_table_below_the_children_that_is_not_there(self) -> None:
        """The engine reads it and deletes from it, though no relation ends there."""
        with _renamed("test_left", "left_numberedpart"):
            found = wrong()
            assert "left_numberedpart" in found["rows left.NumberedPart in test_left"]
            assert (broken := doctor.broken()) is not None
        assert broken.name == "rows left.NumberedPart in test_left"

    @pytest.mark.postgresql
    def test_a_missing_trigger(self, tune: Tune) -> None:
        tune(capture={"auth.User": "both"})
        assert "install-triggers --database default" in wrong()["triggers default"]

    @pytest.mark.postgresql
    def test_how_deletions_are_recorded_and_that_a_trigger_is_better(self, tune: Tune) -> None:
        found = {check.name: check for check in doctor.examine(BUSY) if check.kind == "capture"}
        assert all(check.ok for check in found.values())
        detail = found["capture auth.User"].detail
        assert "INTEGRITY['capture'] = {'auth.User': 'trigger'}" in detail
        assert found["capture lite.Author"].detail == "by signal"  # SQLite has no such triggers
        tune(capture={"auth.User": "trigger"})
        again = {check.name: check.detail for check in doctor.examine(BUSY)}
        assert again["capture auth.User"] == "by trigger"
        assert "install-triggers --database default" in again["triggers default"]

    def test_another_identity(self) -> None:
        Identity.objects.using("default").create(alias="default")
        Identity.objects.using("blog_db").create(alias="default", uuid=uuid4())
        assert "resume --database blog_db --accept" in wrong()["identity blog_db"]
        assert exit_code(doctor.examine(BUSY)) == BRAKE


class _Denying(AppLabelRouter):
    def allow_migrate(self, db: str, app_label: str, *_: Any, **__: Any) -> bool:
        return app_label != "integrity"


class _Following(AppLabelRouter):
    """As Django's default: wherever the row is."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return hints["instance"]._state.db if "instance" in hints else "default"


class _Refusing(AppLabelRouter):
    def allow_relation(self, _obj1: Any, _obj2: Any, **_hints: Any) -> bool:
        return False


@pytest.mark.usefixtures("sound")
class TestRouters:
    def test_one_that_keeps_the_tables_out(self, settings: Settings) -> None:
        settings.DATABASE_ROUTERS = [f"{__name__}._Denying"]
        found = wrong()
        assert "integrity_deletion" in found["router default"]
        kept_out = "allow_migrate keeps integrity_finding, integrity_identity, integrity_tally out"
        assert found["router blog_db"].startswith(kept_out)

    def test_one_that_answers_one_database_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(discovery, "_known", [relations.Catalogue(())])
            assert "DATABASE_ROUTING_RULES" in wrong()["relations"]
        assert doctor.verdicts.crossing(0, ["default"]).ok

    def test_one_that_follows_the_row(self, settings: Settings) -> None:
        settings.DATABASE_ROUTERS = [f"{__name__}._Following"]
        assert "never None" in wrong()[f"router {AUTHOR}"]

    def test_one_that_refuses_the_relation(self, settings: Settings) -> None:
        settings.DATABASE_ROUTERS = [f"{__name__}._Refusing"]
        assert "allow_relation" in wrong()[f"router {AUTHOR}"]


@pytest.mark.usefixtures("sound")
class TestWork:
    def test_a_dead_worker_and_a_silent_beat(self) -> None:
        old = timezone.now() - dt.timedelta(hours=1)
        for using in relations.catalogue().log_databases:
            Heartbeat.objects.using(using).update(seen_at=old)
        found = wrong()
        assert sorted(found) == ["beat", "workers"]
        assert "last seen 3,6" in found["beat"]

    def test_a_pause(self) -> None:
        actions.pause("blog_db", actor="op", reason="a look", using="default")
        assert "resume --database blog_db" in wrong()["paused blog_db"]

    def test_a_blocked_cascade(self) -> None:
        log_rows.make("auth.User", ["1"], ["blog_db"], state="blocked")
        assert "retry --all" in wrong()["cascades blog_db"]

    def test_a_stale_scan(self, tune: Tune) -> None:
        tune(scan_period_seconds=60)
        mine = Scan.objects.filter(relation=AUTHOR)
        mine.update(covers_at=timezone.now() - dt.timedelta(seconds=100))
        assert wrong() == {}
        mine.update(covers_at=timezone.now() - dt.timedelta(seconds=130))
        assert list(wrong()) == [f"scan {AUTHOR} in blog_db"]
        mine.delete()
        made = MigrationRecorder.Migration.objects.filter(app="integrity", name="0001_initial")
        with transaction.atomic():
            made.update(applied=timezone.now() - dt.timedelta(seconds=130))
            assert "no scan is finished. Start beat" in wrong()[f"scan {AUTHOR} in blog_db"]
            transaction.set_rollback(True)

    def test_the_first_scan_of_a_new_log_is_due_later(self) -> None:
        Scan.objects.filter(relation=AUTHOR).delete()
        assert wrong() == {}
        [said] = [
            each.detail for each in doctor.examine(BUSY) if each.name == f"scan {AUTHOR} in blog_db"
        ]
        assert "no scan is finished yet; the first one is due at 20" in said

    def test_the_brake(self) -> None:
        Suspect.objects.create(parent="auth.User", relation=AUTHOR, value="1")
        assert "the parent's table is empty" in wrong()[f"brake {AUTHOR}"]
        assert exit_code(doctor.examine(BUSY)) == BRAKE


class TestBroker:
    def test_nobody_takes_from_the_queues(self) -> None:
        found = celery_broker.ask(0.3)
        assert found == doctor.Broker(transport="redis")
        assert (
            "celery -A PROJECT worker -Q integrity.blog_db"
            in wrong(found)["queue integrity.blog_db"]
        )

    def test_one_queue_is_forgotten(self, consumer: None) -> None:
        found = celery_broker.ask()
        assert found.consumers == {"integrity": 1, "integrity.blog_db": 1}
        wanting = [name for name in wrong(found) if name.startswith("queue")]
        assert "queue integrity.shop_db" in wanting
        assert "queue integrity.blog_db" not in wanting

    def test_it_cannot_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        url = f"redis://127.0.0.1:{free_port()}/0"
        monkeypatch.setattr(app.conf, "broker_write_url", url)
        found = celery_broker.ask(0.3)
        assert found.unreachable
        assert "cannot be reached" in wrong(found)["broker"]

    @pytest.mark.usefixtures("sound")
    def test_without_celery_it_says_so(self, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "celery", None)
        monkeypatch.delitem(sys.modules, "apps.integrity.queues.celery_broker")
        monkeypatch.delattr("apps.integrity.queues.celery_broker")
        Heartbeat.objects.all().delete()
        code, out = command("--json")
        document = json.loads(out)
        assert (code, document["exit_reason"]) == (CLEAN, "clean")
        [said] = [each for each in document["checks"] if each["name"] == "broker"]
        assert "not used" in said["detail"]

    @pytest.mark.usefixtures("sound")
    def test_without_celery_it_says_what_waits_for_a_process(self) -> None:
        for using in relations.catalogue().log_databases:
            Heartbeat.objects.using(using).all().delete()
        later = timezone.now() + dt.timedelta(hours=1)
        log_rows.make("auth.User", [1], ["blog_db"], due_at=later)
        assert wrong(None) == {}
        Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=61))
        assert list(wrong(None)) == ["work blog_db"]
        assert "`manage.py integrity drain --forever`" in wrong(None)["work blog_db"]


def test_people_read_the_name_and_the_detail_of_each_check(command: Any) -> None:
    checks = json.loads(command("--json")[1])["checks"]
    lines = command("--wide")[1].splitlines()
    assert lines[:-1] == [
        " ".join((f"{'ok' if each['ok'] else 'FAIL'} {each['name']}: {each['detail']}").split())
        for each in checks
    ]
    assert command()[1].startswith("ok database ")


@pytest.fixture
def consumer() -> Iterator[None]:
    """A worker, in a thread of this process, that was not told of shop_db's queue."""
    plain = Celery(broker=app.conf.broker_url, set_as_current=False, fixups=[])
    plain.conf.update(task_queues=app.conf.task_queues, worker_hijack_root_logger=False)
    queues = "integrity,integrity.blog_db"
    with start_worker(plain, perform_ping_check=False, queues=queues, pool="solo"):
        yield


@contextmanager
def _renamed(alias: str, table: str) -> Iterator[None]:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")
