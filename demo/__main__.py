"""`python -m demo [--once] [--settings MODULE]`: run all steps, check the results, and stay up.

Ctrl-C ends it. With --once it ends after the last step and prints a JSON document as the last line
of standard output. The exit code is 0 if every check passed, otherwise 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import django
from django.db import Error

from sandbox import servers
from sandbox.binaries import MissingProgramError
from sandbox.processes import ProcessError

from . import screen
from .failure import DemoFailure
from .stage import Stage

if TYPE_CHECKING:
    from .story import Story

FAILURES = (DemoFailure, MissingProgramError, ProcessError, Error, OSError)


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="./run demo", description="Run the demo.")
    parser.add_argument("--once", action="store_true", help="end after the last step")
    parser.add_argument(
        "--settings",
        default="demo.settings",
        help="the settings of all processes, based on demo.settings",
    )
    arguments = parser.parse_args()
    once = arguments.once
    started = time.monotonic()
    document: dict[str, Any] = {"ok": False}
    try:
        with ExitStack() as stack:
            story = _begin(stack, arguments.settings)
            _tell(story, document)
            if not once:
                _stay(story)
    except FAILURES as error:
        document |= {"ok": False, "error": str(error)}
        screen.failure(str(error))
    except KeyboardInterrupt:
        screen.say("Stopped before the end.")
        return 130
    document["seconds"] = round(time.monotonic() - started, 1)
    if once:
        sys.stdout.write(f"{json.dumps(document)}\n")
    return 0 if document["ok"] else 1


def _begin(stack: ExitStack, settings: str) -> Story:
    """Start the servers and set up Django; `stack` stops everything."""
    screen.say("Starting three PostgreSQL servers and a broker …")
    sandbox = stack.enter_context(servers.running())
    stage = Stage(sandbox.directory, sandbox.postgres, settings)
    os.environ.update({**stage.environment(), **sandbox.environment})
    stack.callback(stage.stop)
    django.setup()
    # Imported here, because models need the settings, which need the servers' URLs.
    from .story import Story

    return Story(stage)


def _tell(story: Story, document: dict[str, Any]) -> None:
    """Run the steps and add the results to `document`, even if a step fails."""
    from .story import tell

    try:
        tell(story)
    finally:
        document |= story.figures
        document["proofs"] = [proof.document() for proof in story.proofs]
    document["ok"] = all(proof.held for proof in story.proofs)


def _stay(story: Story) -> None:
    """Wait for Ctrl-C. Raises ProcessError if a child ends by itself."""
    story.show_addresses()
    screen.say("All processes keep running until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        while True:
            story.stage.check()
            time.sleep(0.5)
    screen.say("Stopping …")


if __name__ == "__main__":
    sys.exit(main())
