"""`FieldFiles`: files of removed rows go, and no file that a row still names."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connections

from apps.integrity.contrib.erasure import FieldFiles, living
from apps.integrity.erasure import Found
from apps.integrity.exceptions import DatabaseUnreachable, FilteredRead, NotErased, NotYet
from tests.kinds.filed.models import Attachment, Folder, Letter, Objects
from tests.kinds.left.models import Group
from tests.kinds.parents.models import Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_django.fixtures import Settings

pytestmark = pytest.mark.usefixtures("committed")

LONG_AGO = time.time() - 3_600
STEP = FieldFiles()


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Settings) -> Iterator[Path]:
    settings.MEDIA_ROOT = str(tmp_path)
    Objects.held.clear()
    yield tmp_path
    Objects.held.clear()


def written(name: str, at: float = LONG_AGO) -> str:
    saved = default_storage.save(name, ContentFile(b"text"))
    os.utime(default_storage.path(saved), (at, at))
    return saved


def attached(name: str, kind: type[Attachment] = Attachment, **values: Any) -> Any:
    return kind.objects.create(sender=Sender.objects.create(), file=name, **values)


def collected(*rows: Any) -> list[Any]:
    """What the step collects of rows, which then go."""
    model = type(rows[0])
    keys = [row.pk for row in rows]
    items = list(STEP.collect(model._base_manager.filter(pk__in=keys)))
    for row in rows:
        row.delete()
    return items


def names() -> set[str]:
    return set(default_storage.listdir("")[1])


class TestWhatIsCollected:
    def test_models_with_files_are_covered(self) -> None:
        assert [STEP.covers(model) for model in (Attachment, Letter, Group)] == [True, True, False]

    def test_names_of_all_fields_those_of_parents_included_once_each(self) -> None:
        one = attached("a.txt", Letter, envelope="e.txt", portrait="p.png")
        other = attached("a.txt", Letter)
        rows = Letter.objects.filter(pk__in=[one.pk, other.pk])
        found = [(item["field"], item["name"]) for item in STEP.collect(rows)]  # type: ignore[index,call-overload]
        assert sorted(found) == [
            ("filed.Attachment.file", "a.txt"),
            ("filed.Attachment.portrait", "p.png"),
            ("filed.Letter.envelope", "e.txt"),
        ]

    def test_one_query_of_these_columns_alone(self, captured: Any) -> None:
        row = attached("a.txt")
        with captured:
            list(STEP.collect(Attachment.objects.filter(pk=row.pk)))
        (sql,) = (sql for sql in captured["test_left"] if "filed_attachment" in sql)
        assert "sender_id" not in sql.partition("FROM")[0]


class TestErase:
    def test_the_file_goes_and_again_is_no_error(self) -> None:
        items = collected(attached(written("a.txt")))
        written("other.txt")
        assert STEP.probe(items) is Found.SOME
        STEP.erase(items)
        assert names() == {"other.txt"}
        assert STEP.probe(items) is Found.NONE
        STEP.erase(items)

    def test_no_file_that_another_row_names(self) -> None:
        name = written("shared.txt")
        living_row = attached(name)
        items = collected(attached(name), attached(written("own.txt")))
        STEP.erase(items)
        assert names() == {name}
        assert STEP.probe(items) is Found.NONE
        # It goes with the last row that names it.
        STEP.erase(collected(living_row))
        assert names() == set()

    def test_no_file_that_another_field_names_by_another_storage(self) -> None:
        attached("", portrait=written("shared.txt"))
        STEP.erase(collected(attached("shared.txt")))
        assert names() == {"shared.txt"}

    def test_no_file_that_a_storage_inside_the_folder_names(self) -> None:
        name = written("inner/shared.txt")
        Folder.objects.create(inner="shared.txt")
        STEP.erase(collected(attached(name)))
        assert default_storage.exists(name)

    def test_the_same_name_in_another_storage_is_another_file(self) -> None:
        Folder.objects.create(inner="a.txt", bundle="a.txt")
        STEP.erase(collected(attached(written("a.txt"))))
        assert names() == set()

    def test_a_default_stays(self) -> None:
        assert collected(attached("", portrait=written("nobody.png"))) == []
        items = [{"field": "filed.Attachment.portrait", "name": "nobody.png", "at": time.time()}]
        STEP.erase(items)  # as if it has become the default since
        assert names() == {"nobody.png"}
        assert STEP.probe(items) is Found.NONE

    def test_an_object_store_without_paths_and_times(self) -> None:
        Objects.held |= {"a": b"", "b": b""}
        Folder.objects.create(bundle="b")
        items = collected(attached("", Letter, envelope="a"), attached("", Letter, envelope="b"))
        STEP.erase(items)
        assert {*Objects.held} == {"b"}
        assert STEP.probe(items) is Found.NONE

    def test_queries_are_a_few_for_many_files(self, captured: Any) -> None:
        items = collected(*(attached(written(f"{n}.txt")) for n in range(30)))
        with captured:
            STEP.erase(items)
        assert names() == set()
        assert sum("SELECT DISTINCT" in sql for sql in captured["test_left"]) <= 3

    def test_the_rest_goes_though_some_cannot(self, media: Path) -> None:
        (media / "folder.txt").mkdir()
        (media / "folder.txt" / "inside").touch()
        os.utime(media / "folder.txt", (LONG_AGO, LONG_AGO))
        items = collected(*(attached(name) for name in ("folder.txt", written("a.txt"))))
        with pytest.raises(NotErased) as raised:
            STEP.erase(items)
        assert "folder.txt" not in str(raised.value)
        assert str(raised.value).startswith("FileSystemStorage: OSError")
        assert "a.txt" not in names()


class TestNamesThatComeBack:
    def test_an_upload_whose_row_is_not_there_yet_stays(self, tune: Any) -> None:
        tune(grace_seconds=60.0)
        items = collected(attached(written("a.txt")), attached(written("b.txt")))
        STEP.erase(items[:1])
        written("a.txt", time.time())  # the process died, and the name was free
        with pytest.raises(NotYet, match="newer than the rows") as raised:
            STEP.erase(items)
        assert (raised.value.items, 0 < raised.value.seconds <= 60) == (items[:1], True)
        assert names() == {"a.txt"}
        attached("a.txt")
        STEP.erase(items)
        assert names() == {"a.txt"}
        assert STEP.probe(items) is Found.NONE

    def test_one_that_no_row_names_after_the_grace_goes(self, tune: Any) -> None:
        tune(grace_seconds=0.01)
        items = collected(attached(written("a.txt", time.time())))
        time.sleep(0.05)
        STEP.erase(items)
        assert names() == set()


class TestWhatIsUnknown:
    def test_a_field_that_is_no_more_names_the_remedy(self) -> None:
        items = [{"field": "filed.Gone.file", "name": "a.txt", "at": 0.0}]
        with pytest.raises(NotErased, match=r'renamed: \{"filed.Gone.file": "app.Model.field"\}'):
            STEP.erase(items)
        with pytest.raises(NotErased):
            STEP.probe(items)

    def test_a_field_that_was_renamed(self) -> None:
        items = [{"field": "filed.Gone.file", "name": written("a.txt"), "at": time.time()}]
        FieldFiles(renamed={"filed.Gone.file": "filed.Attachment.file"}).erase(items)
        assert names() == set()

    def test_a_database_that_does_not_answer_keeps_every_file(
        self, refuse: Callable[[str], Any]
    ) -> None:
        items = collected(attached(written("a.txt")))
        with refuse("test_left"):
            with pytest.raises(DatabaseUnreachable):
                STEP.erase(items)
            with pytest.raises(DatabaseUnreachable):
                STEP.probe(items)
        assert names() == {"a.txt"}

    @pytest.mark.postgresql
    def test_rows_that_the_server_hides_may_name_the_file(self) -> None:
        table = Attachment._meta.db_table
        items = collected(attached(written("a.txt")))
        attached("a.txt")
        with connections["test_left"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            try:
                with pytest.raises(FilteredRead):
                    STEP.erase(items)
            finally:
                cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
                cursor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        assert names() == {"a.txt"}

    def test_a_storage_that_fails_is_not_empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        items = collected(attached("", Letter, envelope="a"))

        def fail(*_: object) -> bool:
            raise ConnectionError

        monkeypatch.setattr(Objects, "exists", fail)
        with pytest.raises(ConnectionError):
            STEP.probe(items)


def test_fields_of_a_model_without_files() -> None:
    assert living.file_fields(Group) == []
