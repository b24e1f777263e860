"""Locks and faults once more, with the options that the sample project gives its databases.

All other tests run with databases as a newcomer has them. This one has servers of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

from sandbox.environment import BROKER, VARIABLES
from tests import snippets

FOLDER = "tests/integration"
CHOSEN = (
    f"{FOLDER}/cascade/test_cascade.py::TestAgainAndAtOnce",
    f"{FOLDER}/cascade/test_failures.py::TestUnreachable",
    f"{FOLDER}/queues/test_dispatch.py::test_what_somebody_is_just_dispatching_is_passed_over_without_waiting",
    f"{FOLDER}/log/test_attacks_log.py::TestPurge::test_it_passes_over_what_somebody_holds",
)


def test_locks_and_faults_with_the_options_of_the_sample_project() -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {BROKER, *VARIABLES.values()} and not name.startswith("PYTEST_")
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--ds=tests.sample_options", "-q", *CHOSEN],
        cwd=snippets.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
