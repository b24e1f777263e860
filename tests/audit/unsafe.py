"""Unsafe code, found by bandit in what is shipped or run.

ruff's S rules are bandit's, and are on in `./run lint`; this is bandit itself, so that neither
port nor configuration hides something. Each accepted finding has its reason here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from .finding import Outcome

FOLDERS = ("apps", "config", "workers", "sandbox", "demo")

#: Rules that hold for no line of these folders, and why.
SKIPPED = {
    "B101": "an assert here states what types cannot; nothing depends on it",
    "B404": "importing subprocess is no fault; each use is judged by B602 to B605",
}
#: Rule and file, or folder, where it was looked into, and why it is no fault.
ACCEPTED = {
    ("B608", "apps/integrity/backends/"): "names come from Model._meta, quoted by the backend",
    ("B308", "apps/integrity/dashboard/svg.py"): "made of numbers and escaped text",
    ("B703", "apps/integrity/dashboard/svg.py"): "made of numbers and escaped text",
    ("B311", "apps/integrity/log/retry.py"): "spreads retries; no secret is made of it",
    ("B311", "apps/integrity/control/pacing.py"): "spreads rests; no secret is made of it",
    ("B311", "apps/integrity/cascade/proving.py"): "makes groups; no secret is made of it",
    ("B603", "sandbox/"): "starts the project's own programs, from lists, without a shell",
    ("B606", "sandbox/"): "starts the project's own programs, from lists, without a shell",
    ("B607", "sandbox/"): "ps is asked where the machine has it",
}


def audit() -> Outcome:
    """Run bandit; return what it finds beyond `ACCEPTED`, and acceptances that nothing needs."""
    found = _results()
    used = {key for each in found for key in ACCEPTED if _covers(key, each)}
    open_ = [each for each in found if not any(_covers(key, each) for key in ACCEPTED)]
    lines = [
        f"{each['filename']}:{each['line_number']} {each['test_id']} {each['issue_text']}"
        for each in open_
    ]
    lines += [
        f"{rule} is accepted in {file}, where none is" for rule, file in ACCEPTED.keys() - used
    ]
    return Outcome(f"bandit: {', '.join(FOLDERS)}", tuple(sorted(lines)))


def _covers(key: tuple[str, str], result: dict[str, Any]) -> bool:
    return result["test_id"] == key[0] and result["filename"].startswith(key[1])


def _results() -> list[dict[str, Any]]:
    command = ["-m", "bandit", "--quiet", "--format", "json", "--skip", ",".join(SKIPPED)]
    done = subprocess.run(
        [sys.executable, *command, "--recursive", *FOLDERS],
        capture_output=True,
        text=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    if report["errors"]:
        raise RuntimeError(f"bandit could not read {report['errors']}")
    return list(report["results"])
