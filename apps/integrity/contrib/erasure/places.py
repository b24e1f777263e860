"""Where the files of storages are, to tell whether two fields can name the same file. Pure.

Note [The same file]: two fields may name one file, with storages of one class or of two, as when a
project overrides `get_available_name()`, and with a folder of one inside that of the other. A file
that is taken for another one would be deleted although a row names it. So storages are compared by
where they keep files, and not by identity. Where that is unknown, storages of the same class with
the same arguments are one.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.files.storage import FileSystemStorage

if TYPE_CHECKING:
    from collections.abc import Hashable

    from django.core.files.storage import Storage

#: Attributes of the storages of django-storages and of others like them, for a bucket.
BUCKETS = ("bucket_name", "azure_container", "container_name", "bucket")
#: Attributes that tell buckets of one name apart.
SERVERS = ("endpoint_url", "custom_endpoint", "account_name", "project_id")


@dataclass(frozen=True, slots=True)
class Place:
    """Files that are named relative to a folder of some root."""

    root: Hashable
    folder: str = ""

    def path_of(self, name: str) -> str:
        """Return the path of the file below the root."""
        return posixpath.normpath(posixpath.join(self.folder, name.replace("\\", "/")))

    def name_of(self, path: str) -> str | None:
        """Return the name by which a field of this place names the file; None if it cannot."""
        prefix = f"{self.folder.rstrip('/')}/" if self.folder else ""
        return path[len(prefix) :] if path.startswith(prefix) else None


def place_of(storage: Storage) -> Place:
    """Return where the storage keeps its files. See Note [The same file]."""
    if isinstance(storage, FileSystemStorage):
        return Place("files", str(storage.location).replace("\\", "/"))
    found: Any = storage
    buckets = [str(getattr(found, name)) for name in BUCKETS if getattr(found, name, None)]
    if buckets:
        servers = (str(getattr(found, name, None) or "") for name in SERVERS)
        folder = str(getattr(found, "location", "") or "").strip("/")
        return Place((buckets[0], *servers), folder)
    kind = found.__class__  # of the storage that a LazyObject stands for
    arguments = repr(found.deconstruct()[1:]) if hasattr(found, "deconstruct") else ""
    return Place((f"{kind.__module__}.{kind.__qualname__}", arguments))
