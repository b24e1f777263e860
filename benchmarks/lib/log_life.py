"""The life of deletions without rows, in the process of a probe: what the log costs an engine."""

# ruff: noqa: S608 - names are ours

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone

from apps.integrity import capture, cascade
from apps.integrity.cascade import verification
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASES = ("blog_db", "shop_db")
#: Keys of no user, and the first ids of rows that are made finished.
FIRST, FINISHED = 100_000_000, 10_000_000
#: A small batch of deletions, as a few requests make them.
FEW = 50


def tables() -> None:
    """Create the project's tables in all databases of the environment."""
    for alias in ("default", *DATABASES):
        call_command("migrate", verbosity=0, database=alias, run_syncdb=True)


def life(deletions: int, finished: int, rounds: int) -> dict[str, Any]:
    """Return the seconds to drain many deletions, and a few in an empty and in a long log."""
    with override_settings(
        INTEGRITY={**settings.INTEGRITY, "grace_seconds": 0.001, "wakeups": False}
    ):
        keys = _keys(deletions, rounds)
        _drained(next(keys)[:10])  # what is created once
        empty = [_drained(next(keys)) for _ in range(rounds)]
        drained = _drained(range(FIRST, FIRST + deletions))
        for table in ("integrity_cascade", "integrity_deletion"):
            with connections["default"].cursor() as cursor:
                cursor.execute(f"DELETE FROM {table}")
        _make_finished(finished)
        beside = [_drained(next(keys)) for _ in range(rounds)]
    return {"drained": drained, "empty": empty, "beside": beside}


def _keys(deletions: int, rounds: int) -> Iterator[range]:
    for number in range(2 * rounds + 1):
        first = FIRST + deletions + number * FEW
        yield range(first, first + FEW)


def _drained(keys: range) -> float:
    """Record these keys; return the seconds until they are verified."""
    with transaction.atomic():
        capture.record((User, keys), using="default")
    started = time.perf_counter()
    dispatch.sweep("default")
    for database in DATABASES:
        cascade.drain(database, seconds=600)
    for database in DATABASES:
        verification.verify(database, seconds=600)
    took = time.perf_counter() - started
    left = Cascade.objects.filter(ended_at__isnull=True).count()
    if left or Deletion.objects.filter(batch__isnull=True).exists():
        raise AssertionError(f"{left} cascades are open")
    return took


def _make_finished(number: int) -> None:
    """Make verified deletions, each in a batch of its own with a cascade for each database."""
    now, least = timezone.now(), min(number, 1_000)
    moments = {"recorded_at": now, "dispatched_at": now, "done_at": now, "verified_at": now}
    for at in range(least):
        pk = FINISHED + at
        Deletion(
            id=pk, batch=pk, parent="auth.User", key=str(pk), source="signal", recorded_at=now
        ).save(force_insert=True)
        Cascade.objects.bulk_create(
            Cascade(
                id=FINISHED + at * len(DATABASES) + place,
                **{**moments, "ended_at": now, "due_at": None},
                batch=pk,
                deletions=[pk],
                size=1,
                parent="auth.User",
                database=database,
                state="verified",
                attempts=1,
            )
            for place, database in enumerate(DATABASES)
        )
    made = least
    while made < number:
        _copy(Deletion, made, made)
        _copy(Cascade, made, made * len(DATABASES))
        made *= 2
    for model in (Deletion, Cascade):
        verb = "ANALYZE TABLE" if connections["default"].vendor == "mysql" else "ANALYZE"
        with connections["default"].cursor() as cursor:
            cursor.execute(f"{verb} {model._meta.db_table}")


def _copy(model: type[Deletion | Cascade], batches: int, rows: int) -> None:
    """Double the finished rows, with new ids and batches."""
    quote = connections["default"].ops.quote_name
    names = [field.column for field in model._meta.concrete_fields]
    more = {"id": f"id + {rows}", "batch": f"batch + {batches}"}
    with connections["default"].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(map(quote, names))})"
            f" SELECT {', '.join(more.get(name) or quote(name) for name in names)}"
            f" FROM {model._meta.db_table} WHERE id >= {FINISHED}"
        )
