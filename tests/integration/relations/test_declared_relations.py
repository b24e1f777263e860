"""Plain columns that the settings declare: the whole way, as for a ForeignKey."""

from __future__ import annotations

import inspect
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import IntegrityError, connections, transaction
from django.db.models import ProtectedError, RestrictedError
from django.test import RequestFactory

from apps.integrity import cascade, relations, scan
from apps.integrity.admin import CrossDatabaseAdminMixin
from apps.integrity.capture import collector
from apps.integrity.cascade import verification
from apps.integrity.control import grants
from apps.integrity.exceptions import ChildDatabaseUnavailable, UnknownName
from apps.integrity.models import Cascade, Deletion, Suspect
from apps.integrity.queues import dispatch
from apps.integrity.reading import alive, validate_on_save
from apps.integrity.relations import discovery
from apps.integrity.report import elsewhere
from apps.integrity.report.preview import preview_of
from tests import snippets
from tests.kinds.analytics import models as analytics
from tests.kinds.left.models import (
    Emptied,
    Event,
    EventNote,
    Kept,
    Replaced,
    Reported,
    Reset,
)
from tests.kinds.lite.models import Limit, Reading
from tests.kinds.parents.models import Beacon, Lighthouse, Station, StationProxy

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

GUIDE = snippets.ROOT / "docs" / "how-to" / "declare-relations.md"
SNIPPETS = snippets.blocks(GUIDE, "python")

#: Texts that `int()` takes for 7, and that are not how Django writes it.
NO_SEVEN = ("007", " 7", "7 ", "+7", "7_", "0x7", "7.0", "\u0667", "", "nobody")


def two() -> tuple[Station, Station]:
    gone, kept = Station.objects.create(code="gone"), Station.objects.create(code="kept")
    return gone, kept


def delete_raw(model: Any, *keys: Any) -> None:
    """What no signal tells of."""
    rows = model.objects.filter(pk__in=keys)
    rows._raw_delete(rows.db)


def scanned(label: str) -> list[str]:
    """Scan one relation from end to end; the keys that are suspected."""
    for database in relations.catalogue().relation(label).child_databases:
        found, unreachable = scan.scan(database, labels=[label], seconds=60)
        assert not unreachable
        assert [each.complete for each in found] == [True], found[0].reason
    return sorted(Suspect.objects.values_list("value", flat=True))


class TestCascade:
    def test_integers_in_two_databases(self, converge: Converge) -> None:
        gone, kept = two()
        for station in (gone, kept, gone):
            EventNote.objects.create(event=Event.objects.create(station_key=station.pk))
            Reading.objects.create(station_key=station.pk)
        Event.objects.create(station_key=None)
        gone.delete()
        assert converge() == {
            "left.Event.station_key": 2,
            "left.EventNote.event": 2,
            "lite.Reading.station_key": 2,
        }
        assert list(Event.objects.order_by("pk").values_list("station_key", flat=True)) == [
            kept.pk,
            None,
        ]
        assert EventNote.objects.get().event.station_key == kept.pk
        assert Reading.objects.get().station_key == kept.pk

    def test_uuids_in_a_column_of_another_name(self, converge: Converge) -> None:
        gone, kept = Beacon.objects.create(), Beacon.objects.create()
        for beacon in (gone, kept):
            Event.objects.create(beacon_key=beacon.pk)
        gone.delete()
        assert converge() == {"left.Event.beacon_key": 1}
        assert Event.objects.get().beacon_key == kept.pk

    def test_keys_of_another_field_of_a_proxys_rows(self, converge: Converge) -> None:
        gone, kept = two()
        for station in (gone, kept):
            Event.objects.create(station_code=station.code)
        StationProxy.objects.get(pk=gone.pk).delete()
        assert converge() == {"left.Event.station_code": 1}
        assert Event.objects.get().station_code == "kept"

    def test_a_queryset_delete_is_one_insert_and_one_statement_for_all_keys(
        self, converge: Converge, captured: Captured
    ) -> None:
        stations = Station.objects.bulk_create(Station() for _ in range(300))
        Event.objects.bulk_create(Event(station_key=each.pk) for each in stations)
        _, kept = two()
        Event.objects.create(station_key=kept.pk)
        with captured:
            Station.objects.filter(code=None).delete()
        assert len([sql for sql in captured.inserts() if "integrity_deletion" in sql]) == 1
        assert converge() == {"left.Event.station_key": 300}
        assert Event.objects.get().station_key == kept.pk

    def test_a_key_that_the_column_is_too_narrow_for_is_nobodys_failure(
        self, converge: Converge
    ) -> None:
        wide, narrow = Station.objects.create(pk=2**31 + 5), Station.objects.create(pk=5)
        for model in (Event, Reading):
            model.objects.create(station_key=5)
        assert {each["rows"] for each in preview(wide)} == {0}
        wide.delete()
        assert alive(Event.objects.all()).count() == 1
        assert converge() == {}
        assert set(Cascade.objects.values_list("state", flat=True)) == {"done"}
        narrow.delete()
        assert converge() == {"left.Event.station_key": 1, "lite.Reading.station_key": 1}

    def test_a_parent_that_is_there_again_keeps_its_rows(self, converge: Converge) -> None:
        gone, _ = two()
        for text in (str(gone.pk), "nobody"):
            Event.objects.create(station_key=gone.pk, station_text=text)
        key = gone.pk
        gone.delete()
        Station.objects.create(pk=key)
        assert converge() == {}
        assert Event.objects.count() == 2
        [cascade] = [one for one in Deletion.objects.get().databases if one.database == "test_left"]
        assert (cascade.state, cascade.kept["left.Event.station_key"]) == (
            "done",  # along the code, which nobody took over
            2,
        )

    def test_a_rolled_back_delete_leaves_nothing(self, converge: Converge) -> None:
        gone, _ = two()
        Event.objects.create(station_key=gone.pk)
        with transaction.atomic():
            gone.delete()
            transaction.set_rollback(True)
        assert converge() == {}
        assert (Event.objects.count(), Deletion.objects.count()) == (1, 0)

    def test_verification_finds_a_late_row_of_text(self, converge: Converge, tune: Tune) -> None:
        tune(grace_seconds=1e-6)
        gone, _ = two()
        key = str(gone.pk)
        gone.delete()
        converge()
        Event.objects.create(station_text=key)
        assert verification.verify("test_left").reopened == 1
        assert converge() == {"left.Event.station_text": 1}
        assert verification.verify("test_left").verified == 1


class TestText:
    def test_integers(self, converge: Converge) -> None:
        gone, kept = Station.objects.create(pk=7), Station.objects.create(pk=70)
        for text in ("7", "70", "7", *NO_SEVEN):
            EventNote.objects.create(event=Event.objects.create(station_text=text))
        gone.delete()
        assert converge() == {"left.Event.station_text": 2, "left.EventNote.event": 2}
        left = set(Event.objects.values_list("station_text", flat=True))
        assert left == {str(kept.pk), *NO_SEVEN}

    def test_uuids_on_two_kinds_of_servers(self, converge: Converge) -> None:
        gone, kept = Beacon.objects.create(), Beacon.objects.create()
        others = {str(gone.pk).upper(), gone.pk.hex, f"urn:{gone.pk}"[:36], str(kept.pk)}
        for text in (str(gone.pk), *others):
            Event.objects.create(beacon_text=text)
            Reading.objects.create(station_key=0, beacon_text=text)
        gone.delete()
        assert converge() == {"left.Event.beacon_text": 1, "lite.Reading.beacon_text": 1}
        for model in (Event, Reading):
            assert set(model.objects.values_list("beacon_text", flat=True)) == others

    def test_a_scan_takes_no_other_text_for_a_key(self) -> None:
        gone, kept = Station.objects.create(pk=7), Station.objects.create(pk=70)
        huge = str(2**63)
        for text in ("7", str(kept.pk), huge, f"-{huge}9", *NO_SEVEN):
            Event.objects.create(station_text=text)
        delete_raw(Station, gone.pk)
        assert scanned("left.Event.station_text") == ["7"]
        assert Suspect.objects.get().relation == "left.Event.station_text"

    def test_keys_that_sort_otherwise_as_text(self) -> None:
        stations = Station.objects.bulk_create(Station(pk=pk) for pk in range(1, 121))
        for station in stations:
            Event.objects.create(station_text=str(station.pk))
        delete_raw(Station, 9, 10, 100)
        [seen], _ = scan.scan("test_left", labels=["left.Event.station_text"], seconds=60)
        assert (seen.keys_scanned, seen.suspects) == (120, 3)
        keys = Suspect.objects.values_list("value", flat=True)
        assert set(keys) == {"9", "10", "100"}

    def test_a_row_with_a_text_that_is_no_key_can_be_saved_and_one_of_a_missing_parent_not(
        self,
    ) -> None:
        validate_on_save("left.Event.station_text")
        try:
            for text in ("nobody", "007"):
                Event.objects.create(station_text=text)
            with pytest.raises(IntegrityError, match="there is no parent 7"):
                Event.objects.create(station_text="7")
        finally:
            uid = "integrity.validate_on_save.left.Event.station_text"
            from django.db.models.signals import pre_save

            assert pre_save.disconnect(sender=Event, dispatch_uid=uid)


class TestPolicies:
    def test_set_null(self, converge: Converge) -> None:
        gone, kept = two()
        for key in (gone.pk, kept.pk, None):
            Emptied.objects.create(station_key=key)
        gone.delete()
        assert converge() == {"left.Emptied.station_key": 1}
        keys = list(Emptied.objects.order_by("pk").values_list("station_key", flat=True))
        assert keys == [None, kept.pk, None]

    def test_set_default_to_a_text_that_refers_to_nobody(self, converge: Converge) -> None:
        gone, kept = two()
        for key in (gone.pk, kept.pk):
            Reset.objects.create(station_key=str(key))
        gone.delete()
        assert converge() == {"left.Reset.station_key": 1}
        keys = list(Reset.objects.order_by("pk").values_list("station_key", flat=True))
        assert keys == ["nobody", str(kept.pk)]

    def test_set_to_a_parent_and_to_none_that_is_missing(self, converge: Converge) -> None:
        gone, kept = two()
        for key in (gone.pk, kept.pk):
            Replaced.objects.create(station_key=str(key))
        gone.delete()
        dispatch.sweep_all()
        assert cascade.drain("test_left").failed == 1
        assert "sets '901', which does not exist" in Cascade.objects.get(reason__gt="").reason
        Station.objects.create(pk=901)
        Cascade.objects.update(due_at=Deletion.objects.get().recorded_at)
        assert converge() == {"left.Replaced.station_key": 1}
        keys = list(Replaced.objects.order_by("pk").values_list("station_key", flat=True))
        assert keys == ["901", str(kept.pk)]

    def test_do_nothing_keeps_the_row_and_is_counted(self, converge: Converge) -> None:
        gone, _ = two()
        Reported.objects.create(station_key=gone.pk)
        counted = {each["relation"]: each["rows"] for each in preview(gone)}
        assert counted["left.Reported.station_key"] == 1
        gone.delete()
        assert converge() == {}
        assert Reported.objects.count() == 1


def preview(station: Station) -> list[Any]:
    return list(preview_of("parents.Station", str(station.pk)))


class TestProtection:
    @pytest.mark.parametrize("model", [Station, StationProxy])
    @pytest.mark.parametrize(("child", "error"), [(Kept, ProtectedError), (Limit, RestrictedError)])
    def test_refuses_before_anything_is_deleted(
        self, child: Any, error: type[Exception], model: type[Station]
    ) -> None:
        kept, free = two()
        child.objects.create(station_key=kept.pk)
        # The caller's transaction goes on, as after a refusal of Django's.
        with transaction.atomic():
            with pytest.raises(error, match=rf"{child._meta.label}.station_key"):
                model.objects.get(pk=kept.pk).delete()
            with pytest.raises(error) as caught:
                model.objects.all().delete()
            assert Station.objects.count() == 2
        [rows] = caught.value.args[1:]
        assert list(rows) == [child.objects.get()]
        model.objects.get(pk=free.pk).delete()
        assert Deletion.objects.get().key == str(free.pk)

    def test_refuses_for_what_a_multi_table_child_takes_along(self) -> None:
        tower = Lighthouse.objects.create()
        Kept.objects.create(station_key=tower.pk)
        with pytest.raises(ProtectedError, match=r"left.Kept.station_key"):
            tower.delete()
        assert Station.objects.count() == Lighthouse.objects.count() == 1

    def test_asks_once_for_all_parents(self, captured: Captured) -> None:
        Station.objects.bulk_create(Station() for _ in range(400))
        with captured:
            Station.objects.all().delete()
        assert len([sql for sql in captured["test_left"] if "lock_wait" not in sql]) == 1
        assert len([sql for sql in captured["test_lite"] if "sqlite_temp_master" not in sql]) == 1

    def test_a_text_that_is_no_key_protects_nothing(self) -> None:
        station = Station.objects.create(pk=7)
        for text in NO_SEVEN:
            Limit.objects.create(station_key=text)
        station.delete()
        assert Deletion.objects.get().key == "7"

    def test_a_database_that_cannot_be_asked_refuses(self, refuse: Callable[[str], Any]) -> None:
        station, _ = two()
        with (
            refuse("test_left"),
            pytest.raises(ChildDatabaseUnavailable, match=r"left.Kept.station_key is PROTECT"),
        ):
            station.delete()
        assert Station.objects.count() == 2

    def test_the_admin_shows_what_protects(self) -> None:
        station, _ = two()
        kept = Kept.objects.create(station_key=station.pk)
        request = RequestFactory().get("/")
        request.user = Everybody()  # type: ignore[assignment]
        page = admin.ModelAdmin(Station, admin.site)
        *_, protected = page.get_deleted_objects([station], request)
        assert [str(kept) in each for each in protected] == [True]

    def test_the_guard_is_no_field_to_anybody_else(self) -> None:
        assert {each.name for each in Station._meta.fields} == {"id", "code"}
        assert {each.name for each in Station._meta.get_fields() if each.concrete} == {"id", "code"}
        for model in (Station, StationProxy, Lighthouse):
            assert model.check() == []
            assert "guard" not in repr([*model._meta.fields, *model._meta.many_to_many])
        [child] = StationProxy._meta.related_objects
        assert child.related_model is Lighthouse
        station, _ = two()
        station.refresh_from_db()
        station.refresh_from_db(fields=["code"])
        station.full_clean()


class Everybody:
    is_active = is_staff = True

    def has_perm(self, *_: object) -> bool:
        return True


class TestScan:
    @pytest.mark.parametrize(
        ("label", "child"),
        [("left.Event.station_key", Event), ("lite.Reading.station_key", Reading)],
    )
    def test_raw_orphans_are_found_repaired_and_proved(
        self, converge: Converge, tune: Tune, label: str, child: Any
    ) -> None:
        tune(grace_seconds=1e-6)
        gone, kept = two()
        wide = Station.objects.create(pk=2**40)
        for key in (gone.pk, kept.pk, gone.pk):
            child.objects.create(station_key=key)
        delete_raw(Station, gone.pk, wide.pk)
        assert scanned(label) == [str(gone.pk)]
        call_command("integrity", "repair", "--relation", label, "--apply")
        assert converge() == {}
        [row] = Deletion.objects.all()
        assert [one.rows for one in row.databases if one.rows] == [{label: 2}]
        assert child.objects.get().station_key == kept.pk

    def test_a_column_wider_than_the_parents_key(self) -> None:
        relation = relations.catalogue().relation("left.Emptied.station_key")
        assert relation.target.get_internal_type() == "BigAutoField"
        Emptied.objects.create(station_key=2**40)
        assert scanned("left.Emptied.station_key") == [str(2**40)]

    def test_uuids_and_texts(self) -> None:
        gone, kept = Beacon.objects.create(), Beacon.objects.create()
        for beacon in (gone, kept):
            Event.objects.create(beacon_key=beacon.pk, beacon_text=str(beacon.pk))
            Reading.objects.create(station_key=0, beacon_text=str(beacon.pk))
        Reading.objects.create(station_key=0, beacon_text=str(uuid.UUID(int=10**38)).upper())
        delete_raw(Beacon, gone.pk)
        for label in (
            "left.Event.beacon_key",
            "left.Event.beacon_text",
            "lite.Reading.beacon_text",
        ):
            Suspect.objects.all().delete()
            assert scanned(label) == [str(gone.pk)]

    def test_a_suspect_whose_parent_came_back_is_dropped(self, converge: Converge) -> None:
        gone, _ = two()
        Event.objects.create(station_text=str(gone.pk))
        delete_raw(Station, gone.pk)
        assert scanned("left.Event.station_text") == [str(gone.pk)]
        Station.objects.create(pk=gone.pk)
        assert scanned("left.Event.station_text") == []
        assert converge() == {}

    def test_a_suspect_whose_rows_are_gone_is_dropped(self) -> None:
        gone, _ = two()
        event = Event.objects.create(station_text=str(gone.pk))
        delete_raw(Station, gone.pk)
        assert scanned("left.Event.station_text") == [str(gone.pk)]
        event.delete()
        assert scanned("left.Event.station_text") == []


class TestSurfaces:
    def test_preview_counts_each_row_once(self) -> None:
        gone, kept = two()
        Event.objects.create(station_key=gone.pk, station_text=str(gone.pk))
        Event.objects.create(station_text=str(gone.pk))
        Event.objects.create(station_text=str(kept.pk))
        counted = {each["relation"]: each["rows"] for each in preview(gone) if each["rows"]}
        assert counted == {"left.Event.station_key": 1, "left.Event.station_text": 1}

    def test_the_command_lists_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("integrity", "relations", "--json")
        listed = {
            each["relation"]: each for each in json.loads(capsys.readouterr().out)["relations"]
        }
        text = listed["left.Event.station_text"]
        assert (text["parent"], text["policy"], text["indexed"], text["plan"]) == (
            "parents.Station",
            "CASCADE",
            True,
            "set-based",
        )
        assert listed["lite.Limit.station_key"]["policy"] == "RESTRICT"

    def test_the_receipt_names_them(self, converge: Converge, capsys: Any) -> None:
        gone, _ = two()
        Event.objects.create(station_text=str(gone.pk))
        key = str(gone.pk)
        gone.delete()
        converge()
        capsys.readouterr()
        with pytest.raises(SystemExit, match="4"):  # not verified yet
            call_command("integrity", "receipt", "parents.Station", key, "--json")
        [into_left, *_] = json.loads(capsys.readouterr().out)["cascades"]
        assert into_left["rows"] == {"left.Event.station_text": 1}

    def test_rows_about_to_go_are_hidden(self) -> None:
        gone, kept = two()
        for station in (gone, kept):
            Event.objects.create(station_text=str(station.pk))
        Event.objects.create(station_text="nobody")
        gone.delete()
        shown = set(alive(Event.objects.all()).values_list("station_text", flat=True))
        assert shown == {str(kept.pk), "nobody"}

    def test_the_admin_s_lists_take_it_for_the_plain_column_that_it_is(self) -> None:
        class EventAdmin(CrossDatabaseAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]
            list_display = ("station_key",)
            search_fields = ("station_key",)

        station, _ = two()
        event = Event.objects.create(station_key=station.pk)
        page, request = EventAdmin(Event, admin.site), RequestFactory().get("/")
        assert list(page.get_queryset(request)) == [event]
        assert page.get_list_display(request) == ["station_key"]
        found, _ = page.get_search_results(request, Event.objects.all(), str(station.pk))
        assert list(found) == [event]

    def test_the_admin_says_what_goes_elsewhere(self) -> None:
        station, _ = two()
        Event.objects.create(station_text=str(station.pk))
        [left, *_] = elsewhere.effects_elsewhere(Station, [station.pk], lambda _: True)
        assert (left.database, left.uncounted) == ("test_left", False)
        counted = {each["relation"]: each["rows"] for each in left.effects if each["rows"]}
        assert counted == {"left.Event.station_text": 1}

    @pytest.mark.postgresql
    def test_roles_are_granted_what_their_cascades_need(self) -> None:
        worker = _granted(grants.Kind.WORKER)
        assert 'UPDATE ("id"), DELETE ON "left_event"' in worker
        assert 'UPDATE ("station_key") ON "left_emptied"' in worker
        web = _granted(grants.Kind.WEB)
        assert 'SELECT ON "left_kept"' in web
        assert "left_event" not in web

    def test_a_name_that_is_none_lists_them(self) -> None:
        with pytest.raises(UnknownName, match=r"left\.Event\.station_text"):
            relations.catalogue().relation("left.Event.station")


def _granted(kind: grants.Kind) -> str:
    [found] = [each for each in grants.grants("r", kind) if each.database == "test_left"]
    return "\n".join(found.statements)


@pytest.mark.postgresql
def test_raw_sql_that_a_trigger_would_record_reaches_them(converge: Converge, tune: Tune) -> None:
    from apps.integrity.capture import triggers

    tune(capture={"parents.Station": "trigger"})
    try:
        triggers.install("default")
        gone, kept = two()
        for station in (gone, kept):
            Event.objects.create(station_text=str(station.pk), station_code=station.code)
        with connections["default"].cursor() as cursor:
            cursor.execute("DELETE FROM parents_station WHERE id = %s", [gone.pk])
        assert converge()["left.Event.station_code"] == 1
        assert Event.objects.get().station_code == "kept"
    finally:
        tune()
        triggers.install("default")


class TestGuide:
    """docs/how-to/declare-relations.md, as it is written."""

    @pytest.fixture
    def declared(self, tune: Tune) -> Iterator[None]:
        names: dict[str, Any] = {}
        shown: list[Any] = []
        for each in SNIPPETS:
            if "# settings.py" in each.text:
                snippets.run(each, names)
                shown += names["INTEGRITY"]["relations"]
        tune(relations=shown)
        discovery.forget()
        collector.adopt(relations.catalogue())
        yield
        tune()
        discovery.forget()
        Group._meta.private_fields.clear()  # the guard
        Group._meta._expire_cache()

    @pytest.mark.parametrize("model", [analytics.Event, analytics.Note])
    def test_the_model_is_the_one_that_it_shows(self, model: type) -> None:
        shown = next(each.text for each in SNIPPETS if f"class {model.__name__}(" in each.text)
        own = inspect.getsource(model)
        assert [line.strip() for line in shown.splitlines() if " = " in line] == [
            line.strip() for line in own.splitlines() if " = " in line
        ]

    def test_its_settings_do_what_it_says(self, declared: None, converge: Converge) -> None:
        gone, kept = (User.objects.create(username=name) for name in ("gone", "kept"))
        for user in (gone, kept):
            analytics.Event.objects.create(user_key=str(user.pk))
            analytics.Event.objects.create(user_key="anonymous", editor_key=user.pk)
        gone.delete()
        assert converge() == {"analytics.Event.user_key": 1, "analytics.Event.editor_key": 1}
        left = analytics.Event.objects.order_by("pk").values_list("user_key", "editor_key")
        assert [*left] == [("anonymous", None), (str(kept.pk), None), ("anonymous", kept.pk)]

    def test_its_generic_relations_do_what_it_says(
        self, declared: None, converge: Converge
    ) -> None:
        user, group = User.objects.create(pk=7, username="gone"), Group.objects.create(pk=7)
        for each in (user, group):
            analytics.Note.objects.create(content_object=each)
        user.delete()
        assert converge() == {"analytics.Note.content_object@auth.User": 1}
        note = analytics.Note.objects.get()
        assert (note.content_type.model, note.object_id) == ("group", "7")
        with pytest.raises(ProtectedError, match=r"analytics.Note.content_object@auth.Group"):
            group.delete()
        note.delete()
        group.delete()

    def test_what_is_open_of_a_declaration_that_is_removed_waits(
        self, declared: None, converge: Converge, tune: Tune
    ) -> None:
        gone = User.objects.create(username="gone")
        analytics.Event.objects.create(user_key=str(gone.pk))
        gone.delete()
        dispatch.sweep_all()
        tune()
        discovery.forget()
        assert converge() == {}
        assert analytics.Event.objects.count() == 1
        waiting = Cascade.objects.get(state="waiting")
        assert waiting.attempts == 0
        assert waiting.reason.startswith("no relation to auth.User leads into")
