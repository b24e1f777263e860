"""Servers of those engines, on loopback, from the programs of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

#: Folders of server programs that are not on every user's PATH.
FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin")
REQUIRED = "ENGINES_REQUIRED"


class MissingProgramError(RuntimeError):
    """A program is not on this machine. The message says how to get it."""


def program(*names: str, hint: str) -> Path:
    """Return the first of those programs. Raises MissingProgramError with the hint."""
    path = os.pathsep.join([*os.get_exec_path(), *FOLDERS])
    for name in names:
        if found := shutil.which(name, path=path):
            return Path(found)
    raise MissingProgramError(f"no {names[0]} on this machine: {hint}")


def needed(*names: str, hint: str) -> Path:
    """Return the program; skip the test without it, or fail it where $ENGINES_REQUIRED is set."""
    try:
        return program(*names, hint=hint)
    except MissingProgramError as error:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(str(error))
