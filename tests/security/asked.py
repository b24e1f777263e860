"""A process of the project that runs commands, a JSON list on each line, and tells their ends."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout

import django
from django.core.management import call_command


def run(words: list[str]) -> tuple[int, str]:
    """Return the exit code and the output of a command."""
    code = 0
    with redirect_stdout(io.StringIO()) as out:
        try:
            call_command(*words)
        except SystemExit as error:
            code = int(error.code or 0)
    return code, out.getvalue()


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201 (its answer)
