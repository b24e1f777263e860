"""Delete users and measure how long the workers take to cascade.

The time is from the commit to the `done_at` of the last cascade. All servers use the same clock, so
the result does not depend on how often it is polled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from django.db import connections, transaction
from django.db.models import Max

from apps.integrity.models import Cascade, Deletion
from sandbox.processes import ProcessError, eventually

from . import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .workers import Workers

LIMIT_SECONDS = 600.0
PAUSE_SECONDS = 0.1
CONTENT = ("blog_db", "shop_db")


def cascaded(keys: range, workers: Workers, *, databases: Sequence[str] = CONTENT) -> float:
    """Delete the users in one transaction; return the seconds from its commit to the last cascade.

    Raises `ProcessError` after LIMIT_SECONDS, and `AssertionError` if a row is left.
    """
    committed = list[float]()
    with transaction.atomic():
        # Registered first, so that the time includes the product's own on_commit callback.
        transaction.on_commit(lambda: committed.append(time.time()))
        User.objects.filter(pk__in=keys).delete()

    def is_over() -> bool:
        workers.check()
        return not is_open()

    if not eventually(is_over, timeout=LIMIT_SECONDS, pause=PAUSE_SECONDS):
        raise ProcessError(f"{len(keys)} deletions were not cascaded in {LIMIT_SECONDS:g} s")
    if left := rows.left(keys):
        raise AssertionError(f"{left} rows are left of users that were cascaded")
    done = Cascade.objects.filter(database__in=databases).aggregate(last=Max("done_at"))["last"]
    return float(done.timestamp() - committed[0])


def is_open() -> bool:
    """Return whether a deletion is not cascaded yet."""
    recorded = Deletion.objects.filter(Deletion.IS_RECORDED)
    return recorded.exists() or Cascade.objects.filter(Cascade.IN_BACKLOG).exists()


def forget() -> None:
    """Empty the log and the circuit breakers of child databases."""
    rows.empty_log("integrity_childdatabase")


def giant(keys: range, alias: str) -> float:
    """Delete the same rows with plain SQL in one transaction; return the seconds."""
    started = time.perf_counter()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        for statement in rows.GIANT[alias]:
            cursor.execute(statement, [keys[0], keys[-1]])
    return time.perf_counter() - started
