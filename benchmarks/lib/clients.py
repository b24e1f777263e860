"""Client processes that call functions on request, during a block.

A benchmark starts a client once and asks it repeatedly, so that variants can take turns without a
start each time. Requests and answers are lines of JSON. `python -m benchmarks.lib.clients` is the
client's side.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import django

from sandbox.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

EXIT_SECONDS = 10.0


class Client:
    """A client process. Its standard error goes to `log`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    def ask(self, name: str, *given: Any, **named: Any) -> Any:
        """Return `benchmarks.<name>(*given, **named)`, called in the client.

        An example of a name is "lib.deletes.delete". Raises `ProcessError` with the last log lines
        if the call fails.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{json.dumps([name, given, named])}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise ProcessError(f"a client did not answer {name}\n{tail}")
        return json.loads(answer)


@contextmanager
def client(log: Path, environment: Mapping[str, str]) -> Iterator[Client]:
    """Run a client during the block, with additional environment variables."""
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.lib.clients"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield Client(process, log)
            process.communicate(timeout=EXIT_SECONDS)
        finally:
            process.kill()


def serve() -> None:
    """Answer requests until standard input ends."""
    django.setup()
    for line in sys.stdin:
        name, given, named = json.loads(line)
        module, _, function = name.rpartition(".")
        act = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        sys.stdout.write(f"{json.dumps(act(*given, **named))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
