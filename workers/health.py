"""Is a worker, or beat, alive? It touches a file; the probe looks at the file's age.

    python -m workers.health NAME [--max-age SECONDS]

exits 0 if NAME (the part of the node name before the @, or "beat") is alive, else 1. The probe
starts neither Django nor Celery. Being alive is not progress: the lag of each database tells that.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PERIOD_SECONDS = 5.0
MAX_AGE_SECONDS = 30.0


def alive_file(name: str) -> Path:
    """The file that the process of that name touches; each user of the machine has their own."""
    return Path(tempfile.gettempdir()) / f"workers-{os.getuid()}-{name}.alive"


def age_seconds(name: str) -> float | None:
    """Since when the process has not shown itself; None if it never did."""
    try:
        return time.time() - alive_file(name).stat().st_mtime
    except FileNotFoundError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """The probe's exit code; the reason goes to standard output."""
    parser = argparse.ArgumentParser(prog="python -m workers.health", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--max-age", type=float, default=MAX_AGE_SECONDS, metavar="SECONDS")
    options = parser.parse_args(arguments)
    age = age_seconds(options.name)
    seen = "never seen" if age is None else f"seen {age:.0f} s ago"
    sys.stdout.write(f"{options.name}: {seen}\n")
    return 0 if age is not None and age <= options.max_age else 1


if __name__ == "__main__":
    sys.exit(main())
