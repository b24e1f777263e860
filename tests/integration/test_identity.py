"""A child database works for the parents that it met first, and for no others."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connections

from apps.integrity import cascade, report, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, identity
from apps.integrity.models import Audit, Cascade, ChildDatabase, Identity
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def met(converge: Converge) -> None:
    Owner.objects.create().delete()
    converge()


def another_default() -> None:
    """As when the alias points to a database that was made anew."""
    Identity.objects.filter(alias="default").update(uuid=uuid.uuid4())


def deleted() -> None:
    owner = Owner.objects.create()
    Leaf.objects.create(owner=owner)
    owner.delete()
    dispatch.sweep_all()


def test_at_the_first_contact_the_child_learns_who_its_parents_are(met: None) -> None:
    there = Identity.objects.using("test_right").get(alias="default")
    assert there.uuid == Identity.objects.get(alias="default").uuid


def test_other_parents_are_refused_and_nothing_is_touched(met: None) -> None:
    another_default()
    deleted()
    assert cascade.drain("test_right").rows == {}
    assert verification.verify("test_right").verified == 0
    (seen,) = [each for each in scan.scan("test_right")[0] if each.relation == "right.Leaf.owner"]
    assert not seen.complete
    assert "it belongs to another database" in seen.reason
    with pytest.raises(SystemExit) as refused:
        call_command("integrity", "scan", "--database", "test_right", "--json")
    assert refused.value.code == 6
    assert Leaf.objects.count() == 1
    assert set(Cascade.objects.filter(state="pending").values_list("attempts", flat=True)) == {0}
    row = ChildDatabase.objects.get(alias="test_right")
    assert row.paused_reason.startswith("it belongs to another database: 'test_right' knows")
    (shown,) = [each for each in report.status()["databases"] if each["database"] == "test_right"]
    assert "resume --database test_right" in shown["reason"]
    assert [each.actor for each in Audit.objects.all()] == ["integrity"]


def test_other_databases_go_on(met: None) -> None:
    Identity.objects.using("test_right").update(uuid=uuid.uuid4())
    deleted()
    cascade.drain("test_left")
    cascade.drain("test_right")
    assert {each.alias for each in ChildDatabase.objects.exclude(paused_at=None)} == {"test_right"}


def test_an_operator_who_resumes_accepts_them(met: None, converge: Converge) -> None:
    another_default()
    deleted()
    for database in ("test_right", "test_left"):
        cascade.drain(database)
        call_command("integrity", "resume", "--database", database, "--reason", "moved")
    assert converge() == {"right.Leaf.owner": 1}
    assert list(Audit.objects.values_list("verb", flat=True)) == ["pause", "resume"] * 2


def test_a_pause_for_another_reason_accepts_nobody(met: None) -> None:
    actions.pause("test_right", actor="me", reason="maintenance", using="default")
    another_default()
    actions.resume("test_right", actor="me", reason="", using="default")
    assert identity.stranger("test_right", using="default")


def test_a_child_without_the_table_is_warned_of_and_worked_on(
    converge: Converge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(identity, "_migrated", set())
    with connections["test_right"].cursor() as cursor:
        cursor.execute("ALTER TABLE integrity_identity RENAME TO set_aside")
    try:
        deleted()
        assert converge() == {"right.Leaf.owner": 1}
    finally:
        with connections["test_right"].cursor() as cursor:
            cursor.execute("ALTER TABLE set_aside RENAME TO integrity_identity")
    assert "run `manage.py migrate --database test_right`" in caplog.text
