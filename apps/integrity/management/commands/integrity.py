"""`manage.py integrity VERB`: inspect and control deletions from a terminal or a script.

Each verb is a module of `management/verbs/`. Results go to stdout, progress goes to stderr. Where
several exit codes apply, the worst one is returned: see management/exit_codes.py.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from .. import table
from ..exit_codes import usage_error
from ..options import add_django_options, add_json, add_wide
from ..parser import PlainParser
from ..verb import VerbCommand, examples
from ..verbs import GROUPS, VERBS, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.core.management.base import CommandParser


#: The column at which the sentences of the overview begin.
INDENT = 20
HELP = "Inspect and control deletions that cascade across databases."


def overview() -> str:
    """Return the verbs by purpose, a sentence for each."""
    return "\n".join(_overview())


def _overview() -> Iterator[str]:
    yield HELP
    for group, verbs in GROUPS.items():
        yield f"\n{group}:"
        for verb in verbs:
            yield textwrap.fill(
                f"{name_of(verb):<{INDENT - 2}}{verb.HELP}",
                table.WIDTH,
                initial_indent="  ",
                subsequent_indent=" " * INDENT,
                break_on_hyphens=False,
            )
    yield "\nOptions and examples of a verb: manage.py integrity VERB --help"
    yield "Scan everything and repair it in one run: manage.py cleanup_orphaned --help"


class Command(VerbCommand):
    """One sub-command for each verb."""

    help = overview()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a sub-command for each verb, each with `--json` and `--wide`."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=PlainParser)
        parser.usage = "%(prog)s VERB [OPTION ...]"
        for name, verb in VERBS.items():
            # Without `help`, it is not listed once more below the overview.
            verb_parser = verbs.add_parser(
                name, description=verb.HELP, epilog=examples(f"integrity {name}", verb)
            )
            add_json(verb_parser)
            add_wide(verb_parser)
            add_django_options(verb_parser)
            verb.add_arguments(verb_parser)

    def handle(self, *, verb: str | None, **options: Any) -> None:
        """Run the verb that was named. Without one, print the overview, and it is an error.

        A script that has lost its verb has not done what it was written for.
        """
        if verb is None:
            self.stderr.write(overview(), style_func=str)
            raise usage_error("no verb was given")
        self.run_verb(VERBS[verb], **options)
