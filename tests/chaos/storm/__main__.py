"""`python -m tests.chaos.storm [--quick] [--seed N] [--users N] [--kills N]`: deletes under faults.

Three storms, each with a seed of its own, that together leave no kind of trouble out; one with
`--seed` or `--quick`. The last line of standard output is the verdict; exit code 0 only when every
promise was kept and, over all of them, every rare state occurred.
Servers and processes are its own; a seed makes the same decisions again, at nearly the same times.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import django

from sandbox import project, runs
from tests.chaos import say

from .plan import TROUBLES, Plan
from .states import ALL, expected, too_mild

STORMS = 3
#: What tells the story of a storm.
KEPT = ("*.log", "*.journal", "plan.json")


def main() -> int:
    """Return the exit code."""
    given = _given()
    if given.quick or given.seed is not None:
        return _storm(_plan(given), given.states)
    seeds = _seeds()
    found: Counter[str] = Counter()
    broken = 0
    with tempfile.TemporaryDirectory() as directory:
        for seed in seeds:
            path = Path(directory) / f"{seed}.json"
            broken += _alone(seed, path) != 0
            found += Counter(json.loads(path.read_text()) if path.exists() else {})
    mild = too_mild(found, ALL)
    for each in mild:
        say(f"  BROKEN {each}")
    say(f"storm: {broken or 'none'} of {STORMS} storms broke a promise (seeds {seeds})")
    return 1 if broken or mild else 0


def _seeds() -> list[int]:
    """Draw seeds that together leave no trouble out, nor the new alias."""
    while True:
        seeds = [secrets.randbelow(1_000_000) for _ in range(STORMS)]
        plans = [_sized(seed) for seed in seeds]
        kinds = {kind for plan in plans for kind in plan.troubles}
        if kinds == {*TROUBLES} and any(plan.renames for plan in plans):
            return seeds


def _alone(seed: int, states: Path) -> int:
    """One storm in a process of its own: Django is set up for one set of servers only."""
    arguments = [sys.executable, "-m", "tests.chaos.storm", *sys.argv[1:]]
    arguments += ["--seed", str(seed), "--states", str(states)]
    return subprocess.run(arguments, cwd=project.ROOT, check=False).returncode


def _storm(plan: Plan, states: Path | None) -> int:
    say(f"storm: seed {plan.seed}, {plan.users} users, {plan.kills} kills, {plan.seconds:.0f} s")
    started = time.monotonic()
    failures, found = _run(plan)
    if states is None:
        failures += too_mild(found, expected(plan))
    else:
        states.write_text(json.dumps(found))
    for failure in failures:
        say(f"  BROKEN {failure}")
    verdict = f"{len(failures)} promises broken" if failures else "every promise kept"
    took = time.monotonic() - started
    say(f"storm: {verdict} (seed {plan.seed}, {took:.0f} s)")
    return 1 if failures else 0


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run storm", description="Deletes under faults.")
    parser.add_argument(
        "--quick", action="store_true", help="a short one, with every kind of fault"
    )
    parser.add_argument("--seed", type=int, help="one storm, with the decisions of that one")
    parser.add_argument("--states", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--users", type=int, help="10000; quick: 300")
    parser.add_argument("--kills", type=int, help="200; quick: 12")
    return parser.parse_args()


def _plan(given: argparse.Namespace) -> Plan:
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    plan = _sized(seed, quick=given.quick)
    return dataclasses.replace(
        plan, users=given.users or plan.users, kills=given.kills or plan.kills
    )


def _sized(seed: int, *, quick: bool = False) -> Plan:
    users, kills, restarts = (300, 12, 2) if quick else (10_000, 200, 5)
    return Plan(
        seed=seed, users=users, kills=kills, redis_restarts=restarts, both_outages=not quick
    )


def _run(plan: Plan) -> tuple[list[str], Counter[str]]:
    """Let the storm happen; gives what was broken, and the rare states that occurred."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(project.own_servers("tests.chaos.storm.settings"))
        django.setup()
        from .storm import Storm

        storm = Storm(plan, sandbox, say)
        stack.callback(storm.crew.stop)
        try:
            failures = storm.run()
        except Exception as error:  # noqa: BLE001 (the verdict comes last, whatever happens)
            traceback.print_exc()
            failures = [*storm.failures, f"it could not go on: {error!r}"]
        storm.crew.stop()
        if failures:
            kept = runs.keep(sandbox.directory, f"storm-{plan.seed}", *KEPT)
            say(f"  logs and journals: {kept}")
    return failures, storm.states


if __name__ == "__main__":
    sys.exit(main())
