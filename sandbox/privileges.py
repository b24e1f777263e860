"""Choose the user that runs PostgreSQL: it refuses root, and initdb refuses unnamed uids."""

# ruff: noqa: S603 - it runs commands under another identity

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
    """Return the `sandbox.launch` mode with which PostgreSQL starts on this machine.

    Raises RuntimeError if the uid has no name and user namespaces are not allowed.
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
    """Return whether the command succeeds under this mode."""
    shim = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), "15", chosen]
    done = subprocess.run([*shim, *map(str, argv)], capture_output=True, check=False)
    return done.returncode == 0


def place(directory: Path, *, chosen: str) -> Path:
    """Make `directory` for PostgreSQL's files and return its real path.

    If PostgreSQL runs as another user, that user may not be able to enter the project's folders.
    Its files are then in the system's temporary folder, and `directory` is a symlink.
    """
    if ":" not in chosen:
        directory.mkdir()
        return directory
    outside = Path(tempfile.mkdtemp(prefix=PREFIX))
    directory.symlink_to(outside)
    os.chown(outside, *map(int, chosen.split(":")))
    return outside


def remove(directory: Path) -> None:
    """Remove the target of a link that `place` made; do nothing for any other path."""
    if directory.is_symlink() and directory.readlink().name.startswith(PREFIX):
        shutil.rmtree(directory.readlink(), ignore_errors=True)


def reachable(program: Program, *, chosen: str, near: Path) -> Path:
    """Return the program's path, or the path of a copy under `near` if the mode cannot run it.

    Raises RuntimeError if the mode cannot run it and it is not from a wheel, so cannot be copied.
    """
    if works(chosen, program.path, "--version"):
        return program.path
    if not program.wheel:
        raise RuntimeError(f"{program.path} cannot be run by an unprivileged user")
    for folder in program.wheel:
        shutil.copytree(folder, near / "wheel" / folder.name)
    return near / "wheel" / program.path.relative_to(program.wheel[0].parent)


def _named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
