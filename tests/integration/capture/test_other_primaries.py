"""Parents whose home is not `default`, and routers that read from elsewhere than they write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity import capture, cascade, scan
from apps.integrity.models import Cascade, ChildDatabase, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.relations import discovery
from apps.integrity.signals import deletion_recorded
from tests.kinds.left.models import Book
from tests.kinds.parents.models import Owner, Person
from tests.kinds.right.models import Leaf, Locker

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import Settings

pytestmark = pytest.mark.usefixtures("committed")


class Oops(Exception):
    pass


@pytest.fixture
def announced() -> Iterator[list[str]]:
    found: list[str] = []

    def note(using: str, **_: object) -> None:
        found.append(using)

    deletion_recorded.connect(note)
    yield found
    deletion_recorded.disconnect(note)


def test_a_deletion_is_announced_after_the_commit_of_its_own_database(
    announced: list[str],
) -> None:
    book = Book.objects.create(library_id=1)
    with transaction.atomic("test_left"):
        book.delete()
        assert announced == []
    assert announced == ["test_left"]


def test_the_commit_of_another_database_announces_nothing_yet(announced: list[str]) -> None:
    book = Book.objects.create(library_id=1)
    with transaction.atomic("test_left"):
        with transaction.atomic("default"):
            book.delete()
        assert announced == []


def test_a_rollback_of_its_own_database_leaves_nothing(announced: list[str]) -> None:
    book = Book.objects.create(library_id=1)

    def undone() -> None:
        with transaction.atomic("test_left"):
            book.delete()
            raise Oops

    with transaction.atomic("default"), pytest.raises(Oops):
        undone()
    assert announced == []
    assert not Deletion.objects.using("test_left").exists()
    assert Book.objects.count() == 1


class Sharded:
    """Owners live in two databases."""

    def databases_for(self, model: type) -> tuple[str, ...]:
        return ("default", "test_left") if model is Owner else ()


@pytest.fixture
def sharded(settings: Settings) -> Iterator[None]:
    routers = settings.DATABASE_ROUTERS
    with connections["test_left"].schema_editor() as editor:
        editor.create_model(Owner)
    settings.DATABASE_ROUTERS = [f"{__name__}.Sharded", *routers]
    discovery.forget()
    yield
    settings.DATABASE_ROUTERS = routers
    discovery.forget()
    with connections["test_left"].schema_editor() as editor:
        editor.delete_model(Owner)


@pytest.fixture
def moved(sharded: None) -> int:
    """The key of an owner who left `default` for the other one."""
    Owner(pk=7).save(using="test_left")
    Leaf.objects.create(owner_id=7)
    return 7


def test_a_parent_that_lives_in_another_of_its_homes_is_alive(
    moved: int, converge: Callable[[], Counter[str]]
) -> None:
    capture.record((Owner, [moved]), using="default")
    assert converge() == {}
    assert Leaf.objects.get().owner_id == moved
    assert Deletion.objects.using("default").get().state == "kept"


def test_a_parent_that_lives_in_another_of_its_homes_is_no_suspect(moved: int) -> None:
    Leaf.objects.create(owner_id=moved + 1)
    found, _ = scan.scan("test_right", labels=["right.Leaf.owner"], seconds=60)
    assert [(each.keys_scanned, each.suspects) for each in found] == [(2, 1)]


def test_only_what_needs_a_parents_database_waits_for_it(
    sharded: None, converge: Callable[[], Counter[str]], refuse: Callable[[str], Any]
) -> None:
    """G6: owners may live in `test_left`, and persons may not."""
    owner, person = Owner.objects.create(), Person.objects.create()
    Leaf.objects.create(owner=owner)
    Locker.objects.create(person=person)
    with transaction.atomic("default"):
        owner.delete()
        person.delete()
    dispatch.sweep("default")
    with refuse("test_left"):
        done = cascade.drain("test_right")
        assert done.unreachable.startswith("waits for test_left, which cannot be reached: ")
        assert (Leaf.objects.count(), Locker.objects.count()) == (1, 0)
        rows = Cascade.objects.filter(database="test_right", parent="parents.Owner")
        assert list(rows.values_list("state", "attempts", "reason")) == [
            ("waiting", 0, done.unreachable)
        ]
    assert not ChildDatabase.objects.filter(alias="test_right").exists()
    Cascade.objects.update(due_at=timezone.now())
    converge()
    assert not Leaf.objects.exists()
    assert set(rows.values_list("state", "attempts")) == {("done", 1)}


class Lying:
    """A replica that lags for ever: it has the table, and none of its rows."""

    def db_for_read(self, model: type, **_hints: Any) -> str | None:
        return "test_right" if model is Owner else None


def test_a_parent_is_looked_up_on_its_primary_whatever_the_reader_says(
    settings: Settings, converge: Callable[[], Counter[str]]
) -> None:
    """G10: a replica that has not heard of a parent condemns nobody."""
    owner = Owner.objects.create()
    key = owner.pk
    Leaf.objects.create(owner=owner)
    owner.delete()
    Owner.objects.create(pk=key)
    settings.DATABASE_ROUTERS = [f"{__name__}.Lying", *settings.DATABASE_ROUTERS]
    assert not Owner.objects.exists()  # as the reader has it
    assert converge() == {}
    assert Leaf.objects.count() == 1
    assert Deletion.objects.using("default").get().state == "kept"
