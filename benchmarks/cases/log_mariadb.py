"""B16: the log on MariaDB: beside PostgreSQL's, and a long one beside an empty one.

All databases are on one server of the engine, and the deletions have no rows, so only the log
works. Run it with the driver of `./run test-engines` on the path: `PYTHONPATH=.sandbox/engines`.
Without the driver or the server's programs there is no result.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from sandbox.environment import VARIABLES
from tests.engines.servers import MissingProgramError
from tests.engines.servers.mariadb import MariaDB

from ..lib.result import Result, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

#: Deletions drained at once, and deletions that ended before.
DELETIONS, FINISHED = 30_000, 200_000
SHORT = 10


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B16."""
    if importlib.util.find_spec("MySQLdb") is None:
        stage.tell("B16 needs the driver of MariaDB")
        return
    try:
        server = MariaDB(stage.folder() / "mariadb")
    except MissingProgramError as error:
        stage.tell(f"B16: {error}")
        return
    server.start()
    try:
        server.await_first_start()
        yield from _beside(stage, {alias: server.url(alias) for alias in VARIABLES})
    finally:
        server.stop()


def _beside(stage: Stage, urls: dict[str, str]) -> Iterator[Result]:
    share = SHORT if stage.scale.quick else 1
    given = {"deletions": DELETIONS // share, "finished": FINISHED // share}
    env = {VARIABLES[alias]: url for alias, url in urls.items()}
    stage.clear()
    theirs: dict[str, Any] = stage.probe("log_life", **given, rounds=stage.scale.rounds)
    stage.clear()
    ours: dict[str, Any] = stage.probe("log_life", **given, rounds=stage.scale.rounds, env=env)
    seconds = {
        "PostgreSQL": {name: spread(_list(theirs[name])) for name in theirs},
        "MariaDB": {name: spread(_list(ours[name])) for name in ours},
    }
    title = f"{given['deletions']:,} deletions without rows drained, beside PostgreSQL"
    yield Result.of(
        "B16",
        f"log on MariaDB, {title}",
        [ours["drained"] / theirs["drained"]],
        2.0,
        detail={"seconds": seconds},
    )
    title = f"50 deletions beside {given['finished']:,} that are over, beside an empty log"
    yield Result.of(
        "B16.long", f"log on MariaDB, {title}", ratios(ours["beside"], ours["empty"]), 1.3
    )


def _list(figure: float | list[float]) -> list[float]:
    return figure if isinstance(figure, list) else [figure]
