"""`integrity repair`: confirm the suspects of scans, and cascade them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import conf, relations
from ...queues.in_process import DrainResult
from ...report import preview
from ...scan import repair
from ..backlog import backlog_of, report_unreachable, unknown_names
from ..exit_codes import ExitCode
from ..options import add_apply, add_override_brake, add_relation, override_reason
from ..verb import Result, actor
from . import drain, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...relations import Relation
    from ...report.preview import Uncounted
    from ...scan.repair import Repaired
    from ..terminal import Terminal, WriteLine

HELP = "Confirm the suspects of scans, and cascade them. A dry run without --apply."
EXAMPLES = {
    "": "what would be repaired",
    "--apply": "repair it",
    "--relation blog.Post.author --apply": "one relation only",
}
INTERRUPTED = (
    "rows whose parent exists were not touched. Confirmed orphans are in the log, and workers or"
    " `integrity drain` finish them; run the same command again for the others"
)
COLUMNS = ("relation", "database", "policy", "rows")


def add_arguments(parser: CommandParser) -> None:
    """Add `--relation`, `--apply` and `--override-brake`."""
    add_relation(parser)
    add_apply(parser)
    add_override_brake(parser)


def run(
    terminal: Terminal,
    *,
    relation: str | None,
    apply: bool,
    override_brake: str | None,
    **_: object,
) -> Result:
    """Show what a repair would do; with `apply`, do it."""
    catalogue = relations.catalogue()
    chosen = [catalogue.relation(relation)] if relation else list(catalogue.relations)
    override = override_reason(override_brake)
    return repair_relations(chosen, terminal, apply=apply, override=override)


def repair_relations(
    chosen: Iterable[Relation], terminal: Terminal, *, apply: bool, override: str
) -> Result:
    """Repair the relations whose policy cascades.

    `override` is the reason to override the brake, or "".
    """
    cascading = [relation for relation in chosen if relation.policy.cascades]
    effects, uncounted = preview.repairs(cascading)
    if apply:
        repaired, drained, code = _apply(cascading, override, terminal)
    else:
        repaired, drained = [repair.outlook(relation) for relation in cascading], DrainResult()
        code = ExitCode.CLEAN
    document = {"effects": list(effects), **_figures(repaired)}
    document |= {"applied": apply, "rows": dict(drained.rows)}
    _report(repaired, uncounted, terminal.progress)
    report_unreachable(drained.unreachable, terminal.progress)
    if document["waiting"]:
        code = max(code, _waiting(terminal.progress, apply=apply))
    codes = (exit_code(repaired), _uncounted_code(uncounted), unknown_names(terminal.progress))
    return Result(document, max(code, *codes))


def _apply(
    chosen: Sequence[Relation], override: str, terminal: Terminal
) -> tuple[list[Repaired], DrainResult, ExitCode]:
    """Confirm suspects, and cascade the confirmed ones in this process."""
    repaired = repair.repair(chosen, override=override, actor=actor(), audited=True)
    drained = DrainResult()
    databases = sorted(scan.child_databases_of(chosen))
    if any(row.confirmed for row in repaired):
        drained = drain.drain(databases, terminal)
    return repaired, drained, drain.exit_code(drained, backlog_of(databases))


def _waiting(progress: WriteLine, *, apply: bool) -> ExitCode:
    """Return the exit code for suspects that wait. Report when a repair can confirm them."""
    if not apply:
        return ExitCode.FINDINGS
    grace = conf.current().grace_seconds
    progress(f"suspects can be confirmed {grace:g} s after their scan: run the repair again then")
    return ExitCode.INCOMPLETE


def _figures(repaired: Sequence[Repaired]) -> dict[str, Any]:
    return {
        "confirmed": sum(len(row.confirmed) for row in repaired),
        "cancelled": sum(row.cancelled for row in repaired),
        "waiting": sum(row.waiting for row in repaired),
        "brakes": {row.relation: row.brake for row in repaired if row.brake},
        "failed": {row.relation: row.reason for row in repaired if row.reason},
    }


def _report(
    repaired: Sequence[Repaired], uncounted: Mapping[str, Uncounted], progress: WriteLine
) -> None:
    """Report relations that were not repaired, and those whose rows cannot be counted."""
    for row in repaired:
        if row.brake:
            progress(f"{row.relation}: repair refused by the brake: {row.brake}")
            progress(
                'examine both databases; if the repair is right, --override-brake "the reason"'
            )
        elif row.reason:
            progress(f"{row.relation}: not repaired: {row.reason}")
        elif row.held and row.waiting:
            progress(f"{row.relation}: the recheck {row.held}")
    reported = {row.relation for row in repaired if row.reason}
    for relation, why in uncounted.items():
        if relation not in reported:
            progress(f"{relation}: its rows cannot be counted: {why.reason}")


def exit_code(repaired: Sequence[Repaired]) -> ExitCode:
    """Return the exit code of those repairs. Pure."""
    codes = [ExitCode.CLEAN]
    if any(row.reason and not row.unreachable for row in repaired):
        codes.append(ExitCode.INCOMPLETE)
    if any(row.unreachable for row in repaired):
        codes.append(ExitCode.UNREACHABLE)
    if any(row.brake for row in repaired):
        codes.append(ExitCode.BRAKE)
    return max(codes)


def _uncounted_code(uncounted: Mapping[str, Uncounted]) -> ExitCode:
    codes = (
        ExitCode.UNREACHABLE if why.unreachable else ExitCode.INCOMPLETE
        for why in uncounted.values()
    )
    return max(codes, default=ExitCode.CLEAN)


def render(
    document: Mapping[str, Any], terminal: Terminal, *, apply: bool, code: ExitCode, **_: object
) -> None:
    """Print the rows along each relation, and the counts of suspects."""
    counts = [document[name] for name in ("confirmed", "cancelled", "waiting")]
    if code is ExitCode.CLEAN and not (document["effects"] or any(counts)):
        terminal.line("nothing to do: no suspects are known. `integrity scan` looks for them")
        return
    terminal.table(COLUMNS, document["effects"], empty="No suspects.")
    line = "{confirmed:,} confirmed, {cancelled:,} alive, {waiting:,} waiting"
    terminal.line(line.format(**document) + ("" if apply else " (dry run: --apply repairs)"))
