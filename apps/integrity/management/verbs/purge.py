"""`integrity purge`: remove log rows that are past their retention."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from django.core.management.base import CommandError
from django.db import Error

from ...control import circuit_breaker, exports, retention
from ...exceptions.redaction import reason_of_error
from ...log.kept import COUNTED_MAX
from ...report import receipt_table
from ...report.receipts import receipts_by_id
from ..backlog import silent_logs
from ..exit_codes import ExitCode
from ..output import appended, sync
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Remove all log rows that are past their retention. Beat removes a batch each minute."
EXAMPLES = {
    "": "what is older than `retention_days`",
    "--days 7 --export receipts.jsonl": "older than a week; receipts go to a file first",
}
INTERRUPTED = (
    "what was removed is gone, and with --export its receipts are in the file; the rest is in the"
    " log. Run the command again to go on"
)


def add_arguments(parser: CommandParser) -> None:
    """Add --days, --export and --dry-run."""
    parser.add_argument(
        "--days",
        type=float,
        help="remove deletions that ended more than this many days ago; default: `retention_days`",
    )
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="append the receipt of each deletion to this file before it is removed, as a line of"
        " JSON. Beat exports nothing: use fewer --days than `retention_days`",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="remove nothing: count the deletions, and those whose receipts are in no export",
    )


def run(
    terminal: Terminal,
    *,
    days: float | None = None,
    export: str | None = None,
    dry_run: bool = False,
    **_: object,
) -> Result:
    """Purge each log that answers, or count the deletions that this would remove."""
    if days is not None and days < 0:
        raise CommandError("--days must not be negative")
    counts, exported, unexported = Counter[str](), 0, 0
    with appended(None if dry_run else export) as file:
        for using in circuit_breaker.answering_logs():
            exporter = _Exporter(file, using) if file else None
            if exporter is None:
                going = _going(days, using, terminal, dry_run=dry_run)
                unexported += going.unexported
            if dry_run:
                counts["deletions"] += going.deletions
            else:
                counts.update(retention.purge(using, days=days, export=exporter))
            exported += exporter.number if exporter else 0
    found = ExitCode.FINDINGS if dry_run and unexported else ExitCode.CLEAN
    return Result(
        {
            "dry_run": dry_run,
            "purged": dict(counts),
            "exported": exported,
            "unexported": unexported,
        },
        ExitCode.UNREACHABLE if silent_logs() else found,
    )


def _going(
    days: float | None, using: str, terminal: Terminal, *, dry_run: bool
) -> exports.Purgeable:
    """Count what goes, and say which receipts go for good. Without rights on the audit, all do."""
    try:
        going = exports.purgeable(days, using=using)
    except Error as error:
        terminal.progress(f"{using}: what was exported is not known: {reason_of_error(error)}")
        going = exports.purgeable(days, using=using, exported=False)
    if going.unexported:
        verb = "would remove" if dry_run else "removes"
        terminal.progress(
            f"{using}: this {verb} {_some(going.unexported)} whose receipts are in no export. To"
            " keep them, run `manage.py integrity receipts --since last` before, or purge with"
            " --export"
        )
    return going


def _some(number: int) -> str:
    if number > COUNTED_MAX:
        return f"more than {COUNTED_MAX:,} deletions"
    return f"{number:,} deletion{'s' * (number != 1)}"


def render(document: Mapping[str, Any], terminal: Terminal, *, code: ExitCode, **_: object) -> None:
    """Print how many rows were removed, by table."""
    if document["dry_run"]:
        terminal.line(
            f"would remove {_some(document['purged'].get('deletions', 0))},"
            f" {_some(document['unexported'])} of them without an export"
        )
        return
    if code is ExitCode.CLEAN and not any(document["purged"].values()):
        terminal.line("nothing to do: no row is past its retention")
        return
    removed = ", ".join(f"{number:,} {name}" for name, number in document["purged"].items())
    terminal.line(f"removed {removed}")
    if document["exported"]:
        terminal.line(f"exported {document['exported']:,} receipts")


@dataclass(slots=True)
class _Exporter:
    """Appends receipts to a file, and returns once they are on the disk."""

    file: TextIO
    using: str
    number: int = 0

    def __call__(self, pks: Sequence[int]) -> None:
        for receipt in receipts_by_id(pks, using=self.using):
            self.file.write(receipt_table.json_line(receipt))
            self.number += 1
        sync(self.file)
