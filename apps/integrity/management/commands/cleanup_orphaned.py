"""`manage.py cleanup_orphaned`: a full scan of every relation, and the repair of what it found."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from ... import conf, relations, scan
from ...exceptions import CrossDatabaseError, DatabaseUnreachable, UnknownName
from .integrity import SCHEMA_VERSION, Exit, Progress, repair_all, scan_all, scanned_code


class Command(BaseCommand):
    """Scan, wait for the second look, repair. A dry run without `--apply`."""

    help = "Remove rows whose parent in another database is gone. A dry run without --apply."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of `integrity scan` and `integrity repair` that make sense here."""
        parser.add_argument("--app", metavar="LABEL", help="children of one app only")
        parser.add_argument("--apply", action="store_true", help="not a dry run")
        parser.add_argument("--override-brake", metavar="REASON", default="")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(
        self, *, app: str | None, apply: bool, override_brake: str, json: bool, **_: Any
    ) -> None:
        """Exit codes as of `integrity`, the worst of both parts."""
        try:
            result, code = self._clean(app, apply=apply, override=override_brake)
        except UnknownName as error:
            raise CommandError(str(error), returncode=Exit.USAGE) from error
        except (OperationalError, DatabaseUnreachable) as error:
            raise CommandError(f"unreachable: {error}", returncode=Exit.UNREACHABLE) from error
        except CrossDatabaseError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from error
        if json:
            frame = {"schema_version": SCHEMA_VERSION, "exit_reason": code.name.lower()}
            self.stdout.write(jsonlib.dumps({**frame, **result}))
        else:
            for effect in result["effects"]:
                self.stdout.write("{rows:,} {relation} in {database}".format(**effect))
            rows = sum(effect["rows"] for effect in result["effects"])
            done = "repaired" if apply else "found (dry run: --apply repairs)"
            self.stdout.write(f"{rows:,} orphans {done}")
        if code:
            sys.exit(code)

    def _clean(self, app: str | None, *, apply: bool, override: str) -> tuple[dict[str, Any], Exit]:
        known = relations.catalogue().relations
        labels = {each.child._meta.app_label for each in known}
        if app is not None and app not in labels:
            raise UnknownName("app with keys into another database", app, sorted(labels))
        chosen = [each for each in known if app in {None, each.child._meta.app_label}]
        aliases = dict.fromkeys(alias for each in chosen for alias in each.child_databases)
        found, unreachable = scan_all(
            aliases,
            [each.label for each in chosen],
            ends=float("inf"),
            full=True,
            tell=Progress(self.stderr.write),
        )
        if apply and any(each.suspects for each in found):
            self._wait()
        result, repaired = repair_all(
            chosen, apply=apply, override=override, tell=self.stderr.write
        )
        scanned = scanned_code(found, unreachable)
        if apply and scanned is Exit.FINDINGS:
            scanned = Exit.CLEAN  # what was found is what was repaired
        return {**result, "relations": [_row(each) for each in found]}, max(scanned, repaired)

    def _wait(self) -> None:
        """The second look comes no sooner than the grace period after the first."""
        seconds = conf.current().grace_seconds
        self.stderr.write(f"second look in {seconds:g} s")
        time.sleep(seconds)


def _row(scanned: scan.Scanned) -> dict[str, Any]:
    return {
        "relation": scanned.relation,
        "database": scanned.database,
        "rows_scanned": scanned.rows_scanned,
        "suspects": scanned.suspects,
        "orphans": scanned.orphans,
        "complete": scanned.complete,
        "reason": scanned.reason,
    }
