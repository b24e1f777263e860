"""docs/how-to/files.md: a receiver deletes the files of rows that a cascade deletes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db.models.signals import post_delete

from tests import snippets
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

PAGE = snippets.ROOT / "docs/how-to/files.md"


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileSystemStorage]:
    """The files of leaves, and the page's receiver."""
    files = FileSystemStorage(tmp_path)

    def file(leaf: Any) -> Any:
        return SimpleNamespace(storage=files, name=f"{leaf.pk}.txt")

    monkeypatch.setattr(Leaf, "file", property(file), raising=False)
    (block,) = snippets.blocks(PAGE, "python")
    names: dict[str, Any] = {"Attachment": Leaf}
    snippets.run(block, names)
    yield files
    assert post_delete.disconnect(names["delete_file"], sender=Leaf)


def test_files_go_with_the_rows_of_a_deleted_parent_alone(
    converge: Converge, storage: FileSystemStorage
) -> None:
    dead, living = Owner.objects.create(), Owner.objects.create()
    leaves = [Leaf.objects.create(owner=owner) for owner in (dead, dead, living)]
    for leaf in leaves:
        storage.save(leaf.file.name, ContentFile(b"text"))  # type: ignore[attr-defined]  # the fixture sets it
    kept = f"{leaves[-1].pk}.txt"
    dead.delete()
    assert len(storage.listdir("")[1]) == 3
    assert converge()["right.Leaf.owner"] == 2
    assert storage.listdir("")[1] == [kept]


def test_files_stay_where_the_parent_turns_out_to_be_alive(
    converge: Converge, storage: FileSystemStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Owner.objects.create()
    leaf = Leaf.objects.create(owner=dead)
    storage.save(leaf.file.name, ContentFile(b"text"))  # type: ignore[attr-defined]  # the fixture sets it
    key = dead.pk

    def come_back(sender: Any, **_: Any) -> None:
        if not Owner.objects.filter(pk=key).exists():
            Owner.objects.create(pk=key)

    post_delete.connect(come_back, sender=Leaf)
    try:
        dead.delete()
        converge()
    finally:
        post_delete.disconnect(come_back, sender=Leaf)
    assert Leaf.objects.filter(pk=leaf.pk).exists()
    assert len(storage.listdir("")[1]) == 1
