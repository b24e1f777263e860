"""Files that a verb writes. Only their owner may read them, for they hold keys."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from django.core.management.base import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What is said of a file that has no disk, such as a pipe.
DISKLESS = (errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def appended(path: str | None) -> Iterator[TextIO | None]:
    """Open the file to append to it. Without a path, there is none."""
    if path is None:
        yield None
        return
    with _opened(path, os.O_APPEND) as file:
        yield file


@contextlib.contextmanager
def replaced(path: str | None) -> Iterator[TextIO | None]:
    """Open a new file, which has its name once it is complete. Without a path, there is none.

    Raises `CommandError` where there is a file of that name already, somebody else writes it, or
    the disk is full. Unless it is complete, nothing of it is left.
    """
    if path is None:
        yield None
        return
    if Path(path).exists():
        raise CommandError(f"{path} exists already, and is not replaced")
    part = Path(f"{path}.part")
    file = _opened(str(part), os.O_EXCL)
    try:
        with file:
            yield file
            sync(file)
        part.rename(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise CommandError(f"{path} was not written: {error.strerror}") from error
        raise


def sync(file: TextIO) -> None:
    """Return once what was written is on the disk, or was taken by a pipe."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in DISKLESS:
            raise


def _opened(path: str, flags: int) -> TextIO:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    except FileExistsError as error:
        raise CommandError(
            f"{path} exists: another export writes it; or one was killed, then remove it"
        ) from error
    except OSError as error:
        raise CommandError(f"{path} cannot be opened: {error.strerror}") from error
    return os.fdopen(number, "a" if flags & os.O_APPEND else "w", encoding="utf-8")
