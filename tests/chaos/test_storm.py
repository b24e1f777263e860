"""`./run storm --quick`: deletes under every kind of fault, on servers and processes of its own."""

from __future__ import annotations

from sandbox import project

TIMEOUT_SECONDS = 280


def test_nothing_lost_and_nothing_living_touched():
    done = project.run("-m", "tests.chaos.storm", "--quick", "--seed", "1", seconds=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert "every promise kept" in done.stdout.splitlines()[-1]
