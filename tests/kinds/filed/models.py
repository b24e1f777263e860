# ruff: noqa: DJ008 (nobody looks at these rows)
"""Rows that name files: of a sender, in the folder of the default storage."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, Storage
from django.db import models

from tests.kinds.left.models import across
from tests.kinds.parents.models import Sender


class Replacing(FileSystemStorage):
    """Replaces a file that has the name, as storages of object stores do."""

    def __init__(self) -> None:
        super().__init__(allow_overwrite=True)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name


class Inner(FileSystemStorage):
    """A folder inside that of the default storage."""

    @property
    def base_location(self) -> str:  # type: ignore[override]
        return f"{settings.MEDIA_ROOT}/inner"


class Objects(Storage):
    """An object store: no paths, no times, and a bucket."""

    bucket_name = "objects"
    held: dict[str, bytes] = {}

    def deconstruct(self) -> Any:
        return "tests.kinds.filed.models.Objects", (), {}

    def _save(self, name: str, content: Any) -> str:
        self.held[name] = content.read()
        return name

    def exists(self, name: str) -> bool:
        return name in self.held

    def delete(self, name: str) -> None:
        self.held.pop(name, None)


def objects() -> Storage:
    return Objects()


class Attachment(models.Model):
    sender = across(Sender)
    file = models.FileField(blank=True)
    portrait = models.FileField(default="nobody.png", storage=Replacing())


class Letter(Attachment):
    """A multi-table child, whose parent has files, too."""

    envelope = models.FileField(storage=objects, blank=True)


class Folder(models.Model):
    """Rows without a parent that may name files of others."""

    inner = models.FileField(storage=Inner(), blank=True)
    bundle = models.FileField(storage=objects, blank=True)
