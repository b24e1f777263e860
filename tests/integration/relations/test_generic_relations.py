"""GenericForeignKeys that the settings declare: rows of one parent go, those of no other do."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction
from django.db.models import ProtectedError
from django.db.models.signals import pre_save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.integrity import cascade, relations, scan
from apps.integrity.backends import missing_tables
from apps.integrity.backends.portable.keys import PortableKeys
from apps.integrity.backends.portable.rows import PortableRows
from apps.integrity.backends.postgresql import keys as postgresql_keys
from apps.integrity.backends.postgresql.keys import PostgreSQLKeys
from apps.integrity.backends.postgresql.rows import PostgreSQLRows
from apps.integrity.capture.protection import reading
from apps.integrity.cascade import time_slice, verification
from apps.integrity.control import grants
from apps.integrity.control.grants.collector import protection_checked
from apps.integrity.declared import Relation
from apps.integrity.exceptions import ChildDatabaseUnavailable
from apps.integrity.log import outcomes
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.reading import alive, validate_on_save
from apps.integrity.relations import generic
from apps.integrity.relations.delete_graph import _of_relation
from apps.integrity.relations.plan import Strategy, plan_for
from apps.integrity.report import elsewhere, preview
from apps.integrity.testing import assert_cascades, assert_no_orphans
from tests.kinds.left.models import Chisel, Fence, Note, NoteReply, Sticker
from tests.kinds.lite.models import Leaf, Vein
from tests.kinds.parents.models import Plant, PlantProxy, Stone, Tree, Weed

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from apps.integrity.backends.base import KeyReader, RowBackend
    from apps.integrity.relations.plan import Plan
    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("apart")

PLANTS, WEEDS = "left.Note.content_object@parents.Plant", "left.Note.content_object@parents.Weed"
STUCK, STUCK_TO_STONES = (
    "left.Sticker.stuck_to@parents.Plant",
    "left.Sticker.stuck_to@parents.Stone",
)
LEAVES = "lite.Leaf.content_object@parents.Plant"
#: No database has so many content types.
NOBODY = 10**6


def id_of(model: Any, alias: str = "default") -> int:
    """The id of its content type, past Django's cache."""
    known = ContentType.objects.using(alias)
    return known.get(app_label="parents", model=model._meta.model_name).pk


@pytest.fixture
def apart(committed: None) -> Iterator[None]:
    """In `test_left`, plants and weeds have each other's ids: a guess takes rows of the other."""
    own = [*ContentType.objects.using("test_left")]
    ids = {Plant: id_of(Weed), Weed: id_of(Plant)}
    _replace([
        ContentType(ids.get(each.model_class(), each.pk), each.app_label, each.model)
        for each in ContentType.objects.using("default")
    ])  # fmt: skip
    assert id_of(Plant, "test_left") == id_of(Weed) != id_of(Plant)
    yield
    _replace(own)


def _replace(rows: list[ContentType]) -> None:
    ContentType.objects.using("test_left").all()._raw_delete("test_left")
    ContentType.objects.using("test_left").bulk_create(rows)
    ContentType.objects.clear_cache()


def note(model: type, key: int) -> Note:
    return Note.objects.create(content_type_id=id_of(model), object_id=key)


def sticker(model: type, key: object) -> Sticker:
    return Sticker.objects.create(kind_id=id_of(model, "test_left"), key=str(key))


def leaf(model: type, key: object) -> Leaf:
    return Leaf.objects.create(content_type_id=id_of(model), object_id=str(key))


def left(*rows: Any) -> bool:
    """Whether these are the rows that their models have left."""
    models = {type(each) for each in rows}
    found = {(model, pk) for model in models for pk in model.objects.values_list("pk", flat=True)}
    return found == {(type(each), each.pk) for each in rows}


def delete_raw(*parents: Any) -> None:
    """What no signal tells of."""
    for each in parents:
        type(each).objects.filter(pk=each.pk)._raw_delete("default")


def scanned(label: str) -> list[str]:
    """Scan one relation from end to end; the keys that are suspected of it."""
    [database] = relations.catalogue().relation(label).child_databases
    found, unreachable = scan.scan(database, labels=[label], seconds=60)
    assert not unreachable
    assert [(each.complete, each.reason) for each in found] == [(True, "")]
    suspects = Suspect.objects.filter(relation=label)
    return sorted(suspects.values_list("value", flat=True))


class TestCascade:
    def test_rows_of_another_model_with_the_same_key_stay(self, converge: Converge) -> None:
        plant, weed = Plant.objects.create(pk=7), Weed.objects.create(pk=7)
        # As Django writes them: with the ids of the parent's database.
        gone, kept = (Note.objects.create(content_object=each) for each in (plant, weed))
        assert gone.content_type_id == id_of(Plant)
        others = kept, note(Plant, 70), Note.objects.create(content_type_id=NOBODY, object_id=7)
        for each in (gone, kept):
            NoteReply.objects.create(note=each)
        plant.delete()
        assert converge() == {PLANTS: 1, "left.NoteReply.note": 1}
        assert left(*others)
        weed.delete()
        assert converge() == {WEEDS: 1, "left.NoteReply.note": 1}
        assert left(*others[1:])

    def test_ids_of_the_child_s_database_and_keys_as_text(self, converge: Converge) -> None:
        plant = Plant.objects.create(pk=7)
        for _ in range(2):
            sticker(Plant, 7)
        others = [sticker(Plant, text) for text in ("007", "70", " 7", "")]
        others += [sticker(Weed, 7), Sticker.objects.create(kind_id=NOBODY, key="7")]
        PlantProxy.objects.get(pk=plant.pk).delete()
        assert converge() == {STUCK: 2}
        assert left(*others)

    def test_several_kinds_of_keys_in_one_column(self, converge: Converge) -> None:
        stone, plant = Stone.objects.create(), Plant.objects.create()
        sticker(Stone, stone.pk)
        leaf(Stone, stone.pk)
        others = sticker(Plant, plant.pk), sticker(Weed, stone.pk), sticker(Stone, stone.pk.hex)
        also = leaf(Plant, plant.pk), leaf(Plant, stone.pk)
        stone.delete()
        assert converge() == {STUCK_TO_STONES: 1, "lite.Leaf.content_object@parents.Stone": 1}
        assert left(*others, *also)

    @pytest.mark.parametrize("rows", [1, 1_000])
    def test_several_parents_of_one_delete(self, converge: Converge, tune: Tune, rows: int) -> None:
        tune(statement_rows=rows, statement_rows_max=rows)
        Plant.objects.bulk_create(Plant(pk=pk) for pk in (7, 8, 9))
        for key in (7, 7, 8, 9):
            note(Plant, key)
            sticker(Plant, key)
        others = [row(Weed, key) for row in (note, sticker) for key in (7, 8, 9)]
        Plant.objects.all().delete()
        assert converge() == {PLANTS: 4, STUCK: 4}
        assert left(*others)

    def test_rows_of_other_models_stand_in_nobody_s_way(
        self, converge: Converge, tune: Tune
    ) -> None:
        tune(statement_rows=1, statement_rows_max=1)
        plant = Plant.objects.create(pk=7)
        others = [sticker(Weed, 7) for _ in range(3)]
        for _ in range(2):
            sticker(Plant, 7)
        plant.delete()
        assert converge() == {STUCK: 2}
        assert left(*others)

    def test_on_sqlite(self, converge: Converge) -> None:
        plant = Plant.objects.create(pk=7)
        gone, *others = leaf(Plant, 7), leaf(Weed, 7), leaf(Stone, 7), leaf(Plant, 70)
        for each in (gone, *others):
            Vein.objects.create(leaf=each)
        plant.delete()
        assert converge() == {LEAVES: 1, "lite.Vein.leaf": 1}
        assert left(*others)
        assert Vein.objects.count() == len(others)

    def test_what_a_multi_table_child_takes_along(self, converge: Converge) -> None:
        tree = Tree.objects.create()
        note(Plant, tree.pk)
        other = note(Tree, tree.pk)  # a model of its own, which nobody declared
        tree.delete()
        assert converge() == {PLANTS: 1}
        assert left(other)

    def test_set_null_empties_both_columns(self, converge: Converge) -> None:
        gone, kept = Stone.objects.create(), Stone.objects.create()
        rows = [
            Chisel.objects.create(content_type_id=id_of(model), object_id=stone.pk)
            for model, stone in ((Stone, gone), (Stone, kept), (Weed, gone))
        ]
        key = gone.pk
        gone.delete()
        assert converge() == {"left.Chisel.content_object@parents.Stone": 1}
        found = Chisel.objects.order_by("pk").values_list("pk", "content_type_id", "object_id")
        assert list(found) == [
            (rows[0].pk, None, None),
            (rows[1].pk, id_of(Stone), kept.pk),
            (rows[2].pk, id_of(Weed), key),
        ]

    def test_verification_finds_late_rows_of_that_model_alone(
        self, converge: Converge, tune: Tune
    ) -> None:
        tune(grace_seconds=1e-6)
        Plant.objects.create(pk=7).delete()
        converge()
        other = note(Weed, 7)
        late = note(Plant, 7)
        assert verification.verify("test_left").reopened == 1
        assert converge() == {PLANTS: 1}
        assert left(other)
        assert verification.verify("test_left").verified == 1
        assert not Note.objects.filter(pk=late.pk).exists()


class TestContentTypes:
    """The id is what the named database says now. See Note [No cache]."""

    def test_one_that_was_made_anew_before_the_cascade(self, converge: Converge) -> None:
        plant, other = (Plant.objects.create(pk=pk) for pk in (7, 8))
        note(Plant, 8)
        other.delete()
        assert converge() == {PLANTS: 1}  # whoever remembers the id has it from now on
        before = note(Plant, 7)
        plant.delete()
        with without_content_type(Plant):
            ContentType.objects.create(pk=NOBODY, app_label="parents", model="plant")
            after = note(Plant, 7)
            assert converge() == {PLANTS: 1}
            ContentType.objects.filter(pk=NOBODY)._raw_delete("default")
        assert after.content_type_id == NOBODY
        assert left(before)

    def test_one_that_is_missing_is_no_proof_that_there_are_no_rows(
        self, converge: Converge
    ) -> None:
        plant, row = Plant.objects.create(pk=7), note(Plant, 7)
        plant.delete()
        with without_content_type(Plant):
            dispatch.sweep_all()
            done = cascade.drain("test_left")
            assert (done.failed, done.finished, done.rows) == (0, 0, {})
            [waiting] = Cascade.objects.filter(database="test_left")
            assert "'default' has no content type of parents.Plant" in waiting.reason
            assert "manage.py migrate --database default" in waiting.reason
            [seen], _ = scan.scan("test_left", labels=[PLANTS], seconds=60)
            assert not seen.complete
            assert "has no content type" in seen.reason
            with pytest.raises(CommandError, match=r"has no content type of parents.Plant"):
                call_command("integrity", "preview", "parents.Plant", "7")
            assert left(row)
        Cascade.objects.update(due_at=Deletion.objects.get().recorded_at)
        assert converge() == {PLANTS: 1}

    def test_a_verification_that_cannot_tell_goes_back_to_work(
        self, converge: Converge, tune: Tune
    ) -> None:
        tune(grace_seconds=1e-6)
        Plant.objects.create(pk=7).delete()
        converge()
        with without_content_type(Plant):
            found = verification.verify("test_left")
        assert (found.verified, found.reopened) == (0, 1)

    def test_a_delete_that_nobody_can_answer_is_refused(self) -> None:
        weed = Weed.objects.create()
        with (
            without_content_type(Weed),
            pytest.raises(ChildDatabaseUnavailable, match=r"has no content type of parents.Weed"),
        ):
            weed.delete()
        assert Weed.objects.exists()

    def test_a_database_without_a_table_of_them(self, tune: Tune) -> None:
        declared = Relation(
            "lite.Leaf.content_object", "parents.Plant", "PROTECT", content_types="test_lite"
        )
        tune(relations=[declared])
        [relation] = [each for each in relations.discover().relations if each.label == LEAVES]
        needed = "there is no table 'django_content_type' in 'test_lite'"
        with pytest.raises(ChildDatabaseUnavailable, match=needed):
            reading.referring(_of_relation(relation), [7], "test_lite")
        assert missing_tables.unusable_table(relation).startswith(needed)

    def test_a_relation_of_another_kind_is_not_asked_about(self, captured: Captured) -> None:
        relation = relations.catalogue().relation("blog.Post.author")
        with captured:
            assert generic.with_content_type(relation) is relation
        assert not any(captured[alias] for alias in connections)


@contextmanager
def without_content_type(model: Any) -> Iterator[None]:
    """The parents' database does not know it; its permissions keep the row."""
    rows = ContentType.objects.filter(pk=id_of(model))
    rows.update(model="forgotten")
    try:
        yield
    finally:
        rows.update(model=model._meta.model_name)


class TestProtection:
    def fence(self, model: type, key: int) -> Fence:
        return Fence.objects.create(content_type_id=id_of(model), object_id=str(key))

    def test_rows_of_that_model_protect_their_parent(self) -> None:
        kept, free = Weed.objects.create(), Weed.objects.create()
        fence = self.fence(Weed, kept.pk)
        self.fence(Plant, free.pk)
        with transaction.atomic():
            with pytest.raises(
                ProtectedError, match=r"left.Fence.content_object@parents.Weed"
            ) as e:
                Weed.objects.all().delete()
            assert [*e.value.protected_objects] == [fence]
            assert Weed.objects.count() == 2
        free.delete()
        assert Weed.objects.get() == kept

    def test_two_questions_for_all_parents(self, captured: Captured) -> None:
        Weed.objects.bulk_create(Weed() for _ in range(400))
        with captured:
            Weed.objects.all().delete()
        assert len([sql for sql in captured["default"] if "django_content_type" in sql]) == 1
        assert len([sql for sql in captured["test_left"] if "lock_wait" not in sql]) == 1


class TestScan:
    @pytest.mark.parametrize(("label", "row"), [(PLANTS, note), (STUCK, sticker), (LEAVES, leaf)])
    def test_orphans_of_that_model_are_found_and_repaired(
        self, converge: Converge, tune: Tune, label: str, row: Callable[[type, int], Any]
    ) -> None:
        tune(grace_seconds=1e-6)
        plants = Plant.objects.bulk_create(Plant(pk=pk) for pk in range(1, 13))
        Weed.objects.bulk_create(Weed(pk=pk) for pk in range(5, 20))
        for key in (3, 10, 3):
            row(Plant, key)
        others = [row(Plant, 4), row(Plant, 5), *(row(Weed, key) for key in (3, 10, 15, 99))]
        delete_raw(plants[2], plants[9])
        [database] = relations.catalogue().relation(label).child_databases
        [seen], _ = scan.scan(database, labels=[label], seconds=60)
        assert (seen.keys_scanned, seen.rows_scanned) == (4, 5)
        assert (seen.suspects, seen.orphans) == (2, 3)
        assert scanned(label) == ["10", "3"]
        effects, uncounted = preview.repairs([relations.catalogue().relation(label)])
        assert {each["relation"]: each["rows"] for each in effects}[label] == 3
        assert not uncounted
        call_command("integrity", "repair", "--relation", label, "--apply")
        assert converge() == {}
        assert (
            sum(
                numbers[label]
                for each in Cascade.objects.all()
                for numbers in (each.rows or {}).values()
            )
            == 3
        )
        assert left(*others)

    def test_each_parent_has_a_pass_of_its_own(self) -> None:
        plant, weed = Plant.objects.create(pk=7), Weed.objects.create(pk=7)
        note(Plant, 7)
        note(Weed, 7)
        delete_raw(plant)
        assert (scanned(WEEDS), scanned(PLANTS)) == ([], ["7"])
        delete_raw(weed)
        assert (scanned(WEEDS), scanned(PLANTS)) == (["7"], ["7"])

    def test_a_suspect_whose_rows_are_gone_is_dropped(self) -> None:
        plant, row = Plant.objects.create(pk=7), note(Plant, 7)
        note(Weed, 7)
        delete_raw(plant)
        assert scanned(PLANTS) == ["7"]
        row.delete()
        assert scanned(PLANTS) == []

    def test_without_the_content_types_a_repair_cannot_be_counted(self) -> None:
        plant, _ = Plant.objects.create(pk=7), note(Plant, 7)
        delete_raw(plant)
        assert scanned(PLANTS) == ["7"]
        with without_content_type(Plant):
            effects, uncounted = preview.repairs([relations.catalogue().relation(PLANTS)])
        assert effects == []
        assert "has no content type" in uncounted[PLANTS].reason
        assert not uncounted[PLANTS].unreachable


class TestSurfaces:
    def test_preview_counts_rows_of_that_model_and_what_hangs_on_them(self) -> None:
        Plant.objects.create(pk=7)
        for each in (note(Plant, 7), note(Plant, 7), note(Weed, 7)):
            NoteReply.objects.create(note=each)
        for row in (sticker, leaf):
            row(Plant, 7)
            row(Weed, 7)
        counted = {
            each["relation"]: each["rows"] for each in preview.preview_of("parents.Plant", "7")
        }
        assert counted == {
            PLANTS: 2, "left.NoteReply.note": 2, STUCK: 1, LEAVES: 1, "lite.Vein.leaf": 0
        }  # fmt: skip
        [into_left, _] = elsewhere.effects_elsewhere(Plant, [7], lambda _: True)
        assert {each["relation"]: each["rows"] for each in into_left.effects}[PLANTS] == 2

    def test_the_admin_counts_them_by_their_model(self) -> None:
        from apps.integrity.contrib.admin.wording import lines_of

        plant = Plant.objects.create(pk=7)
        note(Plant, 7)
        [into_left, _] = elsewhere.effects_elsewhere(Plant, [7], lambda _: True)
        assert lines_of([into_left], plant, 1) == ["test_left: 1 note (CASCADE)"]

    def test_the_command_and_the_receipt_name_them(
        self, converge: Converge, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("integrity", "relations", "--json")
        listed = {
            each["relation"]: each for each in json.loads(capsys.readouterr().out)["relations"]
        }
        assert (listed[PLANTS]["parent"], listed[PLANTS]["plan"]) == ("parents.Plant", "set-based")
        assert listed[WEEDS]["parent"] == "parents.Weed"
        note(Plant, Plant.objects.create(pk=7).pk)
        Plant.objects.get().delete()
        converge()
        with pytest.raises(SystemExit, match="4"):  # not verified yet
            call_command("integrity", "receipt", "parents.Plant", "7", "--json")
        [into_left, _] = json.loads(capsys.readouterr().out)["cascades"]
        assert into_left["rows"] == {PLANTS: 1}

    def test_rows_about_to_go_are_hidden(self) -> None:
        plant = Plant.objects.create(pk=7)
        note(Plant, 7)
        others = {note(Plant, 70), note(Weed, 7)}
        plant.delete()
        assert set(alive(Note.objects.all())) == others

    def test_a_reference_to_a_missing_parent_of_that_model_is_refused(self) -> None:
        Plant.objects.create(pk=7)
        validate_on_save(PLANTS)
        try:
            rows = note(Plant, 7), note(Weed, 8)
            with pytest.raises(IntegrityError, match="there is no parent 8"):
                note(Plant, 8)
            rows[1].content_type_id = id_of(Plant)
            with pytest.raises(IntegrityError, match="there is no parent 8"):
                rows[1].save(update_fields=["content_type"])
        finally:
            uid = f"integrity.validate_on_save.{PLANTS}"
            assert pre_save.disconnect(sender=Note, dispatch_uid=uid)

    def test_a_project_s_own_tests(self) -> None:
        note(Weed, 99)  # an orphan of another relation, which both leave alone
        assert_cascades(
            PLANTS, parent=Plant.objects.create, child=lambda plant: note(Plant, plant.pk)
        )
        assert_cascades(
            "left.Chisel.content_object@parents.Stone",
            parent=Stone.objects.create,
            child=lambda stone: Chisel.objects.create(content_object=stone),
        )
        assert_no_orphans(PLANTS)
        with pytest.raises(AssertionError, match=r"1 orphan of 1 missing parents.Weed: 99"):
            assert_no_orphans(WEEDS)

    @pytest.mark.postgresql
    def test_roles_are_granted_what_it_needs(self) -> None:
        def granted(alias: str, kind: grants.Kind) -> str:
            found = {each.database: each.statements for each in grants.grants("x", kind)}
            return "\n".join(found[alias])

        worker = grants.Kind.WORKER
        types = 'SELECT ("app_label", "id", "model") ON "django_content_type"'
        assert types in granted("default", worker)
        assert 'SELECT ON "django_content_type"' in granted("test_left", worker)
        assert 'UPDATE ("content_type_id", "object_id") ON "left_chisel"' in granted(
            "test_left", worker
        )
        assert 'SELECT ON "left_fence"' in granted("test_left", grants.Kind.WEB)
        asked = {*protection_checked(Weed, "default", relations.catalogue())}
        assert {each.column for each in asked if each.table == "django_content_type"} == {
            "id", "app_label", "model"
        }  # fmt: skip


@pytest.mark.postgresql
class TestStatements:
    """Each form, by itself. See Note [Content type condition]."""

    @pytest.mark.parametrize(
        ("form", "label", "row"),
        [
            (PostgreSQLKeys(), PLANTS, note),
            (PortableKeys(), PLANTS, note),
            (PortableKeys(), LEAVES, leaf),
        ],
    )
    def test_a_step_has_keys_of_that_model_alone(
        self, form: KeyReader, label: str, row: Callable[[type, int], Any]
    ) -> None:
        relation = generic.with_content_type(relations.catalogue().relation(label))
        [child] = relation.child_databases
        for model, key in ((Plant, 1), (Weed, 2), (Plant, 3), (Plant, 3), (Weed, 4), (Weed, 3)):
            row(model, key)
        with form.reading(child):
            step = form.ask(relation.field, None, 9, child=child)()
            assert step is not None
            assert (step.first, step.last, step.count, step.rows) == ("1", "3", 2, 3)
            rest = form.ask(relation.field, "1", 9, child=child)()
            assert rest is not None
            assert (rest.first, rest.count, rest.rows) == ("3", 1, 2)

    def test_a_row_that_moved_to_another_model_where_none_can_be_locked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        field = generic.with_content_type(relations.catalogue().relation(LEAVES)).field
        moved, _ = leaf(Plant, 7), leaf(Plant, 7)
        find = PortableRows.lock_rows

        def find_then_move(*args: Any, **kwargs: Any) -> Any:
            found = find(*args, **kwargs)
            Leaf.objects.filter(pk=moved.pk).update(content_type_id=id_of(Weed))
            return found

        monkeypatch.setattr(PortableRows, "lock_rows", find_then_move)
        PortableRows().delete_rows(field, ["7"], 9, using="test_lite", skip_locked=False)
        assert left(moved)

    @pytest.mark.parametrize("form", [PostgreSQLRows(), PortableRows()])
    def test_each_sees_and_deletes_rows_of_that_model_alone(self, form: RowBackend) -> None:
        field = generic.with_content_type(relations.catalogue().relation(PLANTS)).field
        mine = note(Plant, 7)
        others = [note(Weed, key) for key in (7, 8)]
        with transaction.atomic(using="test_left"):
            assert form.lock_rows(field, [7, 8], 9, using="test_left") == {mine.pk: 7}
        assert form.keys_with_rows(field, [7, 8], using="test_left") == {7}
        assert form.count_rows(field, [7, 8], using="test_left") == 1
        assert form.delete_rows(field, [7, 8], 9, using="test_left", skip_locked=False) == {7: 1}
        assert left(*others)

    @pytest.mark.parametrize("form", [PostgreSQLRows(), PortableRows()])
    def test_rows_of_other_models_take_no_place_of_those_to_empty(self, form: RowBackend) -> None:
        relation = relations.catalogue().relation("left.Chisel.content_object@parents.Stone")
        key = uuid4()
        for model in (Weed, Weed, Stone):
            Chisel.objects.create(content_type_id=id_of(model), object_id=key)
        field = generic.with_content_type(relation).field
        found = form.update_rows(field, [key], None, 1, using="test_left", skip_locked=False)
        assert found == {key: 1}

    @pytest.mark.parametrize("form", [PostgreSQLRows(), PortableRows()])
    def test_none_runs_before_the_content_type_is_known(self, form: RowBackend) -> None:
        field, options = relations.catalogue().relation(PLANTS).field, {"using": "test_left"}
        row = note(Plant, 7)
        for statement in (
            partial(form.delete_rows, field, [7], 9, skip_locked=False),
            partial(form.update_rows, field, [7], None, 9, skip_locked=False),
            partial(form.lock_rows, field, [7], 9),
            partial(form.keys_with_rows, field, [7]),
            partial(form.count_rows, field, [7]),
        ):
            with (
                pytest.raises(ValueError, match="without its content type"),
                transaction.atomic(using="test_left"),
            ):
                statement(**options)
        assert left(row)


def explained(alias: str, sql: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.postgresql
@pytest.mark.parametrize("analyzed", [False, True])
def test_the_index_leads_to_the_rows_of_each_key(
    captured: Captured, monkeypatch: pytest.MonkeyPatch, *, analyzed: bool
) -> None:
    types = id_of(Weed), id_of(Plant)
    Note.objects.bulk_create(
        Note(content_type_id=types[n % 2], object_id=n // 10) for n in range(5_000)
    )
    if analyzed:
        with connections["test_left"].cursor() as cursor:
            cursor.execute("ANALYZE left_note")
    relation = generic.with_content_type(relations.catalogue().relation(PLANTS))
    form = PostgreSQLRows()
    with transaction.atomic(using="test_left"):
        with captured:
            form.delete_rows(relation.field, [2, 3], 900, using="test_left", skip_locked=False)
            form.keys_with_rows(relation.field, [2, 3], using="test_left")
            form.count_rows(relation.field, [2, 3], using="test_left")
            form.lock_rows(relation.field, [2, 3], 9, using="test_left")
        transaction.set_rollback(True, using="test_left")
    monkeypatch.setattr(
        postgresql_keys, "_cursor", lambda *_: (connections["test_left"].cursor(), "keys")
    )
    asked = [sql for sql in captured["test_left"] if "content_type_id" in sql]
    with transaction.atomic(using="test_left"), captured:
        assert PostgreSQLKeys().ask(relation.field, "20", 99, child="test_left")() is not None
    asked += [sql for sql in captured["test_left"] if "content_type_id" in sql]
    assert len(asked) == 5
    for sql in asked:
        found = explained("test_left", sql)
        assert "Seq Scan" not in found
        assert "Index Cond: ((content_type_id = " in found


@pytest.mark.parametrize("rows", [1, 1_000])
@pytest.mark.parametrize("strategy", [Strategy.SET_BASED, Strategy.COLLECTOR])
def test_whatever_the_rows_hold_only_those_of_the_parent_go(
    rows: int, strategy: Strategy, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(statement_rows=rows, statement_rows_max=rows)
    monkeypatch.setattr(outcomes, "MOMENT_SECONDS", 0.0)

    def planned(relation: relations.Relation) -> Plan:
        return dataclasses.replace(plan_for(relation), strategy=strategy)

    monkeypatch.setattr(time_slice, "plan_for", planned)
    kinds = {Plant: id_of(Plant), Weed: id_of(Weed), None: NOBODY}
    row = st.tuples(st.sampled_from([*kinds]), st.integers(min_value=1, max_value=4))

    @settings(max_examples=8, derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(data=st.lists(row, max_size=12), gone=st.sets(st.integers(min_value=1, max_value=4)))
    def agree(data: list[tuple[Any, int]], gone: set[int]) -> None:
        for each in (NoteReply, Note):
            each.objects.all()._raw_delete("test_left")
        Plant.objects.bulk_create((Plant(pk=key) for key in range(1, 5)), ignore_conflicts=True)
        notes = Note.objects.bulk_create(
            Note(content_type_id=kinds[model], object_id=key) for model, key in data
        )
        NoteReply.objects.bulk_create(NoteReply(note=each) for each in notes)
        Plant.objects.filter(pk__in=gone).delete()
        _, due = dispatch.sweep_all()
        for database in sorted(due):
            while cascade.drain(database).more:
                pass
        kept = {
            each.pk
            for each, (model, key) in zip(notes, data, strict=True)
            if model is not Plant or key not in gone
        }
        assert set(Note.objects.values_list("pk", flat=True)) == kept
        assert set(NoteReply.objects.values_list("note", flat=True)) == kept

    agree()
