"""A process that prints one line with the document of `integrity status --json` for each request.

It stands for a shell in which somebody runs the command again and again: a new process for each
would take more of the machine than all that it watches.
"""

from __future__ import annotations

import io
import json
import sys

import django
from django.core.management import call_command
from django.db import connections


def main() -> None:
    """Answer until standard input ends."""
    django.setup()
    for _ in sys.stdin:
        sys.stdout.write(f"{json.dumps(_asked())}\n")
        sys.stdout.flush()
        connections.close_all()  # as the end of a command does


def _asked() -> dict[str, object]:
    printed = io.StringIO()
    try:
        call_command("integrity", "status", "--json", stdout=printed, stderr=io.StringIO())
    except SystemExit as ended:
        code = ended.code
    except Exception as error:  # noqa: BLE001 (a command that fails says so)
        return {"code": 1, "error": repr(error)}
    else:
        code = 0
    return {"code": code, **json.loads(printed.getvalue() or "{}")}


if __name__ == "__main__":
    main()
