"""How long the dashboard's overview takes with a million deletions in the log.

`python -m sandbox exec python -m benchmarks.overview [DELETIONS]`: fills the log of an empty
sandbox on PostgreSQL, then prints queries and milliseconds of SQL, the median of ten.
"""

# ruff: noqa: T201 - it answers on the command line

from __future__ import annotations

import json
import os
import statistics
import sys

FILL = """
INSERT INTO integrity_deletion (parent, key, source, state, recorded_at, dispatched_at)
SELECT 'auth.User', n::text, 'signal',
       CASE WHEN n > %(open)s THEN 'dispatched' ELSE 'verified' END,
       now() - (%(all)s - n) * interval '0.2 s', now()
FROM generate_series(1, %(all)s) AS n
"""
CASCADES = """
INSERT INTO integrity_cascade
    (deletion_id, database, state, due_at, recorded_at, attempts, rows, done_at, reason)
SELECT id, alias,
       CASE WHEN state = 'verified' THEN 'verified'
            WHEN id %% 50 = 0 THEN 'blocked' ELSE 'pending' END,
       recorded_at, recorded_at, 1, '{"blog.Post.author": 3}',
       CASE WHEN state = 'verified' THEN recorded_at + interval '1 s' END, ''
FROM integrity_deletion, unnest(array['blog_db', 'shop_db']) AS alias
"""


def fill(number: int) -> None:
    """A log of so many deletions, a tenth of them still to be applied."""
    from django.core.management import call_command
    from django.db import connections

    for alias in connections:
        call_command("migrate", database=alias, verbosity=0)
    with connections["default"].cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute(FILL, {"all": number, "open": number * 9 // 10})
        cursor.execute(CASCADES, {})
        cursor.execute("ANALYZE integrity_deletion")
        cursor.execute("ANALYZE integrity_cascade")


def measure() -> dict[str, float]:
    """Queries of one overview, and the median of their milliseconds."""
    from django.db import connections
    from django.test.utils import CaptureQueriesContext

    from apps.integrity import report

    found = []
    for _ in range(10):
        with CaptureQueriesContext(connections["default"]) as context:
            report.overview()
        found.append([float(each["time"]) * 1_000 for each in context.captured_queries])
    return {
        "queries": len(found[0]),
        "milliseconds": statistics.median(map(sum, found)),
        "worst": max(map(sum, found)),
    }


def main() -> None:
    """Fill and measure."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    fill(number)
    print(json.dumps({"deletions": number, **measure()}))


if __name__ == "__main__":
    main()
