"""`integrity grants ROLE`: GRANT statements for a role."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ...control import grants
from ...control.grants import Kind
from ...exceptions import UnknownName
from ..options import add_database
from ..verb import UNCHANGED, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Print GRANT statements for a role that gets only the privileges it needs."
EXAMPLES = {
    "integrity_worker": "what workers need",
    "integrity_web --web --dashboard": "what the site needs, with the pages of this app",
}
INTERRUPTED = UNCHANGED
KINDS = {
    Kind.WEB: "what the site needs to delete parents; not what workers need",
    Kind.DASHBOARD: "what the pages, their buttons and healthz need",
    Kind.BEAT: "what the timetable of django-celery-beat needs",
    Kind.LOG: "what the role needs that capture triggers run as",
}


def add_arguments(parser: CommandParser) -> None:
    """Add ROLE, an option for each kind of role, and `--database`."""
    parser.add_argument("role", metavar="ROLE", help="the role that gets the privileges")
    for kind, text in KINDS.items():
        parser.add_argument(f"--{kind}", dest="kinds", action="append_const", const=kind, help=text)
    add_database(parser)


def run(
    _terminal: Terminal,
    *,
    role: str,
    kinds: Sequence[Kind] | None,
    database: str | None,
    **_: object,
) -> Result:
    """Return the statements for each database."""
    granted = grants.grants(role, *(kinds or ()))
    known = [grant.database for grant in granted]
    if database is not None and database not in known:
        raise UnknownName("database", database, known)
    chosen = [grant for grant in granted if database in {None, grant.database}]
    return Result({"grants": [dataclasses.asdict(grant) for grant in chosen]})


def render(
    document: Mapping[str, Any],
    terminal: Terminal,
    *,
    role: str,
    kinds: Sequence[Kind] | None,
    **_: object,
) -> None:
    """Print the statements as SQL, with a comment for each database."""
    for grant in document["grants"]:
        skipped = f": skipped, {grant['skipped']}" if grant["skipped"] else ""
        lines = [f"-- {grant['database']}{skipped}", *grant["statements"]]
        if not kinds and (advice := grants.advice(grant["database"], role)):
            lines.append(advice)
        terminal.text("\n".join(lines))
