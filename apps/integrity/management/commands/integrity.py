"""`manage.py integrity VERB`: inspect and control deletions from a terminal or a script.

Each verb is a module of `management/verbs/`. Results go to stdout, progress goes to stderr. Where
several exit codes apply, the worst one is returned: see management/exit_codes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..options import add_django_options, add_json
from ..parser import PlainParser
from ..verb import VerbCommand
from ..verbs import VERBS

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(VerbCommand):
    """One sub-command for each verb."""

    help = "Inspect and control deletions that cascade across databases."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a sub-command for each verb, each with `--json`."""
        verbs = parser.add_subparsers(
            dest="verb", required=True, metavar="VERB", parser_class=PlainParser
        )
        for name, verb in VERBS.items():
            verb_parser = verbs.add_parser(name, help=verb.HELP, description=verb.HELP)
            add_json(verb_parser)
            add_django_options(verb_parser)
            verb.add_arguments(verb_parser)

    def handle(self, *, verb: str, **options: Any) -> None:
        """Run the verb that was named."""
        self.run_verb(VERBS[verb].run, VERBS[verb].render, **options)
