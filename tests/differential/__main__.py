"""`./run differential [--seed N] [--operations M] [--database sqlite|postgresql|given]`.

Plays random histories on one database with plain Django and on three with this app, and compares
all rows after each operation. Each seed spreads the models in another way and plays some
operations; the next seed plays the next ones. Exit code 0 only where nothing differs but what is
documented. `given` are the databases of `DATABASE_URL…`, of whatever engines: the first one holds
all models on the side with one database.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from sandbox import environment, servers

from . import report, shrink
from .play import Differs, Played, play, replay
from .sides import Sides
from .spread import GIVEN

#: Operations of one seed: then models are spread anew.
OPERATIONS_EACH = 250
OPERATIONS = 2_000


def main() -> int:
    """Return the exit code."""
    given = _given()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    named = environment.given(*environment.VARIABLES.values())
    if given.database == GIVEN and not named:
        say(f"--database {GIVEN}: not set: {', '.join(environment.VARIABLES.values())}")
        return 2
    with ExitStack() as stack:
        if given.database == "postgresql" and not named:
            os.environ.update(stack.enter_context(servers.running()).environment)
        if given.replay:
            return _again(seed, given.database, json.loads(given.replay))
        return _all(seed, given)


def _again(seed: int, vendor: str, history: list) -> int:
    with Sides(seed, vendor) as sides:
        found = replay(sides, history)
        say(report.told(sides, len(history), history, found) if found else "nothing differs")
    return 1 if found else 0


def _all(seed: int, given: argparse.Namespace) -> int:
    started, played, wrong = time.monotonic(), Played(), []
    parts = -(-given.operations // OPERATIONS_EACH)
    sizes = [min(OPERATIONS_EACH, given.operations - n * OPERATIONS_EACH) for n in range(parts)]
    with ThreadPoolExecutor(given.jobs) as threads:
        seeds = range(seed, seed + parts)
        for seen, problem in threads.map(_one, seeds, sizes, [given.database] * parts):
            played.add(seen)
            wrong += [problem] if problem else []
            say(problem) if problem else None
    outcomes = ", ".join(f"{name} {number}" for name, number in sorted(played.outcomes.items()))
    say(f"  outcomes: {outcomes}")
    say(f"  documented differences: {dict(played.documented) or 'none'}")
    say(f"  keys at work: {len(played.worked)} of {len(played.known)}")
    verdict = f"{len(wrong)} seeds differ" if wrong else "nothing differs"
    took = time.monotonic() - started
    seeds = f"seeds {seed} to {seed + parts - 1}"
    say(f"differential: {verdict} in {played.operations} operations ({seeds}, {took:.0f} s)")
    return 1 if wrong else 0


def _one(seed: int, operations: int, vendor: str) -> tuple[Played, str]:
    """Play one seed; what was seen, and the report of a difference or ""."""
    with Sides(seed, vendor) as sides:
        try:
            return play(sides, operations), ""
        except Differs as error:
            return Played(operations=error.operation), told(sides, error)


def told(sides: Sides, error: Differs) -> str:
    """The report of a difference, with the smallest history that shows it."""

    def shows(history):
        found = replay(sides, history)
        return found is not None and found.kind == error.found.kind

    if not shows(error.history):
        head = "it does not show again when its history is played alone:\n"
        return head + report.told(sides, error.operation, error.history, error.found)
    small = shrink.smallest(error.history, shows)
    return report.told(sides, error.operation, small, replay(sides, small) or error.found)


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run differential", description=__doc__)
    parser.add_argument("--seed", type=int, help="the first one; without it, a random one")
    parser.add_argument("--operations", type=int, default=OPERATIONS, metavar="M")
    parser.add_argument("--database", choices=("sqlite", "postgresql", GIVEN), default="sqlite")
    parser.add_argument("--jobs", type=int, default=2, help="seeds that are played at once")
    parser.add_argument("--replay", metavar="JSON", help="a history that a difference reported")
    return parser.parse_args()


def say(line: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
