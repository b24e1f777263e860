"""The log on MariaDB: no statement of a deletion's life reads what has ended, or locks it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from apps.integrity import capture, cascade
from apps.integrity.cascade import verification
from apps.integrity.queues import dispatch
from tests.log_rows import cascade_states, make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Captured, Tune

pytestmark = pytest.mark.usefixtures("committed")

CHILDREN = ("blog_db", "shop_db")
LOG = ("integrity_cascade", "integrity_deletion")
ENDED = 6_000
#: Deletions of a claim. MariaDB makes a join of a list of 1,000.
FEW, MANY = 50, 1_100
#: Ways of reading that look at every row of a table, or at every entry of an index.
WHOLE = {"ALL", "index"}


@pytest.fixture(params=("counted", "not counted"))
def most(request: pytest.FixtureRequest, committed: None) -> Iterator[float]:
    """A log in which nearly all has ended. How many rows a statement may expect for a deletion.

    Where the statistics know nothing of these rows, a search with a limit may go by another index.
    """
    if connections["default"].vendor != "mysql":
        pytest.skip("the log is on another engine")
    is_counted, automatic = request.param == "counted", "STATS_AUTO_RECALC"
    if not is_counted:
        sql([f"ALTER TABLE {table} {automatic} = 0" for table in LOG])
        sql([f"ANALYZE TABLE {table}" for table in LOG])
    make("auth.User", range(ENDED), CHILDREN, apart=True, state="verified")
    if is_counted:
        sql([f"ANALYZE TABLE {table}" for table in LOG])
    yield 3 if is_counted else math.inf
    sql([f"ALTER TABLE {table} {automatic} = DEFAULT" for table in LOG])


def sql(statements: list[str]) -> None:
    with connections["default"].cursor() as cursor:
        for each in statements:
            cursor.execute(each)
            cursor.fetchall()


def plan(statement: str) -> list[dict[str, Any]]:
    with connections["default"].cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_no_statement_reads_the_whole_log(captured: Captured, tune: Tune, most: float) -> None:
    tune(grace_seconds=0.001)
    capture.record((User, range(1)), using="default")
    life()  # the databases have met
    for number in (FEW, MANY):
        capture.record((User, range(number)), using="default")
        with captured:
            life()
        assert set(cascade_states()) == {"verified"}
        asked = [each for each in captured["default"] if of_log(each)]
        assert sum(each.startswith("UPDATE") for each in asked) >= 6
        for each in asked:
            for step in plan(each):
                if step["table"] in LOG:
                    assert step["type"] not in WHOLE, (each, step)
                    expected = int(str(step["rows"]).split()[0])
                    assert expected <= most * number, (each, step)


def of_log(statement: str) -> bool:
    return statement.startswith(("SELECT", "UPDATE")) and any(table in statement for table in LOG)


def life() -> None:
    dispatch.sweep("default")
    for database in CHILDREN:
        cascade.drain(database)
    for database in CHILDREN:
        verification.verify(database)
