"""What the product asks the log does not grow in statements with the number of child databases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The most statements that each may send to the log.
TICKS = {
    "dispatch": 3,
    "maintain": 6,
    "scan": 1,
    "status": 6,
    "metrics": 7,
    "overview": 11,
    "healthz": 4,
}


def measured(databases: int) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.lib.many", str(databases)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return figures


@pytest.fixture(scope="module")
def few() -> dict[str, dict[str, Any]]:
    return measured(6)


@pytest.fixture(scope="module")
def many() -> dict[str, dict[str, Any]]:
    return measured(12)


@pytest.mark.parametrize("step", TICKS)
def test_what_runs_all_the_time_asks_the_log_alone(
    few: dict[str, Any], many: dict[str, Any], step: str
) -> None:
    assert many[step]["log"] == few[step]["log"] <= TICKS[step]
    assert many[step]["children"] == few[step]["children"] == 0


def test_a_deletion_without_rows_costs_a_look_in_each(
    few: dict[str, Any], many: dict[str, Any]
) -> None:
    assert many["deletion"]["log"] == few["deletion"]["log"] <= 45
    assert many["deletion"]["children"] == 2 * few["deletion"]["children"] <= 6 * 12
