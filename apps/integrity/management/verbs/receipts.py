"""`integrity receipts`: export the receipts of all deletions that ended in a period."""

from __future__ import annotations

import datetime as dt
import os
import stat
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.db import Error

from ... import conf
from ...backends import clocks
from ...control import circuit_breaker, exports
from ...exceptions.redaction import reason_of_error
from ...log.kept import COUNTED_MAX
from ...report import ended, receipt_table, receipt_text, receipts
from ..backlog import silent_logs
from ..exit_codes import ExitCode, usage_error
from ..options import moment
from ..output import replaced
from ..verb import Result, actor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.core.management.base import CommandParser, OutputWrapper

    from ...models import Deletion
    from ...report.receipts import Receipt
    from ..terminal import Terminal

HELP = (
    "Export the receipts of all deletions that ended from --since on and before --until, in the"
    " order in which they ended. A deletion ends when it has ended in each child database."
)
EXAMPLES = {
    "--since 2026-01-01 --until 2026-02-01 > january": "a month",
    "--since last --output receipts.jsonl": "what ended since the last export",
    "--format csv --output receipts.csv": "a table for a spreadsheet",
    "--reference DSR-123 --output dsr-123.jsonl": "those of one request",
}
INTERRUPTED = (
    "what went to stdout is incomplete, no FILE was written, and nothing counts as exported. Run"
    " the same command again"
)
NOT_KEPT = (
    "a screen or a pipe keeps nothing, so these receipts do not count as exported:"
    " use --output FILE, or redirect to a file"
)
NONE_REFERS = (
    "no deletion with this reference is in the log for that time: none was recorded, or it was"
    " removed after its retention"
)
#: Where the last export ended.
LAST = "last"
PROGRESS_SECONDS = 1.0


def add_arguments(parser: CommandParser) -> None:
    """Add --since, --until, --format and --output."""
    when = "a date or a time in ISO 8601, in UTC unless it names a zone"
    parser.add_argument(
        "--since",
        metavar="D",
        type=lambda text: text if text == LAST else moment(text),
        help=f'{when}; or "{LAST}" for where the last export ended; default: the beginning',
    )
    parser.add_argument(
        "--until", metavar="D", type=moment, help=f"{when}, which is not included; default: now"
    )
    parser.add_argument(
        "--reference",
        metavar="R",
        help="only deletions that were recorded with this reference (capture.because())",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "csv"),
        default="jsonl",
        help="a receipt in each line, as JSON (default), or a table of their relations",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write a new file, which appears when it is complete"
    )


def run(
    terminal: Terminal,
    *,
    since: dt.datetime | str | None = None,
    until: dt.datetime | None = None,
    output: str | None = None,
    reference: str | None = None,
    **options: Any,
) -> Result:
    """Export from each log that answers."""
    if options.get("json") and output is None:
        raise usage_error("--json needs --output: the receipts themselves go to stdout")
    if until and since and not isinstance(since, str) and since > until:
        raise usage_error("--since is later than --until")
    counts, written = Counter[str](), list[exports.Exported]()
    with replaced(output) as file:
        write = file.write if file else terminal.text
        export = _Export(write, options["format"], terminal.progress, counts)
        for using in circuit_breaker.answering_logs():
            began = clocks.now(using)
            begin = _begin(since, using)
            end = exports.in_zone(until) if until else began
            _warn(begin, began, using, terminal)
            if reference is not None:
                export.of_reference(reference, begin, end, using=using)
                continue
            number = export(begin, end, using=using)
            written.append(exports.Exported(using, begin, end, began, number))
            counts["unfinished"] += ended.unfinished(end, using=using)
        if reference is not None and not (counts["exported"] or counts["unfinished"]):
            raise CommandError(NONE_REFERS)
    terminal.stdout.flush()
    if output or _is_kept(terminal.stdout):
        for done in written:
            _note(done, terminal)
    elif any(done.number for done in written):
        terminal.progress(NOT_KEPT)
    silent = sorted(silent_logs())
    for using in silent:
        terminal.progress(f"the log in {using} does not answer: its receipts are missing")
    document = {
        **{name: counts[name] for name in ("exported", "kept", "no_proof", "unfinished")},
        "silent": silent,
        "output": output,
    }
    return Result(document, exit_code(document))


def _begin(since: dt.datetime | str | None, using: str) -> dt.datetime | None:
    """Return from where on one log is exported."""
    if isinstance(since, str):
        return exports.exported_until(using=using)
    return since and exports.in_zone(since)


def _warn(begin: dt.datetime | None, now: dt.datetime, using: str, terminal: Terminal) -> None:
    """Say that receipts may be missing, where the time begins before the log's retention."""
    kept_since = exports.in_zone(now - dt.timedelta(days=conf.current().retention_days))
    if begin and begin < kept_since:
        terminal.progress(
            f"{using}: deletions that ended before {receipt_text.moment(receipts.iso(kept_since))}"
            " may have been removed (retention_days); their receipts are missing then"
        )


def _is_kept(stdout: OutputWrapper) -> bool:
    """Return whether what was written stays somewhere: not on a screen, and in no pipe.

    The reader of a pipe may have left after a few lines, and the writer never learns it.
    """
    try:
        mode = os.fstat(stdout.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return not stdout.isatty()  # no file of the system: the caller of call_command() has it
    return stat.S_ISREG(mode)


def _note(done: exports.Exported, terminal: Terminal) -> None:
    """Note the export in the audit; say so where this role may not: the receipts are written."""
    if not done.number:
        return
    try:
        exports.note(done, actor=actor())
    except Error as error:
        terminal.progress(f"{done.using}: the export was not noted: {reason_of_error(error)}")


def _ended_in(row: Deletion, since: dt.datetime | None, until: dt.datetime) -> bool:
    at = row.ended_at
    return at is not None and at < until and (since is None or at >= since)


def exit_code(document: Mapping[str, Any]) -> ExitCode:
    """Return the exit code of an export: the worst of what it found. Pure."""
    if document["silent"]:
        return ExitCode.UNREACHABLE
    if document["no_proof"] or document["unfinished"]:
        return ExitCode.INCOMPLETE
    return ExitCode.FINDINGS if document["kept"] else ExitCode.CLEAN


class _Export:
    """Writes receipts as they are read, and counts them."""

    def __init__(
        self,
        write: Callable[[str], object],
        kind: str,
        progress: Callable[[str], object],
        counts: Counter[str],
    ) -> None:
        self.write, self.progress, self.counts = write, progress, counts
        self.lines = receipt_table.csv_lines if kind == "csv" else receipt_table.json_line
        self.header = receipt_table.header() if kind == "csv" else ""
        self.said_at = time.monotonic()

    def begin(self) -> None:
        """Write what comes before the first receipt."""
        if self.header:
            self.write(self.header)
            self.header = ""

    def __call__(self, since: dt.datetime | None, until: dt.datetime, *, using: str) -> int:
        """Export from one log; return the number of receipts."""
        self.begin()
        number = 0
        for page in ended.ended(since, until, using=using):
            number = self._write(page, number, using)
        return number

    def of_reference(
        self, reference: str, since: dt.datetime | None, until: dt.datetime, *, using: str
    ) -> None:
        """Export those with a reference, and count those of them that have not ended."""
        self.begin()
        number = 0
        for page in ended.referring(reference, using=using):
            over = [row for row in page if _ended_in(row, since, until)]
            number = self._write(over, number, using) if over else number
            self.counts["unfinished"] += sum(
                row.ended_at is None and row.recorded_at < until for row in page
            )

    def _write(self, page: Sequence[Deletion], number: int, using: str) -> int:
        """Write the receipts of a page; return how many were written, with the `number` before."""
        for receipt in receipts.receipts_for(page, using=using):
            self.write(self.lines(receipt))
            self._count(receipt)
            number += 1
        self._say(number, receipt, using)
        return number

    def _count(self, receipt: Receipt) -> None:
        kept = receipt["deletion"]["state"] == "kept"
        self.counts["exported"] += 1
        self.counts["kept"] += kept
        self.counts["no_proof"] += not kept and not receipt_text.is_proven(receipt)

    def _say(self, number: int, last: Receipt, using: str) -> None:
        if (now := time.monotonic()) - self.said_at >= PROGRESS_SECONDS:
            self.said_at = now
            until = receipt_text.moment(last["deletion"]["ended_at"])
            self.progress(f"{using}: {number:,} receipts, up to {until}")


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Say how many were exported, and of which deletions there is no proof. Not on stdout."""
    terminal.progress(f"exported {document['exported']:,} receipts")
    for name, said in (
        ("kept", "kept rows, because the value was taken over: they are no proof"),
        ("no_proof", "are no proof: the deletion was cancelled, or what was covered is not known"),
        (
            "unfinished",
            "of the deletions that were recorded before have not ended: they are not in the export",
        ),
    ):
        if number := document[name]:
            terminal.progress(f"{_counted(number)} {said}")


def _counted(number: int) -> str:
    return f"more than {COUNTED_MAX:,}" if number > COUNTED_MAX else f"{number:,}"
