"""Wrapped policies act as what they wrap, and what nobody can tell refuses the delete."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.db.models.deletion import ProtectedError, RestrictedError

from apps.integrity import capture, relations
from apps.integrity.capture import collector
from apps.integrity.exceptions import UnusablePolicy
from apps.integrity.models import Cascade, Deletion
from apps.integrity.relations import discovery
from tests import wrappers
from tests.kinds.left.models import Nulled, Shelf
from tests.kinds.lite.models import Note
from tests.kinds.parents.models import Giver, Mixed, Root

pytestmark = pytest.mark.usefixtures("committed")
Converge = "Callable[[], Counter[str]]"

#: A child of PostgreSQL and one of SQLite, and how to make a row.
CHILDREN = [(Nulled, "giver", Giver), (Note, "mixed", Mixed)]


def name_of(each: Any) -> str:
    return getattr(each, "__name__", type(each).__name__)


@pytest.fixture
def redeclare(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a key be declared with another `on_delete`, and discover and adopt it anew."""

    def declared(child: type[models.Model], name: str, on_delete: Any) -> None:
        field: Any = child._meta.get_field(name)
        monkeypatch.setattr(field.remote_field, "on_delete", on_delete)
        found = relations.discover()
        monkeypatch.setattr(discovery, "_known", [found])
        collector.adopt(found)

    return declared


@pytest.mark.parametrize(("child", "name", "parent"), CHILDREN)
@pytest.mark.parametrize("wrap", wrappers.TRANSPARENT, ids=name_of)
class TestWrapped:
    def test_cascade(
        self, redeclare: Any, converge: Any, wrap: Any, child: Any, name: str, parent: Any
    ) -> None:
        redeclare(child, name, wrap(models.CASCADE))
        gone, kept = parent.objects.create(), parent.objects.create()
        for each in (gone, gone, kept):
            child.objects.create(**{name: each})
        parent.objects.filter(pk=gone.pk).delete()
        assert converge() == {f"{child._meta.label}.{name}": 2}
        assert getattr(child.objects.get(), name) == kept

    @pytest.mark.parametrize(
        ("policy", "error"),
        [(models.PROTECT, ProtectedError), (models.RESTRICT, RestrictedError)],
        ids=name_of,
    )
    def test_protect(
        self, redeclare: Any, wrap: Any, child: Any, name: str, parent: Any, policy: Any, error: Any
    ) -> None:
        redeclare(child, name, wrap(policy))
        held, free = parent.objects.create(), parent.objects.create()
        child.objects.create(**{name: held})
        with pytest.raises(error):
            held.delete()
        free.delete()
        assert parent.objects.get() == held
        assert child.objects.count() == 1


@pytest.mark.parametrize("wrap", wrappers.TRANSPARENT, ids=name_of)
def test_set_null(redeclare: Any, converge: Any, wrap: Any) -> None:
    redeclare(Nulled, "giver", wrap(models.SET_NULL))
    giver = Giver.objects.create()
    Nulled.objects.create(giver=giver)
    giver.delete()
    assert converge() == {"left.Nulled.giver": 1}
    assert Nulled.objects.get().giver_id is None


@pytest.mark.parametrize("on_delete", wrappers.UNKNOWN, ids=name_of)
class TestUnknown:
    @pytest.mark.parametrize(("child", "name", "parent"), CHILDREN)
    def test_the_delete_is_refused_and_nothing_changes(
        self, redeclare: Any, converge: Any, on_delete: Any, child: Any, name: str, parent: Any
    ) -> None:
        redeclare(child, name, on_delete)
        one = parent.objects.create()
        child.objects.create(**{name: one})
        for delete in (one.delete, parent.objects.all().delete):
            with pytest.raises(UnusablePolicy, match=f"{child._meta.label}.{name}: its on_delete"):
                delete()
        assert Deletion.objects.count() == 0
        assert converge() == {}
        assert child.objects.get()
        assert parent.objects.get()

    def test_a_worker_refuses_it_too(self, redeclare: Any, converge: Any, on_delete: Any) -> None:
        """Of a deletion that no Collector has seen."""
        redeclare(Shelf, "root", on_delete)
        root = Root.objects.create()
        Shelf.objects.create(root=root)
        Root.objects.filter(pk=root.pk)._raw_delete("default")
        capture.record((Root, [root.pk]), using="default")
        assert converge() == {}
        [cascade] = Cascade.objects.all()
        assert cascade.state != Cascade.State.DONE
        assert cascade.reason.startswith("UnusablePolicy: left.Shelf.root: ")
        assert Shelf.objects.count() == 1
