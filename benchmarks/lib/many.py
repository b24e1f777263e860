"""Functions of B13's client: what many child databases cost, in statements and connections.

`python -m benchmarks.lib.many NUMBER` measures it once with files of SQLite, for the tests.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import django
from django.db import connections
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Runs of which the fastest counts.
TIMES = 5
#: Statements by alias, of all threads. BEGIN and COMMIT do not count.
_sent = Counter[str]()


def prepare() -> None:
    """Create the tables; delete an owner, so that the databases know their parents."""
    from django.core.management import call_command

    for alias in connections:
        call_command("migrate", run_syncdb=True, verbosity=0, database=alias)
    connections.close_all()
    connection_created.connect(_count, dispatch_uid="many")
    delete()


def measure() -> dict[str, dict[str, float]]:
    """Return the statements and milliseconds of what runs again and again, and of a deletion."""
    from apps.integrity.queues import dispatch, maintenance
    from apps.integrity.report import metrics, overview, status
    from apps.integrity.report.health import current_health

    steps: dict[str, Callable[[], object]] = {
        "dispatch": dispatch.sweep_all,
        "maintain": lambda: maintenance.maintain("default"),
        "scan": dispatch.scans_due,
        "status": status.collect_status,
        "metrics": metrics.exposition,
        "overview": overview.collect_overview,
        "healthz": current_health,
        "deletion": delete,
    }
    return {name: _measured(step) for name, step in steps.items()}


def _measured(step: Callable[[], object]) -> dict[str, float]:
    took, rounds = list[float](), list[Counter[str]]()
    for _ in range(TIMES):
        began = time.perf_counter()
        with _counted() as sent:
            step()
        took.append((time.perf_counter() - began) * 1_000)
        rounds.append(sent)
    # The fewest: a slow round also does what is due every few seconds.
    sent = min(rounds, key=Counter.total)
    children = sent.total() - sent["default"]
    return {"log": sent["default"], "children": children, "ms": min(took)}


def delete(items: int = 0) -> None:
    """Delete an owner, with that many items in each database, and do all that follows."""
    from apps.integrity.cascade import first_look
    from apps.integrity.log import claims
    from apps.integrity.models import Cascade
    from apps.integrity.queues import dispatch
    from apps.integrity.queues.base import Job, make_room, work_once

    from ..schemas.many.models import Item, Owner
    from ..schemas.many.router import CHILDREN

    owner = Owner.objects.create(name="owner")
    owner_id = owner.pk
    for alias in CHILDREN if items else ():
        rows = [Item(owner_id=owner_id, title="item") for _ in range(items)]
        Item.objects.using(alias).bulk_create(rows)
        connections[alias].close()
    owner.delete()
    _, due = dispatch.sweep("default")
    for alias in sorted(first_look.close_empty(due, using="default")):
        make_room(alias)
        work_once(Job.CASCADE, alias)
    time.sleep(0.01)  # the grace period
    due = claims.unverified_databases(using="default")
    for alias in sorted(first_look.verify_empty(due, using="default")):
        make_room(alias)
        work_once(Job.VERIFY, alias)
    if Cascade.objects.exclude(state=Cascade.State.VERIFIED).exists():
        raise AssertionError("not verified")


def connections_of_a_worker() -> int:
    """Return the most sessions that the server saw while this process deleted owners."""
    over, most = threading.Event(), [0]

    def watch() -> None:
        with connections["default"].cursor() as cursor:
            while not over.wait(0.002):
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname LIKE 'many_%%' AND pid <> pg_backend_pid()"
                )
                most[0] = max(most[0], cursor.fetchone()[0])
        connections["default"].close()

    watcher = threading.Thread(target=watch)
    watcher.start()
    delete()
    delete(items=1)
    over.set()
    watcher.join()
    return most[0]


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    before, sent = Counter(_sent), Counter[str]()
    yield sent
    sent.update(_sent - before)


def _count(connection: Any, **_: Any) -> None:
    alias = connection.alias

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        # SQLite begins its transactions by a statement; other engines' are not seen here either.
        _sent[alias] += not sql.startswith(("BEGIN", "SAVEPOINT", "RELEASE"))
        return execute(sql, *rest)

    connection.execute_wrappers[:] = [note]


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "MANY_DATABASES": sys.argv[1],
            "MANY_FOLDER": folder,
            "DJANGO_SETTINGS_MODULE": "benchmarks.schemas.many.settings",
        }
        django.setup()
        prepare()
        sys.stdout.write(f"{json.dumps(measure())}\n")


if __name__ == "__main__":
    main()
