"""The verbs of `manage.py integrity` and what each of them takes."""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from ..control.grants import Kind as Role
from ..log.renaming import Kind
from .exits import Exit
from .plain_parser import PlainParser

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

#: What the log's column of ids can hold.
BIGGEST_ID = 2**63 - 1


def add(parser: CommandParser) -> None:
    """One sub-command for each verb, each with `--json`."""
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", parser_class=PlainParser
    )
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("--json", action="store_true", help="one JSON document on stdout")
        for flags, options in DJANGOS.items():
            hidden: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
            verb.add_argument(*flags.split(), **hidden, **options)
        for flag, options in ARGUMENTS.get(name, {}).items():
            verb.add_argument(flag, **options)


VERBS = {
    "relations": "The catalogue: every foreign key between databases.",
    "preview": "What deleting a parent would touch in the child databases.",
    "status": "Backlog and lag of each child database.",
    "drain": "Dispatch, cascade and verify in this process; no Celery needed.",
    "scan": "Find rows whose parent is gone; never writes to a scanned table.",
    "repair": "Confirm what scans found, and cascade it. A dry run without --apply.",
    "retry": "Put blocked cascades back to work; named ones that were kept, too.",
    "acknowledge": "Note that somebody knows of rows that were kept: the alarm ends.",
    "pause": "Stop work on a child database.",
    "resume": "Let work on a child database go on.",
    "rename": "Give open work its new name, after a rename of an alias, a model or a field. A dry"
    " run without --apply.",
    "receipt": "What is known of one deletion.",
    "purge": "Remove what is past its retention now, as beat does a batch a minute.",
    "doctor": "What is wrong with the installation, and what to do about it.",
    "install-triggers": "Bring the triggers that record deletions into line with the settings.",
    "grants": "GRANT statements for a role that may do no more than its work.",
}

#: Django's own options, which may follow the verb, too: there they set nothing unless given.
DJANGOS: dict[str, dict[str, Any]] = {
    "-v --verbosity": {"type": int, "choices": range(4)},
    "--settings": {},
    "--pythonpath": {},
    "--traceback": {"action": "store_true"},
    "--no-color": {"action": "store_true"},
    "--force-color": {"action": "store_true"},
    "--skip-checks": {"action": "store_true"},
}


def seconds(text: str) -> float:
    """A time for argparse. Raises `ArgumentTypeError`."""
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds, 0 or more")


def identifier(text: str) -> int:
    """The id of a deletion for argparse. Raises `ArgumentTypeError`."""
    if text.isascii() and text.isdigit() and 0 < (number := int(text)) <= BIGGEST_ID:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is no id of a deletion: a number above 0")


_PARENT: dict[str, dict[str, Any]] = {
    "model": {"metavar": "MODEL", "help": 'the parent, as in "auth.User"'},
    "key": {"metavar": "KEY", "help": "its primary key"},
}
_DATABASE = {"--database": {"metavar": "D", "help": "one database only"}}
_RELATION = {"--relation": {"metavar": "R", "help": 'one only, as in "blog.Post.author"'}}
_STEERED: dict[str, dict[str, Any]] = {
    "--database": {"metavar": "D", "required": True},
    "--reason": {"default": "", "metavar": "TEXT", "help": "for the audit"},
}

#: Verb → flag → what argparse takes for it.
ARGUMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "relations": {
        "--format": {
            "dest": "form",
            "choices": ("table", "mermaid"),
            "default": "table",
            "help": "mermaid draws a flowchart where code hosts show Markdown",
        },
    },
    "preview": _PARENT,
    "receipt": _PARENT,
    "status": {"--watch": {"action": "store_true", "help": "show it anew until Ctrl-C"}},
    "drain": {
        **_DATABASE,
        "--timeout": {"type": seconds, "metavar": "S", "help": "stop after so many seconds"},
        "--verify": {"action": "store_true", "help": "wait for the proof that no row is left"},
        "--forever": {"action": "store_true", "help": "until SIGTERM; with verification and scans"},
    },
    "scan": {
        **_RELATION,
        **_DATABASE,
        "--full": {"action": "store_true", "help": "begin each pass anew"},
        "--max-runtime": {"type": seconds, "metavar": "S", "help": "stop after so many seconds"},
    },
    "repair": {
        **_RELATION,
        "--apply": {"action": "store_true", "help": "not a dry run"},
        "--override-brake": {
            "metavar": "REASON",
            "help": "repair absurd figures, too; the reason is audited",
        },
    },
    "retry": {
        "ids": {"nargs": "*", "type": identifier, "metavar": "ID", "help": "deletions"},
        "--all": {"action": "store_true", "dest": "everything", "help": "all that are blocked"},
    },
    "acknowledge": {
        "ids": {"nargs": "*", "type": identifier, "metavar": "ID", "help": "deletions"},
        "--all": {"action": "store_true", "dest": "everything", "help": "all that were kept"},
        "--reason": {"default": "", "metavar": "TEXT", "help": "what was found; it is audited"},
    },
    "pause": _STEERED,
    "resume": {
        **_STEERED,
        "--accept-identity": {
            "action": "store_true",
            "help": "take the parents' databases as they are now, where the database belongs to"
            " others; audited",
        },
    },
    "rename": {
        "old": {"metavar": "OLD", "help": "the name in the log, as `status` shows it"},
        "new": {"metavar": "NEW", "nargs": "?", "help": "the name of today"},
        **{
            f"--{kind}": {
                "dest": "kind",
                "action": "store_const",
                "const": str(kind),
                "help": f"what they name; without it, what they look like ({example})",
            }
            for kind, example in (
                (Kind.ALIAS, "blog_db"),
                (Kind.MODEL, "auth.User"),
                (Kind.RELATION, "blog.Post.author"),
            )
        },
        f"--{Kind.FIELD}": {
            "dest": "kind",
            "action": "store_const",
            "const": str(Kind.FIELD),
            "help": "they name a parent's field that a `to_field` names (auth.User.username), whose"
            " values the log has",
        },
        "--apply": {"action": "store_true", "help": "not a dry run"},
        "--force": {"action": "store_true", "help": "although the old name is one of today"},
        "--close": {
            "metavar": "REASON",
            "help": "give the work under OLD up, in place of a new name; the reason is audited",
        },
    },
    "install-triggers": {
        **_DATABASE,
        "--dry-run": {"action": "store_true", "help": "show the SQL and change nothing"},
    },
    "grants": {
        "role": {"metavar": "ROLE", "help": "who the privileges are for"},
        **{
            f"--{kind}": {
                "dest": "kinds",
                "action": "append_const",
                "const": kind,
                "help": what,
            }
            for kind, what in (
                (Role.WEB, "what the site needs to delete parents, not what workers need"),
                (Role.DASHBOARD, "what the pages, their buttons and healthz need"),
                (Role.BEAT, "what the timetable of django-celery-beat needs"),
                (Role.LOG, "what the role needs as which capture triggers run"),
            )
        },
        **_DATABASE,
    },
}


def reasoned(override: str | None) -> str:
    """The reason for an override, "" without one. Raises `CommandError` for one without words."""
    if override is not None and not override.strip():
        raise CommandError("--override-brake takes the reason, in words", returncode=Exit.USAGE)
    return (override or "").strip()
