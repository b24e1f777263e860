"""Renames a child database in the log, as an operator does after a deploy with another alias."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from sandbox.processes import ProcessError
from sandbox.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping


def rename(old: str, new: str, environment: Mapping[str, str]) -> int:
    """Run `integrity rename` in a process that knows the new alias; return the changed rows."""
    command = [sys.executable, "manage.py", "integrity", "rename", old, new]
    done = subprocess.run(
        [*command, "--alias", "--apply", "--json"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProcessError(f"rename ended with {done.returncode}: {done.stderr[-2_000:]}")
    return int(json.loads(done.stdout)["changed"])
