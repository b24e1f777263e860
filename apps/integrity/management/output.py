"""Files that a verb writes. Only their owner may read them, for they hold keys."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from django.core.management.base import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator


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

    Raises `CommandError` where there is a file of that name already.
    """
    if path is None:
        yield None
        return
    if Path(path).exists():
        raise CommandError(f"{path} exists already, and is not replaced")
    part = f"{path}.part"
    with _opened(part, os.O_TRUNC) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    Path(part).rename(path)


def _opened(path: str, flags: int) -> TextIO:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    except OSError as error:
        raise CommandError(f"{path} cannot be opened: {error.strerror}") from error
    return os.fdopen(number, "a" if flags & os.O_APPEND else "w", encoding="utf-8")
