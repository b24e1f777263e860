"""A parser that refuses arguments which are not text, before any verb sees them.

Scripts pass on names and keys from outside. Bytes that are not UTF-8 arrive as lone surrogates,
which no database accepts. Each verb checks all else.
"""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ..exceptions.redaction import plain
from ..exceptions.suggestions import unknown
from .exit_codes import ExitCode
from .terminal import LINE_CHARS

#: More than any key that a server can index, and than any reason that is stored in full.
ARGUMENT_CHARS = 10_000
#: How many characters of a refused argument are shown.
SHOWN_CHARS = 100


def fault_of(argument: str) -> str:
    """Return why no verb accepts the argument; "" where it is text."""
    if len(argument) > ARGUMENT_CHARS:
        return (
            f"an argument of {len(argument):,} characters: the limit is {ARGUMENT_CHARS:,};"
            f" it begins {plain(argument, SHOWN_CHARS)!r}"
        )
    if "\0" in argument or not _is_utf8(argument):
        return (
            f"{plain(argument, SHOWN_CHARS)} is not UTF-8 text without NUL: give names and keys"
            " as the database stores them"
        )
    return ""


def _is_utf8(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


class PlainParser(CommandParser):
    """Refuses arguments that are not text. Its errors are plain text."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, unless one of the arguments has a fault."""
        for fault in filter(None, map(fault_of, map(str, args or ()))):
            self.error(fault)
        return super().parse_args(args, namespace)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a verb or another choice that is not known: the likely one is named first."""
        if action.choices is not None and value not in action.choices:
            kind, known = "value" if action.option_strings else "verb", map(str, action.choices)
            raise argparse.ArgumentError(action, unknown(kind, plain(value, SHOWN_CHARS), known))

    def error(self, message: str) -> Any:
        """End with exit code 2 and one line without control codes."""
        try:
            return super().error(plain(message, LINE_CHARS))
        except CommandError as error:  # of call_command(), for which Django's own code is 1
            error.returncode = ExitCode.USAGE
            raise


class PlainArguments(BaseCommand):
    """A command with a `PlainParser`."""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Return Django's parser with its class replaced: Django has no option for the class."""
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.__class__ = PlainParser
        return parser
