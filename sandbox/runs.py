"""Run directories: one per run, so that runs can work in parallel. Stale ones are removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import privileges
from sandbox.processes import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

HOME = Path(__file__).resolve().parent.parent / ".sandbox"
KEPT = "kept"
OWNER = "owner.pid"


@contextmanager
def directory(home: Path = HOME, *, keep: bool = False) -> Iterator[Path]:
    """Yield a new directory under `home`. It is removed after the block unless `keep` is true.

    First stops the processes and removes the directories that killed runs left under `home`.
    """
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "lock"):
        sweep(home)
        run = Path(tempfile.mkdtemp(prefix="run-", dir=home))
        Record.of(os.getpid()).write(run / OWNER)
    try:
        yield run
    finally:
        if keep:
            (run / KEPT).touch()
        else:
            _discard(run)


def keep(run: Path, name: str, *patterns: str) -> Path:
    """Copy files of `run` that match `patterns` to a permanent folder.

    Return that folder, relative to the project.
    """
    kept = HOME / f"{name}-{time.strftime('%H%M%S')}"
    for path in (match for pattern in patterns for match in run.glob(pattern)):
        copy = kept / path.relative_to(run)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return kept.relative_to(HOME.parent)


def sweep(home: Path) -> None:
    """Stop the processes and remove the directories of runs whose owner process has ended."""
    for run in home.glob("run-*"):
        # Directories of other users cannot be removed; leave them to those users.
        with suppress(OSError):
            owner = Record.read(run / OWNER)
            if not (owner and owner.alive) and not (run / KEPT).exists():
                _end_processes(run)
                _discard(run)


def _end_processes(run: Path) -> None:
    for path in run.glob("*.log.pid"):
        record = Record.read(path)
        if record:
            record.end(timeout=5)


def _discard(run: Path) -> None:
    for entry in run.iterdir():
        privileges.remove(entry)
    shutil.rmtree(run, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
