"""`python -m tests.chaos.faults [NAME…] [--quick | --brief] [--json]`: bounds under faults.

A line for each bound as it is measured; the last line of standard output is the verdict, and the
exit code is 0 only when every bound was kept. Progress and further figures go to standard error.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import django

from sandbox import project, runs
from tests.chaos import progress, say

from .bounds import Bound, Figure
from .scale import BRIEF, FULL, QUICK, Scale

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stage import Stage

EXPERIMENTS = ("broker", "isolation", "giant", "recovery")
#: They need other servers: see tests/engines.
ONLY_NAMED = ("rabbitmq",)
BROKE_OFF = "could not be measured to its end"


def main() -> int:
    """Return the exit code."""
    options = _options()
    scale = BRIEF if options.brief else QUICK if options.quick else FULL
    found: dict[str, list[Bound | Figure]] = {}
    for name, each in _measured(options.names or EXPERIMENTS, scale):
        found.setdefault(name, []).append(each)
        if isinstance(each, Bound) and not options.json:
            say(f"{name}: {each}")
        else:
            progress(f"{name}: {each}")
    bounds = [each for listed in found.values() for each in listed if isinstance(each, Bound)]
    held = sum(each.held for each in bounds)
    verdict = f"{held} of {len(bounds)} bounds held"
    say(json.dumps(_document(found, verdict)) if options.json else verdict)
    return 0 if held == len(bounds) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run faults", description="Bounds under faults.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(EXPERIMENTS)}; all of them"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller, fewer repetitions")
    size.add_argument("--brief", action="store_true", help="smallest: says nothing about times")
    parser.add_argument("--json", action="store_true", help="one document at the end")
    options = parser.parse_args()
    if unknown := set(options.names) - {*EXPERIMENTS, *ONLY_NAMED}:
        parser.error(f"no experiment {', '.join(sorted(unknown))}; known: {', '.join(EXPERIMENTS)}")
    return options


def _measured(names: tuple[str, ...], scale: Scale) -> Iterator[tuple[str, Bound | Figure]]:
    """What each experiment finds; one that breaks off is a broken bound, and the next goes on."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(project.own_servers("config.settings"))
        django.setup()
        from .stage import Stage

        stage = Stage(sandbox, scale, progress)
        stage.prepare()
        kept = True
        for name in names:
            progress(f"{name}: begins, load {os.getloadavg()[0]:.1f}")
            for each in _experiment(name, stage):
                kept = kept and (each.held if isinstance(each, Bound) else True)
                yield name, each
        if not kept:
            progress(f"logs: {runs.keep(sandbox.directory, 'faults', '*.log')}")


def _experiment(name: str, stage: Stage) -> Iterator[Bound | Figure]:
    begin = time.monotonic()
    try:
        yield from importlib.import_module(f"tests.chaos.faults.{name}").run(stage)
    except Exception:  # noqa: BLE001 (the verdict comes last, whatever happens)
        traceback.print_exc()
        yield Bound(BROKE_OFF, 1, 0)
    yield Figure("took", time.monotonic() - begin, "s")


def _document(found: dict[str, list[Bound | Figure]], verdict: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "experiments": {
            name: {
                "bounds": [each.document() for each in listed if isinstance(each, Bound)],
                "figures": [each.document() for each in listed if isinstance(each, Figure)],
            }
            for name, listed in found.items()
        },
        "exit_reason": verdict,
    }


if __name__ == "__main__":
    sys.exit(main())
