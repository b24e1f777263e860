"""The truth from the journals, against what the databases hold: differences, each with its keys.

Takes the plan, the journals and every row; gives sentences. What the journals leave unknown is
looked up in `default`: the user is there, or is not, and everything else follows from that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.integrity.models import Cascade
from tests.chaos import log, rows, truth
from tests.chaos.truth import CHILDREN, ENDED, Truth

from . import journal, population
from . import scene as scenes
from .plan import RENAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.chaos.truth import Row, Rows

    from .journal import Entry
    from .plan import Plan
    from .scene import Scene

#: Differences of one kind that are shown.
SHOWN = 8
SAVEPOINTS = "savepoints rolled back"


@dataclass
class Known:
    """What the journals say."""

    deleted: set[int] = field(default_factory=set)
    #: Deletes whose outcome nobody knows, of users that no other transaction deleted.
    unknown: set[int] = field(default_factory=set)
    reborn: set[int] = field(default_factory=set)
    maybe_reborn: set[int] = field(default_factory=set)
    #: Inserted beside the population: kind → key → row, and which of them are committed.
    inserted: dict[str, dict[int, Row]] = field(default_factory=dict)
    committed: dict[str, set[int]] = field(default_factory=dict)
    #: Rows of restored users that came with or after them.
    fresh: dict[str, set[int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, scene: Scene) -> Known:
        """Read every journal of the run."""
        known = cls(
            inserted={kind: {} for kind in CHILDREN},
            committed={kind: set() for kind in CHILDREN},
            fresh={kind: set() for kind in CHILDREN},
        )
        for name in (*scenes.DELETER_NAMES, scenes.INSERTER, scenes.RESTORER):
            for entry in journal.read(scene.journal(name)):
                known._take(entry, fresh=name == scenes.RESTORER)
        known.unknown -= known.deleted
        known.maybe_reborn -= known.reborn
        return known

    def truth(self, original: Rows) -> Truth:
        """Return what must be left of those rows and of what was inserted beside them."""
        everything = original | {kind: original[kind] | self.inserted[kind] for kind in CHILDREN}
        optional = {
            (kind, key)
            for kind in CHILDREN
            for key, row in everything[kind].items()
            if (row[1] in self.deleted and key not in self.fresh[kind])
            or (key in self.inserted[kind] and key not in self.committed[kind])
        }
        back = self.reborn | self.maybe_reborn
        unsure = self.unknown | self.maybe_reborn
        return Truth(everything, self.deleted - back, unsure, optional)

    def _take(self, entry: Entry, *, fresh: bool) -> None:
        if entry.kind == "delete":
            self._take_delete(entry)
            return
        row: Row = tuple(entry.data["row"])
        if entry.kind == "user":
            if entry.outcome != "Planned":
                (self.reborn if entry.committed else self.maybe_reborn).add(row[0])
                self.counts["users inserted again"] += entry.committed
            else:
                self.counts["re-creations rolled back"] += 1
            return
        self.inserted[entry.kind][row[0]] = row
        if entry.committed:
            self.committed[entry.kind].add(row[0])
            self.counts["rows inserted"] += 1
        if fresh:
            self.fresh[entry.kind].add(row[0])

    def _take_delete(self, entry: Entry) -> None:
        doomed = entry.data["doomed"]
        if entry.committed:
            self.deleted.update(doomed)
            self.counts["deletes committed"] += 1
            self.counts[SAVEPOINTS] += bool(entry.data["spared"])
        elif entry.outcome == "Planned":
            self.counts["deletes rolled back"] += 1
        else:
            self.unknown.update(doomed)
            ended = "interrupted" if entry.outcome == journal.UNKNOWN else "failed"
            self.counts[f"deletes {ended}"] += 1


@dataclass
class Checker:
    """Compares; `differences()` is empty when every promise was kept."""

    plan: Plan
    scene: Scene
    problems: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.original = population.rows(self.plan)

    def converged(self) -> bool:
        """Whether no work is open and no orphan is left."""
        return not log.open_work() and not any(truth.orphans(rows.stored()))

    def differences(self) -> list[str]:
        """Every kind of difference with its number and the first keys."""
        self.problems = {}
        self.known = Known.of(self.scene)
        self.rows = rows.stored()
        self.truth = self.known.truth(self.original)
        for wrong in (*self.truth.differences(self.rows), *truth.orphans(self.rows)):
            self._note(wrong.what, [wrong.key])
        self._log()
        return [
            f"{len(keys)} x {what}: {', '.join(map(str, sorted(keys)[:SHOWN]))}"
            for what, keys in self.problems.items()
        ]

    def _note(self, what: str, keys: Iterable[Any]) -> None:
        listed = list(keys)
        if listed:
            self.problems.setdefault(what, []).extend(listed)

    def back(self, key: int) -> bool:
        """Whether that living user was deleted and inserted again."""
        return key in self.known.deleted and key in self.rows["user"]

    def _log(self) -> None:
        logged: dict[int, set[str]] = {}
        for deletion in log.entries():
            logged.setdefault(int(str(deletion.key)), set()).add(str(deletion.state))
        gone = self.original["user"].keys() - self.rows["user"].keys()
        back = self.known.deleted & self.rows["user"].keys()
        for what, keys in truth.of_log(logged, gone | back).items():
            self._note(what, keys)
        unverified = (key for key in gone if logged.get(key) != {"verified"})
        self._note("gone, but not verified", unverified)
        self._note("restored, but open", (key for key in back if logged.get(key, set()) - ENDED))
        self._note("receipt that contradicts itself", log.bad_receipts(**{RENAMED: "blog_db"}))
        self._note("receipt that counts more rows than were removed", self._miscounted(more=True))
        self._note("receipt that counts fewer rows than were removed", self._miscounted(more=False))
        accounted, certain, removed = self.accounts()
        if not certain <= accounted <= removed:
            wrong = [accounted, certain, removed]
            self._note("receipts that account for too few rows, or too many", wrong)

    def _miscounted(self, *, more: bool) -> Iterator[int]:
        """Users whose receipts count more rows of a kind than are gone: of theirs, or under theirs.

        Or fewer: of rows that have one parent alone, and that were there for sure.
        """
        gone = {kind: self._gone(kind) for kind in CHILDREN}
        counted: dict[int, Counter[str]] = {}
        for deletion in log.entries():
            counts = counted.setdefault(int(str(deletion.key)), Counter())
            for relation, number in (item for it in deletion.databases for item in it.rows.items()):
                counts[relation.split(".")[1].lower()] += number
        certain = {kind: self._certainly_gone(kind) for kind in ("post", "order")}
        for key, counts in counted.items():
            if more and any(number > gone[kind][key] for kind, number in counts.items()):
                yield key
            if not more and any(counts[kind] < known[key] for kind, known in certain.items()):
                yield key

    def _certainly_gone(self, kind: str) -> Counter[int]:
        """User → rows of that kind that were there, and that went with a parent."""
        unsure = self.known.inserted[kind].keys() - self.known.committed[kind]
        living = {
            wrong.key
            for wrong in self.truth.differences(self.rows)
            if wrong.kind == kind and wrong.problem is truth.Problem.GONE
        }
        gone = self.truth.rows[kind].keys() - self.rows[kind].keys() - unsure - living
        return Counter(self.truth.rows[kind][key][1] for key in gone)

    def _gone(self, kind: str) -> Counter[int]:
        """User → rows of that kind that are gone, of the user's or under the user's posts."""
        gone: Counter[int] = Counter()
        posts = self.truth.rows["post"]
        for key, row in self.truth.rows[kind].items():
            if key not in self.rows[kind]:
                above = [posts[row[2]][1]] if kind == "comment" and row[2] in posts else []
                gone.update({row[1], *above})
        return gone

    def kept(self) -> set[int]:
        """Users that were deleted, came back, and kept rows that they had before."""
        return {
            row[1]
            for kind in ("post", "order")
            for key, row in self.rows[kind].items()
            if key in self.original[kind] and self.back(row[1])
        }

    def accounts(self) -> tuple[int, int, int]:
        """Rows that the receipts account for; that went for sure, and at the most."""
        accounted = sum(
            sum(removed.values())
            for rows_of in Cascade.objects.values_list("rows", flat=True)
            for removed in (rows_of or {}).values()
        )
        certain = sum(self._certainly_gone(kind).total() for kind in CHILDREN)
        gone = sum(len(self.truth.rows[kind].keys() - self.rows[kind].keys()) for kind in CHILDREN)
        return accounted, certain, gone
