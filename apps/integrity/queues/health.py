"""The liveness probe of workers and beat: each writes a heartbeat file, the probe reads its age.

    python -m crossdb_integrity.queues.health NAME [--max-age SECONDS]

exits 0 if NAME (the part of the node name before the @, or "beat") is alive, else 1. The probe
starts neither Django nor Celery. It shows that a process is alive, not that work makes progress:
see the lag of each database for that.

The file holds a time of the machine's monotonic clock, which all processes share and nobody sets.
So a correction of the clock makes no live process look dead, and no dead process look alive.
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
#: Other users may not write into the folder.
FOLDER_MODE = 0o700


def folder() -> Path:
    """Return the folder of these files; each user of the machine has their own."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    return Path(tempfile.gettempdir()) / f"integrity-alive-{user}"


def alive_file(name: str) -> Path:
    """Return the file that the process of that name touches."""
    return folder() / re.sub(r"[^\w.-]", "_", f"{name}.alive")


def touch(name: str) -> None:
    """Record that the process of that name is alive.

    Raises `PermissionError` where another user of the machine made the folder: that user could
    make dead processes look alive.
    """
    directory = folder()
    directory.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not _is_ours(directory):
        raise PermissionError(f"{directory} belongs to another user: remove it, or set TMPDIR")
    file = alive_file(name)
    draft = file.with_suffix(".new")
    draft.write_text(str(time.monotonic()))
    draft.replace(file)  # atomic: the probe never reads half a file


def _is_ours(directory: Path) -> bool:
    """Return whether only this user can have written the files in that directory."""
    owned = not hasattr(os, "getuid") or directory.lstat().st_uid == os.getuid()
    return owned and not directory.is_symlink()


def age_seconds(name: str) -> float | None:
    """Return the age of the last heartbeat; None if there was none since the last boot."""
    try:
        if not _is_ours(folder()):
            return None
        age = time.monotonic() - float(alive_file(name).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return age if age >= 0 else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the probe's exit code, and write the reason to standard output."""
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
