"""The truth from the journals, against what the databases hold: differences, each with its keys.

Takes the plan, the journals and every row; gives sentences. What the journals leave unknown is
looked up in `default`: the user is there, or is not, and everything else follows from that.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.integrity.models import Cascade, Deletion

from . import journal, population
from . import scene as scenes
from .plan import CHILD_DATABASES, RENAMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .journal import Entry
    from .plan import Plan
    from .population import Row
    from .scene import Scene

CHILDREN = ("post", "comment", "order")
#: Differences of one kind that are shown.
SHOWN = 8
#: Share of the removed rows that receipts must account for, whoever was killed.
LEAST_ACCOUNTED = 0.5
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
    found: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.original = population.rows(self.plan)

    def converged(self) -> bool:
        """Whether no work is open and no orphan is left."""
        return not open_work() and not any(orphans().values())

    def differences(self) -> list[str]:
        """Every kind of difference with its number and the first keys."""
        self.found = {}
        self.known = Known.of(self.scene)
        self.rows = {kind: population.stored(kind) for kind in population.MODELS}
        self._users()
        self.post_fate = self._posts()
        self._comments()
        self._orders()
        self._log()
        for what, keys in orphans().items():
            self._note(f"orphans of {what}", keys)
        return [
            f"{len(keys)} x {what}: {', '.join(map(str, sorted(keys)[:SHOWN]))}"
            for what, keys in self.found.items()
        ]

    def _note(self, what: str, keys: Iterable[Any]) -> None:
        listed = list(keys)
        if listed:
            self.found.setdefault(what, []).extend(listed)

    # Users

    def _users(self) -> None:
        living, known = self.rows["user"].keys(), self.known
        may_be_gone = known.deleted | known.unknown
        self._note("living user gone", self.original["user"].keys() - may_be_gone - living)
        self._note("restored user gone", known.reborn - living)
        self._note(
            "deleted user is back", (known.deleted & living) - known.reborn - known.maybe_reborn
        )
        self._note("user from nowhere", living - self.original["user"].keys())
        self._same("user", self.original["user"])

    def back(self, key: int) -> bool:
        """Whether that living user was deleted and inserted again."""
        return key in self.known.deleted and key in self.rows["user"]

    # Rows: True must be there, False must not, None may be either.

    def _author(self, kind: str, key: int, author: int) -> bool | None:
        if author not in self.rows["user"]:
            return False
        if self.back(author) and key not in self.known.fresh[kind]:
            return None
        inserted = self.known.inserted[kind]
        return True if key not in inserted or key in self.known.committed[kind] else None

    def _posts(self) -> dict[int, bool]:
        fates = {
            key: self._author("post", key, row[1]) for key, row in self._expected("post").items()
        }
        self._judge("post", fates)
        return {key: key in self.rows["post"] for key in fates}

    def _comments(self) -> None:
        fates: dict[int, bool | None] = {}
        for key, (_, author, post, *_) in self._expected("comment").items():
            under = self.post_fate.get(post, False)
            fates[key] = self._author("comment", key, author) if under else False
        self._judge("comment", fates)

    def _orders(self) -> None:
        self._judge(
            "order",
            {
                key: self._author("order", key, row[1])
                for key, row in self._expected("order").items()
            },
        )

    def _expected(self, kind: str) -> dict[int, Row]:
        return self.original[kind] | self.known.inserted[kind]

    def _judge(self, kind: str, fates: dict[int, bool | None]) -> None:
        there = self.rows[kind].keys()
        must = {key for key, fate in fates.items() if fate}
        must_not = {key for key, fate in fates.items() if fate is False}
        self._note(f"living {kind} gone", must - there)
        self._note(f"{kind} of a deleted user or post left", must_not & there)
        self._note(f"{kind} from nowhere", there - fates.keys())
        self._same(kind, self._expected(kind))

    def _same(self, kind: str, expected: dict[int, Row]) -> None:
        there = self.rows[kind]
        changed = (key for key in there.keys() & expected.keys() if there[key] != expected[key])
        self._note(f"{kind} changed", changed)

    # The deletion log

    def _log(self) -> None:
        logged: dict[int, list[str]] = {}
        for key, state in Deletion.objects.values_list("key", "state"):
            logged.setdefault(int(key), []).append(state)
        known, living = self.known, self.rows["user"].keys()
        gone = self.original["user"].keys() - living
        untouched = living - known.deleted
        self._note("logged, although its delete was rolled back", untouched & logged.keys())
        self._note("gone, but not in the log", gone - logged.keys())
        self._note(
            "gone, but not verified",
            (key for key in gone if set(logged.get(key, ())) != {"verified"}),
        )
        back = known.deleted & living
        ended = {Deletion.State.VERIFIED, Deletion.State.KEPT}
        self._note("restored, but open", (key for key in back if set(logged.get(key, ())) - ended))
        self._note("receipt that contradicts itself", _bad_receipts())
        self._note("receipt that counts more rows than were removed", self._overcounted())
        accounted, removed = self.accounts()
        if not removed * LEAST_ACCOUNTED <= accounted <= removed:
            self._note("receipts that account for too few rows, or too many", [accounted, removed])

    def _overcounted(self) -> Iterator[int]:
        """Users whose receipts count more rows of a kind than are gone: of theirs, or under theirs.

        Only more: see `accounts`.
        """
        gone = {kind: self._gone(kind) for kind in CHILDREN}
        counted: dict[int, Counter[str]] = {}
        found = Cascade.objects.exclude(rows=None).values_list("deletion__key", "rows")
        for key, rows in found:
            for relation, number in (rows or {}).items():
                counted.setdefault(int(key), Counter())[relation.split(".")[1].lower()] += number
        for key, counts in counted.items():
            if any(number > gone[kind][key] for kind, number in counts.items()):
                yield key

    def _gone(self, kind: str) -> Counter[int]:
        """User → rows of that kind that are gone, of the user's or under the user's posts."""
        found: Counter[int] = Counter()
        posts = self._expected("post")
        for key, row in self._expected(kind).items():
            if key not in self.rows[kind]:
                above = [posts[row[2]][1]] if kind == "comment" and row[2] in posts else []
                found.update({row[1], *above})
        return found

    def kept(self) -> set[int]:
        """Users that were deleted, came back, and kept rows that they had before."""
        return {
            row[1]
            for kind in ("post", "order")
            for key, row in self.rows[kind].items()
            if key in self.original[kind] and self.back(row[1])
        }

    def accounts(self) -> tuple[int, int]:
        """Rows that the receipts account for, and rows that are gone.

        A worker that is killed between its commit and its note never counts what it removed.
        """
        accounted = sum(
            sum((rows or {}).values()) for rows in Cascade.objects.values_list("rows", flat=True)
        )
        gone = sum(len(self._expected(kind).keys() - self.rows[kind].keys()) for kind in CHILDREN)
        return accounted, gone


def open_work() -> int:
    """Deletions without all cascades done, and cascades that are not done; blocked ones count."""
    states = (Deletion.State.SUSPECT, Deletion.State.RECORDED, Deletion.State.DISPATCHED)
    return (
        Deletion.objects.filter(state__in=states).count()
        + Cascade.objects.filter(state__in=Cascade.OPEN).count()
    )


def deletions() -> Counter[str]:
    """State → number of deletions."""
    return Counter(Deletion.objects.values_list("state", flat=True))


def blocked() -> list[str]:
    """What waits for an operator, and why."""
    found = Cascade.objects.filter(state=Cascade.State.BLOCKED).select_related("deletion")
    return [f"{each.deletion.key} → {each.database}: {each.reason}" for each in found]


def running() -> Counter[str]:
    """Database → cascades that a worker holds, or held when it died."""
    held = Cascade.objects.filter(state=Cascade.State.RUNNING)
    return Counter(held.values_list("database", flat=True))


def unverified() -> int:
    """Deletions that are cascaded and still to be verified."""
    return Deletion.objects.filter(state=Deletion.State.CASCADED).count()


def undispatched() -> int:
    """Deletions that nobody has begun with."""
    return Deletion.objects.filter(state=Deletion.State.RECORDED).count()


def orphans() -> dict[str, list[int]]:
    """Kind → keys of rows whose user does not exist, and of comments without their post."""
    # In this order, because what a row refers to is there before it.
    rows = {kind: population.stored(kind) for kind in ("comment", "post", "order", "user")}
    users = rows.pop("user")
    found = {
        kind: [key for key, row in of_kind.items() if row[1] not in users]
        for kind, of_kind in rows.items()
    }
    found["comment under a post"] = [
        key for key, row in rows["comment"].items() if row[2] not in rows["post"]
    ]
    return found


def _bad_receipts() -> Iterator[str]:
    """Deletions whose cascades do not bear their state out."""
    verified, kept = Cascade.State.VERIFIED, Cascade.State.KEPT
    for each in Deletion.objects.prefetch_related("cascades").iterator(chunk_size=1_000):
        cascades = list(each.cascades.all())
        states = {cascade.state for cascade in cascades}
        complete = {_alias(cascade.database) for cascade in cascades} == {*CHILD_DATABASES}
        fits = {
            Deletion.State.VERIFIED: complete and states == {verified},
            Deletion.State.KEPT: complete and kept in states and states <= {verified, kept},
        }.get(Deletion.State(each.state), False)
        if not (fits and all(map(_in_order, cascades))):
            yield f"{each.pk} (user {each.key}, {each.state}: {', '.join(sorted(states))})"


def _alias(name: str) -> str:
    """What is verified keeps the alias that it was verified under."""
    return "blog_db" if name == RENAMED else name


def _in_order(cascade: Cascade) -> bool:
    """Whether it was recorded, done and verified in this order, and nobody holds it."""
    if cascade.state != Cascade.State.VERIFIED:
        return cascade.claim is None
    moments = [cascade.recorded_at, cascade.done_at, cascade.verified_at]
    known = [moment for moment in moments if moment is not None]
    return cascade.claim is None and len(known) == len(moments) and known == sorted(known)
