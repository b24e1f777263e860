"""`python -m benchmarks [--only B7[,B1]] [--quick] [--json]`: run the benchmarks of the README.

The program prints a line for each result and ends with a summary; with --json, it prints one
document. Exit codes: 0 if every target was reached, 3 if one was missed, 1 if a benchmark failed.
Results are saved in `benchmarks/results/`. Results of benchmarks that did not run are kept.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import django

from sandbox import environment, servers

from .cases import CASES
from .lib.result import Result
from .lib.stage import FULL, POSTGRESQL_SETTINGS, QUICK, Scale, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED, MISSED = 1, 3


def main() -> int:
    """Return the exit code."""
    options = _options()
    began, results, broken = time.time(), list[Result](), list[str]()
    with ExitStack() as stack:
        stage = _begin(stack, options)
        from .lib import report

        postgresql = _version()
        where, programs = report.machine(), report.versions(postgresql)
        progress(f"{where}\n{programs}\n{POSTGRESQL_SETTINGS}, {stage.scale}")
        for name in options.only:
            try:
                for result in _measured(name, stage):
                    results.append(result)
                    progress(str(result)) if options.json else say(str(result))
            except Exception:  # noqa: BLE001 (run the other benchmarks and print the summary)
                traceback.print_exc()
                broken.append(name)
        results = [result for result in results if result.benchmark not in broken]
        document = report.document(results, stage.scale, postgresql, began)
    if results and not options.rows:
        progress(f"written: {report.save(document).relative_to(Path.cwd())}")
    say(json.dumps(document, ensure_ascii=False) if options.json else _summary(results, broken))
    return FAILED if broken else 0 if all(result.ok for result in results) else MISSED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./run bench", description="Run the benchmarks of the README."
    )
    parser.add_argument(
        "--only",
        type=_names,
        default=[*CASES],
        help=f"comma-separated, of {', '.join(CASES)}; default: all",
    )
    parser.add_argument("--quick", action="store_true", help="smaller tables")
    parser.add_argument("--json", action="store_true", help="print one JSON document at the end")
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name.strip().upper() for name in text.split(",")]
    if unknown := sorted(set(names) - set(CASES)):
        known = ", ".join(CASES)
        raise argparse.ArgumentTypeError(f"no benchmark {', '.join(unknown)}; known: {known}")
    return names


def _begin(stack: ExitStack, options: argparse.Namespace) -> Stage:
    """Start new servers and set up Django; `stack` stops everything."""
    for name in (*environment.VARIABLES.values(), environment.BROKER):
        os.environ.pop(name, None)
    servers.POSTGRESQL_SETTINGS.update(POSTGRESQL_SETTINGS)
    sandbox = stack.enter_context(servers.running())
    temporary = sandbox.directory / "tmp"
    temporary.mkdir()
    os.environ.update(
        {
            **environment.for_django(debug=False),
            **sandbox.environment,
            **sandbox.superusers,
            "DJANGO_SETTINGS_MODULE": "benchmarks.schemas.settings",
            "TMPDIR": str(temporary),
        }
    )
    django.setup()
    scale = QUICK if options.quick else FULL
    if options.rows:
        scale = Scale(name="trial", rows=options.rows)
    stage = Stage(sandbox, scale, progress)
    stage.prepare()
    return stage


def _measured(name: str, stage: Stage) -> Iterator[Result]:
    """Yield the results of one benchmark."""
    began = time.monotonic()
    progress(f"{name}: started, load {os.getloadavg()[0]:.1f}")
    yield from importlib.import_module(f"benchmarks.cases.{CASES[name]}").run(stage)
    progress(f"{name}: took {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")


def _version() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


def _summary(results: list[Result], broken: list[str]) -> str:
    missed = [result.id for result in results if not result.ok]
    targets = sum(result.target is not None for result in results)
    line = f"bench: {targets - len(missed)} of {targets} targets reached"
    line += f"; missed: {', '.join(missed)}" if missed else ""
    return line + (f"; failed: {', '.join(broken)}" if broken else "")


def say(line: str) -> None:
    """Print one line of results on standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def progress(line: str) -> None:
    """Print one line of progress on standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
