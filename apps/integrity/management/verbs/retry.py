"""`integrity retry`: try blocked deletions again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...control import actions
from ..deletions import choose, sentences
from ..options import add_deletions
from ..verb import AGAIN, PER_DATABASE, Result, actor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Retry blocked deletions. Those named by ID are retried also if they kept rows."
EXAMPLES = {
    "41 42": "two deletions",
    "--all": "every blocked deletion, once the cause is gone",
}
INTERRUPTED = AGAIN


def add_arguments(parser: CommandParser) -> None:
    """Add the ids of deletions, `--all` and `--log`."""
    add_deletions(parser, all_help="all blocked deletions")


def run(
    _terminal: Terminal, *, ids: Sequence[int], everything: bool, log: str | None, **_: object
) -> Result:
    """Make the deletions due again. The audit log records it."""
    chosen = choose(ids, everything=everything, log=log)
    if chosen.ids is None:
        number = sum(actions.retry(None, actor=actor(), using=using) for using in chosen.logs)
        return Result({"changed": number, "left": []})
    changed = [
        pk
        for using in chosen.logs
        for pk in actions.retry_those(chosen.ids, actor=actor(), using=using, kept=True)
    ]
    return Result({"changed": len(changed), "left": chosen.left(changed)})


def render(
    document: Mapping[str, Any], terminal: Terminal, *, everything: bool, **_: object
) -> None:
    """Print how many deletions changed, and which ones did not."""
    if changed := document["changed"]:
        noun = "deletion" if changed == 1 else "deletions"
        terminal.line(f"{changed:,} {noun} will be tried again{PER_DATABASE}")
    elif everything:
        terminal.line("nothing to do: no deletion is blocked")
    for line in sentences(document["left"], "is not blocked and has kept no rows"):
        terminal.line(line)
