"""Clients: processes that call what they are told, by lines, as long as their block lasts.

A driver begins one and asks it again and again, so that ways can take turns without paying for a
start each time. `python -m benchmarks.lib.clients` is the other side.
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
    """One such process; `log` takes what it has to say besides."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    def ask(self, name: str, *given: Any, **named: Any) -> Any:
        """What `benchmarks.<name>(*given, **named)` gives there, as in "lib.deletes.delete".

        Raises `ProcessError` with the end of its log when it fails.
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
            said = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
            raise ProcessError(f"a client did not answer {name}\n{said}")
        return json.loads(answer)


@contextmanager
def client(log: Path, environment: Mapping[str, str]) -> Iterator[Client]:
    """A client with those variables besides ours; it ends with the block."""
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


def obey() -> None:
    """Answer each line until there are no more."""
    django.setup()
    for line in sys.stdin:
        name, given, named = json.loads(line)
        module, _, function = name.rpartition(".")
        act = getattr(importlib.import_module(f"benchmarks.{module}"), function)
        sys.stdout.write(f"{json.dumps(act(*given, **named))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    obey()
