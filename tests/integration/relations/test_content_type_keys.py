"""A content type that is deleted in one database takes nothing that means another one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connections, models

from apps.integrity import relations, scan
from apps.integrity.capture import collector
from apps.integrity.declared import Relation
from apps.integrity.models import Deletion
from apps.integrity.relations import discovery
from tests.kinds.analytics.models import Note
from tests.kinds.lite.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

STALE = 900_001


@pytest.fixture(autouse=True)
def kinds(
    committed: None, monkeypatch: pytest.MonkeyPatch, tune: Tune
) -> Iterator[Callable[..., None]]:
    """Both tables with a CASCADE key to content types, and a stale content type in `default`."""

    def declare(*declared: Relation) -> None:
        tune(relations=declared)
        found = relations.discover()
        monkeypatch.setattr(discovery, "_known", [found])
        collector.adopt(found)

    for model in (Permission, LogEntry):  # have no table beside the notes
        other: Any = model._meta.get_field("content_type")
        monkeypatch.setattr(other.remote_field, "on_delete", models.DO_NOTHING)
    key: Any = Leaf._meta.get_field("content_type")
    monkeypatch.setattr(key.remote_field, "on_delete", models.CASCADE)
    ContentType.objects.create(pk=STALE, app_label="old", model="thing")
    declare()
    yield declare
    for alias in ("default", "test_left"):
        ContentType.objects.using(alias).filter(pk__gte=STALE)._raw_delete(alias)


def stale() -> ContentType:
    return ContentType.objects.get(pk=STALE)


@pytest.mark.parametrize("child", [Note, Leaf], ids=["PostgreSQL", "SQLite"])
@pytest.mark.parametrize("way", ["instance", "queryset", "command"])
def test_deleting_a_content_type_elsewhere_leaves_the_rows(
    converge: Any, captured: Captured, child: Any, way: str
) -> None:
    """In the child's database the same number is another model's."""
    child.objects.create(content_type_id=STALE, object_id="1")
    with captured:
        if way == "instance":
            stale().delete()
        elif way == "queryset":
            ContentType.objects.filter(pk=STALE).delete()
        else:
            call_command(
                "remove_stale_contenttypes", interactive=False, include_stale_apps=True, verbosity=0
            )
    assert not ContentType.objects.filter(pk=STALE).exists()
    assert captured["test_left"] == captured["test_lite"] == []
    assert converge() == {}
    assert child.objects.count() == 1


@pytest.mark.parametrize("database", ["test_left", "test_lite"])
def test_no_scan_reads_the_key(kinds: Any, database: str) -> None:
    child = Note if database == "test_left" else Leaf
    child.objects.create(content_type_id=STALE + 5, object_id="1")  # which `default` has not
    found, _ = scan.scan(database, mode=scan.Mode(full=True))
    assert f"{child._meta.label}.content_type" not in {each.relation for each in found}
    assert Deletion.objects.count() == 0
    assert child.objects.count() == 1


def test_in_their_own_database_djangos_rules_hold(kinds: Any) -> None:
    own = ContentType.objects.using("test_left").create(pk=STALE, app_label="o", model="t")
    other = ContentType.objects.using("test_left").create(pk=STALE + 1, app_label="o", model="u")
    for each in (own, other):
        Note.objects.create(content_type_id=each.pk, object_id="1")
    own.delete(using="test_left")
    assert Note.objects.get().content_type_id == other.pk


@pytest.mark.parametrize("policy", [models.PROTECT, models.RESTRICT])
def test_there_a_protected_one_stays_and_elsewhere_it_goes(
    monkeypatch: pytest.MonkeyPatch, kinds: Any, policy: Any
) -> None:
    key: Any = Note._meta.get_field("content_type")
    monkeypatch.setattr(key.remote_field, "on_delete", policy)
    kinds()
    own = ContentType.objects.using("test_left").create(pk=STALE, app_label="o", model="t")
    free = ContentType.objects.using("test_left").create(pk=STALE + 1, app_label="o", model="u")
    row = Note.objects.create(content_type_id=own.pk, object_id="1")
    stale().delete()
    free.delete(using="test_left")
    with pytest.raises((models.ProtectedError, models.RestrictedError)):
        own.delete(using="test_left")
    row.delete()
    own.delete(using="test_left")


def test_declared_the_key_cascades_where_it_can_mean_only_one_database(
    kinds: Any, converge: Any
) -> None:
    kinds(
        Relation("lite.Leaf.content_object", "parents.Plant", content_types="default"),
        Relation("analytics.Note.content_object", "auth.User", content_types="default"),
    )
    assert not connections["test_lite"].introspection.table_names().count("django_content_type")
    Leaf.objects.create(content_type_id=STALE, object_id="1")
    Note.objects.create(content_type_id=STALE, object_id="1")  # beside content types of its own
    stale().delete()
    assert converge() == {"lite.Leaf.content_type": 1}
    assert (Leaf.objects.count(), Note.objects.count()) == (0, 1)
