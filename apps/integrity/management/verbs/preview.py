"""`integrity preview MODEL KEY`: what deleting a parent would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import relations
from ...report import preview
from ...report.lengths import number_of
from ..exit_codes import ExitCode
from ..options import add_parent
from ..verb import UNCHANGED, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Show what deleting a parent would change in the child databases."
EXAMPLES = {
    "auth.User 42": "the rows that deleting this user would change",
}
INTERRUPTED = UNCHANGED
COLUMNS = ("relation", "database", "policy", "rows")


def add_arguments(parser: CommandParser) -> None:
    """Add MODEL and KEY."""
    add_parent(parser)


def run(terminal: Terminal, *, model: str, key: str, **_: object) -> Result:
    """Count the rows that refer to the parent. A parent that does not exist is a finding."""
    effects, exists = preview.preview_of(model, key), preview.exists(model, key)
    total = sum(effect["rows"] for effect in effects)
    if not exists:
        rest = (
            f", but {number_of(total, 'row')} {'refers' if total == 1 else 'refer'} to it"
            if total
            else ", and no row refers to it"
        )
        label = relations.catalogue().parent(model)._meta.label
        terminal.progress(f"there is no {label} {key}{rest}")
    document: dict[str, Any] = {"effects": effects, "total": total, "exists": exists}
    if relations.catalogue().along_steps:
        document["steps"] = preview.steps_of(model, effects)
    return Result(document, ExitCode.CLEAN if exists else ExitCode.FINDINGS)


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print the rows along each relation, and their total."""
    terminal.table(COLUMNS, document["effects"], empty="Nothing.")
    terminal.line(f"total {document['total']:,}")
    for step, number in document.get("steps", {}).items():
        terminal.line(f"{step} would be asked what belongs to {number_of(number, 'row')}")
