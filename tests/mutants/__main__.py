"""`python -m tests.mutants [NAME…] [--list] [--json]`: remove each guard and see a test fail.

The last line says how many mutations were killed, of how many. The exit code is 0 only if all were.
With `--json`, one document goes to standard output, and all lines go to standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING

from sandbox import environment, servers

from . import databases
from .known import MUTATIONS
from .lane import ROOT, SERVERS, Lane, Outcome, copy_tree
from .mutation import Misplaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from .mutation import Mutation

USAGE = 2
LANES = min(2, os.cpu_count() or 1)
#: A test that notices does so soon; a busy machine takes its time.
TRIAL_SECONDS = 180.0
SOUND_SECONDS = 900.0
#: Failures of the sound code that are shown.
SHOWN = 20


def main() -> int:
    """Return the exit code."""
    options = _options()
    chosen = _chosen(options.names)
    if options.list:
        for each in chosen:
            sys.stdout.write(f"{each.name:<34} {each.breaks}\n")
        return 0
    if misplaced := [*_misplaced(chosen)]:
        sys.stderr.write("\n".join(misplaced) + "\n")
        return 1
    say = sys.stderr if options.json else sys.stdout
    started = time.monotonic()
    outcomes: list[Outcome] = []
    for outcome in tried(chosen):
        outcomes.append(outcome)
        _tell(outcome, len(outcomes), len(chosen), say)
    killed = sum(each.killed for each in outcomes)
    if options.json:
        document = {"mutants": [dataclasses.asdict(each) for each in outcomes]}
        sys.stdout.write(json.dumps({**document, "killed": killed, "of": len(chosen)}) + "\n")
    for each in outcomes:
        if not each.killed:
            say.write(f"{each.verdict.upper()} {each.name}: {each.breaks} {each.by}\n")
    say.write(f"in {time.monotonic() - started:.0f} s\n{killed} of {len(chosen)} killed\n")
    return 0 if killed == len(chosen) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="these only")
    parser.add_argument("--list", action="store_true", help="names and what each breaks")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def _chosen(names: Sequence[str]) -> list[Mutation]:
    known = {each.name: each for each in MUTATIONS}
    if unknown := [name for name in names if name not in known]:
        sys.stderr.write(f"no mutation {', '.join(unknown)}; --list shows them\n")
        raise SystemExit(USAGE)
    return [known[name] for name in names or known]


def _misplaced(chosen: Sequence[Mutation]) -> Iterator[str]:
    for each in chosen:
        try:
            each.applied_to((ROOT / each.file).read_text())
        except Misplaced as error:
            yield str(error)


def _tell(outcome: Outcome, number: int, of: int, say: TextIO) -> None:
    by = f" by {outcome.by}" if outcome.killed else f" {outcome.by}"
    line = f"[{number}/{of}] {outcome.verdict} {outcome.name}{by} ({outcome.seconds:.0f} s)"
    say.write(f"{line}\n")
    say.flush()


def tried(chosen: Sequence[Mutation]) -> Iterator[Outcome]:
    """Try each on copies of the tree, once their tests are green. Yield the outcomes."""
    for name in SERVERS:
        os.environ.pop(name, None)
    with ExitStack() as stack:
        lanes = [_lane(stack) for _ in range(LANES)]
        threads = stack.enter_context(ThreadPoolExecutor(LANES))
        for lane in lanes:
            stack.callback(lane.stop)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        if red := _red(chosen, lanes, threads):
            some = "\n".join(red[:SHOWN])
            sys.stderr.write(f"the sound code fails its tests:\n{some}\n({len(red)} in all)\n")
            return
        free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            free.put(lane)

        def trial(mutation: Mutation) -> Outcome:
            lane = free.get()
            try:
                return lane.trial(mutation, seconds=TRIAL_SECONDS)
            finally:
                free.put(lane)

        trials = [threads.submit(trial, each) for each in chosen]
        for each in as_completed(trials):
            yield each.result()


def _lane(stack: ExitStack) -> Lane:
    running = stack.enter_context(servers.running())
    tree = copy_tree(ROOT, running.directory / "tree")
    values = {
        **environment.for_django(debug=False),
        **running.environment,
        **running.superusers,
    }
    options = ("-p", databases.__name__)
    return Lane(tree, running.directory / "tmp", values, options)


def _red(
    chosen: Sequence[Mutation], lanes: Sequence[Lane], threads: ThreadPoolExecutor
) -> list[str]:
    """Return the tests that fail on the sound code."""
    tests = list(dict.fromkeys(test for mutation in chosen for test in mutation.tests))
    sys.stderr.write(f"the sound code first: {len(tests)} tests and groups of them …\n")

    def red_in(number: int) -> list[str]:
        return lanes[number].red(tests[number::LANES], seconds=SOUND_SECONDS)

    return [line for lines in threads.map(red_in, range(LANES)) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
