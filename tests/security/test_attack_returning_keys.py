"""A value that was deleted is registered again while rows of the old account wait.

Anybody can do that where a `to_field` or a primary key is a name that people choose. Nothing of
the new owner may go, and nothing may be called proven: see Note [Keys that come back] in
cascade/live_check.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django import forms
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from apps.integrity import capture, cascade, failpoints, scan
from apps.integrity.capture import triggers
from apps.integrity.cascade import verification
from apps.integrity.control import heartbeats
from apps.integrity.exceptions import InvalidKey, UnknownName
from apps.integrity.failpoints import Failpoint
from apps.integrity.log.pending import is_open
from apps.integrity.models import Alarm, Cascade, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.report import alarms, receipts
from apps.integrity.report.status import collect_status
from sandbox.processes import eventually
from tests import log_rows, snippets
from tests.kinds.left.models import Badge, Invoice, Note, WordUse
from tests.kinds.parents.models import Person, Plant, Word
from tests.kinds.right.models import Locker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

GUIDE = "docs/how-to/keys-that-come-back.md"

pytestmark = pytest.mark.usefixtures("committed")

BADGE, INVOICE, LOCKER = "left.Badge.person", "left.Invoice.person", "right.Locker.person"
WORD = "left.WordUse.word"
DATABASES = ("test_left", "test_right")


def to_the_end(*databases: str) -> None:
    """Cascade and verify until nothing is open."""

    def over() -> bool:
        dispatch.sweep_all()
        Cascade.objects.filter(state="done").update(due_at=timezone.now())
        for database in databases or DATABASES:
            cascade.drain(database)
            verification.verify(database)
        return not log_rows.deletions_in(*Deletion.OPEN)

    assert eventually(over, timeout=60)


def sql(statement: str, *values: Any) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, values)


def states() -> Counter[str]:
    return Counter(Cascade.objects.values_list("state", flat=True))


def scope(model: str, key: object) -> dict[str, tuple[str, int | None]]:
    """Relation → outcome and rows that were kept, of the newest receipt."""
    [found, *_] = receipts.receipts_of(model, str(key))
    return {each["relation"]: (each["outcome"], each["kept"]) for each in found["scope"]}


def register(code: str = "ann") -> Person:
    return Person.objects.create(code=code)


def register_by_sql(code: str = "ann") -> Person:
    sql("INSERT INTO parents_person (code) VALUES (%s)", code)
    return Person.objects.get(code=code)


def rename_another(code: str = "ann") -> Person:
    person = Person.objects.create(code="ben")
    Person.objects.filter(pk=person.pk).update(code=code)
    return person


class Outcome(NamedTuple):
    code: int
    out: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def integrity(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(*arguments: str) -> Outcome:
        code: Any = 0
        capsys.readouterr()
        try:
            call_command("integrity", *arguments)
        except SystemExit as ended:
            code = ended.code
        return Outcome(code, capsys.readouterr().out)

    return run


REGISTERED = pytest.mark.parametrize("register", [register, register_by_sql, rename_another])


@pytest.fixture
def gone() -> int:
    """The key of a deleted person whose name and number rows elsewhere still hold."""
    person = Person.objects.create(code="ann", number=1)
    key = person.pk
    Badge.objects.create(person_id="ann")
    Invoice.objects.bulk_create(Invoice(person_id=1) for _ in range(2))
    Locker.objects.create(person_id=key)
    person.delete()
    return key


class TestBefore:
    """The name is registered before a worker has claimed anything."""

    @REGISTERED
    def test_its_rows_stay_and_nothing_is_proven(
        self, gone: int, register: Callable[[], Person]
    ) -> None:
        register()
        mine = Badge.objects.create(person_id="ann")
        to_the_end()
        assert Badge.objects.filter(pk=mine.pk).exists()
        assert (Badge.objects.count(), Invoice.objects.count(), Locker.objects.count()) == (2, 0, 0)
        deletion = Deletion.objects.get()
        assert (deletion.state, deletion.verified_at) == ("kept", None)
        assert "taken over" in deletion.why
        assert states() == {"kept": 1, "verified": 1}
        assert scope("parents.Person", gone) == {
            BADGE: ("kept", 2),
            INVOICE: ("deleted", None),
            LOCKER: ("deleted", None),
        }

    def test_the_control_is_verified(self, gone: int) -> None:
        register("ben")
        to_the_end()
        assert (Badge.objects.count(), Invoice.objects.count(), Locker.objects.count()) == (0, 0, 0)
        assert Deletion.objects.get().state == "verified"
        assert states() == {"verified": 2}
        assert {outcome for outcome, _ in scope("parents.Person", gone).values()} == {"deleted"}

    def test_a_key_that_came_back_keeps_no_rows_of_a_name_that_did_not(self, gone: int) -> None:
        Person.objects.create(pk=gone, code="ben", number=2)
        to_the_end()
        assert (Badge.objects.count(), Invoice.objects.count(), Locker.objects.count()) == (0, 0, 1)
        assert Deletion.objects.get().state == "kept"
        assert scope("parents.Person", gone)[LOCKER] == ("kept", 1)
        assert scope("parents.Person", gone)[BADGE] == ("deleted", None)

    def test_late_rows_of_another_value_are_found(self, gone: int) -> None:
        register()
        dispatch.sweep_all()
        cascade.drain("test_left")
        assert Cascade.objects.get(database="test_left").state == "done"
        Invoice.objects.create(person_id=1)
        to_the_end()
        assert not Invoice.objects.exists()
        assert scope("parents.Person", gone)[INVOICE] == ("deleted", None)
        assert scope("parents.Person", gone)[BADGE] == ("kept", 1)

    def test_a_person_who_was_restored_keeps_everything(self, gone: int) -> None:
        Person.objects.create(pk=gone, code="ann", number=1)
        to_the_end()
        assert (Badge.objects.count(), Invoice.objects.count(), Locker.objects.count()) == (1, 2, 1)
        assert Deletion.objects.get().state == "kept"
        assert states() == {"kept": 2}

    @pytest.mark.parametrize("way", ["ORM", "SQL"])
    def test_a_natural_primary_key(self, way: str) -> None:
        word = Word.objects.create(text="ann")
        WordUse.objects.create(word=word)
        word.delete()
        if way == "ORM":
            Word.objects.create(text="ann")
        else:
            sql("INSERT INTO parents_word (text) VALUES ('ann')")
        to_the_end()
        assert WordUse.objects.count() == 1
        assert Deletion.objects.get().state == "kept"
        assert scope("parents.Word", "ann") == {WORD: ("kept", 1)}


class TestMeanwhile:
    def at(
        self, monkeypatch: pytest.MonkeyPatch, phase: Failpoint, act: Callable[[], object]
    ) -> None:
        """Run `act` once, when a worker reaches that phase."""
        waiting = [act]

        def reached(now: Failpoint) -> None:
            if now is phase and waiting:
                waiting.pop()()

        monkeypatch.setattr(failpoints, "hit", reached)

    @pytest.mark.parametrize("phase", [Failpoint.CLAIMED, Failpoint.REMOVAL_COMMITTED])
    def test_between_the_claim_and_the_end(
        self, gone: int, monkeypatch: pytest.MonkeyPatch, tune: Tune, phase: Failpoint
    ) -> None:
        tune(statement_rows=1, statement_rows_max=1)
        Badge.objects.create(person_id="ann")
        self.at(monkeypatch, phase, register)
        to_the_end()
        left = Badge.objects.count()
        assert left == (2 if phase is Failpoint.CLAIMED else 1)
        assert Deletion.objects.get().state == "kept"
        assert scope("parents.Person", gone)[BADGE] == ("kept", left)

    def test_after_it_was_done_and_before_it_is_verified(self, gone: int) -> None:
        dispatch.sweep_all()
        for database in DATABASES:
            cascade.drain(database)
        assert Deletion.objects.get().state == "cascaded"
        register()
        mine = Badge.objects.create(person_id="ann")
        to_the_end()
        assert Badge.objects.get() == mine
        assert Deletion.objects.get().state == "kept"
        assert scope("parents.Person", gone)[BADGE] == ("kept", 1)

    def test_so_it_is_where_nothing_refers_to_it_and_nobody_is_alarmed(self, gone: int) -> None:
        dispatch.sweep_all()
        for database in DATABASES:
            cascade.drain(database)
        register()
        to_the_end()
        assert Deletion.objects.get().state == "kept"
        assert scope("parents.Person", gone)[BADGE] == ("kept", 0)
        alarms.watch("default")
        assert not Alarm.objects.exists()

    def test_one_that_was_seen_stays_kept_although_its_owner_left_again(self, gone: int) -> None:
        impostor = register()
        dispatch.sweep_all()
        cascade.drain("test_left")
        impostor.delete()
        to_the_end()
        assert not Badge.objects.exists()
        first, second = Deletion.objects.order_by("pk")
        assert (first.state, second.state) == ("kept", "verified")


class TestTold:
    @pytest.fixture
    def kept(self, gone: int) -> Deletion:
        register()
        to_the_end()
        return Deletion.objects.get()

    def figures(self) -> dict[str, int]:
        return {row["database"]: row["kept"] for row in collect_status()["databases"]}

    def test_status_the_alarm_and_the_exit_code_say_it(
        self, kept: Deletion, gone: int, integrity: Any
    ) -> None:
        alarms.watch("default")
        alarm = Alarm.objects.get()
        assert (alarm.kind, alarm.subject) == ("kept", "test_left")
        assert "belongs to an existing row" in alarm.reason
        assert self.figures()["test_left"] == 1
        assert collect_status()["deletions"]["kept"] == 1
        assert collect_status()["deletions"]["verified"] == 0
        assert integrity("status").code == 3
        receipt = integrity("receipt", "parents.Person", str(gone))
        assert receipt.code == 3
        line = "1 row of left.Badge.person in test_left was kept:"
        assert line in receipt.out
        assert "verified_at" not in receipt.out

    def test_who_acknowledges_it_ends_the_alarm_and_not_the_finding(
        self, kept: Deletion, gone: int, integrity: Any
    ) -> None:
        alarms.watch("default")
        outcome = integrity("acknowledge", str(kept.pk), "--reason", "a namesake", "--json")
        assert outcome.document["changed"] == 1
        alarms.watch("default")
        assert not Alarm.objects.exists()
        heartbeats.record("beat", using="default")
        assert integrity("status").code == 0
        assert integrity("receipt", "parents.Person", str(gone)).code == 3

    def test_a_retry_looks_again(self, kept: Deletion, integrity: Any) -> None:
        assert integrity("retry", str(kept.pk), "--json").document["changed"] == 1
        to_the_end()
        assert Deletion.objects.get().state == "kept"
        sql("DELETE FROM parents_person")
        assert integrity("retry", str(kept.pk), "--json").document["changed"] == 1
        to_the_end()
        assert Deletion.objects.get().state == "verified"
        assert not Badge.objects.exists()
        assert self.figures()["test_left"] == 0
        alarms.watch("default")
        assert not Alarm.objects.exists()

    def test_a_suspect_whose_value_came_back_is_forgotten(self) -> None:
        Badge.objects.create(person_id="cat")
        scan.scan("test_left", labels=[BADGE])
        assert log_rows.suspected(BADGE) == ["cat"]
        register("cat")
        scan.scan("test_left", labels=[BADGE])
        assert log_rows.suspected() == []
        assert not Deletion.objects.exists()
        assert Badge.objects.filter(person_id="cat").exists()


class TestUnknownValues:
    """A field that had another name when the deletion was written."""

    @pytest.fixture
    def triggered(self, tune: Tune, committed: None) -> Iterator[None]:
        """A trigger records the deletions of people."""
        tune(capture={"parents.Person": "trigger"})
        triggers.install("default")
        yield
        tune(capture="signal")
        triggers.install("default")

    @pytest.fixture
    def renamed(self, gone: int) -> None:
        Deletion.objects.update(targets={"nickname": "ann", "number": "1.00"})

    def test_it_waits_and_says_so(self, renamed: None) -> None:
        dispatch.sweep_all()
        for database in DATABASES:
            cascade.drain(database)
        row = Cascade.objects.get(database="test_left")
        assert (row.state, row.attempts) == ("waiting", 0)
        assert row.reason.startswith(f"{BADGE}: the log does not say which parents.Person.code")
        assert (Badge.objects.count(), Invoice.objects.count(), Locker.objects.count()) == (1, 0, 0)
        [status] = [r for r in collect_status()["databases"] if r["database"] == "test_left"]
        assert "does not say" in status["reason"]

    def test_it_is_not_verified(self, gone: int) -> None:
        dispatch.sweep_all()
        for database in DATABASES:
            cascade.drain(database)
        Deletion.objects.update(targets={"nickname": "ann", "number": "1.00"})
        Cascade.objects.update(due_at=timezone.now())
        assert eventually(lambda: verification.verify("test_left").reopened == 1, timeout=30)
        assert Cascade.objects.get(database="test_left").state == "pending"

    @pytest.mark.parametrize(
        "recorded",
        ["signal", "record", pytest.param("trigger", marks=pytest.mark.postgresql)],
    )
    def test_a_value_that_was_null_is_known(
        self, recorded: str, tune: Tune, request: pytest.FixtureRequest
    ) -> None:
        person = Person.objects.create(code=None, number=3)
        person.refresh_from_db()
        Invoice.objects.create(person_id=3)
        if recorded == "signal":
            person.delete()
        elif recorded == "trigger":
            request.getfixturevalue("triggered")
            sql("DELETE FROM parents_person WHERE id = %s", person.pk)
        else:
            Person.objects.filter(pk=person.pk)._raw_delete("default")
            capture.record([person], using="default")
        assert Deletion.objects.get().targets == {"code": None, "number": "3.00"}
        to_the_end()
        assert Deletion.objects.get().state == "verified"
        assert not Invoice.objects.exists()


def test_the_guide_refuses_a_name_whose_rows_are_not_gone(gone: int) -> None:
    """Its form, with our model in place of the one that it names."""
    [shown] = snippets.blocks(snippets.ROOT / GUIDE, "python")
    names: dict[str, Any] = {"Member": Person, "__name__": "page"}
    snippets.run(dataclasses.replace(shown, text=shown.text.replace("handle", "code")), names)
    assert not names["Registration"]({"code": "ann"}).is_valid()
    assert names["Registration"]({"code": "ben"}).is_valid()
    to_the_end()
    assert names["Registration"]({"code": "ann"}).is_valid()


def test_a_generic_relation() -> None:
    plant = Plant.objects.create()
    key = plant.pk
    for _ in range(2):
        Note.objects.create(content_object=plant)
    plant.delete()
    Plant.objects.create(pk=key)
    to_the_end(*DATABASES, "test_lite")
    assert Note.objects.count() == 2
    assert Deletion.objects.get().state == "kept"
    assert scope("parents.Plant", key)["left.Note.content_object@parents.Plant"] == ("kept", 2)


class Registration(forms.ModelForm):  # type: ignore[type-arg]  # it takes no argument when it runs
    class Meta:
        model = Person
        fields = ("code",)

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        if capture.pending(Person, code, field="code"):
            raise forms.ValidationError("This name is not free yet.")
        return code


def put(state: str) -> None:
    """Bring the only deletion into that state; as suspects, it is three."""
    deletion = Deletion.objects.get()
    if state == "suspect":
        deletion.delete()
        held = {
            "right.Locker.person": "",
            "left.Badge.person": "code",
            "left.Invoice.person": "number",
        }
        for relation, field in held.items():
            value = (deletion.targets or {})[field] if field else deletion.key
            Suspect.objects.create(
                parent="parents.Person", relation=relation, field=field, value=value
            )
    elif state == "cancelled":
        Deletion.objects.update(cancelled_at=timezone.now())
    elif state != "recorded":
        dispatch.sweep("default")
        ended = {"due_at": None, "ended_at": timezone.now()}
        columns = ended if state in {"verified", "kept"} else {}
        of_cascades = {"dispatched": "pending", "cascaded": "done"}
        Cascade.objects.update(state=of_cascades.get(state, state), **columns)
    assert log_rows.states() == ([] if state == "suspect" else [state])


class TestPending:
    def test_a_form_refuses_a_name_until_its_rows_are_gone(self, gone: int) -> None:
        for _ in range(2):
            assert not Registration({"code": "ann"}).is_valid()
            assert Registration({"code": "ben"}).is_valid()
            dispatch.sweep_all()
            for database in DATABASES:
                cascade.drain(database)
        to_the_end()
        assert Registration({"code": "ann"}).is_valid()

    @pytest.mark.parametrize("state", ["suspect", "recorded", "dispatched", "cascaded"])
    def test_by_key_and_by_value(self, gone: int, state: str) -> None:
        put(state)
        assert capture.pending(Person, gone)
        assert capture.pending(Person, str(gone), using="default")
        assert capture.pending(Person, "ann", field="code")
        assert capture.pending(Person, 1, field="number")
        assert not capture.pending(Person, gone + 1)
        assert not capture.pending(Person, "ben", field="code")
        assert not capture.pending(Person, None, field="code")
        assert not capture.pending(Word, "ann")

    @pytest.mark.parametrize("state", ["verified", "kept", "cancelled"])
    def test_what_has_ended_is_not_pending(self, gone: int, state: str) -> None:
        put(state)
        assert not capture.pending(Person, gone)
        assert not capture.pending(Person, "ann", field="code")

    @pytest.mark.parametrize("using", ["default", "test_lite"])
    def test_in_the_form_of_each_backend(self, using: str) -> None:
        Deletion.objects.using(using).create(
            parent="x.A", key="7", targets={"code": "ann", "number": None}, source="api"
        )
        for field, text, found in (
            ("code", "ann", True),
            ("code", "An", False),
            ("number", "None", False),
            (None, "7", True),
            (None, "70", False),
        ):
            assert is_open("x.A", [text], field=field, using=using) is found
            assert not is_open("x.B", [text], field=field, using=using)

    def test_a_blocked_one_is(self, gone: int) -> None:
        dispatch.sweep_all()
        Cascade.objects.update(state="blocked")
        assert capture.pending(Person, "ann", field="code")

    def test_names_that_nobody_knows(self) -> None:
        with pytest.raises(UnknownName, match="'nickname'"):
            capture.pending(Person, "ann", field="nickname")
        with pytest.raises(InvalidKey):
            capture.pending(Person, "ann")
        with pytest.raises(UnknownName):
            capture.pending(Deletion, 1)
