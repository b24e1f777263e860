"""`integrity acknowledge`: record that somebody has seen the rows that were kept."""

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

HELP = "Acknowledge rows that were kept. This ends their alarm."
EXAMPLES = {
    '41 42 --reason "moved to the archive by hand"': "two deletions",
    '--all --reason "see ticket 1234"': "every deletion that kept rows",
}
INTERRUPTED = AGAIN


def add_arguments(parser: CommandParser) -> None:
    """Add the ids of deletions, `--all`, `--log` and `--reason`."""
    add_deletions(parser, all_help="all deletions that kept rows")
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="what was found; recorded in the audit log"
    )


def run(
    _terminal: Terminal,
    *,
    ids: Sequence[int],
    everything: bool,
    log: str | None,
    reason: str,
    **_: object,
) -> Result:
    """Acknowledge the kept rows. The audit log records it."""
    chosen, who = choose(ids, everything=everything, log=log), actor()
    if chosen.ids is None:
        number = sum(
            actions.acknowledge(None, actor=who, reason=reason, using=using)
            for using in chosen.logs
        )
        return Result({"changed": number, "left": []})
    changed = [
        pk
        for using in chosen.logs
        for pk in actions.acknowledge_those(chosen.ids, actor=who, reason=reason, using=using)
    ]
    return Result({"changed": len(changed), "left": chosen.left(changed)})


def render(
    document: Mapping[str, Any], terminal: Terminal, *, everything: bool, **_: object
) -> None:
    """Print how many deletions changed, and which ones did not."""
    if changed := document["changed"]:
        noun = "deletion" if changed == 1 else "deletions"
        terminal.line(f"rows kept by {changed:,} {noun} are acknowledged{PER_DATABASE}")
    elif everything:
        terminal.line("nothing to do: no kept rows wait to be acknowledged")
    for line in sentences(document["left"], "has kept no rows that are not acknowledged"):
        terminal.line(line)
