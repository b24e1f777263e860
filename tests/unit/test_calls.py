"""One row takes a bounded number of calls, so that its way can be read and stepped through."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import django
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The most calls of functions of apps/integrity. Each time that is written or read is one of them,
#: because SQLite keeps no zone (models/moments.py). Django 6.1 asks the hash of each `on_delete`.
MOST = {
    "delete": 71 + 3 * (django.VERSION >= (6, 1)),
    "dispatch": 81,
    "cascade": 337,
    "verify": 219,
    "scan": 220,
}


@pytest.fixture(scope="module")
def counted() -> dict[str, Any]:
    """The figures of a process of its own, on SQLite."""
    command = [sys.executable, "-m", "benchmarks.calls", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize("act", MOST)
def test_one_row_takes_few_calls(act: str, counted: dict[str, Any]) -> None:
    assert 0 < counted[act]["calls"] <= MOST[act], counted[act]


#: Heading on the architecture page → what is run.
FLOWS = {
    "A delete": "delete",
    "Dispatch": "dispatch",
    "A cascade": "cascade",
    "Verification": "verify",
    "A scan": "scan",
}
#: Called only where rows or transactions are of a kind that one row on SQLite is not.
NOT_HERE = {"backends/barriers", "log/suspects"}


@pytest.mark.parametrize("heading", FLOWS)
def test_the_architecture_page_names_the_modules_of_each_flow(
    heading: str, counted: dict[str, Any]
) -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    flow = page.partition(f"### {heading}\n")[2].partition("\n#")[0]
    steps = re.findall(r"^\d\. (.*(?:\n   .*)*)", flow, re.MULTILINE)
    named = re.findall(r"`([a-z_]+/[a-z_/]+)`", "\n".join(steps))
    called = [path.removesuffix(".py") for path in counted[FLOWS[heading]]["paths"]]
    assert named
    assert [name for name in named if name not in called and name not in NOT_HERE] == []
    first = [re.findall(r"`([a-z_]+/[a-z_/]+)`", step)[0] for step in steps]
    reached = [called.index(name) for name in first if name in called]
    assert reached == sorted(reached), "not in the order in which they are reached"
