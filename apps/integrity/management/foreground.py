"""What the workers do, done by a command in its own process, and the exit code of it.

Takes what the command was asked for; gives the figures of a `--json` document and an `Exit`.
"""

from __future__ import annotations

import getpass
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import Error

from .. import cascade, conf, log, relations, report, scan
from ..backends.connections import tolerated
from ..cascade import verification
from ..control import actions, circuit_breaker
from ..exceptions import CrossDatabaseError
from ..isolation.redaction import reason_of_error
from ..queues import dispatch
from ..scan import repair
from .exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..checks import doctor
    from ..relations import Relation
    from ..report import DatabaseRow, Uncounted
    from ..scan import Scanned
    from ..scan.repair import Repaired
    from .voice import Tell


def actor() -> str:
    """Who runs the command, as far as the machine knows."""
    try:
        return f"command line: {getpass.getuser()}"
    except (KeyError, OSError):
        return "command line"


def broker() -> doctor.Broker | None:
    """What the broker says; None where Celery is not installed."""
    try:
        from ..queues import celery
    except ModuleNotFoundError as error:
        if error.name not in {"celery", "kombu"}:
            raise
        return None
    return celery.ask_broker()


class Progress:
    """Tells how far a scan is, once a second."""

    def __init__(self, write: Tell) -> None:
        self.write, self.began, self.told = write, time.monotonic(), 0.0
        self.of = ("", "")

    def __call__(self, scanned: Scanned) -> None:
        """Hear of a run's latest figures."""
        now = time.monotonic()
        if self.of != (scanned.relation, scanned.database):
            self.of, self.began, self.told = (scanned.relation, scanned.database), now, 0.0
        if now - self.told < 1:
            return
        self.told = now
        rate = scanned.rows_scanned / max(now - self.began, 0.001)
        left = (scanned.expected_rows or 0) - scanned.rows_scanned
        eta = f", {left / rate:,.0f} s left" if rate and left > 0 else ""
        self.write(
            f"{scanned.relation} in {scanned.database}: {scanned.rows_scanned:,} rows"
            f" ({rate:,.0f}/s{eta}), {scanned.orphans:,} orphans"
        )


def scan_all(
    chosen: Sequence[Relation],
    aliases: Iterable[str],
    *,
    ends: float,
    full: bool,
    tell: Tell,
) -> tuple[list[Scanned], Exit]:
    """Scan those relations in those databases, until `ends` (of the monotonic clock)."""
    mode = scan.Mode(full=full, tell=Progress(tell))
    labels = [each.label for each in chosen]
    found: list[Scanned] = []
    unreachable: dict[str, str] = {}
    for alias in aliases:
        seconds = max(0.0, ends - time.monotonic())
        seen, reason = scan.scan(alias, labels=labels, seconds=seconds, mode=mode)
        found += seen
        if reason:
            unreachable[alias] = reason
    _tell_unreachable(unreachable, tell)
    return found, max(_scanned_code(found, unreachable), nameless(tell))


def _scanned_code(found: Sequence[Scanned], unreachable: Mapping[str, str]) -> Exit:
    codes = [Exit.CLEAN]
    if any(each.orphans or each.orphans_of_pass for each in found):
        codes.append(Exit.FINDINGS)
    if not all(each.complete for each in found):
        codes.append(Exit.INCOMPLETE)
    if unreachable:
        codes.append(Exit.UNREACHABLE)
    if _has_mismatch(each for each in found if not each.complete):
        codes.append(Exit.BRAKE)
    return max(codes)


def _has_mismatch(found: Iterable[Scanned]) -> bool:
    """Return whether a scan was refused because its database belongs to other parents."""
    logs, catalogue = circuit_breaker.answering_logs(), relations.catalogue()
    places = {
        (catalogue.relation(scanned.relation).parent_databases[0], scanned.database)
        for scanned in found
    }
    return any(
        actions.has_identity_mismatch(database, using=using)
        for using, database in places
        if using in logs
    )


def repair_all(
    chosen: Sequence[Relation], *, apply: bool, override: str, tell: Tell
) -> tuple[dict[str, Any], Exit]:
    """Show what a repair of those relations would do, or do it and cascade it here."""
    cascading = [each for each in chosen if each.policy.cascades]
    effects, uncounted = report.repairs(cascading)
    if not apply:
        done = [repair.outlook(each) for each in cascading]
        found = _repaired(done, effects, tell) | {"applied": False, "rows": {}}
        waits = Exit.FINDINGS if found["waiting"] else nameless(tell)
        return found, max(waits, _repaired_code(done), _uncounted_code(uncounted, found, tell))
    done = repair.repair(cascading, override=override, actor=actor())
    aliases = sorted({alias for each in cascading for alias in each.child_databases})
    run = Drain(aliases, float("inf"), verify=False, tell=tell)
    if any(each.confirmed for each in done):
        run.to_the_end()
    found = _repaired(done, effects, tell) | {"applied": True, "rows": dict(run.rows)}
    _tell_unreachable(run.unreachable, tell)
    if found["waiting"]:
        grace = conf.current().grace_seconds
        tell(f"what waits is looked for again {grace:g} s after its scan: repair it then")
    codes = (
        _repaired_code(done),
        _uncounted_code(uncounted, found, tell),
        run.code(backlog(aliases)),
        nameless(tell),
    )
    return found, max(Exit.INCOMPLETE if found["waiting"] else Exit.CLEAN, *codes)


def _uncounted_code(
    uncounted: Mapping[str, Uncounted], found: Mapping[str, Any], tell: Tell
) -> Exit:
    for relation, each in uncounted.items():
        if relation not in found["failed"]:  # or it was told
            tell(f"{relation}: its rows cannot be counted, {each.reason}")
    codes = (
        Exit.UNREACHABLE if each.unreachable else Exit.INCOMPLETE for each in uncounted.values()
    )
    return max(codes, default=Exit.CLEAN)


def _repaired(done: Sequence[Repaired], effects: Sequence[Any], tell: Tell) -> dict[str, Any]:
    for each in done:
        if each.brake:
            tell(f"{each.relation}: repair refused by the brake: {each.brake}")
            tell('look at both databases and, if it is right, --override-brake "why this is right"')
        elif each.reason:
            tell(f"{each.relation}: not repaired: {each.reason}")
        elif each.held and each.waiting:
            tell(f"{each.relation}: the second look {each.held}")
    return {
        "effects": list(effects),
        "confirmed": sum(len(each.confirmed) for each in done),
        "cancelled": sum(each.cancelled for each in done),
        "waiting": sum(each.waiting for each in done),
        "brakes": {each.relation: each.brake for each in done if each.brake},
        "failed": {each.relation: each.reason for each in done if each.reason},
    }


def _repaired_code(done: Sequence[Repaired]) -> Exit:
    codes = [Exit.CLEAN]
    if any(each.reason and not each.unreachable for each in done):
        codes.append(Exit.INCOMPLETE)
    if any(each.unreachable for each in done):
        codes.append(Exit.UNREACHABLE)
    if any(each.brake for each in done):
        codes.append(Exit.BRAKE)
    return max(codes)


def nameless(tell: Tell) -> Exit:
    """Tell of open work under names that the catalogue does not know: it is a finding."""
    unknown = report.unknown(circuit_breaker.answering_logs())
    for each in unknown:
        tell(f"{each['name']}: {each['reason']}")
    return Exit.FINDINGS if unknown else Exit.CLEAN


def backlog(aliases: Sequence[str]) -> list[DatabaseRow]:
    """How far those child databases are behind."""
    return [row for row in report.status()["databases"] if row["database"] in aliases]


class Drain:
    """Dispatch, cascade and verify; chains of databases take several rounds."""

    def __init__(self, chosen: Sequence[str], ends: float, *, verify: bool, tell: Tell) -> None:
        self.chosen, self.ends, self.verify, self.tell = chosen, ends, verify, tell
        self.totals = Counter[str](dispatched=0, cascaded=0, verified=0, kept=0)
        self.rows = Counter[str]()
        self.unreachable: dict[str, str] = {}
        self.unproven = 0
        self.errors: dict[str, Exception] = {}
        self.held: dict[str, str] = {}

    def to_the_end(self) -> None:
        """Until a round finds nothing more to do, or time is up.

        A database whose work ends with an error keeps no other waiting: the first error is raised
        at the end.
        """
        while True:
            progress = self._round()
            for using in circuit_breaker.answering_logs():
                with tolerated(using):
                    log.settle(using=using)
            self.unproven = report.unproven(self.chosen) if self.verify else 0
            if time.monotonic() >= self.ends:
                break
            if not progress:
                if not self.unproven or self.unreachable:
                    break
                time.sleep(0.2)
        if self.unproven:
            why = f"a cascade is, {conf.current().grace_seconds:g} s after its end"
            if self.held:
                why = "; ".join(f"{alias} {reason}" for alias, reason in self.held.items())
            self.tell(f"{self.unproven:,} not verified yet: {why}")
        for error in self.errors.values():
            raise error

    def document(self) -> dict[str, Any]:
        """The figures."""
        figures = {"unproven": self.unproven, "held": dict(self.held)} if self.verify else {}
        return {**self.totals, "rows": dict(self.rows), **figures}

    def code(self, left: Sequence[DatabaseRow]) -> Exit:
        """The exit code, with that much left to do."""
        codes = [Exit.CLEAN]
        if any(row["blocked"] for row in left):
            codes.append(Exit.FINDINGS)
        waits = any(row["backlog"] > row["blocked"] + row["unknown"] for row in left)
        if self.unproven or waits:
            codes.append(Exit.INCOMPLETE)
        if self.unreachable:
            codes.append(Exit.UNREACHABLE)
        return max(codes)

    def _round(self) -> int:
        dispatched, _ = dispatch.sweep_all()
        self.totals["dispatched"] += dispatched
        left_out = {*self.unreachable, *self.errors}
        return dispatched + sum(self._try(alias) for alias in self.chosen if alias not in left_out)

    def _try(self, alias: str) -> int:
        try:
            return self._work_on(alias)
        except (Error, CrossDatabaseError, UnicodeError) as error:
            self.errors[alias] = error
            self.tell(f"{alias}: {reason_of_error(error)}")
            return 0

    def _work_on(self, alias: str) -> int:
        done = cascade.drain(alias, seconds=self._left())
        self.totals["cascaded"] += done.finished
        self.totals["kept"] += done.kept
        self.rows += done.rows
        if done.rows:
            self.tell(f"{alias}: {self.rows.total():,} rows so far")
        progress = done.finished + done.kept + done.rows.total()
        unreachable = done.unreachable
        if self.verify and not unreachable:
            proof = verification.verify(alias, seconds=self._left())
            self.totals["verified"] += proof.verified
            self.totals["kept"] += proof.kept
            progress += proof.verified + proof.reopened + proof.kept
            self._note_held(alias, proof.held)
            unreachable = proof.unreachable
        if unreachable:
            self.unreachable[alias] = unreachable
        return progress

    def _note_held(self, alias: str, reason: str) -> None:
        """Tell of what holds verification as soon as it is known: it may take long."""
        if reason and self.held.get(alias) != reason:
            self.tell(f"{alias}: not verified yet: {reason}")
        self.held = {each: why for each, why in self.held.items() if each != alias}
        self.held |= {alias: reason} if reason else {}

    def _left(self) -> float:
        return max(0.0, min(self.ends - time.monotonic(), conf.current().run_seconds))


def _tell_unreachable(unreachable: Mapping[str, str], tell: Tell) -> None:
    for name, reason in unreachable.items():
        tell(f"{name} {reason}")
