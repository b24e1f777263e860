"""One side in a process of its own: a command in a line of JSON, its answer in another.

The argument names the class that carries the commands out: `side.Side`, or one with a fault.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Answer until the input ends."""
    import django

    django.setup()
    from django.conf import settings
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases
    from django.utils.module_loading import import_string

    setup_test_environment(debug=False)
    _refuse_a_wrong_zoo()
    made = setup_databases(
        verbosity=0, interactive=False, aliases=set(settings.DATABASES), serialized_aliases=set()
    )
    try:
        side = import_string(sys.argv[1])()
        for line in sys.stdin:
            name, arguments = json.loads(line)
            answer = getattr(side, name)(**arguments)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        teardown_databases(made, verbosity=0)


def _refuse_a_wrong_zoo() -> None:
    """Raise where the product's own checks say that the seed spread what cannot be spread."""
    from django.core import checks

    found = [each for each in checks.run_checks() if each.level >= checks.ERROR]
    if found:
        raise SystemExit("\n".join(map(str, found)))


if __name__ == "__main__":
    main()
