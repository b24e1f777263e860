"""`python -m tests.chaos.restores [--seed N] [--seeds N]`: databases are restored amid deletes.

`blog_db`, `shop_db` and `default`, each alone and in pairs, are put back to base backups of moments
before, some of them rolled forward by WAL. One round for each seed, on the same servers. The last
line of standard output is the verdict; exit code 0 only when every promise was kept.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from contextlib import ExitStack

import django

from sandbox import project, runs, tables
from sandbox.processes import ProcessError
from tests.chaos import say

PATIENCE_SECONDS = 90


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="./run restores", description="Restores amid deletes.")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seeds", type=int, default=6, help="how many (6: all kinds)")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.seeds)
    began, broken = time.monotonic(), _rounds(seeds)
    took = time.monotonic() - began
    say(f"restores: {len(broken) or 'none'} of {len(seeds)} broke a promise {broken}, {took:.0f} s")
    return 1 if broken else 0


def _rounds(seeds: range) -> list[int]:
    """Return the seeds that broke a promise."""
    broken = list[int]()
    with ExitStack() as stack:
        sandbox = stack.enter_context(project.own_servers("tests.chaos.storm.settings"))
        django.setup()
        from tests.chaos.processes import Crew, all_answer

        from .scene import Round

        tables.make()
        crew = Crew(sandbox.directory, {})
        stack.callback(crew.stop)
        crew.start_workers()
        if not crew.until(all_answer, PATIENCE_SECONDS):
            raise ProcessError("the workers did not start")
        rounds = list[Round]()
        for number, seed in enumerate(seeds):
            rounds.append(Round(seed, number, sandbox, crew, say))
            try:
                failures = rounds[-1].run()
                failures += [each for past in rounds[:-1] for each in past.problems()[:4]]
            except Exception as error:  # noqa: BLE001 (the verdict comes last, whatever happens)
                traceback.print_exc()
                failures = [*rounds[-1].failures, f"it could not go on: {error!r}"]
            for failure in failures:
                say(f"  BROKEN seed {seed}: {failure}")
            if failures:
                say("\n".join(rounds[-1].said))
                broken.append(seed)
        crew.stop()
        if broken:
            say(f"  logs: {runs.keep(sandbox.directory, f'restores-{broken[0]}', '*.log')}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
