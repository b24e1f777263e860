"""`./run test-engines [LAYOUT ...] [ARGUMENT ...]`: each layout is a run of pytest.

Arguments after the names go to pytest, in place of the layout's own tests if one names a file. The
exit code is 1 if a test fails, and 4 if a program is missing.
"""

# ruff: noqa: T201

from __future__ import annotations

import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from .layouts import LAYOUTS
from .servers import MissingProgramError, program
from .servers.mariadb import HINT

if TYPE_CHECKING:
    from collections.abc import Sequence

INCOMPLETE = 4
NO_TESTS = 5


def main(arguments: Sequence[str]) -> int:
    """Run the layouts; return the exit code."""
    if "--list" in arguments:
        print("\n".join(f"{name:<10}{layout.about}" for name, layout in LAYOUTS.items()))
        return 0
    names = list(takewhile(LAYOUTS.__contains__, arguments)) or [*LAYOUTS]
    rest = arguments[len(names) :] if arguments and arguments[0] in LAYOUTS else arguments
    codes = [_run(name, rest) for name in names]
    return 1 if 1 in codes else max(codes)


def _run(name: str, rest: Sequence[str]) -> int:
    layout = LAYOUTS[name]
    print(f"── {name}: {layout.about}", flush=True)
    if layout.mariadb:
        try:
            program("mariadbd", "mysqld", hint=HINT)
        except MissingProgramError as error:
            print(error)
            return INCOMPLETE
    chosen = any(Path(argument.split("::")[0]).exists() for argument in rest)
    tests = () if chosen else (*layout.tests, *layout.options)
    plugin = ["-p", "tests.engines.plugin", "--layout", name]
    command = [sys.executable, "-m", "pytest", *plugin, *tests, *rest]
    code = subprocess.run(command, check=False).returncode
    return 0 if code in {0, NO_TESTS} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
