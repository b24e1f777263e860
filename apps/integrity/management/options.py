"""Options that several verbs share, and converters of their values for argparse."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import math
from typing import TYPE_CHECKING, Any

from . import table
from .exit_codes import usage_error

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

#: The largest id that the log's column can hold.
LARGEST_ID = 2**63 - 1

#: Django's own options, which may follow the verb as well. Without a default there, they do not
#: replace an option before the verb.
DJANGO_OPTIONS: dict[str, dict[str, Any]] = {
    "-v --verbosity": {"type": int, "choices": range(4)},
    "--settings": {},
    "--pythonpath": {},
    "--traceback": {"action": "store_true"},
    "--no-color": {"action": "store_true"},
    "--force-color": {"action": "store_true"},
    "--skip-checks": {"action": "store_true"},
}


def add_json(parser: CommandParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")


def add_wide(parser: CommandParser) -> None:
    """Add `--wide`."""
    width = table.WIDTH
    parser.add_argument(
        "--wide",
        action="store_true",
        help=f"print all columns and whole sentences, also beyond {width} characters",
    )


def add_django_options(parser: CommandParser) -> None:
    """Accept Django's own options after the verb, without listing them in its help."""
    for flags, options in DJANGO_OPTIONS.items():
        hidden: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        parser.add_argument(*flags.split(), **hidden, **options)


def add_parent(parser: CommandParser) -> None:
    """Add the positional arguments MODEL and KEY."""
    parser.add_argument("model", metavar="MODEL", help='the parent model, as in "auth.User"')
    parser.add_argument("key", metavar="KEY", help="its primary key")


def add_database(parser: CommandParser) -> None:
    """Add `--database D`, which limits a verb to one database."""
    parser.add_argument("--database", metavar="D", help="only this database")


def add_relation(parser: CommandParser) -> None:
    """Add `--relation R`, which limits a verb to one relation."""
    parser.add_argument(
        "--relation", metavar="R", help='only this relation, as in "blog.Post.author"'
    )


def add_database_and_reason(parser: CommandParser) -> None:
    """Add `--database D`, which is required, and `--reason TEXT`."""
    parser.add_argument("--database", metavar="D", required=True, help="the child database")
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="why; recorded in the audit log"
    )


def add_deletions(parser: CommandParser, *, all_help: str) -> None:
    """Add the ids of deletions, `--all` and `--log`."""
    parser.add_argument("ids", nargs="*", type=deletion_id, metavar="ID", help="ids of deletions")
    parser.add_argument("--all", action="store_true", dest="everything", help=all_help)
    parser.add_argument(
        "--log", metavar="D", help="only the log of this database, where several have one"
    )


def add_apply(parser: CommandParser) -> None:
    """Add `--apply`."""
    parser.add_argument(
        "--apply", action="store_true", help="make the changes; without it, this is a dry run"
    )


def add_override_brake(parser: CommandParser) -> None:
    """Add `--override-brake REASON`."""
    parser.add_argument(
        "--override-brake",
        metavar="REASON",
        help="repair although the brake refuses it; the reason is recorded in the audit log",
    )


def seconds(text: str) -> float:
    """Return a number of seconds for argparse. Raises `ArgumentTypeError`."""
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")


def moment(text: str) -> dt.datetime:
    """Return a date or a time for argparse, in UTC unless it names a zone."""
    with contextlib.suppress(ValueError):
        at = dt.datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a date or a time, as 2026-01-31 or 2026-01-31T12:00+01:00 is"
    )


def deletion_id(text: str) -> int:
    """Return the id of a deletion for argparse. Raises `ArgumentTypeError`."""
    if text.isascii() and text.isdigit() and 0 < (number := int(text)) <= LARGEST_ID:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not the id of a deletion: a number above 0")


def override_reason(text: str | None) -> str:
    """Return the reason to override the brake; "" where it is not overridden.

    Raises a usage error for an empty reason.
    """
    if text is not None and not text.strip():
        raise usage_error("--override-brake needs a reason in words")
    return (text or "").strip()
