"""`manage.py integrity VERB`: see and do, from a terminal or a script.

Results go to stdout, progress to stderr. Exit codes, the worst wins: 0 clean and complete ·
1 error · 2 usage · 3 findings · 4 incomplete · 5 a database unreachable · 6 refused by the brake.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error, OperationalError

from ... import relations, report, scan
from ...capture import triggers
from ...checks import doctor
from ...control import actions, circuit_breaker, grants, retention
from ...exceptions import CrossDatabaseError, DatabaseUnreachable, UnknownName
from ...isolation.redaction import reason_of_error
from ...log.renaming import Kind, Renaming
from ...operations import renames
from ...report import alarms
from .. import arguments, table
from ..exits import Exit, diagnosis, failure, proven, standing
from ..foreground import Drain, actor, backlog, broker, nameless, repair_all, scan_all
from ..forever import Forever
from ..mermaid import flowchart
from ..plain_parser import PlainArguments
from ..voice import one_voice, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..voice import Tell

SCHEMA_VERSION = 1
WATCH_SECONDS = 2.0
#: Clears a terminal and goes to its first line.
CLEAR = "\033[2J\033[H"


class Command(PlainArguments):
    """The verbs; each shows figures of `report` or runs the engine in this process."""

    help = "See and steer deletions that cascade across databases."

    def add_arguments(self, parser: CommandParser) -> None:
        """One sub-command for each verb, each with `--json`."""
        arguments.add(parser)

    def handle(self, *, verb: str, **options: Any) -> None:
        """Run the verb; an error of ours becomes one line that says what to do."""
        act = getattr(self, f"_{verb.replace('-', '_')}")
        try:
            with one_voice(self.stderr.write) as tell:
                document, code = act(tell=tell, **options)
        except (CrossDatabaseError, Error) as error:
            raise failure(error) from error
        if options["json"]:
            frame = {"schema_version": SCHEMA_VERSION, "exit_reason": code.name.lower()}
            self.stdout.write(json.dumps({**frame, **document}, default=str))
        if code:
            sys.exit(code)

    def _relations(self, *, form: str, json: bool, **_: object) -> tuple[dict[str, Any], Exit]:
        if json and form != "table":
            raise CommandError("--json or --format, not both", returncode=Exit.USAGE)
        rows = report.catalogue()
        if form == "mermaid":
            self.stdout.write(flowchart(rows))
            return {}, Exit.CLEAN
        with contextlib.suppress(DatabaseUnreachable):
            done = {(each["relation"], each["database"]): each for each in report.scans()}
            for row in rows:
                row["last_full_scan"] = done[row["relation"], row["child_database"]][
                    "last_full_scan"
                ]
        if not json:
            columns = ("relation", "child_database", "parent", "parent_database", "policy", "plan")
            self._table(columns, rows, empty="No relation crosses databases.")
        return {"relations": rows}, Exit.CLEAN

    def _preview(
        self, *, model: str, key: str, json: bool, tell: Tell, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        effects, exists = report.preview(model, key), report.exists(model, key)
        total = sum(effect["rows"] for effect in effects)
        if not json:
            self._table(("relation", "database", "policy", "rows"), effects, empty="Nothing.")
            self._say(f"total {total:,}")
        if not exists:
            them = (
                f"; {total:,} rows refer to it all the same"
                if total
                else ", and no row refers to it"
            )
            tell(f"there is no {relations.catalogue().parent(model)._meta.label} {key}{them}")
        document = {"effects": effects, "total": total, "exists": exists}
        return document, Exit.CLEAN if exists else Exit.FINDINGS

    def _status(self, *, json: bool, watch: bool, **_: object) -> tuple[dict[str, Any], Exit]:
        if watch:
            if json or not self.stdout.isatty():
                reason = "--watch is for a terminal, and without --json"
                raise CommandError(reason, returncode=Exit.USAGE)
            return self._watch()
        status = report.status(look=True)
        if not json:
            self._show(status)
        return dict(status), standing(status)

    def _watch(self) -> tuple[dict[str, Any], Exit]:
        """Show it anew until Ctrl-C; a log that went away is a line, for it may come back."""
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                try:
                    status = report.status(look=True)
                except (OperationalError, DatabaseUnreachable) as error:
                    self.stdout.write(CLEAR + shown(f"unreachable: {reason_of_error(error)}"))
                else:
                    self.stdout.write(CLEAR, ending="")
                    self._show(status)
                time.sleep(WATCH_SECONDS)
        return {}, Exit.CLEAN

    def _show(self, status: report.Status) -> None:
        columns = (
            *("database", "state", "backlog", "blocked", "lag_seconds"),
            *("unproven", "unproven_seconds", "rate", "reason"),
        )
        self._table(columns, status["databases"], empty="No relation crosses databases.")
        for row in status["databases"]:
            if row["unproven_reason"]:
                number, waited = row["unproven"], row["waits_seconds"] or 0
                told = f"{number:,} not verified, done since {waited:,.0f} s"
                self._say(f"{row['database']}: {told}: {row['unproven_reason']}")
            if row["kept"]:
                self._say(f"{row['database']}: {row['kept']:,} {alarms.KEPT}")
        if scans := status["scans"]:
            self._say("")
            names = ("relation", "database", "coverage", "age_seconds", "waiting", "brake")
            self._table(names, scans, empty="")
        self._say("")
        for each in status["unknown"]:
            self._say(f"{each['name']}: {each['reason']}", self.style.ERROR)
        for using in status["unreachable_logs"]:
            self._say(f"the log in {using} cannot be reached", self.style.ERROR)
        beat = [status["beat"]] if status["beat"] else []
        for name, pulses in (("workers", status["workers"]), ("beat", beat)):
            ages = sorted(each["seconds_ago"] for each in pulses)
            seen = f"last seen {ages[0]:,.0f} s ago" if ages else "never seen"
            self._say(f"{name}: {seen}")
        counts = ", ".join(f"{n:,} {state}" for state, n in status["deletions"].items() if n)
        self._say(f"deletions: {counts or 'none'}")

    def _receipt(
        self, *, model: str, key: str, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        receipts = report.receipts(model, key)
        if not receipts:
            raise CommandError(f"no deletion of {model} {key} is in the log")
        newest, *earlier = receipts
        if not json:
            deletion = newest["deletion"]
            self._say(f"{deletion['parent']} {key}: {deletion['state']}")
            for each in newest["cascades"]:
                rows = ", ".join(f"{n:,} {label}" for label, n in each["rows"].items()) or "no rows"
                self._say(f"  {each['database']}: {each['state']}, {rows}")
            for line in report.left_alone(newest):
                self._say(f"  {line}")
        return {**newest, "earlier": earlier}, proven(newest)

    def _drain(
        self,
        *,
        database: str | None,
        timeout: float | None,
        verify: bool,
        forever: bool,
        json: bool,
        tell: Tell,
        **_: object,
    ) -> tuple[dict[str, Any], Exit]:
        known = relations.catalogue()
        chosen = [known.database(database)] if database else list(known.child_databases)
        if forever:
            return {}, Forever(chosen, tell=tell).run()
        ends = time.monotonic() + timeout if timeout is not None else float("inf")
        run = Drain(chosen, ends, verify=verify, tell=tell)
        run.to_the_end()
        left = backlog(chosen)
        result = run.document() | {"pending": sum(row["backlog"] for row in left)}
        if not json:
            line = "dispatched {dispatched:,}, cascaded {cascaded:,}, verified {verified:,}, "
            self._say((line + "pending {pending:,}").format(**result))
            for label, number in sorted(result["rows"].items()):
                self._say(f"  {number:,} {label}")
        for name, reason in run.unreachable.items():
            tell(f"{name} {reason}")
        return result, max(run.code(left), nameless(tell))

    def _scan(
        self,
        *,
        relation: str | None,
        database: str | None,
        full: bool,
        max_runtime: float | None,
        json: bool,
        tell: Tell,
        **_: object,
    ) -> tuple[dict[str, Any], Exit]:
        known = relations.catalogue()
        chosen = [known.relation(relation)] if relation else list(known.relations)
        aliases = dict.fromkeys(alias for each in chosen for alias in each.child_databases)
        if database and known.database(database) not in aliases:
            raise UnknownName(f"database of {relation}", database, aliases)
        found, code = scan_all(
            chosen,
            [database] if database else aliases,
            ends=time.monotonic() + (float("inf") if max_runtime is None else max_runtime),
            full=full,
            tell=tell,
        )
        rows = [dataclasses.asdict(each) for each in found]
        if not json:
            columns = tuple(field.name for field in dataclasses.fields(scan.Scanned))
            self._table(columns, rows, empty="Nothing was scanned.")
        return {"relations": rows}, code

    def _repair(
        self,
        *,
        relation: str | None,
        apply: bool,
        override_brake: str | None,
        json: bool,
        tell: Tell,
        **_: object,
    ) -> tuple[dict[str, Any], Exit]:
        known = relations.catalogue()
        chosen = [known.relation(relation)] if relation else list(known.relations)
        reason = arguments.reasoned(override_brake)
        result, code = repair_all(chosen, apply=apply, override=reason, tell=tell)
        if not json:
            columns = ("relation", "database", "policy", "rows")
            self._table(columns, result["effects"], empty="No suspects.")
            done = "" if apply else " (dry run: --apply repairs)"
            line = "{confirmed:,} confirmed, {cancelled:,} alive, {waiting:,} waiting"
            self._say(line.format(**result) + done)
        return result, code

    def _retry(
        self, *, ids: list[int], everything: bool, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        if bool(ids) == everything:
            raise CommandError("name the deletions, or --all", returncode=Exit.USAGE)
        changed = sum(
            actions.retry(None if everything else ids, actor=actor(), using=using, kept=True)
            for using in relations.catalogue().log_databases
        )
        if not json:
            why = "" if changed else ": none of them is blocked or kept"
            self._say(f"{changed:,} cascades will be tried again{why}")
        return {"changed": changed}, Exit.CLEAN

    def _acknowledge(
        self, *, ids: list[int], everything: bool, reason: str, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        if bool(ids) == everything:
            raise CommandError("name the deletions, or --all", returncode=Exit.USAGE)
        changed = sum(
            actions.acknowledge(
                None if everything else ids, actor=actor(), reason=reason, using=using
            )
            for using in relations.catalogue().log_databases
        )
        if not json:
            self._say(f"{changed:,} cascades that kept rows are acknowledged")
        return {"changed": changed}, Exit.CLEAN

    def _pause(
        self, *, database: str, reason: str, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        return self._steer(actions.pause, database, reason, "paused", json=json)

    def _resume(
        self, *, database: str, reason: str, accept_identity: bool, json: bool, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        act = partial(actions.resume, accept_identity=accept_identity)
        return self._steer(act, database, reason, "resumed", json=json)

    def _steer(
        self, act: Callable[..., bool], database: str, reason: str, word: str, *, json: bool
    ) -> tuple[dict[str, Any], Exit]:
        found = relations.catalogue()
        changed = sum(
            act(found.database(database), actor=actor(), reason=reason, using=using)
            for using in found.log_databases
        )
        if not json:
            self._say(f"{database}: {word if changed else f'was {word} before'}")
        return {"changed": changed}, Exit.CLEAN

    def _rename(
        self,
        *,
        old: str,
        new: str | None,
        kind: str | None,
        apply: bool,
        force: bool,
        close: str | None,
        json: bool,
        **_: object,
    ) -> tuple[dict[str, Any], Exit]:
        if (new is None) == (close is None or not close.strip()):
            reason = "give the new name, or --close and the reason in words"
            raise CommandError(reason, returncode=Exit.USAGE)
        of = Kind(kind) if kind else Kind.of(old)
        if new is None:
            reason = (close or "").strip()
            tables = renames.close(of, old, reason=reason, actor=actor(), apply=apply)
        else:
            change = Renaming(kind=of, old=old, new=new)
            renames.require(change, force=force)
            tables = renames.rename(change, actor=actor(), apply=apply)
        changed = sum(tables.values())
        if not json:
            listed = ", ".join(f"{number:,} {name}" for name, number in tables.items())
            word = "changed" if apply else "rows would change (dry run: --apply changes them)"
            self._say(f"{changed:,} {word}" + (f": {listed}" if listed else ""))
        away = {*relations.catalogue().log_databases} - {*circuit_breaker.answering_logs()}
        waits = Exit.FINDINGS if changed and not apply else Exit.CLEAN
        document = {"changed": changed, "tables": tables, "applied": apply}
        return document, Exit.UNREACHABLE if away else waits

    def _purge(self, *, json: bool, **_: object) -> tuple[dict[str, Any], Exit]:
        counts = Counter[str]()
        for using in circuit_breaker.answering_logs():
            counts.update(retention.purge(using))
        if not json:
            removed = ", ".join(f"{number:,} {name}" for name, number in counts.items())
            self._say(f"removed {removed}")
        away = {*relations.catalogue().log_databases} - {*circuit_breaker.answering_logs()}
        return {"purged": dict(counts)}, Exit.UNREACHABLE if away else Exit.CLEAN

    def _doctor(self, *, json: bool, **_: object) -> tuple[dict[str, Any], Exit]:
        checks = doctor.examine(broker())
        if not json:
            for each in checks:
                word = self.style.SUCCESS("ok  ") if each.ok else self.style.ERROR("FAIL")
                self.stdout.write(f"{word}  {shown(f'{each.name}: {each.detail}')}")
        return {"checks": [dataclasses.asdict(each) for each in checks]}, diagnosis(checks)

    def _install_triggers(
        self, *, database: str | None, dry_run: bool, json: bool, tell: Tell, **_: object
    ) -> tuple[dict[str, Any], Exit]:
        known = triggers.databases()
        if database is not None and database not in known:
            raise UnknownName("PostgreSQL database with a deletion log", database, known)
        chosen = [database] if database else known
        changes = [
            triggers.change(using) if dry_run else triggers.install(using, tell=tell)
            for using in chosen
        ]
        if not changes and not json:
            tell("no deletion log is in a PostgreSQL database: nothing to install")
        for each in changes:
            if dry_run and not json:
                self.stdout.write("\n".join(f"{statement};" for statement in each.sql))
            counts = f"{len(each.installed)} installed, {len(each.removed)} removed"
            counts += f", {len(each.unchanged)} unchanged"
            if not (json or each.held):
                tell(f"{each.database}: {'would be ' * dry_run}{counts}")
            for held in each.held:
                tell(f"{each.database}: {held}")
        code = Exit.INCOMPLETE if any(each.held for each in changes) else Exit.CLEAN
        document = {"databases": [each.document for each in changes], "applied": not dry_run}
        return document, code

    def _grants(
        self,
        *,
        role: str,
        kinds: Sequence[grants.Kind] | None,
        database: str | None,
        json: bool,
        **_: object,
    ) -> tuple[dict[str, Any], Exit]:
        found = grants.grants(role, *(kinds or ()))
        if database is not None and database not in (known := [each.database for each in found]):
            raise UnknownName("database", database, known)
        chosen = [each for each in found if database in {None, each.database}]
        if not json:
            for each in chosen:
                lines = [f"-- {each.database}{_skipped(each)}", *each.statements]
                if not kinds and (advice := grants.advice(each.database, role)):
                    lines.append(advice)
                self.stdout.write("\n".join(lines))
        return {"grants": [dataclasses.asdict(each) for each in chosen]}, Exit.CLEAN

    def _say(self, line: str, paint: Callable[[str], str] = str) -> None:
        self.stdout.write(paint(shown(line)))

    def _table(
        self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str
    ) -> None:
        for line in table.lines(columns, rows, self.style, empty=empty):
            self.stdout.write(line)


def _skipped(each: grants.Grants) -> str:
    return f": skipped, {each.skipped}" if each.skipped else ""
