"""Figures equal plain SQL at any moment, while deletions come and go.

Each look is one snapshot of each log: what the report reads there, and what SQL reads.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

from apps.blog.models import Post
from apps.integrity import cascade, relations
from apps.integrity.cascade import verification
from apps.integrity.control import actions
from apps.integrity.log import parts
from apps.integrity.log.deletions import cancel
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report.overview import collect_overview
from apps.integrity.report.status import collect_status
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

LOOKS, USERS = 10, 12
#: The others pause, so that a look takes less time.
PAUSE_SECONDS = 0.03
PLACES = ("blog_db", "shop_db")

#: Each deletion in each child database, one by one.
BACKLOG = """
    WITH held AS (SELECT unnest(deletions), state, done_at FROM integrity_cascade
        WHERE database = %(database)s)
    SELECT
        (SELECT count(*) FROM held WHERE state IN ('pending', 'running', 'waiting', 'blocked'))
        + (SELECT count(*) FROM integrity_deletion
            WHERE batch IS NULL AND cancelled_at IS NULL AND parent = 'auth.User'),
        (SELECT count(*) FROM held WHERE state = 'blocked'),
        (SELECT count(*) FROM held WHERE state = 'done'),
        (SELECT extract(epoch FROM clock_timestamp() - min(moment)) FROM (
            SELECT min(recorded_at) AS moment FROM integrity_cascade WHERE database = %(database)s
                AND state IN ('pending', 'running', 'waiting', 'blocked')
            UNION ALL SELECT min(recorded_at) FROM integrity_deletion
                WHERE batch IS NULL AND cancelled_at IS NULL AND parent = 'auth.User') AS oldest),
        (SELECT count(*) FROM held WHERE done_at >= now() - interval '300 seconds'),
        (SELECT count(*) FROM integrity_childdatabase WHERE alias = %(database)s
            AND (paused_at IS NOT NULL OR unreachable_since IS NOT NULL))
"""
DELETIONS = """
    SELECT CASE
        WHEN cancelled_at IS NOT NULL THEN 'cancelled'
        WHEN batch IS NULL THEN 'recorded'
        WHEN states && ARRAY['pending', 'running', 'waiting', 'blocked'] THEN 'dispatched'
        WHEN 'done' = ANY (states) THEN 'cascaded'
        WHEN 'kept' = ANY (states) THEN 'kept'
        WHEN 'cancelled' = ANY (states) THEN 'cancelled'
        ELSE 'verified' END AS state, count(*)
    FROM integrity_deletion LEFT JOIN (
        SELECT one.id, array_agg(state::text) AS states
        FROM integrity_cascade, unnest(deletions) AS one (id) GROUP BY one.id) AS held USING (id)
    GROUP BY 1
"""


@contextlib.contextmanager
def one_snapshot() -> Iterator[None]:
    """All that is read in a log within the block is of one moment."""
    with contextlib.ExitStack() as stack:
        for using in relations.catalogue().log_databases:
            stack.enter_context(transaction.atomic(using=using))
            if connections[using].vendor == "postgresql":
                with connections[using].cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def sql(statement: str, **values: str) -> list[tuple[Any, ...]]:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def deletes(chance: random.Random) -> None:
    """Users with rows elsewhere, some of which are deleted."""
    users = User.objects.bulk_create(User(username=f"u{chance.random()}") for _ in range(USERS))
    Post.objects.bulk_create(Post(title="t", content="c", author_id=each.pk) for each in users)
    Order.objects.bulk_create(
        Order(order_number=each.username, customer_id=each.pk, total=1) for each in users
    )
    for each in chance.sample(users, USERS // 2):
        each.delete()


def work(chance: random.Random) -> None:
    """Some of what workers and operators do, in any order."""
    place = chance.choice(PLACES)
    match chance.randrange(8):
        case 0 | 1:
            dispatch.sweep("default")
        case 2 | 3:
            cascade.drain(place, seconds=0.0)
        case 4:
            verification.verify(place, seconds=0.0)
        case 5:
            act = chance.choice((actions.pause, actions.resume))
            act(place, actor="op", reason="a look", using="default")
        case 6:
            with transaction.atomic():
                pending = Cascade.objects.filter(database=place, state="pending")
                two = [pk for ids in pending.values_list("deletions", flat=True) for pk in ids][:2]
                part = parts.separate(pending, two, using="default", holder=False)
                Cascade.objects.filter(pk__in=[*part]).update(
                    state="blocked", due_at=None, reason="it would not go"
                )
        case 7:
            newest = Deletion.objects.order_by("-pk").values_list("pk", flat=True)
            cancel(newest[:1], "by an operator", using="default")


@pytest.mark.postgresql
def test_at_many_moments_of_a_storm_they_equal_sql(
    tune: Tune, at_once: Callable[..., list[Any]]
) -> None:
    tune(grace_seconds=0.001)
    chance, over = random.Random(7), threading.Event()  # noqa: S311 (decides nothing)
    seen: set[tuple[Any, ...]] = set()

    def storm(act: Callable[[random.Random], None], seed: int) -> Callable[[], None]:
        def run() -> None:
            own = random.Random(seed)  # noqa: S311
            while not over.is_set():
                act(own)
                over.wait(PAUSE_SECONDS)

        return run

    def look() -> None:
        try:
            for _ in range(LOOKS):
                over.wait(chance.uniform(0.0, 0.1))
                seen.add(compared())
        finally:
            over.set()

    at_once(storm(deletes, 1), storm(work, 2), storm(work, 3), look)
    assert len(seen) > LOOKS / 2, "the figures hardly changed"


def compared() -> tuple[Any, ...]:
    """Each figure of `status` and of the overview beside SQL's; gives them."""
    began = time.monotonic()
    with one_snapshot():
        deletions = dict(sql(DELETIONS))
        rows = {place: sql(BACKLOG, database=place)[0] for place in PLACES}
        status, overview = collect_status(), collect_overview()
    took = time.monotonic() - began  # ages are by the clock, which does not stand still
    assert {state: n for state, n in status["deletions"].items() if n} == deletions
    for place, (backlog, blocked, unverified, lag, finished, hindered) in rows.items():
        [row] = [each for each in status["databases"] if each["database"] == place]
        [card] = [each for each in overview.cards if each["database"] == place]
        assert (row["backlog"], row["blocked"]) == (backlog, blocked)
        assert (card["backlog"], card["blocked"], card["unproven"]) == (
            backlog,
            blocked,
            unverified,
        )
        assert row["rate"] == pytest.approx(finished / 300)
        assert card["throughput"].rate == pytest.approx(finished / 300, abs=0.02)
        for age in (row["lag_seconds"], card["lag_seconds"]):
            assert age == (None if lag is None else pytest.approx(float(lag), abs=took + 0.1))
        assert row["state"] == card["state"]
        assert (row["state"] in {"hindered", "paused"}) == bool(hindered)
    return tuple(rows[place][:3] for place in PLACES)
