"""`manage.py cleanup_orphaned`: a full scan of every relation, and the repair of what it found."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from typing import TYPE_CHECKING, Any

from django.db import Error

from ... import conf, relations
from ...exceptions import CrossDatabaseError, UnknownName
from ..arguments import reasoned
from ..exits import Exit, failure
from ..foreground import repair_all, scan_all
from ..plain_parser import PlainArguments
from ..voice import one_voice, shown
from .integrity import SCHEMA_VERSION

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from ...scan import Scanned
    from ..voice import Tell


class Command(PlainArguments):
    """Scan, wait for the second look, repair. A dry run without `--apply`."""

    help = "Remove rows whose parent in another database is gone. A dry run without --apply."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `integrity scan` and `integrity repair` that make sense here."""
        parser.add_argument("--app", metavar="LABEL", help="children of one app only")
        parser.add_argument("--apply", action="store_true", help="not a dry run")
        parser.add_argument("--override-brake", metavar="REASON")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(
        self, *, app: str | None, apply: bool, override_brake: str | None, json: bool, **_: Any
    ) -> None:
        """Exit codes as of `integrity`, the worst of both parts."""
        try:
            with one_voice(self.stderr.write) as tell:
                override = reasoned(override_brake)
                result, code = self._clean(app, apply=apply, override=override, tell=tell)
        except (CrossDatabaseError, Error) as error:
            raise failure(error) from error
        if json:
            frame = {"schema_version": SCHEMA_VERSION, "exit_reason": code.name.lower()}
            self.stdout.write(jsonlib.dumps({**frame, **result}))
        else:
            self._tell(result)
        if code:
            sys.exit(code)

    def _clean(
        self, app: str | None, *, apply: bool, override: str, tell: Tell
    ) -> tuple[dict[str, Any], Exit]:
        known = relations.catalogue().relations
        labels = {each.child._meta.app_label for each in known}
        if app is not None and app not in labels:
            raise UnknownName("app of children", app, sorted(labels))
        chosen = [each for each in known if app in {None, each.child._meta.app_label}]
        found, code = scan_all(
            chosen,
            dict.fromkeys(alias for each in chosen for alias in each.child_databases),
            ends=float("inf"),
            full=True,
            tell=tell,
        )
        if apply and any(each.suspects for each in found):
            _wait(tell)
        result, repaired = repair_all(chosen, apply=apply, override=override, tell=tell)
        kept = {each.label for each in chosen if not each.policy.cascades}
        rows = [_row(each, kept=each.relation in kept) for each in found]
        if apply and code is Exit.FINDINGS and not any(row["kept"] for row in rows):
            code = Exit.CLEAN  # what was found is what was repaired
        return {**result, "relations": rows}, max(code, repaired)

    def _tell(self, result: dict[str, Any]) -> None:
        for effect in result["effects"]:
            self.stdout.write("{rows:,} {relation} in {database}".format(**effect))
        for row in result["relations"]:
            if row["reason"]:
                self.stdout.write(
                    shown("{relation} in {database} not scanned: {reason}".format(**row))
                )
            if row["kept"]:
                self.stdout.write("{kept:,} {relation} in {database} stay, by policy".format(**row))
        if result["applied"]:
            self.stdout.write(f"{sum(result['rows'].values()):,} orphans repaired")
        else:
            rows = sum(effect["rows"] for effect in result["effects"])
            self.stdout.write(f"{rows:,} orphans found (dry run: --apply repairs)")


def _wait(tell: Tell) -> None:
    """The second look comes no sooner than the grace period after the first."""
    seconds = conf.current().grace_seconds
    tell(f"second look in {seconds:g} s")
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
