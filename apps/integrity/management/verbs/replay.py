"""`integrity replay`: erase again what the restore of a backup has undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import relations
from ...exceptions import DatabaseHindered
from ...report import replays
from ...report.preview import Effect
from ...scan.replay import children, parents
from ...scan.replay.children import Replayed
from ...scan.replay.judgement import Verdict
from ...scan.replay.parents import Restored
from ..exit_codes import ExitCode, usage_error
from ..options import add_apply, add_database, add_override_brake, moment, override_reason
from ..verb import AGAIN, Result, actor

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...scan.replay.parents import Found
    from ..terminal import Terminal, WriteLine

HELP = (
    "Erase again what the restore of a backup has undone. A dry run without --apply. By default:"
    " rows of a child database that was restored. With --parents: erased parents that are back,"
    " because their database was restored."
)
EXAMPLES = {
    "--database blog_db": "what would be put back to work after blog_db was restored",
    "--database blog_db --apply": "put it back to work",
    "--database blog_db --since 2026-01-31T12:00": "what finished since the backup was made",
    "--parents": "which erased parents are back, by the ledgers of the child databases",
    "--parents --apply": "delete them again",
}
INTERRUPTED = AGAIN
COLUMNS = ("relation", "database", "policy", "rows")
PARENTS = ("parent", "key", "erased_at", "verdict", "reason")


def add_arguments(parser: CommandParser) -> None:
    """Add `--database`, `--parents`, `--since`, `--apply` and `--override-brake`."""
    add_database(parser)
    parser.add_argument(
        "--parents",
        action="store_true",
        help="look for erased parents that are back, and with --apply delete them again",
    )
    parser.add_argument(
        "--since",
        type=moment,
        metavar="T",
        help="the time of the backup, as 2026-01-31T12:00, in UTC unless it names a zone; by"
        " default what the counts of the database say",
    )
    add_apply(parser)
    add_override_brake(parser)


def run(
    terminal: Terminal,
    *,
    database: str | None,
    parents: bool,
    since: dt.datetime | None,
    apply: bool,
    override_brake: str | None,
    **_: object,
) -> Result:
    """Show what a replay would do; with `apply`, do it."""
    catalogue, override = relations.catalogue(), override_reason(override_brake)
    databases = [catalogue.database(database)] if database else [*catalogue.child_databases]
    if parents:
        return _parents(databases, since, override, apply=apply, progress=terminal.progress)
    if override:
        raise usage_error("--override-brake needs --parents: nothing else has a brake")
    return _children(databases, since, apply=apply, progress=terminal.progress)


def _children(
    databases: Sequence[str], since: dt.datetime | None, *, apply: bool, progress: WriteLine
) -> Result:
    rows, effects, code = list[Replayed](), list[Effect](), ExitCode.CLEAN
    for using in relations.catalogue().log_databases:
        for database in databases:
            if not relations.catalogue().homes(database, using):
                continue
            try:
                done, touched = _child(database, using, since, apply=apply)
            except DatabaseHindered as error:
                progress(f"{error.database} {error.sentence}")
                code = max(code, ExitCode.UNREACHABLE)
                continue
            rows.append(done)
            effects += touched
            code = max(code, _code(done, apply=apply))
    document = {
        "databases": [_figures(one) for one in rows if one.deletions or one.lost or one.reason],
        "effects": effects,
        "applied": apply,
    }
    return Result(document, code)


def _child(
    database: str, using: str, since: dt.datetime | None, *, apply: bool
) -> tuple[Replayed, list[Effect]]:
    if apply:
        return children.replay(database, using=using, since=since, actor=actor()), []
    return replays.effects_of_children(database, using=using, since=since)


def _code(done: Replayed, *, apply: bool) -> ExitCode:
    if done.reason:
        return ExitCode.BRAKE
    return ExitCode.FINDINGS if done.deletions and not apply else ExitCode.CLEAN


def _figures(done: Replayed) -> dict[str, Any]:
    return {
        "database": done.database,
        "log": done.log,
        "lost": done.lost,
        "since": done.since and done.since.isoformat(),
        "deletions": done.deletions,
        "batches": len(done.batches),
        "resumed": done.resumed,
        "reason": done.reason,
    }


def _parents(
    databases: Sequence[str],
    since: dt.datetime | None,
    override: str,
    *,
    apply: bool,
    progress: WriteLine,
) -> Result:
    every, effects, code = list[Restored](), list[Effect](), ExitCode.CLEAN
    for using in relations.catalogue().log_databases:
        into = [alias for alias in databases if relations.catalogue().homes(alias, using)]
        if apply:
            done = parents.replay(
                using, databases=into, since=since, actor=actor(), override=override
            )
        else:
            done = parents.outlook(using, databases=into, since=since)
            effects += replays.effects_of_parents(done)
        every.append(done)
        for alias, reason in done.hindered.items():
            progress(f"{alias} {reason}")
            code = max(code, ExitCode.UNREACHABLE)
        for label, reason in done.brakes.items():
            progress(f"{label}: refused by the brake: {reason}")
        for name, reason in done.refused.items():
            progress(f"{name}: not deleted: {reason}")
        code = max(code, _code_of_parents(done, apply=apply))
    listed = [_parent(one, done.log) for done in every for one in done.found.values()]
    document = {
        "parents": listed[: parents.LISTED],
        "found": len(listed),
        "gone": sum(len(done.gone) for done in every),
        "erased": sum(done.erased for done in every),
        "recorded": sum(done.recorded for done in every),
        "brakes": {label: why for done in every for label, why in done.brakes.items()},
        "refused": {name: why for done in every for name, why in done.refused.items()},
        "hindered": {alias: why for done in every for alias, why in done.hindered.items()},
        "effects": effects,
        "applied": apply,
    }
    return Result(document, code)


def _code_of_parents(done: Restored, *, apply: bool) -> ExitCode:
    if done.brakes:
        return ExitCode.BRAKE
    if done.refused:
        return ExitCode.INCOMPLETE
    left = [one for one in done.found.values() if not apply or one.verdict is not Verdict.BACK]
    return ExitCode.FINDINGS if left or (done.gone and not apply) else ExitCode.CLEAN


def _parent(one: Found, log: str) -> dict[str, Any]:
    return {
        "parent": one.erased.parent,
        "key": one.erased.key,
        "log": log,
        "ledger": one.erased.database,
        "erased_at": one.erased.at.isoformat(),
        "verdict": str(one.verdict),
        "reason": one.reason,
    }


def render(document: Mapping[str, Any], terminal: Terminal, *, apply: bool, **_: object) -> None:
    """Print what was, or would be, put back to work or deleted again."""
    if "parents" in document:
        _render_parents(document, terminal, apply=apply)
    else:
        _render_children(document, terminal, apply=apply)
    if document["effects"]:
        terminal.table(COLUMNS, document["effects"], empty="")
    if not apply and (document["effects"] or document.get("databases") or document.get("found")):
        terminal.line("a dry run: nothing was changed. --apply does it")


def _render_children(document: Mapping[str, Any], terminal: Terminal, *, apply: bool) -> None:
    for row in document["databases"]:
        since = f" that finished since {row['since']}" if row["since"] else ""
        verb = "put back to work" if apply else "to be put back to work"
        terminal.line(
            f"{row['database']}: {row['deletions']:,} deletions in {row['batches']:,} batches"
            f"{since} {verb}; it has lost the counts of {row['lost']:,}"
        )
        if row["resumed"]:
            terminal.line(f"{row['database']}: resumed, as the log and it agree again")
        if row["reason"]:
            terminal.line(f"{row['database']}: {row['reason']}")
    if not document["databases"]:
        terminal.line("nothing to do: every child database has all that its log counts")


def _render_parents(document: Mapping[str, Any], terminal: Terminal, *, apply: bool) -> None:
    terminal.table(PARENTS, document["parents"], empty="no erased parent is back")
    if apply:
        terminal.line(
            f"{document['erased']:,} deleted again; {document['recorded']:,} that are not there"
            " recorded again. Paused databases go on after `manage.py integrity resume`: first"
            " bring back parents that the restore has lost, or their rows look like orphans"
        )
    elif document["gone"]:
        terminal.line(f"{document['gone']:,} more are not there; the log does not know of them")
