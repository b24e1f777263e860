"""What `manage.py cleanup_orphaned` does: scan every relation in full, and repair the orphans."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import conf, relations
from ..exceptions import UnknownName
from ..report.lengths import number_of
from .exit_codes import ExitCode
from .options import add_apply, add_json, add_override_brake, add_wide, override_reason
from .verb import Result
from .verbs import repair, scan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..relations import Relation
    from ..scan import Scanned
    from .terminal import Terminal, WriteLine

HELP = "Remove rows whose parent in another database is gone. A dry run without --apply."
EXAMPLES = {
    "": "what would be removed, in all apps",
    "--app blog --apply": "remove it, where the children are in this app",
}
INTERRUPTED = repair.INTERRUPTED


def add_arguments(parser: CommandParser) -> None:
    """Add `--app`, `--apply`, `--override-brake`, `--json` and `--wide`."""
    parser.add_argument("--app", metavar="LABEL", help="only children of this app")
    add_apply(parser)
    add_override_brake(parser)
    add_json(parser)
    add_wide(parser)


def run(
    terminal: Terminal,
    *,
    app: str | None,
    apply: bool,
    override_brake: str | None,
    **_: object,
) -> Result:
    """Scan, wait for the grace period, and repair. The worse exit code of both wins."""
    override = override_reason(override_brake)
    chosen = _relations_of(app)
    databases = scan.child_databases_of(chosen)
    scanned, code = scan.scan_relations(chosen, databases, terminal, full=True)
    if apply and any(row.suspects for row in scanned):
        _wait(terminal.progress)
    repaired = repair.repair_relations(chosen, terminal, apply=apply, override=override)
    kept = {relation.label for relation in chosen if not relation.policy.cascades}
    rows = [_row(row, kept=row.relation in kept) for row in scanned]
    if apply and code is ExitCode.FINDINGS and not any(row["kept"] for row in rows):
        code = ExitCode.CLEAN  # the repair took care of all findings
    return Result({**repaired.document, "relations": rows}, max(code, repaired.code))


def _relations_of(app: str | None) -> list[Relation]:
    """Return the relations whose child is in that app, or all. Raises `UnknownName`."""
    known = relations.catalogue().relations
    labels = {relation.child._meta.app_label for relation in known}
    if app is not None and app not in labels:
        raise UnknownName("app of children", app, sorted(labels))
    return [relation for relation in known if app in {None, relation.child._meta.app_label}]


def _wait(progress: WriteLine) -> None:
    """Wait for the grace period: no suspect can be confirmed sooner."""
    seconds = conf.current().grace_seconds
    progress(f"recheck in {seconds:g} s")
    time.sleep(seconds)


def _row(scanned: Scanned, *, kept: bool) -> dict[str, Any]:
    return {
        "relation": scanned.relation,
        "database": scanned.database,
        "rows_scanned": scanned.rows_scanned,
        "suspects": scanned.suspects,
        "orphans": scanned.orphans,
        "kept": scanned.orphans if kept else 0,
        "complete": scanned.complete,
        "reason": scanned.reason,
    }


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print the rows along each relation, the scans that failed, and the total."""
    for effect in document["effects"]:
        terminal.line("{rows:,} {relation} in {database}".format(**effect))
    for row in document["relations"]:
        if row["reason"]:
            terminal.line("{relation} in {database} was not scanned: {reason}".format(**row))
        if row["kept"]:
            stay = "{kept:,} {relation} in {database} stay, because their policy removes nothing"
            terminal.line(stay.format(**row))
    if document["applied"]:
        terminal.line(f"{number_of(sum(document['rows'].values()), 'orphan')} repaired")
    else:
        rows = sum(effect["rows"] for effect in document["effects"])
        terminal.line(f"{number_of(rows, 'orphan')} found (dry run: --apply repairs)")
