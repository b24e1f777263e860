"""Where files are: whether two fields can name the same file."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage, InMemoryStorage, default_storage

from apps.integrity.contrib.erasure.places import Place, place_of


class Own(FileSystemStorage):
    """A subclass, as projects have them."""


def bucket(**values: Any) -> Any:
    return SimpleNamespace(**values)


def test_subclasses_keep_files_in_the_same_place() -> None:
    assert place_of(Own("/media")) == place_of(FileSystemStorage("/media/"))
    assert place_of(default_storage) == place_of(FileSystemStorage())
    assert place_of(FileSystemStorage("/media")) != place_of(FileSystemStorage("/other"))


def test_a_bucket_is_one_whatever_the_class() -> None:
    one, other = bucket(bucket_name="b", location="media"), bucket(bucket_name="b", location="")
    assert place_of(one).root == place_of(other).root
    assert place_of(other).name_of(place_of(one).path_of("a.txt")) == "media/a.txt"
    elsewhere = bucket(bucket_name="b", location="", endpoint_url="https://other.example")
    assert place_of(other).root != place_of(elsewhere).root


def test_unknown_storages_are_told_apart_by_their_arguments() -> None:
    assert place_of(InMemoryStorage("/a")) == place_of(InMemoryStorage("/a"))
    assert place_of(InMemoryStorage("/a")) != place_of(InMemoryStorage("/b"))


@pytest.mark.parametrize(
    ("folder", "path", "name"),
    [
        ("/media", "/media/a/b.txt", "a/b.txt"),
        ("/media/a", "/media/a/b.txt", "b.txt"),
        ("/media/a", "/media/ab.txt", None),
        ("/", "/media/a.txt", "media/a.txt"),
        ("", "a/b.txt", "a/b.txt"),
    ],
)
def test_a_file_has_a_name_in_each_folder_above_it(
    folder: str, path: str, name: str | None
) -> None:
    assert Place("files", folder).name_of(path) == name
    assert name is None or Place("files", folder).path_of(name) == path
