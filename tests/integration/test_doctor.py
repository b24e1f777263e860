"""`integrity doctor`: each thing that is missing is named, with its remedy."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from apps.integrity import control, doctor, relations, scan, tasks, triggers
from apps.integrity.models import Cascade, Deletion, Heartbeat, Identity
from apps.integrity.routing import CONTROL, queue_for
from tests.kinds.left.models import Optional
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture(autouse=True)
def consumers(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Every queue has its worker; what real ones answer is asked in the demo's test."""
    queues = [CONTROL, *map(queue_for, relations.catalogue().child_databases)]
    taken = {queue: [f"worker-{queue}@host"] for queue in queues}
    monkeypatch.setattr(tasks, "consumers", lambda: taken)
    return taken


@pytest.fixture
def healthy(committed: None, consumers: dict[str, list[str]]) -> None:
    """All relations were scanned, and beat is alive."""
    for alias in relations.catalogue().child_databases:
        scan.scan(alias, seconds=60)
    for using in relations.catalogue().log_databases:
        control.beat("beat", using=using)


def bad() -> dict[str, str]:
    return {each.name: each.detail for each in doctor.examine() if not each.ok}


@pytest.mark.usefixtures("healthy")
class TestFindings:
    def test_nothing(self) -> None:
        assert bad() == {}

    def test_a_database_that_does_not_answer(self, refuse: Callable[[str], Any]) -> None:
        with refuse("blog_db"):
            assert "does not answer" in bad()["database blog_db"]

    @pytest.mark.parametrize(
        ("alias", "table", "name"),
        [
            ("default", "integrity_audit", "tables of the log in default"),
            ("test_right", Identity._meta.db_table, "identity in test_right"),
        ],
    )
    def test_a_table_that_is_missing(self, alias: str, table: str, name: str) -> None:
        with renamed(alias, table):
            detail = bad()[name]
        assert table in detail
        assert f"migrate --database {alias}" in detail

    def test_a_router_that_denies_the_table(self) -> None:
        found = doctor.tables("t", "default", [Deletion, Cascade], [Cascade], [])
        assert "allow_migrate() denies integrity.Deletion" in found.detail

    def test_a_trigger_that_is_missing(self, tune: Tune) -> None:
        tune(capture={"parents.Owner": "both"})
        assert "install-triggers --database default" in bad()["triggers in default"]
        triggers.install("default")
        try:
            assert "triggers in default" not in bad()
        finally:
            tune(capture="signal")
            triggers.install("default")

    def test_beat_that_is_silent(self) -> None:
        for using in relations.catalogue().log_databases:
            Heartbeat.objects.using(using).update(seen_at="2020-01-01T00:00Z")
        assert "start it" in bad()["beat"]

    def test_a_queue_that_nobody_takes_from(self, consumers: dict[str, list[str]]) -> None:
        del consumers["integrity.blog_db"]
        assert "-Q integrity.blog_db" in bad()["queue integrity.blog_db"]

    def test_a_broker_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused() -> dict[str, list[str]]:
            raise ConnectionError("refused")

        monkeypatch.setattr(tasks, "consumers", refused)
        assert bad()["broker"] == "it does not answer: ConnectionError: refused"

    def test_work_that_stands_still(self) -> None:
        control.pause("shop_db", actor="me", reason="a migration", using="default")
        owner = Owner.objects.create()
        owner.delete()
        Cascade.objects.create(
            deletion=Deletion.objects.get(),
            database="test_left",
            state="blocked",
            recorded_at=timezone.now(),
        )
        found = bad()
        assert found["work in shop_db"].startswith("paused: a migration")
        assert "resume --database shop_db" in found["work in shop_db"]
        assert "retry --all" in found["work in test_left"]

    def test_a_scan_that_is_late_and_a_brake_that_holds(self, tune: Tune) -> None:
        Optional.objects.create(owner_id=1)
        scan.scan("test_left", labels=["left.Optional.owner"], seconds=60)
        assert "the parent's table is empty" in bad()["scan of left.Optional.owner in test_left"]
        tune(scan_period_seconds=0.000_1)
        assert "is beat alive" in bad()["scan of shop.Order.customer in shop_db"]


class TestCommand:
    @pytest.mark.usefixtures("healthy")
    def test_all_is_well(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("integrity", "doctor", "--json")
        document = json.loads(capsys.readouterr().out)
        assert document["exit_reason"] == "clean"
        assert set(document["checks"][0]) == {"name", "ok", "detail"}

    def test_findings_and_unreachable_have_their_codes(
        self, capsys: pytest.CaptureFixture[str], refuse: Callable[[str], Any]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            call_command("integrity", "doctor")
        assert ended.value.code == 3
        assert "BAD beat: never seen" in capsys.readouterr().out
        with refuse("default"), pytest.raises(SystemExit) as ended:
            call_command("integrity", "doctor")
        assert ended.value.code == 5


@contextmanager
def renamed(alias: str, table: str) -> Iterator[None]:
    """As before `migrate`, for the length of a block."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO hidden_for_a_moment")
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE hidden_for_a_moment RENAME TO {table}")
