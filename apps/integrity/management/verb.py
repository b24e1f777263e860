"""The interface of a verb: three functions of a module in `verbs/`.

`run` does the work, or reads the figures, and returns the document that `--json` prints. `render`
prints the same document for people. Both take a terminal and, by keyword, the verb's options;
`render` also takes the exit code, as `code`.
"""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from django.db import Error

from ..exceptions import CrossDatabaseError
from .broken_pipe import ends_quietly
from .exit_codes import ExitCode, error_exit
from .parser import PlainArguments
from .progress import progress_lines
from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.core.management.base import CommandParser

SCHEMA_VERSION = 1
#: What follows a number of deletions of which each may be in several child databases.
PER_DATABASE = ", counted in each child database"


@dataclass(frozen=True, slots=True)
class Result:
    """What a verb found or did: the fields of its `--json` document, and the exit code."""

    document: Mapping[str, Any]
    code: ExitCode = ExitCode.CLEAN


class Verb(Protocol):
    """A module of `verbs/`."""

    @property
    def HELP(self) -> str:  # noqa: N802 (a constant of a module)
        """What the verb does, in a sentence or two."""

    @property
    def add_arguments(self) -> Callable[[CommandParser], None]:
        """Add the options of the verb to its parser."""

    @property
    def run(self) -> Callable[..., Result]:
        """Do the work. Write only progress to the terminal."""

    @property
    def render(self) -> Callable[..., None]:
        """Print the document for people."""


class VerbCommand(PlainArguments):
    """A command that runs verbs."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Run it from a shell, where `| head` may close its output."""
        with ends_quietly():
            super().run_from_argv(argv)

    def run_verb(
        self, run: Callable[..., Result], render: Callable[..., None], **options: Any
    ) -> None:
        """Run a verb and print its result; an expected error becomes one line.

        Raises `CommandError` with the exit code of an error, and `SystemExit` with any other exit
        code that is not 0.
        """
        try:
            with progress_lines(self.stderr.write) as progress:
                wide = options.get("wide", False)
                terminal = Terminal(self.stdout, self.style, progress, wide=wide)
                result = run(terminal, **options)
                if not options["json"]:
                    render(result.document, terminal, code=result.code, **options)
        except (CrossDatabaseError, Error) as error:
            raise error_exit(error) from error
        if options["json"]:
            frame = {"schema_version": SCHEMA_VERSION, "exit_reason": result.code.name.lower()}
            self.stdout.write(json.dumps({**frame, **result.document}, default=str))
        if result.code:
            sys.exit(result.code)


def actor() -> str:
    """Return who runs the command, as the audit records it."""
    try:
        return f"command line: {getpass.getuser()}"
    except (KeyError, OSError):
        return "command line"
