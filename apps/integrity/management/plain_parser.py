"""What the commands' parser refuses, and how it says so: before any verb sees an argument.

Scripts hand on names and keys of others. Bytes that are no UTF-8 arrive as lone surrogates, which
no database can be asked for. Everything else is refused, or looked for, by who knows what it names.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..isolation.redaction import plain
from .exits import Exit
from .voice import LINE_CHARS

#: No key that a server can index is longer, and no reason is kept in full that is.
ARGUMENT_CHARS = 10_000
#: How much of a refused argument is shown.
SHOWN_CHARS = 100


def fault_of(argument: str) -> str:
    """Return why no verb can take the argument; "" where one may."""
    if len(argument) > ARGUMENT_CHARS:
        return (
            f"an argument of {len(argument):,} characters: the most are {ARGUMENT_CHARS:,};"
            f" it begins {plain(argument, SHOWN_CHARS)!r}"
        )
    if "\0" in argument or not _is_utf8(argument):
        return (
            f"{plain(argument, SHOWN_CHARS)} is no text in UTF-8 without NUL: give names and keys"
            " as the database holds them"
        )
    return ""


def _is_utf8(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


class PlainParser(CommandParser):
    """Refuses what is no text, and says in plain text what it refuses."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, unless one of the arguments has a fault."""
        for fault in filter(None, map(fault_of, map(str, args or ()))):
            self.error(fault)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> Any:
        """End with exit code 2 and a line that steers no terminal."""
        try:
            return super().error(plain(message, LINE_CHARS))
        except CommandError as error:  # of call_command(), for which Django's own code is 1
            error.returncode = Exit.USAGE
            raise


class PlainArguments(BaseCommand):
    """A command with such a parser."""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Make Django's parser ours: Django takes no class of its own."""
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.__class__ = PlainParser
        return parser
