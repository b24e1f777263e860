"""The model of truth, which only the test keeps, and the invariants that compare with it.

The rules tell it what was committed. After each rule `compare` looks at all rows and at the whole
log: what differs from the model must be something that a cascade may have done by then, and the
model follows; anything else is a violation.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.chaos.truth import CASCADES_OF, ENDED, oddity

from .kinds import FALLBACK, FANS_OUT, KINDS, TARGETS, Effect, Kind, Link, crosses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .world import Id, LogId, Values

#: A field of a parent and a value that it held: what keys elsewhere hold.
Key = tuple[str, str, Any]

#: State → the states that may be seen next, with steps in between that nobody saw.
DELETION_MOVES = {
    "recorded": {"dispatched", "cascaded", "verified", "kept"},
    "dispatched": {"cascaded", "verified", "kept"},
    "cascaded": {"dispatched", "verified", "kept"},
    "verified": set(),
    "kept": set(),
}
OPEN = CASCADES_OF["dispatched"]
CASCADE_MOVES = {
    **dict.fromkeys(("pending", "running", "waiting", "done"), OPEN),
    "blocked": set(),
    "verified": set(),
    "kept": set(),
}


@dataclass
class Row:
    """A committed row; `written` and `committed` are the steps in which its values were."""

    kind: Kind
    values: Values
    written: int
    committed: int


@dataclass
class Cascade:
    state: str
    done_at: str | None = None
    done: int = 0
    verified: int = 0


@dataclass
class Entry:
    """A deletion of the log, kept here also after it was purged."""

    label: str
    key: str
    #: What the parent held when it was deleted.
    values: Values
    #: The step in which it was seen first.
    step: int = 0
    state: str = "recorded"
    purged: bool = False
    cascades: dict[str, Cascade] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether it may be purged."""
        return self.state in ENDED


class Violation(AssertionError):
    """An invariant does not hold."""


class Truth:
    def __init__(self, attempts: int) -> None:
        self.attempts = attempts
        self.step = 0
        #: The step in which the grace period of what was done by then was over.
        self.grace = 0
        self.rows: dict[Id, Row] = {}
        self.log: dict[LogId, Entry] = {}
        #: Deletions whose retention is over.
        self.old: set[LogId] = set()
        #: The last deletion of each value that keys elsewhere may hold.
        self.graves: dict[Key, LogId] = {}
        self._buried: dict[tuple[str, str, str], list[Values]] = defaultdict(list)
        self._alive: set[Id] = set()
        self._came_back: dict[Key, set[Id]] = {}
        #: The last step in which a row got that value of somebody who is gone.
        self._taken: dict[Key, int] = {}

    # What the rules tell

    def add(self, identity: Id, values: Values, *, written: int | None = None) -> None:
        """A row was inserted or changed, and committed."""
        kind = KINDS[identity[0]]
        for target in TARGETS.get(kind.label, ()):
            key = (kind.label, target, values[target])
            self._taken[key] = self.step
            if key in self.graves and not self.holders(key):
                # A cascade at work right now may have taken rows of before, but no later one.
                self._came_back[key] = set(self.rows)
        self.rows[identity] = Row(kind, values, written or self.step, self.step)
        self._alive.add(identity)

    def delete(self, *identities: Id) -> None:
        """Rows were deleted and the delete was committed, with what hangs on them over there."""
        for identity in self.with_local(*identities):
            row = self.rows.pop(identity)
            self._bury(identity, row)

    def with_local(self, *identities: Id) -> list[Id]:
        """Those rows, and the rows of the same database that Django deletes along with them."""
        found = list(identities)
        for above in found:
            found += [
                identity
                for identity, row in self.rows.items()
                for link in row.kind.links
                if not crosses(row.kind, link)
                and (link.to, str(row.values[link.column])) == above
                and link.effect is Effect.GONE
                and identity not in found
            ]
        return found

    def holders(self, key: Key) -> list[Id]:
        """The rows that hold that value."""
        label, target, value = key
        return [
            identity
            for identity, row in self.rows.items()
            if identity[0] == label and row.values[target] == value
        ]

    def dead(self, label: str) -> list[str]:
        """Keys of deleted parents that nobody holds now."""
        return sorted(
            {
                str(value)
                for (each, target, value) in self.graves
                if (each, target) == (label, "id") and not self.holders((each, target, value))
            }
        )

    # What must hold

    def compare(self, rows: dict[Id, Values], log: dict[LogId, Values], *, retried: bool) -> None:
        """Raise `Violation`, or take over what cascades did since the last time."""
        self._compare_rows(rows)
        self._compare_log(log)
        for log_id, seen in log.items():
            self._follow(log_id, seen, retried=retried)
        self._compare_both()
        self._alive = set(self.rows)
        self._came_back = {}

    def orphans(self) -> Iterator[tuple[Id, Row, Key]]:
        """Rows that are waiting for a cascade, with the value that is gone."""
        for identity, row in self.rows.items():
            for link in row.kind.links:
                key = (link.to, link.target, row.values[link.column])
                if not crosses(row.kind, link) or link.effect is Effect.KEPT or key[2] is None:
                    continue
                if not self.holders(key):
                    yield identity, row, key

    def open(self) -> list[LogId]:
        """Deletions that are neither verified nor kept."""
        return [
            log_id
            for log_id, entry in self.log.items()
            if not entry.purged and entry.state not in ENDED
        ]

    def _compare_rows(self, seen: dict[Id, Values]) -> None:
        """G2: no row that a cascade may not touch is gone or changed."""
        if unknown := seen.keys() - self.rows.keys():
            raise Violation(f"rows out of nowhere: {sorted(unknown)}")
        changes = {
            identity: seen.get(identity)
            for identity, row in self.rows.items()
            if seen.get(identity) != row.values
        }
        for identity, now in changes.items():
            if now not in self._outcomes(identity, seen):
                what = "is gone" if now is None else f"changed to {now}"
                raise Violation(f"a living row {what}: {identity} {self.rows[identity].values}")
        for identity, now in changes.items():
            if now is None:
                self._bury(identity, self.rows.pop(identity))
            else:
                self.rows[identity].values = now

    def _outcomes(self, identity: Id, seen: dict[Id, Values]) -> list[Values | None]:
        """What a cascade may have made of the row by now."""
        row = self.rows[identity]
        found: list[Values | None] = [row.values]
        for link in row.kind.links:
            if not self._may_be_gone(identity, row, link, seen):
                continue
            if link.effect is Effect.GONE:
                found.append(None)
            elif link.effect is not Effect.KEPT:
                value = FALLBACK if link.effect is Effect.DEFAULTED else None
                found += [{**each, link.column: value} for each in found if each]
        return found

    def _may_be_gone(self, identity: Id, row: Row, link: Link, seen: dict[Id, Values]) -> bool:
        """Whether what the key holds was gone while a cascade of this step looked."""
        key = (link.to, link.target, row.values[link.column])
        if key[2] is None:
            return False
        holders = self.holders(key)
        if not holders or identity in self._came_back.get(key, ()):
            return True
        if crosses(row.kind, link):
            return not any(holder in seen for holder in holders)
        return all(None in self._outcomes(holder, seen) for holder in holders)

    def _bury(self, identity: Id, row: Row) -> None:
        if row.kind.label in TARGETS:
            self._buried[row.kind.alias, *identity].append(row.values)

    def _compare_log(self, seen: dict[LogId, Values]) -> None:
        """G1, G3: each committed deletion has one row in the log, a rolled-back one has none."""
        for log_id in sorted(seen.keys() - self.log.keys()):
            alias, each = log_id[0], seen[log_id]
            waiting = self._buried.get((alias, each["parent"], each["key"]))
            if not waiting:
                raise Violation(f"a log row without a deletion: {log_id} {each}")
            values = waiting.pop(0)
            self.log[log_id] = Entry(each["parent"], each["key"], values, self.step)
            for target in TARGETS[each["parent"]]:
                if values[target] is not None:
                    self.graves[each["parent"], target, values[target]] = log_id
        if missing := [key for key, waiting in self._buried.items() if waiting]:
            raise Violation(f"deletions without a log row: {missing}")
        for log_id, entry in self.log.items():
            if log_id not in seen and not entry.purged:
                if log_id not in self.old or not entry.over:
                    raise Violation(f"a log row is lost: {log_id} {entry}")
                entry.purged = True

    def _follow(self, log_id: LogId, seen: Values, *, retried: bool) -> None:
        """States move along the diagram of models.py only."""
        entry, state, cascades = self.log[log_id], seen["state"], seen["cascades"]
        is_retried = retried and entry.state == "kept"
        moves = DELETION_MOVES["cascaded" if is_retried else entry.state]
        if state not in {entry.state} | moves:
            raise Violation(f"{log_id} went from {entry.state} to {state}")
        if state == "kept" != entry.state and not self._was_taken(entry):
            raise Violation(f"{log_id} is kept, and nobody took its values over: {seen}")
        entry.state = state
        wanted = set() if state == "recorded" else FANS_OUT[entry.label]
        if cascades.keys() != wanted:
            raise Violation(f"{log_id} has cascades into {set(cascades)}, not {wanted}")
        for database, cascade in cascades.items():
            self._check(f"{log_id} → {database}", cascade)
            known = entry.cascades.setdefault(database, Cascade("pending"))
            if cascade["state"] == "verified" != known.state and self._taken_in(entry, database):
                raise Violation(f"{log_id} → {database} is verified, and its value taken: {seen}")
            if cascade["state"] not in CASCADES_OF[state]:
                raise Violation(f"{log_id} is {state}, and a cascade of it {cascade['state']}")
            allowed = {known.state} | CASCADE_MOVES[known.state]
            if known.state in {"blocked", "kept"} and retried:
                allowed |= OPEN
            if cascade["state"] not in allowed:
                raise Violation(
                    f"{log_id} → {database} went from {known.state} to {cascade['state']}"
                )
            self._note(known, cascade)

    def _was_taken(self, entry: Entry) -> bool:
        """Whether somebody has got one of its values since."""
        return any(
            self._taken.get((entry.label, target, entry.values[target]), -1) >= entry.step
            for target in TARGETS[entry.label]
        )

    def _taken_in(self, entry: Entry, database: str) -> bool:
        """Whether somebody has held a value since before this step that rows there refer to."""
        return any(
            holder in self._alive
            for kind in KINDS.values()
            for link in kind.links
            if kind.alias == database and link.to == entry.label and link.effect is not Effect.KEPT
            for holder in self.holders((entry.label, link.target, entry.values[link.target]))
            if entry.values[link.target] is not None
        )

    def _note(self, known: Cascade, seen: Values) -> None:
        if seen["done_at"] != known.done_at:
            known.done_at, known.done = seen["done_at"], self.step
        if seen["state"] == "verified" != known.state:
            known.verified = self.step
            if known.done > self.grace:
                raise Violation(f"verified before its grace period was over: {seen}")
        known.state = seen["state"]

    def _check(self, name: str, seen: Values) -> None:
        """What each cascade must look like, in its state."""
        state, attempts = seen["state"], seen["attempts"]
        if odd := oddity(state, claimed=bool(seen["claim"]), reason=seen["reason"]):
            raise Violation(f"{name} {odd}: {seen}")
        # Those of a done one say how many are probed together: `retry.probe_size`.
        if attempts > self.attempts and state in {"pending", "running", "waiting", "blocked"}:
            raise Violation(f"{name} had {attempts} attempts of {self.attempts}: {seen}")
        if state == "blocked" and (attempts < self.attempts or not seen["reason"]):
            raise Violation(f"{name} is blocked too early, or without a reason: {seen}")

    def _compare_both(self) -> None:
        """Done means: no row from before is left. Verified: nor one that came before that.

        What came in the same step may have come before or after. What was written before the
        cascade's end is found by the verification, however late it is committed.
        """
        for identity, row, key in self.orphans():
            log_id = self.graves.get(key)
            if log_id is None:
                raise Violation(f"{identity} refers to {key}, of which no deletion is known")
            entry = self.log[log_id]
            cascade = entry.cascades.get(row.kind.alias)
            if cascade is None or cascade.state not in {"done", "verified"}:
                continue
            what = f"{identity} {row.values}, written in step {row.written}, committed in step"
            what += f" {row.committed}, is still there: {log_id} {cascade}, now {self.step}"
            if row.committed < cascade.done:
                raise Violation(f"done too early: {what}")
            if cascade.state == "verified" and (
                row.written < cascade.done or row.committed < cascade.verified
            ):
                raise Violation(f"verified too early: {what}")
