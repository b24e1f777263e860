"""A child database works for the parents that it met first, and for no others."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from apps.integrity import cascade, scan
from apps.integrity.cascade import verification
from apps.integrity.control import actions, identity
from apps.integrity.models import Audit, Cascade, ChildDatabase, Identity
from apps.integrity.queues import dispatch
from apps.integrity.relations import Catalogue
from apps.integrity.report import status
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    Converge = Callable[[], Counter[str]]

MISMATCH = "identity_mismatch"

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def met(converge: Converge) -> None:
    Owner.objects.create().delete()
    converge()


def another_default() -> uuid.UUID:
    """As when the alias points to a database that was made anew; returns its identity."""
    Identity.objects.filter(alias="default").update(uuid=(new := uuid.uuid4()))
    return new


def resume(database: str, *options: str) -> None:
    call_command("integrity", "resume", "--database", database, *options)


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
    (shown,) = [
        each for each in status.collect_status()["databases"] if each["database"] == "test_right"
    ]
    assert "resume --database test_right --accept-identity" in shown["reason"]
    assert (row.paused_kind, shown["paused_kind"]) == (MISMATCH, MISMATCH)
    assert [each.actor for each in Audit.objects.all()] == ["integrity"]


def test_other_databases_go_on(met: None) -> None:
    Identity.objects.using("test_right").update(uuid=uuid.uuid4())
    deleted()
    cascade.drain("test_left")
    cascade.drain("test_right")
    assert {each.alias for each in ChildDatabase.objects.exclude(paused_at=None)} == {"test_right"}


def test_an_operator_accepts_them_in_so_many_words(met: None, converge: Converge) -> None:
    old, new = Identity.objects.get(alias="default").uuid, another_default()
    deleted()
    for database in ("test_right", "test_left"):
        cascade.drain(database)
        resume(database, "--reason", "moved", "--accept-identity")
    assert converge() == {"right.Leaf.owner": 1}
    verbs = ["pause", "accept identity", "resume"] * 2
    assert list(Audit.objects.values_list("verb", flat=True)) == verbs
    accepted = Audit.objects.filter(verb="accept identity", target="test_right").get()
    assert accepted.reason == f"'default' was {old} and is {new}: moved"
    assert not ChildDatabase.objects.exclude(paused_kind="").exists()


def test_resume_alone_is_refused_and_names_both_identities(met: None) -> None:
    old, new = Identity.objects.get(alias="default").uuid, another_default()
    deleted()
    cascade.drain("test_right")
    with pytest.raises(CommandError) as refused:
        resume("test_right", "--reason", "go on")
    assert refused.value.returncode == 6
    for part in (str(old), str(new), "resume --database test_right --accept-identity"):
        assert part in str(refused.value)
    assert actions.is_refused("test_right", using="default")
    assert cascade.drain("test_right").rows == {}
    assert Leaf.objects.count() == 1
    assert not Audit.objects.exclude(verb="pause").exists()


def test_a_refused_resume_introduces_no_other_database_of_parents(
    met: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two shards one was replaced: the other, which nobody has met, stays unknown."""
    another_default()
    deleted()
    cascade.drain("test_right")
    monkeypatch.setattr(Catalogue, "homes", lambda *_: ("default", "blog_db"))
    with pytest.raises(CommandError, match="test_right is not resumed"):
        resume("test_right")
    assert not Identity.objects.using("test_right").filter(alias="blog_db").exists()


def test_resume_is_enough_where_the_alias_points_to_the_right_database_again(
    met: None, converge: Converge
) -> None:
    right = Identity.objects.get(alias="default").uuid
    another_default()
    deleted()
    cascade.drain("test_right")
    Identity.objects.filter(alias="default").update(uuid=right)
    resume("test_right")
    assert converge() == {"right.Leaf.owner": 1}
    assert list(Audit.objects.values_list("verb", flat=True)) == ["pause", "resume"]


def test_a_pause_for_another_reason_accepts_nobody(met: None) -> None:
    """Whatever the reason says: an operator may have copied the sentence of a mismatch."""
    reason = "it belongs to another database: so said the log yesterday"
    actions.pause("test_right", actor="me", reason=reason, using="default")
    another_default()
    resume("test_right")
    assert identity.mismatch("test_right", using="default")
    deleted()
    assert cascade.drain("test_right").rows == {}
    assert actions.is_refused("test_right", using="default")


def test_a_scan_of_a_paused_database_is_no_mismatch_whatever_the_reason_says(met: None) -> None:
    reason = "it belongs to another database: so said the log yesterday"
    actions.pause("test_right", actor="me", reason=reason, using="default")
    with pytest.raises(SystemExit) as left_out:
        call_command("integrity", "scan", "--database", "test_right", "--json")
    assert left_out.value.code == 4
    assert {row["paused_kind"] for row in status.collect_status()["databases"]} == {"", "operator"}


def test_a_renamed_database_stays_paused_for_the_same_reason(met: None) -> None:
    another_default()
    deleted()
    cascade.drain("test_right")
    ChildDatabase.objects.filter(alias="test_right").update(alias="old_name")
    call_command("integrity", "rename", "old_name", "test_right", "--alias", "--apply")
    assert actions.is_refused("test_right", using="default")


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
