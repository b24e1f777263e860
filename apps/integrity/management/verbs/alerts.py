"""`integrity alerts`: the alert rules for Prometheus and the dashboard for Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Print the alert rules for Prometheus, or with --grafana a dashboard for Grafana."
EXAMPLES = {
    "> alerts.yml": "rules for Prometheus",
    "--grafana --output dashboard.json": "a dashboard to import into Grafana",
}
INTERRUPTED = "the file may be incomplete; run the command again"
FILES = Path(__file__).resolve().parents[2] / "report"


def add_arguments(parser: CommandParser) -> None:
    """Add --grafana and --output."""
    parser.add_argument("--grafana", action="store_true", help="the dashboard, as JSON")
    parser.add_argument("--output", metavar="FILE", help="write to this file, which is replaced")


def run(
    _terminal: Terminal, *, grafana: bool = False, output: str | None = None, **_: object
) -> Result:
    """Return the file, and write it to `output`."""
    source = FILES / ("grafana.json" if grafana else "alerts.yml")
    text = source.read_text(encoding="utf-8")
    if output is not None:
        try:
            Path(output).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}") from error
    return Result({"file": source.name, "output": output, "text": text})


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print the file, or where it was written."""
    if document["output"] is None:
        terminal.text(document["text"].rstrip("\n"))
    else:
        terminal.line(f"{document['file']} written to {document['output']}")
