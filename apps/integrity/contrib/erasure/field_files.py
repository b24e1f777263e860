"""The step that deletes the files of rows: what their FileFields and ImageFields name.

Note [Names that come back]: a storage gives the name of a deleted file to the next upload, and some
storages replace a file that has the name. The row of an upload is written after its file. So a file
that no row names may be one that somebody is uploading, if it was written since the rows were
collected. Such a file stays until it is `grace_seconds` old: its row has been committed by then.
That is no failure: the step says `NotYet`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import FileField

from ... import conf
from ...erasure import Found, NotYet
from ...exceptions import NotErased
from ...exceptions.failures import ends_the_process
from ...exceptions.loggers import logger_of
from ...exceptions.redaction import reason_of_error
from ...relations.relation import label
from . import living
from .options import Configured
from .places import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from django.core.files.storage import Storage
    from django.db.models import Model, QuerySet

    from ...erasure import Item

logger = logger_of("integrity.erasure")

#: Seconds by which the clocks of a worker and of a storage may differ.
CLOCKS_SECONDS = 5.0
#: Why a file stays for a while.
TOO_NEW = "a file is newer than the rows that named it: its own row may come yet"
#: Files between two looks at the rows that name them.
CHUNK = 200


@dataclass(frozen=True, slots=True)
class _File:
    """A file that a row named when it was collected at that time, in seconds since 1970."""

    storage: Storage
    name: str
    collected_at: float

    @property
    def key(self) -> living.File:
        place = place_of(self.storage)
        return place.root, place.path_of(self.name)


class FieldFiles(Configured):
    """Delete the files that FileFields of removed rows name, through their fields' storages.

    A file that another row still names stays, and so does a field's default. Where a model or a
    field was renamed, `renamed` says so for names that are in the log already.
    """

    #: Old label → today's label, as in {"blog.Attachment.file": "blog.Upload.document"}.
    renamed: Mapping[str, str] = {}

    def covers(self, model: type[Model]) -> bool:
        """Return whether the model has a FileField."""
        return bool(living.file_fields(model))

    def collect(self, rows: QuerySet[Any]) -> Iterable[Item]:
        """Return the names of the rows' files, without defaults. Reads these columns only."""
        fields = living.file_fields(rows.model)
        if not fields:
            return
        now = round(time.time(), 3)
        seen = {(field.name, name) for field in fields for name in ("", *living.defaults_of(field))}
        for values in rows.order_by().values_list(*(field.attname for field in fields)).iterator():
            for field, value in zip(fields, values, strict=True):
                name = str(value or "")
                if (field.name, name) not in seen:
                    seen.add((field.name, name))
                    yield {"field": label(field), "name": name, "at": now}

    def erase(self, items: Sequence[Item]) -> None:
        """Delete the files that no row names. Raises `NotErased` if some are still there.

        Raises `NotYet` for those that are too new. See Note [Names that come back].
        """
        files, kept, refused = [*self._files(items)], 0, list[str]()
        new = dict[int, float]()  # place among the items → seconds
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            named = living.named_by_rows(file.key for file in chunk)
            for place, file in enumerate(chunk, start):
                if file.key in named:
                    kept += 1
                    continue
                try:
                    _delete(file)
                except NotYet as error:
                    new[place] = error.seconds
                except NotErased as error:
                    refused.append(str(error))
        if kept:
            logger.info("%d files stay: other rows name them", kept)
        if refused:
            more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
            raise NotErased(f"{refused[0]}{more}")
        if new:
            raise NotYet(TOO_NEW, seconds=max(new.values()), items=[items[one] for one in new])

    def probe(self, items: Sequence[Item]) -> Found:
        """Return whether any of the files exists that no row names. Raises what the storages raise.

        What a probe raises is as unknown as `UNKNOWN`, with a reason.
        """
        present = [file for file in self._files(items) if file.storage.exists(file.name)]
        named = living.named_by_rows(file.key for file in present)
        return Found.SOME if any(file.key not in named for file in present) else Found.NONE

    def _files(self, items: Iterable[Item]) -> Iterator[_File]:
        for item in items:
            entry = cast("Mapping[str, Any]", item)
            name = self.renamed.get(entry["field"], entry["field"])
            yield _File(_field(name).storage, entry["name"], entry["at"])


def _field(path: str) -> FileField:
    """Return the file field with that label. Raises `NotErased`."""
    model, _, name = path.rpartition(".")
    try:
        field = apps.get_model(model)._meta.get_field(name)
    except (LookupError, ValueError, FieldDoesNotExist):
        field = None
    if isinstance(field, FileField):
        return field
    raise NotErased(
        f"{path} is no FileField of this project, so the storage of its files is unknown. If it"
        f' was renamed, give FieldFiles the option renamed: {{"{path}": "app.Model.field"}}'
    )


def _delete(file: _File) -> None:
    """Delete the file. Raises `NotYet` if it is too new, or `NotErased`."""
    try:
        seconds = _too_new_for(file)
        if not seconds:
            file.storage.delete(file.name)
    except Exception as error:
        if ends_the_process(error):
            raise
        reason = f"{file.storage.__class__.__name__}: {reason_of_error(error)}"
        raise NotErased(reason) from error
    if seconds:
        raise NotYet(TOO_NEW, seconds=seconds)


def _too_new_for(file: _File) -> float:
    """Return for how many seconds somebody may still be uploading the file, or 0.

    See Note [Names that come back].
    """
    try:
        written = file.storage.get_modified_time(file.name).timestamp()
    except NotImplementedError:
        return 0.0
    except Exception:
        if file.storage.exists(file.name):
            raise
        return 0.0
    if written <= file.collected_at - CLOCKS_SECONDS:
        return 0.0
    return max(0.0, conf.current().grace_seconds - (time.time() - written))
