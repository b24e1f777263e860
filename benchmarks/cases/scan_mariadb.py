"""B14: the scan on MariaDB, beside a LEFT JOIN of both tables inside one server.

Run it with the driver of `./run test-engines` on the path: `PYTHONPATH=.sandbox/engines`. Without
the driver or the server's programs there is no result.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sandbox.environment import VARIABLES
from tests.engines.servers import MissingProgramError
from tests.engines.servers.mariadb import MariaDB

from ..lib.result import Result, ratios, spread
from ..lib.scans import HOMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

#: Children for each parent; some 0.1 % of the parents are missing.
CHILDREN = 5
KINDS = {"": "bigint keys", ".uuid": "UUID keys"}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B14."""
    if importlib.util.find_spec("MySQLdb") is None:
        stage.tell("B14 needs the driver of MariaDB")
        return
    try:
        server = MariaDB(stage.folder() / "mariadb")
    except MissingProgramError as error:
        stage.tell(f"B14: {error}")
        return
    server.start()
    try:
        server.await_first_start()
        # One server, as for the join: both tables are in `blog_db` and in `default` alike.
        env = {VARIABLES[alias]: server.url(alias) for alias in HOMES}
        stage.probe("tables", env=env)
        parents = min(stage.scale.rows, 1_000_000) // CHILDREN
        for suffix, keys in KINDS.items():
            yield _kind(stage, env, suffix, keys, parents)
    finally:
        server.stop()


def _kind(stage: Stage, env: dict[str, str], suffix: str, keys: str, parents: int) -> Result:
    figures = stage.probe(
        "beside_mariadb", env=env, uuids=bool(suffix), parents=parents, rounds=stage.scale.rounds
    )
    took = {name: figures.pop(name) for name in ("LJ", "ours")}
    detail = {"seconds": {name: spread(values) for name, values in took.items()}, **figures}
    title = f"scan on MariaDB, {keys}, {parents * CHILDREN:,} rows, beside LJ"
    return Result.of(f"B14{suffix}", title, ratios(took["ours"], took["LJ"]), 1.5, detail=detail)
