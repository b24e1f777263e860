"""`python -m tests.chaos.pages [NAME…] [--load-seconds N] [--json]`: faults, and what is seen.

It prints a table of the faults: after how many seconds the first page and `status --json` named
each, the page's first line, what the document said, the remedy, and after how many seconds all was
well again. The exit code is 0 only when everything was named in
time, gone after it was healed, and nothing was named that was not so. What was seen each second of
a fault that was not named goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack

import django

from sandbox import project, runs
from tests.acceptance import chromium
from tests.chaos import progress, say

from .result import table
from .seen import NAMED_SECONDS

#: Whatever else the machine does, a fault is named by then.
PATIENT_SECONDS = 60.0


def main() -> int:
    """Return the exit code."""
    options = _options()
    if (browser := chromium.found()) is None:
        raise SystemExit(chromium.MISSING)
    limit = PATIENT_SECONDS if options.patient else NAMED_SECONDS
    with ExitStack() as stack:
        sandbox = stack.enter_context(project.own_servers("tests.chaos.pages.settings"))
        django.setup()
        from .run import Run, chosen

        begin = time.monotonic()
        run = stack.enter_context(Run.started(sandbox, browser, limit))
        results = [run.play(fault) for fault in chosen(options.names)]
        alarms = run.healthy(options.load_seconds, options.idle_seconds)
        progress(f"took {time.monotonic() - begin:.0f} s")
        problems = [*run.problems(results), *alarms]
        if problems:
            progress(f"logs: {runs.keep(sandbox.directory, 'pages', '*.log')}")
    if options.json:
        say(json.dumps({"faults": [each.document() for each in results], "problems": problems}))
    else:
        for line in table(results):
            say(line)
    for problem in problems:
        progress(f"PROBLEM {problem}")
    return 1 if problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run pages", description="Faults, and what is seen.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="function of faults.py; all")
    parser.add_argument("--load-seconds", type=float, default=60.0, help="of ordinary deletes")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="without any")
    parser.add_argument("--patient", action="store_true", help="bounds for a busy machine")
    parser.add_argument("--json", action="store_true", help="one document at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
