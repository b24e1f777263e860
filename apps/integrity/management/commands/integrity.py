"""`manage.py integrity VERB`: see and do, from a terminal or a script.

Results go to stdout, progress to stderr. Exit codes, the worst wins: 0 clean and complete ·
1 error · 2 usage · 3 findings · 4 incomplete · 5 a database unreachable · 6 refused by the brake.
"""

from __future__ import annotations

import enum
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from ... import cascade, conf, dispatch, relations, report
from ...exceptions import CrossDatabaseError, UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SCHEMA_VERSION = 1


class Exit(enum.IntEnum):
    """Exit codes. 1 and 2 are Django's own (CommandError, argparse)."""

    CLEAN = 0
    ERROR = 1
    USAGE = 2
    FINDINGS = 3
    INCOMPLETE = 4
    UNREACHABLE = 5


class Command(BaseCommand):
    """The verbs; each shows figures of `report` or runs the engine in this process."""

    help = "See and steer deletions that cascade across databases."

    def add_arguments(self, parser: CommandParser) -> None:
        """One sub-command for each verb, each with `--json`."""
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name, text in _VERBS.items():
            verb = verbs.add_parser(name, help=text, description=text)
            verb.add_argument("--json", action="store_true", help="one JSON document on stdout")
            if name in {"preview", "receipt"}:
                verb.add_argument("model", metavar="MODEL", help='the parent, as in "auth.User"')
                verb.add_argument("key", metavar="KEY", help="its primary key")
            if name == "drain":
                verb.add_argument("--database", metavar="D", help="one child database only")
                verb.add_argument(
                    "--timeout", type=float, metavar="S", help="stop after so many seconds"
                )

    def handle(self, *, verb: str, **options: Any) -> None:
        """Run the verb; an error of ours becomes one line that says what to do."""
        try:
            document, code = getattr(self, f"_{verb}")(**options)
        except UnknownName as error:
            raise CommandError(str(error), returncode=Exit.USAGE) from error
        except (CrossDatabaseError, Error) as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        if options["json"]:
            frame = {"schema_version": SCHEMA_VERSION, "exit_reason": code.name.lower()}
            self.stdout.write(json.dumps({**frame, **document}, default=str))
        if code:
            sys.exit(code)

    def _relations(self, *, json: bool, **_: object) -> tuple[dict[str, Any], Exit]:
        rows = report.catalogue()
        if not json:
            columns = ("relation", "child_database", "parent", "parent_database", "policy", "plan")
            self._table(columns, rows, empty="No relation crosses databases.")
        return {"relations": rows}, Exit.CLEAN

    def _preview(
        self, *, model: str, key: str, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        effects = report.preview(model, key)
        total = sum(effect["rows"] for effect in effects)
        if not json:
            self._table(("relation", "database", "policy", "rows"), effects, empty="Nothing.")
            self.stdout.write(f"total {total:,}")
        return {"effects": effects, "total": total}, Exit.CLEAN

    def _status(self, *, json: bool, **_: object) -> tuple[dict[str, Any], Exit]:
        status = report.status()
        if not json:
            columns = ("database", "state", "backlog", "blocked", "lag_seconds", "rate", "reason")
            self._table(columns, status["databases"], empty="No relation crosses databases.")
            counts = ", ".join(f"{n:,} {state}" for state, n in status["deletions"].items() if n)
            self.stdout.write(f"deletions: {counts or 'none'}")
        rows = status["databases"]
        code = Exit.CLEAN
        if any(row["backlog"] for row in rows):
            code = Exit.INCOMPLETE
        elif any(row["blocked"] for row in rows):
            code = Exit.FINDINGS
        if any(row["state"] == "waiting" for row in rows):
            code = Exit.UNREACHABLE
        return dict(status), code

    def _receipt(
        self, *, model: str, key: str, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        receipts = report.receipts(model, key)
        if not receipts:
            raise CommandError(f"no deletion of {model} {key} is in the log")
        newest, *earlier = receipts
        if not json:
            deletion = newest["deletion"]
            self.stdout.write(f"{deletion['parent']} {deletion['key']}: {deletion['state']}")
            for each in newest["cascades"]:
                rows = ", ".join(f"{n:,} {label}" for label, n in each["rows"].items()) or "no rows"
                self.stdout.write(f"  {each['database']}: {each['state']}, {rows}")
        return {**newest, "earlier": earlier}, Exit.CLEAN

    def _drain(
        self, *, database: str | None, timeout: float | None, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        known = relations.catalogue()
        chosen = [known.database(database)] if database else list(known.child_databases)
        ends = time.monotonic() + timeout if timeout is not None else float("inf")
        result = self._rounds(chosen, ends)
        rows = [row for row in report.status()["databases"] if row["database"] in chosen]
        result["pending"] = sum(row["backlog"] for row in rows)
        if not json:
            self.stdout.write(
                "dispatched {dispatched:,}, cascaded {cascaded:,}, pending {pending:,}".format(
                    **result
                )
            )
            for label, number in sorted(result["rows"].items()):
                self.stdout.write(f"  {number:,} {label}")
            for name, reason in result["unreachable"].items():
                self.stderr.write(f"{name} cannot be reached: {reason}")
        return result, _drain_code(result, blocked=sum(row["blocked"] for row in rows))

    def _rounds(self, chosen: Sequence[str], ends: float) -> dict[str, Any]:
        """Dispatch and cascade until a round finds nothing; chains may need several rounds."""
        totals: Counter[str] = Counter()
        rows: Counter[str] = Counter()
        unreachable: dict[str, str] = {}
        while True:
            dispatched, _ = dispatch.sweep_all()
            totals["dispatched"] += dispatched
            progressed = dispatched
            for alias in chosen:
                if alias in unreachable:
                    continue
                left = min(ends - time.monotonic(), conf.current().run_seconds)
                done = cascade.drain(alias, seconds=max(0.0, left))
                progressed += done.finished + done.cancelled + done.rows.total()
                totals["cascaded"] += done.finished
                rows += done.rows
                if done.unreachable:
                    unreachable[alias] = done.unreachable
                if done.rows:
                    self.stderr.write(f"{alias}: {rows.total():,} rows so far")
            if not progressed or time.monotonic() >= ends:
                break
        return {**totals, "verified": 0, "rows": dict(rows), "unreachable": unreachable}

    def _table(
        self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, empty: str
    ) -> None:
        cells = [[name.upper() for name in columns]]
        cells += [[_cell(row[name]) for name in columns] for row in rows]
        if len(cells) == 1:
            self.stdout.write(empty)
            return
        widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
        for line in cells:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.stdout.write("  ".join(padded).rstrip())


_VERBS = {
    "relations": "The catalogue: every foreign key between databases.",
    "preview": "What deleting a parent would touch in the child databases.",
    "status": "Backlog and lag of each child database.",
    "drain": "Dispatch and cascade in this process; no Celery needed.",
    "receipt": "What is known of one deletion.",
}


def _drain_code(result: Mapping[str, Any], *, blocked: int) -> Exit:
    codes = [Exit.CLEAN]
    if blocked:
        codes.append(Exit.FINDINGS)
    if result["pending"] > blocked:
        codes.append(Exit.INCOMPLETE)
    if result["unreachable"]:
        codes.append(Exit.UNREACHABLE)
    return max(codes)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
