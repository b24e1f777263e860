"""Functions that clients call to time each step of deletions in the log. See `clients`."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.integrity import conf
from apps.integrity.log import claims, deletions, outcomes, values
from apps.integrity.models import Cascade, Deletion
from apps.integrity.report import overview, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USING = "default"
#: As many as a worker claims at once, with keys that no user has.
KEYS = range(2_000_000_000, 2_000_000_500)
DATABASES = ("blog_db", "shop_db")
PLANNED = re.compile("SELECT|INSERT|UPDATE|DELETE|WITH")


def steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the steps of some deletions through the log in order, and the status queries."""
    yield "record", _record
    yield "dispatch", lambda: deletions.dispatch(using=USING, limit=conf.current().dispatch_keys)
    yield "due", lambda: claims.due_databases(using=USING)
    for database in DATABASES:
        taken = list[values.Claim]()
        yield "claim", partial(_claim, database, taken)
        yield "status", status.collect_status
        yield "overview", overview.collect_overview
        yield "finish", partial(_finish, taken)


def measure() -> dict[str, float]:
    """Run all steps; return the total milliseconds of each."""
    took: dict[str, float] = {}
    for name, act in steps():
        started = time.perf_counter()
        act()
        took[name] = took.get(name, 0.0) + (time.perf_counter() - started) * 1_000
    _forget()
    return took


def explain(wanted: str) -> dict[str, Any]:
    """Return the number of a step's statements and the plan of the slowest one."""
    result: dict[str, Any] = {}
    for name, act in steps():
        with CaptureQueriesContext(connection) as context:
            act()
        if name == wanted:
            # BEGIN and COMMIT have no plan.
            queries = [query for query in context.captured_queries if PLANNED.match(query["sql"])]
            slowest = max(queries, key=lambda query: float(query["time"]))["sql"]
            result = {"statements": len(queries), "slowest": slowest[:600], "plan": _plan(slowest)}
    _forget()
    return result


def _plan(statement: str) -> list[str]:
    """Return the plan, with times if the statement only reads."""
    reads = statement.startswith("SELECT") and "FOR UPDATE" not in statement
    analyze = "(ANALYZE, BUFFERS) " if reads else ""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {analyze}{statement}")
        return [line for (line,) in cursor.fetchall()]


def _record() -> None:
    with transaction.atomic(using=USING):
        targets = [None] * len(KEYS)
        deletions.record(User, KEYS, targets, source=Deletion.Source.SIGNAL, using=USING)


def _claim(database: str, taken: list[values.Claim]) -> None:
    settings = conf.current()
    claim = claims.claim(
        database, using=USING, limit=settings.claim_keys, lease_seconds=settings.lease_seconds
    )
    assert claim is not None, f"nothing is due for {database}"
    assert len(claim.deletions) == len(KEYS), claim
    taken.append(claim)


def _finish(taken: list[values.Claim]) -> None:
    (claim,) = taken
    outcomes.finish(claim, {pk: {"blog.Post.author": 1} for pk in claim.ids}, barrier=None)


def _forget() -> None:
    """Delete the measured deletions from the log."""
    ours = Deletion.objects.filter(key__in=[str(key) for key in KEYS], parent="auth.User")
    found = list(ours.values_list("pk", "batch"))
    Cascade.objects.filter(batch__in={batch for _, batch in found if batch})._raw_delete(USING)
    Deletion.objects.filter(pk__in=[pk for pk, _ in found])._raw_delete(USING)
