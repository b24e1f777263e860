"""`python -m tests.chaos.matrix [--json FILE] [CELL…]`: play cells on servers of their own.

The scenes run side by side, each in its own process and databases. Prints the measured times;
exit code 0 only when every cell held.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from sandbox import environment, project, roles, runs, servers, tables
from sandbox.processes import eventually
from tests.chaos import say

from .cells import CELLS, NAMED, Scene
from .scene import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.processes import Process

#: Far beyond what all scenes take on a busy machine; what is played by then is reported.
LONGEST_SECONDS = 500


def main() -> int:
    """Return the exit code."""
    given = _given()
    started = time.monotonic()
    results = _play(given.cells or list(NAMED))
    for line in table(results):
        say(line)
    broken = sum(bool(each["problem"]) for each in results.values())
    took = time.monotonic() - started
    say(f"matrix: {len(results) - broken} of {len(results)} cells hold ({took:.0f} s)")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    return 1 if broken else 0


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.matrix", description="Play cells.")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("cells", nargs="*", metavar="CELL")
    return parser.parse_args()


def _play(cells: Iterable[str]) -> dict[str, dict[str, Any]]:
    wanted: dict[Scene, list[str]] = {}
    for cell in cells:
        wanted.setdefault(NAMED[cell].scene, []).append(cell)
    results = {cell: _unplayed(cell) for cell in cells}
    with ExitStack() as stack:
        sandbox = stack.enter_context(project.own_servers("tests.chaos.matrix.settings"))
        migrated()
        played = [_start(sandbox, scene, names, stack) for scene, names in wanted.items()]
        eventually(lambda: not any(each.running for each in played), timeout=LONGEST_SECONDS)
        for each in played:
            found = each.log.parent / RESULTS
            results |= json.loads(found.read_text()) if found.exists() else {}
        if any(each["problem"] for each in results.values()):
            say(f"logs: {runs.keep(sandbox.directory, 'matrix', '*/*.log')}")
    return {cell: results[cell] for cell in cells}


def _unplayed(cell: str) -> dict[str, Any]:
    return {"seconds": None, "within": NAMED[cell].within, "problem": "not played"}


def migrated() -> None:
    """Make the tables once: each scene gets a copy of the databases."""
    import django
    from django.db import connections

    django.setup()
    tables.make()
    connections.close_all()


def _start(sandbox: servers.Sandbox, scene: Scene, cells: list[str], stack: ExitStack) -> Process:
    directory = sandbox.directory / scene
    (directory / "tmp").mkdir(parents=True)
    urls = {} if scene is Scene.DATABASES else dict(_copies(sandbox, scene))
    env = {**os.environ, **urls, "TMPDIR": str(directory / "tmp")}
    command = ("tests.chaos.matrix.scene", scene, str(directory), *cells)
    process = project.process(directory, "scene", *command, env=env)
    stack.callback(process.stop)
    process.start()
    return process


def _copies(sandbox: servers.Sandbox, scene: Scene) -> Iterable[tuple[str, str]]:
    for alias, server in sandbox.postgres.items():
        parts = urlsplit(server.url)
        maintenance = urlunsplit(parts._replace(path="/postgres"))
        with psycopg.connect(maintenance, autocommit=True) as session:
            session.execute(
                f"CREATE DATABASE {scene} TEMPLATE {server.database} OWNER {roles.OWNER}"
            )
        for role, prefix in roles.PREFIXES.items():
            own = urlsplit(server.url_of(role))._replace(path=f"/{scene}")
            yield f"{prefix}{environment.VARIABLES[alias]}", urlunsplit(own)


def table(results: dict[str, dict[str, Any]]) -> Iterable[str]:
    """A line for each cell: measured, promised, and what is wrong."""
    width = max(map(len, results))
    for cell in (each.name for each in CELLS if each.name in results):
        found = results[cell]
        seconds = "       -" if found["seconds"] is None else f"{found['seconds']:6.2f} s"
        within = "" if found["within"] is None else f"of {found['within']:g} s"
        late = found["seconds"] is not None and found["seconds"] > found["within"]
        mark = found["problem"] or ("later than promised" if late else "")
        yield f"  {cell:<{width}} {seconds:>8} {within:<9} {mark}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
