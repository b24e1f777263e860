"""A parser that refuses arguments which are not text, before any verb sees them.

Scripts pass on names and keys from outside. Bytes that are not UTF-8 arrive as lone surrogates,
which no database accepts. Each verb checks all else. Misspelt verbs and options are refused with
the likely one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)

from ..exceptions.redaction import plain
from ..exceptions.suggestions import unknown
from .exit_codes import ExitCode
from .terminal import LINE_CHARS, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


class Help(DjangoHelpFormatter):
    """Django's formatter, which leaves a text of several lines as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)


class PlainParser(CommandParser):
    """Refuses arguments that are not text. Its errors are plain text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, unless one of the arguments has a fault."""
        for fault in filter(None, map(fault_of, map(str, args or ()))):
            self.error(fault)
        return super().parse_args(args, namespace)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, unless there is an unknown option: argparse would complain of what it misses."""
        for fault in self._unknown_options(list(map(str, args or ()))):
            self.error(fault)
        return super().parse_known_args(args, namespace)

    def _unknown_options(self, words: Sequence[str]) -> Iterator[str]:
        """Yield why an option among the words is not accepted. A verb checks those after it."""
        verbs = self._verbs()
        for word in itertools.takewhile(lambda word: word != "--" and word not in verbs, words):
            name = word.partition("=")[0]
            if not word.startswith("--") or " " in name or self._knows(name):
                continue
            shown = plain(name, SHOWN_CHARS)
            if any(verb._knows(name) for verb in verbs.values()):  # noqa: SLF001 (of this class)
                yield f"{shown} is an option of a verb: write it after the verb"
            else:
                yield unknown("option", shown, self._listed_options())

    def _verbs(self) -> Mapping[str, PlainParser]:
        groups = self._subparsers._group_actions if self._subparsers else []  # noqa: SLF001 (argparse has no other way)
        return groups[0].choices if groups else {}  # type: ignore[return-value]  # argparse types no parsers

    def _knows(self, name: str) -> bool:
        """Return whether it is an option, or the beginning of one."""
        return any(option.startswith(name) for option in self._option_string_actions)

    def _listed_options(self) -> list[str]:
        return [
            option
            for option, action in self._option_string_actions.items()
            if option.startswith("--") and action.help != argparse.SUPPRESS
        ]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a verb or another choice that is not known: the likely one is named first."""
        if action.choices is not None and value not in action.choices:
            kind, known = "value" if action.option_strings else "verb", map(str, action.choices)
            raise argparse.ArgumentError(action, unknown(kind, plain(value, SHOWN_CHARS), known))

    def error(self, message: str) -> Any:
        """End with exit code 2 and text without control codes."""
        text = plain(message, LINE_CHARS)
        if self.called_from_command_line and sys.stderr.isatty():
            start = f"{self.prog}: error: "
            text = wrapped(start + text).removeprefix(start)
        try:
            return super().error(text)
        except CommandError as error:  # of call_command(), for which Django's own code is 1
            error.returncode = ExitCode.USAGE
            raise


class PlainArguments(BaseCommand):
    """A command with a `PlainParser`."""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Return Django's parser with its class replaced: Django has no option for the class."""
        options = {"formatter_class": Help, **options}
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.__class__ = PlainParser
        return parser
