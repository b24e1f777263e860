"""`python -m sandbox up | down | serve | exec COMMAND ...`: the servers from the command line."""

# ruff: noqa: S603, T201 - it starts the command from the command line and prints to it

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from sandbox import environment, runs, servers
from sandbox.processes import Record, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT = runs.HOME / "env"
LOG = runs.HOME / "serve.log"
RECORD = runs.HOME / "serve.pid"


def up() -> int:
    """Start the servers in the background and write their URLs to .sandbox/env."""
    record = Record.read(RECORD)
    if record and record.alive:
        return _tell("already up: set -a; . .sandbox/env; set +a")
    runs.HOME.mkdir(exist_ok=True)
    ENVIRONMENT.unlink(missing_ok=True)
    with LOG.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "serve"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    eventually(lambda: ENVIRONMENT.exists() or child.poll() is not None, timeout=120)
    if not ENVIRONMENT.exists():
        child.terminate()
        return _tell(LOG.read_text().strip() or "the servers did not start", code=1)
    # The child keeps running. Without this, Popen warns when it is garbage-collected.
    child.returncode = 0
    return _tell("up: set -a; . .sandbox/env; set +a")


def down() -> int:
    """Stop what `up` started."""
    record = Record.read(RECORD)
    if record and record.alive:
        record.end(timeout=30)
        _tell("down")
    else:
        _tell("nothing is up")
    _forget()
    return 0


def serve() -> int:
    """Run the servers in the foreground until SIGINT or SIGTERM."""
    with servers.running() as sandbox:
        Record.of(os.getpid()).write(RECORD)
        _write({**environment.for_django(debug=True), **sandbox.environment})
        try:
            signal.pause()
        finally:
            _forget()
    return 0


def execute(command: Sequence[str]) -> int:
    """Run a command with the servers' URLs in its environment; return its exit code."""
    with servers.running() as sandbox:
        values = {**os.environ, **environment.for_django(debug=False), **sandbox.environment}
        return _call(command, values)


def _call(command: Sequence[str], values: dict[str, str]) -> int:
    child = subprocess.Popen(command, env=values)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        # A terminal sends Ctrl-C to the child too. If only this process got it, end the child.
        if not eventually(lambda: child.poll() is not None, timeout=1):
            child.terminate()
        child.wait()
        raise
    return code if code >= 0 else 128 - code


def _write(values: dict[str, str]) -> None:
    draft = ENVIRONMENT.with_name("env.draft")
    draft.touch(mode=0o600)
    draft.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
    draft.replace(ENVIRONMENT)


def _forget() -> None:
    for path in (ENVIRONMENT, RECORD):
        path.unlink(missing_ok=True)


def _tell(line: str, *, code: int = 0) -> int:
    print(line, file=sys.stderr)
    return code


def main() -> int:
    """Run the command from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for function in (up, down, serve):
        commands.add_parser(function.__name__, help=function.__doc__).set_defaults(do=function)
    runner = commands.add_parser("exec", help=execute.__doc__)
    runner.add_argument("argv", nargs=argparse.REMAINDER)
    chosen = parser.parse_args()
    try:
        if chosen.command == "exec":
            return execute([part for part in chosen.argv[:1] if part != "--"] + chosen.argv[1:])
        return int(chosen.do())
    except (RuntimeError, OSError) as error:
        return _tell(str(error), code=1)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
