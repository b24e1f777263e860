"""A seed and a size → every decision of a storm, the same ones each time. Pure.

The driver and its processes each make the plan anew from the file in the run's directory.
"""

# ruff: noqa: S311 - decisions that can be replayed are the point

from __future__ import annotations

import dataclasses
import functools
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from tests.chaos.truth import CHILD_DATABASES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DELETERS = 3
DATABASES = ("default", *CHILD_DATABASES)

#: What takes the place of an outage that a storm leaves out.
INSTEAD = {
    "redis-kill": "redis-stop",
    "redis-stop": "redis-kill",
    "stop": "freeze",
    "freeze": "stop",
}

How = Literal["instance", "queryset", "raw"]
Fate = Literal["committed", "exception", "savepoint"]
Target = Literal["child", "worker", "deleter", "beat"]
Kind = Literal[
    *("kill", "redis-kill", "redis-stop", "flush", "stop", "freeze"),
    *("read-only", "full", "locked", "idle", "hidden", "narrow"),
]

#: What a child database can have that answers all the same: see troubles.py.
TROUBLES: tuple[Kind, ...] = ("read-only", "full", "locked", "idle", "hidden", "narrow")
#: So many of them one storm leaves out.
SPARED = 2
#: A trouble has so much time for itself, in each child database; and lasts so long, at least:
#: it goes on until the status tells it, or should have told it.
SLOT_SECONDS, TROUBLE_SECONDS = 15.0, (11.5, 13.0)
QUICK_SLOT_SECONDS, QUICK_TROUBLE_SECONDS = 7.0, (4.0, 5.0)
#: Users of one deleting transaction; a quick storm leaves out the last two.
SIZES = (1, 1, 2, 3, 5, 8, 12, 20)

#: The variable with another alias for blog_db, for who is deployed with it, and that alias.
ALIAS, RENAMED = "STORM_BLOG_ALIAS", "press_db"


#: Shares of all kills.
TARGETS: dict[Target, int] = {"child": 45, "worker": 25, "deleter": 22, "beat": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One deleting transaction: its keys, its way, and whether it is meant to commit.

    `late` holds a child row open over the commit, `again` carries it out once more after a kill,
    and a batch of the `tail` waits until all other faults are over.
    """

    id: int
    at: float
    keys: tuple[int, ...]
    how: How
    fate: Fate
    late: bool
    again: bool
    tail: bool

    @property
    def doomed(self) -> tuple[int, ...]:
        """Keys that are gone when the transaction went as planned."""
        halves = {"committed": len(self.keys), "exception": 0, "savepoint": len(self.keys) // 2}
        return self.keys[: halves[self.fate]]

    @property
    def spared(self) -> tuple[int, ...]:
        """Keys whose delete is rolled back."""
        return self.keys[len(self.doomed) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something bad at a moment: what, to whom, for how long; `pick` chooses among candidates."""

    at: float
    kind: Kind
    target: str = ""
    seconds: float = 0.0
    pick: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one storm does."""

    seed: int
    users: int
    kills: int
    redis_restarts: int
    #: Whether each database is both stopped and frozen, or one of the two.
    both_outages: bool

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The plan of a run."""
        return cls(**json.loads((directory / "plan.json").read_text()))

    def write(self, directory: Path) -> None:
        """Leave the plan to the processes of a run."""
        (directory / "plan.json").write_text(json.dumps(dataclasses.asdict(self)))

    @property
    def outage_seconds(self) -> float:
        """How long servers come and go."""
        return 15 + 1.1 * self.kills if self.both_outages else 8 + 0.7 * self.kills

    @property
    def seconds(self) -> float:
        """How long faults go on before the tail: first outages, then troubles; kills all along."""
        return self.outage_seconds + self._slot_seconds * max(map(len, self._lanes))

    @property
    def _slot_seconds(self) -> float:
        return SLOT_SECONDS if self.both_outages else QUICK_SLOT_SECONDS

    @property
    def pause_seconds(self) -> float:
        """How long the inserter pauses between two transactions."""
        return 0.02 if self.both_outages else 0.1

    @functools.cached_property
    def troubles(self) -> tuple[Kind, ...]:
        """Kinds of trouble in this storm, drawn from the seed: combinations vary."""
        draw = self.draw("swarm", "troubles")
        return tuple(draw.sample(TROUBLES, len(TROUBLES) - SPARED))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Kinds of fault that this storm leaves out."""
        spared = [each for each in TROUBLES if each not in self.troubles]
        return tuple(filter(None, (*spared, self._outage_left_out, self._target_left_out)))

    @property
    def renames(self) -> bool:
        """Whether a child database has another alias for a while."""
        return self.draw("swarm", "rename").random() < 0.5

    @property
    def _outage_left_out(self) -> str:
        """Another kind of outage, of the same server, takes its place."""
        return self.draw("swarm", "outages").choice(("", *INSTEAD))

    @property
    def _target_left_out(self) -> str:
        """Who is spared; workers are what a storm is about."""
        return self.draw("swarm", "targets").choice(("", "deleter", "beat"))

    @functools.cached_property
    def _lanes(self) -> list[list[Kind]]:
        """The troubles of each child database, one after the other; a quick storm shares them."""
        draw, kinds = self.draw("lanes"), list(self.troubles)
        if self.both_outages:
            return [draw.sample(kinds, len(kinds)) for _ in CHILD_DATABASES]
        return [kinds[number :: len(CHILD_DATABASES)] for number in range(len(CHILD_DATABASES))]

    def draw(self, *subject: object) -> random.Random:
        """The source of decisions about one subject."""
        return random.Random(":".join(map(str, (self.seed, *subject))))

    @functools.cached_property
    def _shuffled(self) -> list[int]:
        keys = list(range(1, self.users + 1))
        self.draw("users").shuffle(keys)
        return keys

    @property
    def bystanders(self) -> Sequence[int]:
        """Users that nobody deletes."""
        return self._shuffled[int(self.users * 0.85) :]

    @functools.cached_property
    def batches(self) -> list[list[Batch]]:
        """The transactions of each deleter, in order."""
        keys = self._shuffled[: int(self.users * 0.85)]
        draw = self.draw("batches")
        cuts: list[tuple[int, ...]] = []
        while keys:
            size = draw.choice(SIZES if self.both_outages else SIZES[:-2])
            cuts.append(tuple(keys[:size]))
            keys = keys[size:]
        return [
            list(self._of_deleter(draw, cuts[number::DELETERS], number))
            for number in range(DELETERS)
        ]

    def _of_deleter(
        self, draw: random.Random, cuts: Sequence[tuple[int, ...]], number: int
    ) -> Iterator[Batch]:
        early = max(1, int(len(cuts) * 0.88))
        for position, keys in enumerate(cuts):
            fates: Sequence[Fate] = get_args(Fate)
            yield Batch(
                id=position * DELETERS + number,
                at=self.seconds * position / early,
                keys=keys,
                how=draw.choice(get_args(How)),
                fate=draw.choices(fates, (90, 5, 5))[0],
                late=draw.random() < 0.06,
                again=draw.random() < 0.5,
                tail=position >= early,
            )

    @functools.cached_property
    def reborn(self) -> dict[int, float]:
        """Keys that are inserted again after their delete → how many seconds later."""
        draw = self.draw("reborn")
        return {
            key: 0.0 if batch.tail else draw.choice((0.0, 0.0, draw.uniform(0, 2)))
            for batch in (each for batches in self.batches for each in batches)
            for key in batch.doomed
            if draw.random() < (0.2 if batch.tail else 0.06)
        }

    @property
    def tail_kills(self) -> bool:
        """Whether workers are killed for the last deletes; else they are suspended."""
        return self.renames or self.draw("tail").random() < 0.5

    @functools.cached_property
    def faults(self) -> list[Fault]:
        """All faults before the tail, by their time."""
        draw = self.draw("faults")
        found = (*self._kills(draw), *self._outages(draw), *self._troubles())
        return sorted(found, key=lambda fault: fault.at)

    def due(self, begin: float, end: float) -> tuple[int, ...]:
        """Keys whose deletes are planned for that time, and are meant to commit."""
        return tuple(
            key
            for batches in self.batches
            for batch in batches
            if begin <= batch.at < end and not batch.tail and batch.fate == "committed"
            for key in batch.doomed
        )

    def _troubles(self) -> Iterator[Fault]:
        draw = self.draw("troubles")
        lengths = TROUBLE_SECONDS if self.both_outages else QUICK_TROUBLE_SECONDS
        for alias, kinds in zip(CHILD_DATABASES, self._lanes, strict=True):
            for position, kind in enumerate(kinds):
                yield Fault(
                    at=self.outage_seconds + self._slot_seconds * position + draw.uniform(0, 1.5),
                    kind=kind,
                    target=alias,
                    seconds=draw.uniform(*lengths),
                    pick=draw.random(),
                )

    def _kills(self, draw: random.Random) -> Iterator[Fault]:
        shares = {each: TARGETS[each] for each in TARGETS if each != self._target_left_out}
        names, weights = list(shares), list(shares.values())
        # Each kind at least once, however few there are.
        targets = [*names, *draw.choices(names, weights, k=max(0, self.kills - len(names)))]
        for target in targets[: self.kills]:
            at = draw.uniform(2, self.seconds)
            yield Fault(at=at, kind="kill", target=target, pick=draw.random())

    def _outages(self, draw: random.Random) -> Iterator[Fault]:
        restarts = [("redis-kill", ""), ("redis-stop", "")] * self.redis_restarts
        outages: list[tuple[Any, str]] = [*restarts[: self.redis_restarts], ("flush", "")]
        for position, alias in enumerate(draw.sample(DATABASES, len(DATABASES))):
            kinds: Sequence[Kind] = ("stop", "freeze")
            if not self.both_outages:
                kinds = (kinds[position % 2],)
            if alias == "default" and "read-only" in self.troubles:
                kinds = (*kinds[1:], "read-only")
            outages += [(kind, alias) for kind in kinds]
        draw.shuffle(outages)
        left_out = self._outage_left_out
        outages = [(INSTEAD[k] if k == left_out else k, target) for k, target in outages]
        slot = (self.outage_seconds - 3) / len(outages)
        for position, (kind, target) in enumerate(outages):
            # One after the other, so that each has its own time; kills go on meanwhile.
            length = draw.uniform(1, min(6, slot * 0.7)) if slot > 2 else 1.0
            at = 3 + slot * position + draw.uniform(0, slot * 0.2)
            yield Fault(at=at, kind=kind, target=target, seconds=length)
