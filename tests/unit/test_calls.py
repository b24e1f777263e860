"""One row takes a bounded number of calls, so that its way can be read and stepped through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The most calls of functions of apps/integrity.
MOST = {"delete": 80, "dispatch": 55, "cascade": 316, "verify": 200, "scan": 200}


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
