"""The interface of a verb: three functions and three texts of a module in `verbs/`.

`run` does the work, or reads the figures, and returns the document that `--json` prints. `render`
prints the same document for people. Both take a terminal and, by keyword, the verb's options;
`render` also takes the exit code, as `code`.
"""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from django.core.management.base import CommandError
from django.db import Error

from ..exceptions import CrossDatabaseError
from .broken_pipe import ends_quietly
from .exit_codes import ExitCode, error_exit
from .parser import PlainArguments
from .progress import progress_lines
from .terminal import Terminal, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.core.management.base import CommandParser

SCHEMA_VERSION = 1
#: The exit code in a shell of a process that SIGINT (2) ended, as it ends other commands.
INTERRUPTED = 128 + 2
#: After Ctrl-C in a verb that only reads.
UNCHANGED = "nothing was changed; run the command again"
#: After Ctrl-C in a verb that changes something in one transaction of each log.
AGAIN = "run the same command again: what it has changed already, it does not change twice"
#: What follows a number of deletions of which each may be in several child databases.
PER_DATABASE = ", counted in each child database"


@dataclass(frozen=True, slots=True)
class Result:
    """What a verb found or did: the fields of its `--json` document, and the exit code."""

    document: Mapping[str, Any]
    code: ExitCode = ExitCode.CLEAN


class Verb(Protocol):
    """A module of `verbs/`."""

    __name__: str

    @property
    def HELP(self) -> str:  # noqa: N802 (a constant of a module)
        """What the verb does, in a sentence or two."""

    @property
    def EXAMPLES(self) -> Mapping[str, str]:  # noqa: N802 (a constant of a module)
        """What may be typed after the verb → what it is for, as `--help` shows it."""

    @property
    def INTERRUPTED(self) -> str:  # noqa: N802 (a constant of a module)
        """After Ctrl-C: what has changed, and how to go on."""

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

    #: Django sets it: False where the command runs within `call_command`.
    _called_from_command_line: bool

    def run_from_argv(self, argv: list[str]) -> None:
        """Run it from a shell, where `| head` may close its output, and Ctrl-C end it."""
        with ends_quietly():
            try:
                super().run_from_argv(argv)
            except KeyboardInterrupt:
                self.stderr.write(f"\ninterrupted: {UNCHANGED}")
                sys.exit(INTERRUPTED)

    def run_verb(self, verb: Verb, **options: Any) -> None:
        """Run a verb and print its result; an expected error becomes one line.

        Raises `CommandError` with the exit code of an error, and `SystemExit` with any other exit
        code that is not 0.
        """
        wide: bool = options["wide"]
        try:
            result = self._printed(verb, **options)
        except (CrossDatabaseError, Error) as error:
            raise self._fitted(error_exit(error), wide=wide) from error
        except CommandError as error:
            self._fitted(error, wide=wide)
            raise
        except KeyboardInterrupt:
            if not self._called_from_command_line:
                raise  # it is its caller that was interrupted
            self._write(f"\ninterrupted: {verb.INTERRUPTED}", wide=wide)
            sys.exit(INTERRUPTED)
        if result.code:
            sys.exit(result.code)

    def _printed(self, verb: Verb, *, wide: bool, json: bool, **options: Any) -> Result:
        with progress_lines(partial(self._write, wide=wide)) as progress:
            watched = self.stderr.isatty()
            terminal = Terminal(self.stdout, self.style, progress, wide=wide, is_watched=watched)
            result = verb.run(terminal, json=json, **options)
            if json:
                self.stdout.write(_document(result))
            else:
                verb.render(result.document, terminal, code=result.code, **options)
        return result

    def _write(self, text: str, *, wide: bool) -> None:
        """Write to stderr: Note [Eighty columns] in terminal.py. Not in the colour of errors."""
        fits = wide or not self.stderr.isatty()
        self.stderr.write(text if fits else wrapped(text), style_func=str)

    def _fitted(self, error: CommandError, *, wide: bool) -> CommandError:
        """Return the error; its text is broken if Django will print it on a terminal."""
        if self._called_from_command_line and self.stderr.isatty() and not wide:
            start = f"{type(error).__name__}: "  # as Django prints it
            error.args = (wrapped(f"{start}{error}").removeprefix(start),)
        return error


def examples(command: str, verb: Verb) -> str:
    """Return the examples of a verb, for its help. Pure."""
    lines = (
        f"  manage.py {command} {words}".rstrip() + f"\n      {purpose}"
        for words, purpose in verb.EXAMPLES.items()
    )
    return "\n".join(["examples:", *lines])


def _document(result: Result) -> str:
    frame = {"schema_version": SCHEMA_VERSION, "exit_reason": result.code.name.lower()}
    return json.dumps({**frame, **result.document}, default=str)


def actor() -> str:
    """Return who runs the command, as the audit records it."""
    try:
        return f"command line: {getpass.getuser()}"
    except (KeyError, OSError):
        return "command line"
