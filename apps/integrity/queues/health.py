"""Is a worker, or beat, alive? It writes into a file when that was; the probe looks how long ago.

    python -m crossdb_integrity.queues.health NAME [--max-age SECONDS]

exits 0 if NAME (the part of the node name before the @, or "beat") is alive, else 1. The probe
starts neither Django nor Celery. Being alive is not progress: the lag of each database tells that.

The moment is one of the machine's monotonic clock, which its processes share and nobody sets: a
clock that was put right makes no process look dead, nor one that hangs alive.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PERIOD_SECONDS = 5.0
MAX_AGE_SECONDS = 30.0
#: Nobody else may write into the folder.
FOLDER_MODE = 0o700


def folder() -> Path:
    """Return the folder of these files; each user of the machine has their own."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"integrity-alive-{user}"


def alive_file(name: str) -> Path:
    """Return the file that the process of that name touches."""
    return folder() / re.sub(r"[^\w.-]", "_", f"{name}.alive")


def touch(name: str) -> None:
    """Show that the process of that name is alive.

    Raises `PermissionError` where another user of the machine made the folder: they could write
    files that tell of processes which are dead.
    """
    place = folder()
    place.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not _is_ours(place):
        raise PermissionError(f"{place} belongs to somebody else: remove it, or set TMPDIR")
    file = alive_file(name)
    draft = file.with_suffix(".new")
    draft.write_text(str(time.monotonic()))
    draft.replace(file)  # the probe never reads half of it


def _is_ours(place: Path) -> bool:
    """Return whether nobody else can have written what is in that folder."""
    owned = not hasattr(os, "getuid") or place.lstat().st_uid == os.getuid()
    return owned and not place.is_symlink()


def age_seconds(name: str) -> float | None:
    """Return how long ago the process showed itself; None if it never did since the last boot."""
    try:
        if not _is_ours(folder()):
            return None
        age = time.monotonic() - float(alive_file(name).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return age if age >= 0 else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the probe's exit code; the reason goes to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--max-age", type=float, default=MAX_AGE_SECONDS, metavar="SECONDS")
    options = parser.parse_args(arguments)
    age = age_seconds(options.name)
    seen = "never seen" if age is None else f"seen {age:.0f} s ago"
    sys.stdout.write(f"{options.name}: {seen}\n")
    return 0 if age is not None and age <= options.max_age else 1


if __name__ == "__main__":
    sys.exit(main())
