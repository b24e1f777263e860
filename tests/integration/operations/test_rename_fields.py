"""`integrity rename --field`: values in the log under a name that a parent's field had before."""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.migrations.state import ProjectState
from django.utils import timezone

from apps.integrity import cascade, relations, scan
from apps.integrity.cascade.blockers import blockers_of
from apps.integrity.checks import doctor
from apps.integrity.exceptions import InvalidName
from apps.integrity.log import deletions, fields, suspects
from apps.integrity.log import renames as log_renames
from apps.integrity.log.renaming import Kind, Renaming
from apps.integrity.models import Audit, Cascade, Deletion, Suspect
from apps.integrity.operations import RenameTrackedField, renames
from apps.integrity.queues import dispatch
from apps.integrity.report import lists
from apps.integrity.report import names as report_names
from tests import log_rows, snippets
from tests.integration.log.test_names import run
from tests.kinds.left.models import Badge, Invoice, PlaceNote
from tests.kinds.parents.models import Person, Place
from tests.kinds.right.models import Locker
from tests.security.test_attack_returning_keys import to_the_end

if TYPE_CHECKING:
    from tests.conftest import Tune
    from tests.integration.log.test_names import Run

__all__ = ["run"]

pytestmark = pytest.mark.usefixtures("committed")

BADGE, INVOICE = "left.Badge.person", "left.Invoice.person"
OLD, NEW = "parents.Person.nickname", "parents.Person.code"
CHANGE = Renaming(kind=Kind.FIELD, old=OLD, new=NEW)
TARGETS = {"nickname": "ann", "number": "1.00"}


@pytest.fixture(autouse=True)
def _quick(tune: Tune, committed: None) -> None:
    tune(grace_seconds=0.000_001)
    Person.objects.create(code="zoe", number=99)  # an empty table engages the brake


def gone(code: str = "ann", number: int = 1) -> Deletion:
    """A person who was deleted; rows in two databases refer to her by three fields."""
    person = Person.objects.create(code=code, number=number)
    Badge.objects.create(person_id=code)
    Invoice.objects.create(person_id=number)
    Locker.objects.create(person_id=person.pk)
    person.delete()
    return Deletion.objects.latest("pk")


def renamed() -> None:
    """After this, the field has its present name."""
    Suspect.objects.filter(field="code").update(field="nickname")
    for each in Deletion.objects.filter(targets__has_key="code"):
        each.targets["nickname"] = each.targets.pop("code")
        each.save(update_fields=["targets"])


def worked() -> None:
    for _ in range(2):
        dispatch.sweep_all()
        for database in ("test_left", "test_right"):
            cascade.drain(database)


def rows() -> tuple[int, int, int]:
    return Badge.objects.count(), Invoice.objects.count(), Locker.objects.count()


def typed(run: Run, reason: str, verb: str, *more: str) -> Any:
    """Run what a reason says, to the letter."""
    for each in re.findall(r"`manage\.py integrity ([^`]+)`", reason):
        if verb in each:
            return run(*each.replace("REASON", "new").split(), *more)
    raise AssertionError(reason)


class TestARenamedField:
    @pytest.mark.parametrize("at_work", [False, True], ids=["recorded", "waiting"])
    def test_what_the_finding_says_leads_out(self, run: Run, at_work: bool) -> None:  # noqa: FBT001
        gone()
        renamed()
        if at_work:
            worked()
            assert rows() == (1, 0, 0)
        [told] = run("status").document["unknown"]
        assert (told["kind"], told["name"], told["guess"], told["work"]) == ("field", OLD, NEW, 1)
        dry = typed(run, told["reason"], "--field")
        assert (dry.code, dry.document["applied"]) == (3, False)
        assert dry.document["tables"] == {"fields": 1}
        assert Deletion.objects.get().targets == TARGETS, "a dry run changes nothing"
        done = typed(run, told["reason"], "--field", "--apply")
        assert (done.code, done.document["changed"]) == (0, 1)
        assert Deletion.objects.get().targets == {"code": "ann", "number": "1.00"}
        to_the_end()
        assert rows() == (0, 0, 0)
        assert Deletion.objects.get().state == "verified"
        assert run("status").document["unknown"] == []

    def test_what_the_cascade_says_leads_out(self, run: Run) -> None:
        gone()
        renamed()
        worked()
        reason = Cascade.objects.get(database="test_left").reason
        assert typed(run, reason.replace("OLD", "nickname"), "--field").document["changed"] == 1
        to_the_end()
        assert Deletion.objects.get().state == "verified"

    def test_it_is_audited_once_and_the_second_run_changes_nothing(self, run: Run) -> None:
        gone()
        renamed()
        run("rename", OLD, NEW, "--field", "--apply")
        assert Audit.objects.get().target == f"field {OLD} → {NEW}"
        again = run("rename", OLD, NEW, "--field", "--apply")
        assert (again.code, again.document["changed"], Audit.objects.count()) == (0, 0, 1)

    def test_doctor_names_it(self) -> None:
        gone()
        renamed()
        [told] = [each for each in doctor.examine(None) if OLD in each.detail]
        assert not told.ok

    def test_rows_of_a_living_parent_stay(self, run: Run) -> None:
        gone()
        renamed()
        Person.objects.create(code="ann")
        mine = Badge.objects.create(person_id="ann")
        run("rename", OLD, NEW, "--field", "--apply")
        to_the_end()
        assert Badge.objects.filter(pk=mine.pk).exists()
        assert Badge.objects.count() == 2
        assert Deletion.objects.get().state == "kept"

    def test_batches_that_were_written_are_not_written_again(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(7):
            gone(f"p{number}", number)
        renamed()
        monkeypatch.setattr(log_renames, "BATCH", 3)
        real, calls = log_renames.make_due, []

        def die(cascades: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            real(cascades)

        with monkeypatch.context() as patched:
            patched.setattr(log_renames, "make_due", die)
            with pytest.raises(KeyboardInterrupt):
                run("rename", OLD, NEW, "--field", "--apply")
        assert Deletion.objects.filter(targets__has_key="nickname").count() == 4
        assert run("rename", OLD, NEW, "--field", "--apply").document["changed"] == 4
        to_the_end()
        assert rows() == (0, 0, 0)

    def test_receipts_are_found_by_the_new_name(self, run: Run) -> None:
        gone()
        to_the_end()
        renamed()
        assert run("rename", OLD, NEW, "--field", "--apply").document["tables"] == {"history": 1}
        assert Deletion.objects.get().targets["code"] == "ann"

    def test_in_a_migration_there_and_back(self) -> None:
        gone()
        renamed()
        operation, state = RenameTrackedField(OLD, NEW), ProjectState()
        for back in (False, True, False):
            for alias in ("default", "test_left"):
                with connections[alias].schema_editor(atomic=True) as editor:
                    act = operation.database_backwards if back else operation.database_forwards
                    act("parents", editor, state, state)
            assert ("nickname" in Deletion.objects.get().targets) is back
        to_the_end()
        assert rows() == (0, 0, 0)

    @pytest.mark.parametrize("names", [("a.B", "a.C"), ("a.B.c", "a.D.c"), ("x", "y")])
    def test_a_migration_takes_two_fields_of_a_model(self, names: tuple[str, str]) -> None:
        with pytest.raises(ValueError, match="give two"):
            RenameTrackedField(*names)


class TestSuspects:
    """Of a scan: they have no key, only the value of the field."""

    def suspected(self) -> Suspect:
        Badge.objects.create(person_id="cat")
        scan.scan("test_left", labels=[BADGE])
        return Suspect.objects.get()

    def test_one_is_repaired_after_the_rename(self, run: Run) -> None:
        suspect = self.suspected()
        renamed()
        assert run("rename", OLD, NEW, "--field", "--apply").document["changed"] == 1
        suspect.refresh_from_db()
        assert (suspect.field, suspect.value) == ("code", "cat")
        run("repair", "--relation", BADGE, "--apply")
        to_the_end()
        assert not Badge.objects.exists()
        assert Deletion.objects.get().state == "verified"

    def test_one_that_was_confirmed(self, run: Run) -> None:
        suspect = self.suspected()
        suspects.confirm([suspect.pk], using="default")
        renamed()
        worked()
        assert Badge.objects.exists()
        [told] = run("status").document["unknown"]
        typed(run, told["reason"], "--field", "--apply")
        to_the_end()
        assert not Badge.objects.exists()

    def test_one_whose_value_came_back_keeps_its_rows(self, run: Run) -> None:
        suspect = self.suspected()
        suspects.confirm([suspect.pk], using="default")
        renamed()
        Person.objects.create(code="cat")
        run("rename", OLD, NEW, "--field", "--apply")
        to_the_end()
        assert Badge.objects.count() == 1
        assert Deletion.objects.get().state == "kept"


class TestANewRelation:
    """One by a field that no relation asked for while the deletion was written."""

    @pytest.fixture
    def waiting(self) -> Deletion:
        gone()
        Deletion.objects.update(targets={"number": "1.00"})
        worked()
        assert rows() == (1, 0, 0)
        return Deletion.objects.get()

    @pytest.mark.parametrize("told_by", ["status", "cascade"])
    def test_what_the_reason_says_leads_out(
        self, run: Run, waiting: Deletion, told_by: str
    ) -> None:
        if told_by == "status":
            [told] = run("status").document["unknown"]
            assert (told["kind"], told["name"], told["guess"]) == ("field", NEW, "")
            reason = told["reason"]
        else:
            reason = Cascade.objects.get(database="test_left").reason
        assert typed(run, reason, "--close").document["changed"] == 1
        if told_by == "status":
            assert log_rows.in_database(Deletion.objects.get(), "test_left").state == "waiting", (
                "a dry run"
            )
            typed(run, reason, "--close", "--apply")
        assert run("status").document["unknown"] == []
        to_the_end("test_right")
        waiting.refresh_from_db()
        assert (waiting.state, waiting.verified_at) == ("cancelled", None)
        assert Badge.objects.exists()
        [found] = typed(run, reason, "scan").document["relations"]
        assert found["orphans"] == 1
        run("repair", "--relation", BADGE, "--apply")
        to_the_end()
        assert rows() == (0, 0, 0)

    def test_one_that_waits_for_other_rows_too_goes_on(self, run: Run, waiting: Deletion) -> None:
        Cascade.objects.filter(database="test_left").update(failing={BADGE: "?", INVOICE: "?"})
        assert run("rename", NEW, "--field", "--close", "new", "--apply").document["changed"] == 0
        assert log_rows.in_database(Deletion.objects.get(), "test_left").state == "waiting"

    @pytest.mark.parametrize(("more", "counted"), [({1}, 0), (set(), 1)])
    def test_a_value_that_is_not_known_counts_once_all_else_is_gone(
        self, more: set[int], counted: int
    ) -> None:
        known, lacking = map(relations.catalogue().relation, (INVOICE, BADGE))
        left, unknown = {INVOICE: more, BADGE: set()}, {INVOICE: set(), BADGE: {1}}
        found = blockers_of(1, {}, left, unknown, [known, lacking])
        assert [each.relation for each in found] == [BADGE] * counted

    def test_one_that_has_the_value_goes_on(self, run: Run, waiting: Deletion) -> None:
        Deletion.objects.update(targets={"number": "1.00", "code": "ann"})
        assert run("rename", NEW, "--field", "--close", "new", "--apply").document["changed"] == 0

    def test_a_place_with_no_value_at_all(self, run: Run) -> None:
        place = Place.objects.create(code="hall")
        PlaceNote.objects.create(place_id="hall")
        place.delete()
        Deletion.objects.filter(parent="parents.Place").update(targets=None)
        worked()
        told = {each["name"]: each["reason"] for each in run("status").document["unknown"]}
        reason = told["parents.Place.code"]
        assert typed(run, reason, "--close", "--apply").document["changed"] == 1
        to_the_end()
        assert Deletion.objects.get(parent="parents.Place").state == "cancelled"
        assert typed(run, reason, "scan").document["relations"][0]["orphans"] == 1


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ([OLD, "parents.Person.nothing"], "unknown field 'parents.Person.nothing'; "),
            (["parents.Persona.nickname", NEW], "are fields of two models"),
            (["parents.Person.number", NEW], "is still in the catalogue"),
            ([NEW, NEW], "is both the old name and the new one"),
            ([OLD, "--close", "why"], "is no field of the catalogue; known: "),
        ],
    )
    def test_names_that_make_no_sense(self, words: list[str], told: str) -> None:
        gone()
        renamed()
        with pytest.raises(CommandError) as raised:
            call_command("integrity", "rename", *words, "--field", "--apply")
        assert raised.value.returncode == 2
        assert told in str(raised.value)
        assert Deletion.objects.get().targets == TARGETS

    @pytest.mark.parametrize("apply", [False, True])
    def test_two_values_of_one_deletion(self, apply: bool) -> None:  # noqa: FBT001
        gone("p0", 1)
        renamed()
        other = gone("p1", 2)
        Deletion.objects.filter(pk=other.pk).update(targets={"nickname": "a", "code": "b"})
        before = list(Deletion.objects.order_by("pk").values_list("targets", flat=True))
        with pytest.raises(InvalidName, match=f"deletion {other.pk} has one value"):
            renames.rename(CHANGE, actor="test", apply=apply)
        assert list(Deletion.objects.order_by("pk").values_list("targets", flat=True)) == before
        assert not Audit.objects.exists()

    def test_the_same_value_twice_is_one(self) -> None:
        gone()
        Deletion.objects.update(targets={"nickname": "ann", "code": "ann", "number": None})
        renames.rename(CHANGE, actor="test", apply=True)
        assert Deletion.objects.get().targets == {"code": "ann", "number": None}

    def test_a_value_that_the_field_cannot_hold(self) -> None:
        gone()
        Deletion.objects.update(targets={"nickname": "ann", "code": "ann"})
        change = Renaming(kind=Kind.FIELD, old=OLD, new="parents.Person.number")
        with pytest.raises(InvalidName, match="cannot hold") as raised:
            renames.rename(change, actor="test", apply=True)
        assert "'ann'" not in str(raised.value)

    @pytest.mark.parametrize("apply", [False, True])
    def test_a_suspects_value_that_the_field_cannot_hold(self, apply: bool) -> None:  # noqa: FBT001
        Suspect.objects.create(
            parent="parents.Person", relation=BADGE, field="nickname", value="ann"
        )
        change = Renaming(kind=Kind.FIELD, old=OLD, new="parents.Person.number")
        with pytest.raises(InvalidName, match="cannot hold") as raised:
            renames.rename(change, actor="test", apply=apply)
        assert "'ann'" not in str(raised.value)
        assert Suspect.objects.get().field == "nickname"


@pytest.mark.parametrize("using", ["default", "test_lite"])
class TestEveryLog:
    """PostgreSQL's, and SQLite's."""

    def logged(self, using: str, **values: Any) -> Deletion:
        rows = Deletion.objects.using(using)
        return rows.create(parent="parents.Person", source="api", **values)

    def test_renamed(self, using: str) -> None:
        self.logged(using, key="1", targets={"nickname": "ann"})
        suspects_there = Suspect.objects.using(using)
        for field, value in (("nickname", "cat"), ("nickname", "dan"), ("code", "dan")):
            suspects_there.create(parent="parents.Person", relation=BADGE, field=field, value=value)
        self.logged(using, key="2", targets={"code": "bob"})
        self.logged(using, key="3", targets=None)
        assert fields.rename_field(CHANGE, using=using, apply=False) == 3
        assert fields.rename_field(CHANGE, using=using, apply=True) == 3
        found = Deletion.objects.using(using).order_by("pk").values_list("targets", flat=True)
        assert list(found) == [{"code": "ann"}, {"code": "bob"}, None]
        named = {*suspects_there.values_list("field", "value")}
        assert named == {("code", "cat"), ("code", "dan")}

    def test_found_and_given_up(self, using: str) -> None:
        values = (None, {"number": "1.00"}, {"code": "ann"})
        told = [self.logged(using, key="1", targets=targets).pk for targets in values]
        Deletion.objects.using(using).update(batch=told[0])
        Cascade.objects.using(using).create(
            batch=told[0],
            database="test_left",
            parent="parents.Person",
            deletions=told,
            size=3,
            recorded_at=timezone.now(),
            due_at=timezone.now(),
            state="waiting",
            failing={BADGE: "?"},
        )
        [lack] = [each for each in report_names.unknown([using]) if each["name"] == NEW]
        assert lack["work"] == 2
        closed = fields.close_field(
            NEW, [BADGE], ["test_left"], deletions.GIVEN_UP, using=using, apply=True
        )
        assert closed == 2
        log_rows.check_partitions(using=using)
        assert log_rows.states(using=using) == ["cancelled", "cancelled", "dispatched"]


class TestTheGuide:
    """Its commands to the letter, with our names in place of those that it shows."""

    NAMES = (
        ("shop.Customer.nickname", OLD),
        ("shop.Customer.handle", NEW),
        ("blog.Badge.customer", BADGE),
    )

    def typed(self, number: int) -> None:
        page = snippets.ROOT / "docs/how-to/rename-models-and-aliases.md"
        here = "tests/integration/operations/test_rename_fields.py"
        shown = [each for each in snippets.blocks(page, "sh") if each.run_by == here]
        text = shown[number].text
        for theirs, ours in self.NAMES:
            text = text.replace(theirs, ours)
        for line in text.splitlines():
            with contextlib.suppress(SystemExit):  # a dry run ends with 3
                call_command(*shlex.split(line.removeprefix("manage.py ")))

    def test_a_renamed_field(self) -> None:
        gone()
        renamed()
        self.typed(0)
        to_the_end()
        assert rows() == (0, 0, 0)
        assert Deletion.objects.get().state == "verified"

    def test_a_new_relation(self) -> None:
        gone()
        Deletion.objects.update(targets={"number": "1.00"})
        worked()
        self.typed(1)
        to_the_end()
        assert rows() == (0, 0, 0)
        first, second = Deletion.objects.order_by("pk")
        assert (first.state, second.state) == ("cancelled", "verified")


def test_a_list_of_the_kept_has_what_its_card_counts() -> None:
    gone()
    Person.objects.create(code="ann", number=1)
    dispatch.sweep_all()
    cascade.drain("test_left")
    assert Cascade.objects.filter(state="kept").count() == 1
    assert Deletion.objects.get().state == "dispatched"
    assert len(lists.deletions(lists.Wanted(using="default", shown="kept")).rows) == 1
