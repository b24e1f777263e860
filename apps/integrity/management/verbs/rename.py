"""`integrity rename OLD NEW`: move open work to a new name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...control import circuit_breaker
from ...exceptions.suggestions import closest
from ...log.renaming import Kind, Renaming
from ...operations import renames
from ...report import names
from ..backlog import silent_logs
from ..exit_codes import ExitCode, usage_error
from ..options import add_apply
from ..verb import AGAIN, Result, actor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = (
    "Move open work to a new name, after an alias, a model or a field was renamed."
    " A dry run without --apply."
)
EXAMPLES = {
    "old_db blog_db": "what would change",
    "old_db blog_db --apply": "after the alias was renamed",
    "blog.Post.writer blog.Post.author --apply": "after the field was renamed",
    'old_db --close "the server is gone" --apply': "give up the work there",
}
INTERRUPTED = AGAIN
KINDS = {
    Kind.ALIAS: "OLD and NEW are aliases, as in blog_db, or steps, as in step:files",
    Kind.MODEL: "OLD and NEW are models, as in auth.User",
    Kind.RELATION: "OLD and NEW are relations, as in blog.Post.author",
    Kind.FIELD: "OLD and NEW are fields of a parent, as in auth.User.username: the target of a"
    " `to_field`, whose values the log holds",
}


def add_arguments(parser: CommandParser) -> None:
    """Add OLD and NEW, an option for each kind of name, `--apply`, `--force` and `--close`."""
    parser.add_argument("old", metavar="OLD", help="the name in the log, as `status` shows it")
    parser.add_argument("new", metavar="NEW", nargs="?", help="the new name")
    for kind, text in KINDS.items():
        default = "" if kind is Kind.FIELD else "; the default for names of this form"
        parser.add_argument(
            f"--{kind}", dest="kind", action="store_const", const=str(kind), help=text + default
        )
    add_apply(parser)
    parser.add_argument("--force", action="store_true", help="rename although OLD is still in use")
    parser.add_argument(
        "--close",
        metavar="REASON",
        help="instead of NEW: give up the work under OLD; the reason is recorded in the audit log",
    )


def run(
    _terminal: Terminal,
    *,
    old: str,
    new: str | None,
    kind: str | None,
    apply: bool,
    force: bool,
    close: str | None,
    **_: object,
) -> Result:
    """Rename or close the open work in every log that answers. The audit log records it."""
    reason = (close or "").strip()
    if (new is None) == (not reason):
        raise usage_error("give the new name, or --close with a reason in words")
    kind_of_name = Kind(kind) if kind else Kind.of(old)
    unreached = list[str]()
    if new is None:
        tables = renames.close(kind_of_name, old, reason=reason, actor=actor(), apply=apply)
    else:
        change = Renaming(kind=kind_of_name, old=old, new=new)
        renames.require(change, force=force)
        tables = renames.rename(change, actor=actor(), apply=apply, unreached=unreached)
    changed, silent = sum(tables.values()), silent_logs()
    code = ExitCode.FINDINGS if changed and not apply else ExitCode.CLEAN
    document = {"changed": changed, "tables": tables, "applied": apply, "unreachable": unreached}
    if not changed:
        unknown = names.unknown(circuit_breaker.answering_logs())
        document["did_you_mean"] = closest(old, [str(row["name"]) for row in unknown])
    return Result(document, ExitCode.UNREACHABLE if silent or unreached else code)


def render(
    document: Mapping[str, Any],
    terminal: Terminal,
    *,
    old: str,
    apply: bool,
    code: ExitCode,
    **_: object,
) -> None:
    """Print how many rows changed, by table."""
    if document["unreachable"]:
        left = ", ".join(document["unreachable"])
        terminal.line(f"not renamed in {left}, which cannot be reached: run it again")
    if code is ExitCode.CLEAN and not document["changed"]:
        likely = document["did_you_mean"]
        guess = f"; did you mean {likely!r}?" if likely else ""
        terminal.line(f"nothing to do: no open work has the name {old!r}{guess}")
        return
    by_table = ", ".join(f"{number:,} {name}" for name, number in document["tables"].items())
    outcome = "changed" if apply else "rows would change (dry run: --apply changes them)"
    terminal.line(f"{document['changed']:,} {outcome}" + (f": {by_table}" if by_table else ""))
