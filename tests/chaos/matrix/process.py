"""A process that traps can catch: `DIRECTORY celery ARGUMENT…` or `DIRECTORY web KEY…`.

`web` deletes users as a request would, and ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import django


def main() -> None:
    """Become what the command line says."""
    directory, program, *arguments = sys.argv[1:]
    django.setup()
    # Not at the top: the failpoints are among the log's modules, which need the models.
    from . import traps

    traps.install(Path(directory))
    if program == "web":
        _delete([int(key) for key in arguments])
    else:
        from celery.__main__ import main as celery

        sys.argv = [program, *arguments]
        celery()


def _delete(keys: list[int]) -> None:
    from django.contrib.auth.models import User

    User.objects.filter(pk__in=keys).delete()


if __name__ == "__main__":
    main()
