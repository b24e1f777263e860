"""B15: the cascade of one large user where the children are in MariaDB.

It is compared with giant DELETEs, which are the upper limit, and with Django's `queryset.delete()`
of the same rows. As B14, it needs the driver of `./run test-engines` on the path and the server's
programs.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sandbox.environment import VARIABLES
from tests.engines.servers import MissingProgramError
from tests.engines.servers.mariadb import MariaDB

from ..lib.result import Result, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

DATABASE = "blog_db"
COMMENTS = 3
#: The most posts of the user, of which each has comments: 300,000 rows.
POSTS = 75_000


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B15."""
    if importlib.util.find_spec("MySQLdb") is None:
        stage.tell("B15 needs the driver of MariaDB")
        return
    try:
        server = MariaDB(stage.folder() / "mariadb")
    except MissingProgramError as error:
        stage.tell(f"B15: {error}")
        return
    stage.clear()
    posts = min(stage.scale.posts, POSTS)
    server.start()
    try:
        server.await_first_start()
        env = {VARIABLES[DATABASE]: server.url(DATABASE)}
        with stage.client(env=env) as client:
            took = client.ask(
                "lib.mariadb_rows.beside",
                posts=posts,
                comments=COMMENTS,
                rounds=stage.scale.rounds,
            )
    finally:
        server.stop()
    yield from _results(posts * (1 + COMMENTS), took)


def _results(number: int, took: dict[str, list[float]]) -> Iterator[Result]:
    speed = {way: [number / seconds for seconds in values] for way, values in took.items()}
    detail = {"rows_per_second": {way: spread(values) for way, values in speed.items()}}
    title = f"cascade of {number:,} rows in MariaDB beside giant DELETEs, rows/s"
    giant = ratios(speed["ours"], speed["giant"])
    yield Result.of("B15", title, giant, 0.5, at_least=True, detail=detail)
    title = "the same beside Django's queryset.delete()"
    yield Result.of("B15.orm", title, ratios(speed["ours"], speed["orm"]), 1.5, at_least=True)
