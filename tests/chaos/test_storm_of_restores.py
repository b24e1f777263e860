"""`./run restores` with a seed for each side: a child's server, and that of the parents."""

from __future__ import annotations

from sandbox import project

TIMEOUT_SECONDS = 280


def test_erasure_survives_restores():
    words = ("-m", "tests.chaos.restores", "--seed", "1", "--seeds", "2")
    done = project.run(*words, seconds=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-4_000:]
    assert "restores: none of 2 broke a promise" in done.stdout.splitlines()[-1]
