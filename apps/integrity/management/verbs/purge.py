"""`integrity purge`: remove log rows that are past their retention."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from django.core.management.base import CommandError

from ...control import circuit_breaker, retention
from ...report.receipts import receipts_by_id
from ..backlog import silent_logs
from ..exit_codes import ExitCode
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Remove all log rows that are past their retention. Beat removes a batch each minute."


def add_arguments(parser: CommandParser) -> None:
    """Add --days and --export."""
    parser.add_argument(
        "--days",
        type=float,
        help="remove deletions that ended so many days ago; default: `retention_days`",
    )
    parser.add_argument(
        "--export",
        metavar="FILE",
        help="append the receipt of each deletion to this file before it is removed, as a line of"
        " JSON. Beat exports nothing: use fewer --days than `retention_days`",
    )


def run(
    _terminal: Terminal, *, days: float | None = None, export: str | None = None, **_: object
) -> Result:
    """Purge each log that answers."""
    if days is not None and days < 0:
        raise CommandError("--days must not be negative")
    counts, exported = Counter[str](), 0
    with _opened(export) as file:
        for using in circuit_breaker.answering_logs():
            exporter = _Exporter(file, using) if file else None
            counts.update(retention.purge(using, days=days, export=exporter))
            exported += exporter.number if exporter else 0
    return Result(
        {"purged": dict(counts), "exported": exported},
        ExitCode.UNREACHABLE if silent_logs() else ExitCode.CLEAN,
    )


def render(document: Mapping[str, Any], terminal: Terminal, *, code: ExitCode, **_: object) -> None:
    """Print how many rows were removed, by table."""
    if code is ExitCode.CLEAN and not any(document["purged"].values()):
        terminal.line("nothing to do: no row is past its retention")
        return
    removed = ", ".join(f"{number:,} {name}" for name, number in document["purged"].items())
    terminal.line(f"removed {removed}")
    if document["exported"]:
        terminal.line(f"exported {document['exported']:,} receipts")


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[TextIO | None]:
    """Open the file to append to it. Nobody else may read a new one, for it holds keys."""
    if path is None:
        yield None
        return
    try:
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandError(f"{path} cannot be opened: {error.strerror}") from error
    with os.fdopen(number, "a", encoding="utf-8") as file:
        yield file


@dataclass(slots=True)
class _Exporter:
    """Appends receipts to a file, and returns once they are on the disk."""

    file: TextIO
    using: str
    number: int = 0

    def __call__(self, pks: Sequence[int]) -> None:
        for receipt in receipts_by_id(pks, using=self.using):
            self.file.write(f"{json.dumps({'log': self.using, **receipt}, ensure_ascii=False)}\n")
            self.number += 1
        self.file.flush()
        with contextlib.suppress(OSError):  # a pipe has no disk
            os.fsync(self.file.fileno())
