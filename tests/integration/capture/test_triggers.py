# ruff: noqa: S608 (names come from Model._meta)
"""Capture by trigger: what sends no signal is recorded too, once, in its transaction."""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.migrations.state import ModelState, StateApps

from apps.blog.models import Post
from apps.integrity import capture, relations
from apps.integrity.backends import connections
from apps.integrity.capture import presence, triggers
from apps.integrity.exceptions import InvalidSetting
from apps.integrity.models import Deletion
from apps.integrity.relations import relation
from apps.integrity.signals import deletion_recorded
from tests import superuser
from tests.kinds.parents.models import (
    Account,
    Desk,
    Owner,
    OwnerProxy,
    Person,
    Place,
    Restaurant,
    Tenant,
    Token,
    Word,
)
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

E001 = "integrity.E001"
TRACKED = [Owner, Token, Word, Person, Place, Restaurant, Account, Desk]
LABELS = [model._meta.label for model in TRACKED]


@pytest.fixture
def triggered(tune: Tune, committed: None) -> Iterator[Callable[[str], None]]:
    """Install triggers for the parents above, for capture by "trigger" or by "both"."""

    def install(mode: str) -> None:
        tune(capture=dict.fromkeys(LABELS, mode))
        triggers.install("default")

    yield install
    tune(capture="signal")
    triggers.install("default")


@pytest.fixture
def both(triggered: Callable[[str], None]) -> None:
    triggered("both")


def sql(statement: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)


def recorded() -> list[tuple[str, str, str]]:
    rows = Deletion.objects.order_by("parent", "key")
    return list(rows.values_list("parent", "key", "source"))


def table(model: Any) -> str:
    return connection.ops.quote_name(model._meta.db_table)


@contextmanager
def announcements() -> Iterator[list[tuple[str, ...]]]:
    found: list[tuple[str, ...]] = []

    def note(keys: tuple[str, ...], **_: object) -> None:
        found.append(keys)

    deletion_recorded.connect(note)
    try:
        yield found
    finally:
        deletion_recorded.disconnect(note)


@pytest.mark.usefixtures("both")
class TestWhatSendsNoSignal:
    def test_raw_sql(self) -> None:
        kept, *gone = Owner.objects.bulk_create(Owner() for _ in range(3))
        sql(f"DELETE FROM {table(Owner)} WHERE id <> %s", kept.pk)
        assert recorded() == [("parents.Owner", f"{each.pk}", "trigger") for each in gone]

    def test_raw_delete(self) -> None:
        owner = Owner.objects.create()
        key = owner.pk
        Owner.objects.filter(pk=key)._raw_delete("default")
        assert recorded() == [("parents.Owner", f"{key}", "trigger")]

    def test_a_model_of_a_migration(self) -> None:
        historical = StateApps([], {("parents", "owner"): ModelState.from_model(Owner)})
        owner = Owner.objects.create()
        key = owner.pk
        historical.get_model("parents", "owner").objects.filter(pk=key).delete()
        assert recorded() == [("parents.Owner", f"{key}", "trigger")]

    def test_a_cascade_of_the_database(self) -> None:
        constraint = f"ALTER TABLE {table(Account)} ADD CONSTRAINT probe FOREIGN KEY (tenant_id)"
        sql(f"{constraint} REFERENCES {table(Tenant)} ON DELETE CASCADE")
        try:
            account = Account.objects.create(tenant=Tenant.objects.create())
            with transaction.atomic():
                sql(f"DELETE FROM {table(Tenant)}")
            assert recorded() == [("parents.Account", f"{account.pk}", "trigger")]
        finally:
            sql(f"ALTER TABLE {table(Account)} DROP CONSTRAINT probe")

    def test_every_kind_of_key(self) -> None:
        token = Token.objects.create()
        Word.objects.create(text='it\'s "%s"')
        sql(f"DELETE FROM {table(Token)}")
        sql(f"DELETE FROM {table(Word)}")
        assert recorded() == [
            ("parents.Token", str(token.pk), "trigger"),
            ("parents.Word", 'it\'s "%s"', "trigger"),
        ]

    def test_values_that_other_keys_hold(self) -> None:
        Person.objects.create(code="a", number="1.50")
        Person.objects.create(code=None, number=None)
        sql(f"DELETE FROM {table(Person)}")
        found = list(Deletion.objects.order_by("pk").values_list("targets", flat=True))
        assert found == [{"code": "a", "number": "1.50"}, {"code": None, "number": None}]

    def test_the_cascade_follows(self, converge: Callable[[], Counter[str]]) -> None:
        kept, gone = Owner.objects.bulk_create(Owner() for _ in range(2))
        Leaf.objects.create(owner=kept)
        Leaf.objects.create(owner=gone)
        sql(f"DELETE FROM {table(Owner)} WHERE id = %s", gone.pk)
        assert converge() == {"right.Leaf.owner": 1}
        assert Leaf.objects.get().owner_id == kept.pk

    def test_whoever_may_delete_needs_no_right_to_the_log(self) -> None:
        Owner.objects.create()
        with role("SELECT, DELETE", Owner):
            # What is nearest in the caller's search path must not get the row.
            columns = "parent text, key text, targets jsonb, source text, state text"
            sql(f"CREATE TEMPORARY TABLE integrity_deletion ({columns})")
            sql(f"DELETE FROM {table(Owner)}")
            sql("DROP TABLE pg_temp.integrity_deletion")
        assert [source for _, _, source in recorded()] == ["trigger"]


@pytest.mark.usefixtures("both")
class TestTogetherWithSignals:
    @pytest.mark.parametrize("how", ["instance", "queryset", "proxy"])
    def test_a_delete_is_recorded_once_and_announced(self, how: str) -> None:
        owner = Owner.objects.create()
        key = f"{owner.pk}"
        with announcements() as announced:
            if how == "instance":
                owner.delete()
            else:
                (Owner if how == "queryset" else OwnerProxy).objects.all().delete()
        assert [key for _, key, _ in recorded()] == [key]
        assert announced == [(key,)]

    def test_a_multi_table_child_counts_as_both(self) -> None:
        place = Restaurant.objects.create(code="x")
        key = f"{place.pk}"
        place.delete()
        found = [(parent, key) for parent, key, _ in recorded()]
        assert found == [("parents.Place", key), ("parents.Restaurant", key)]

    def test_a_part_of_one_leaves_the_parent_alone(self) -> None:
        place = Restaurant.objects.create(code="x")
        place.delete(keep_parents=True)
        assert [parent for parent, _, _ in recorded()] == ["parents.Restaurant"]
        assert Place.objects.count() == 1

    def test_a_local_chain(self) -> None:
        desk = Desk.objects.create(account=Account.objects.create(tenant=Tenant.objects.create()))
        desk.account.tenant.delete()
        assert [parent for parent, _, _ in recorded()] == ["parents.Account", "parents.Desk"]

    def test_an_instance_that_is_deleted_made_again_and_deleted_again(self) -> None:
        with transaction.atomic():
            Owner.objects.create(pk=7).delete()
            Owner.objects.create(pk=7).delete()
        assert {key for _, key, _ in recorded()} == {"7"}
        Owner.objects.create(pk=7).delete()
        assert len(recorded()) == 3

    def test_recording_by_hand_adds_nothing(self) -> None:
        Owner.objects.bulk_create(Owner(pk=pk) for pk in (1, 2))
        with transaction.atomic():
            Owner.objects.all()._raw_delete("default")
            assert capture.record((Owner, [1, 2]), using="default") == ["1", "2"]
        assert len(recorded()) == 2

    @pytest.mark.parametrize("outer", [True, False])
    def test_what_is_rolled_back_leaves_nothing(self, *, outer: bool) -> None:
        Owner.objects.create()
        with transaction.atomic():
            with transaction.atomic():
                sql(f"DELETE FROM {table(Owner)}")
                transaction.set_rollback(not outer)
            transaction.set_rollback(outer)
        assert recorded() == []
        assert Owner.objects.count() == 1

    def test_signals_alone_still_record_where_the_trigger_is_missing(self) -> None:
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Owner)}")
        Owner.objects.create(pk=9).delete()
        assert recorded() == [("parents.Owner", "9", "signal")]
        triggers.install("default")


class TestTriggersAlone:
    @pytest.fixture(autouse=True)
    def alone(self, triggered: Callable[[str], None]) -> Iterator[None]:
        presence._seen.clear()
        triggered("trigger")
        yield
        presence._seen.clear()

    def test_a_delete_costs_no_statement_more(self, captured: Captured) -> None:
        Owner.objects.create(pk=1).delete()  # this process knows by now that there is a trigger
        for owner in (Owner.objects.create(pk=2), Owner.objects.create(pk=3)):
            with captured:
                owner.delete()
            statements = captured["default"]
            assert [sql for sql in statements if "integrity_" in sql or "pg_" in sql] == []
        assert captured.inserts() == []
        assert len(recorded()) == 3

    def test_a_delete_through_the_orm_is_recorded_and_announced(self) -> None:
        Owner.objects.bulk_create(Owner(pk=pk) for pk in (5, 6))
        with announcements() as announced:
            Owner.objects.all().delete()
        assert recorded() == [("parents.Owner", key, "trigger") for key in ("5", "6")]
        assert [sorted(keys) for keys in announced] == [["5", "6"]]

    def test_it_is_announced_after_the_commit_alone(self) -> None:
        Owner.objects.bulk_create(Owner(pk=pk) for pk in (1, 2, 3))
        with announcements() as announced:
            with transaction.atomic():
                Owner.objects.get(pk=1).delete()
                with transaction.atomic():
                    Owner.objects.get(pk=2).delete()
                    transaction.set_rollback(True)
                assert announced == []
            with transaction.atomic():
                Owner.objects.get(pk=3).delete()
                transaction.set_rollback(True)
        assert announced == [("1",)]
        assert recorded() == [("parents.Owner", "1", "trigger")]

    @pytest.mark.parametrize(
        "harm", ["DROP TRIGGER {0} ON {1}", "ALTER TABLE {1} DISABLE TRIGGER {0}"]
    )
    def test_a_trigger_that_is_not_there_loses_nothing(
        self, harm: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody forgot `install-triggers`, or dropped it: signals record, and it is told."""
        monkeypatch.setattr(connections, "_warned", {})
        sql(harm.format(triggers.CAPTURE, table(Owner)))
        with announcements() as announced:
            Owner.objects.create(pk=9).delete()
        assert recorded() == [("parents.Owner", "9", "signal")]
        assert announced == [("9",)]
        assert "parents.Owner in default has no trigger that records" in caplog.text
        triggers.install("default")
        Owner.objects.create(pk=10).delete()
        assert recorded()[0] == ("parents.Owner", "10", "trigger")

    def test_one_that_is_dropped_later_is_missed_within_a_minute(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Owner.objects.create(pk=1).delete()
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Owner)}")
        monkeypatch.setattr(presence, "SEEN_SECONDS", 0.0)
        Owner.objects.create(pk=2).delete()
        assert recorded()[1] == ("parents.Owner", "2", "signal")

    def test_who_may_not_write_the_log_cannot_delete_without_the_trigger(self) -> None:
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Owner)}")
        owner = Owner.objects.create()
        with role("SELECT, DELETE", Owner), pytest.raises(DatabaseError, match="denied"):
            owner.delete()
        assert Owner.objects.count() == 1

    def test_values_that_other_keys_hold_are_recorded_by_signal_as_well(self) -> None:
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Person)}")
        Person.objects.create(code="a", number="1.50").delete()
        assert Deletion.objects.get().targets == {"code": "a", "number": "1.50"}


@pytest.mark.usefixtures("both")
class TestTruncate:
    def test_it_is_refused_with_the_remedy_and_nothing_is_lost(self) -> None:
        Owner.objects.create()
        with pytest.raises(IntegrityError, match=r"(?s)parents_owner is refused.*Use DELETE"):
            sql(f"TRUNCATE {table(Owner)} CASCADE")
        assert Owner.objects.count() == 1

    def test_together_with_the_log_it_goes_through(self) -> None:
        Owner.objects.create()
        sql(f"TRUNCATE {table(Owner)}, integrity_deletion CASCADE")
        assert (Owner.objects.count(), recorded()) == (0, [])


class TestInstalling:
    def test_what_is_there_is_left_alone(self, both: None) -> None:
        again = triggers.install("default")
        assert (again.sql, sorted(again.unchanged)) == ((), sorted(LABELS))

    def test_one_that_was_changed_switched_off_or_dropped_is_renewed(self, both: None) -> None:
        sql(f"ALTER TABLE {table(Owner)} ENABLE REPLICA TRIGGER {triggers.CAPTURE}")
        sql(f"ALTER TABLE {table(Word)} DISABLE TRIGGER {triggers.CAPTURE}")
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Token)}")
        assert set(triggers.missing("default")) == {
            "parents.Owner",
            "parents.Word",
            "parents.Token",
        }
        triggers.install("default")
        assert triggers.missing("default") == ()
        Word.objects.create(text="w")
        sql(f"DELETE FROM {table(Word)}")
        assert recorded() == [("parents.Word", "w", "trigger")]

    def test_what_the_settings_no_longer_ask_for_is_removed(self, both: None, tune: Tune) -> None:
        tune(capture={"parents.Word": "both"})
        assert len(triggers.install("default").removed) == len(LABELS) - 1
        Owner.objects.create()
        sql(f"DELETE FROM {table(Owner)}")
        assert recorded() == []
        sql(f"TRUNCATE {table(Owner)} CASCADE")

    def test_without_the_log_they_are_removed_or_no_parent_could_be_deleted(
        self, both: None
    ) -> None:
        sql("ALTER TABLE integrity_deletion RENAME TO set_aside")
        try:
            assert len(triggers.install("default").removed) == len(LABELS)
            sql(f"DELETE FROM {table(Owner)}")
        finally:
            sql("ALTER TABLE set_aside RENAME TO integrity_deletion")

    def test_migrate_installs_them(self, triggered: Callable[[str], None], tune: Tune) -> None:
        tune(capture={"auth.User": "both"})
        call_command("migrate", "integrity", verbosity=0)
        assert triggers.missing("default") == ()
        user = User.objects.create(username="u")
        Post.objects.create(title="t", content="c", author=user)
        sql("DELETE FROM auth_user")
        assert recorded() == [("auth.User", f"{user.pk}", "trigger")]
        tune(capture="signal")
        call_command("migrate", "integrity", verbosity=0)
        assert triggers.change("default").sql == ()

    def test_the_check_names_what_is_missing_and_the_remedy(
        self, both: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert not [each for each in run_checks(databases=["default"]) if each.id == E001]
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Owner)}")
        (found,) = [each for each in run_checks(databases=["default"]) if each.id == E001]
        assert found.obj == "parents.Owner"
        assert "install-triggers --database default" in found.hint
        triggers.report_missing("default")
        assert "parents.Owner in default: deletions pass unrecorded" in caplog.text
        assert run_checks(databases=[]) == run_checks()

    def test_the_command_shows_first_and_then_does(self, tune: Tune, both: None) -> None:
        sql(f"DROP TRIGGER {triggers.CAPTURE} ON {table(Owner)}")
        shown = ask("install-triggers", "--dry-run")
        assert "CREATE OR REPLACE TRIGGER integrity_capture AFTER DELETE" in shown
        assert triggers.missing("default") == ("parents.Owner",)
        document = json.loads(ask("install-triggers", "--database", "default", "--json"))
        assert document["applied"] is True
        assert document["databases"][0]["installed"] == ["parents.Owner"]
        assert triggers.missing("default") == ()


class TestSettings:
    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ("triggers", "one of signal, trigger, both"),
            (None, "one of signal, trigger, both"),
            ({"auth.User": "no"}, "one of signal, trigger, both"),
            ({"auth.user": "both"}, "names 'auth.user'; parents: .*auth.User"),
            ({"lite.Author": "both"}, "lives in 'test_lite' .sqlite.: only PostgreSQL"),
        ],
    )
    def test_what_cannot_be_carried_out_is_refused_at_the_start(
        self, tune: Tune, value: Any, says: str
    ) -> None:
        tune(capture=value)
        with pytest.raises(InvalidSetting, match=says):
            triggers.require(relations.catalogue())

    def test_a_key_with_another_text_in_the_database_is_refused(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(capture={"parents.Token": "trigger"})
        triggers.require(relations.catalogue())
        field = relation.primary_key(Token)
        monkeypatch.setattr(field, "get_internal_type", lambda: "DateTimeField")
        with pytest.raises(InvalidSetting, match=r"write parents.Token.id differently"):
            triggers.require(relations.catalogue())


def ask(*arguments: str) -> str:
    out = io.StringIO()
    call_command("integrity", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def uid(model: Any) -> str:
    return f"integrity.capture.{model._meta.label}"


@contextmanager
def role(privileges: str, model: Any) -> Iterator[None]:
    """Act as somebody who has those privileges on that table, and no other."""
    us = connection.settings_dict["USER"]
    superuser.run("default", "CREATE ROLE integrity_probe", f"GRANT integrity_probe TO {us}")
    try:
        sql(f"GRANT {privileges} ON {table(model)} TO integrity_probe")
        sql("SET ROLE integrity_probe")
        with pytest.raises(DatabaseError, match="permission denied"):
            sql("SELECT 1 FROM integrity_deletion")
        yield
    finally:
        sql("RESET ROLE")
        superuser.run("default", "DROP OWNED BY integrity_probe", "DROP ROLE integrity_probe")
