"""A process that deletes users as a web process does; its driver talks to it by lines.

`delete KEY …` is answered with one JSON line of `[started, seconds, error]` for each key, and
`exit` ends it the way Python ends.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Obey until told to exit, or until the driver is gone."""
    import config.wsgi  # noqa: F401 (what a web server loads)

    _tell("ready")
    for line in sys.stdin:
        order, *keys = line.split()
        if order == "exit":
            break
        _tell(json.dumps([_delete(int(key)) for key in keys]))
    sys.exit()


def _delete(key: int) -> tuple[float, float, str]:
    from django.contrib.auth.models import User

    user = User.objects.get(pk=key)
    error, started = "", time.monotonic()
    try:
        user.delete()
    except Exception as raised:  # noqa: BLE001 (a failed delete is a result)
        error = repr(raised)
    return started, time.monotonic() - started, error


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
