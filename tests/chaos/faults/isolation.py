"""One child database freezes under a steady load: the others do not notice, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.log import open_work, running
from tests.chaos.truth import CHILD_DATABASES

from . import people
from .bounds import Bound, Figure, percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stage import Stage

FACTOR, ADDED_SECONDS = 1.2, 0.2
DRAINED_SECONDS = 30.0
#: Users deleted at once before the freeze, and rows of each: it comes in the middle of something.
BURST, SEEN_SECONDS = 50, 5.0
#: How long the backlog is watched, to tell a late end from none.
WATCHED_SECONDS = 120.0


def run(stage: Stage) -> Iterator[Bound | Figure]:
    """Freeze one database after the other."""
    with stage.crew():
        for victim in stage.scale.frozen:
            yield from _frozen(stage, victim)


def _frozen(stage: Stage, victim: str) -> Iterator[Bound | Figure]:
    scale = stage.scale
    before = people.born(round(scale.baseline_seconds * scale.per_second))
    during = people.born(round(scale.frozen_seconds * scale.per_second))
    burst = people.born(BURST, posts=BURST, orders=BURST)
    people.delete_steadily(before, scale.per_second)
    if not stage.until(lambda: not open_work(), WATCHED_SECONDS):
        raise TimeoutError("the baseline's cascades do not end")
    stage.say(f"{victim} freezes for {scale.frozen_seconds:.0f} s")
    people.delete_at_once(burst)
    stage.until(lambda: bool(running()[victim]), SEEN_SECONDS, pause=0.001)
    with stage.sandbox.postgres[victim].frozen():
        held = running()[victim]
        people.delete_steadily(during, scale.per_second)
    drained = stage.until_done(WATCHED_SECONDS)
    yield Figure(f"{victim}: cascades at work when it froze", held)
    for other in set(CHILD_DATABASES) - {victim}:
        usual = percentile(people.delays(before, other))
        frozen = percentile(people.delays(during, other))
        yield Figure(f"{other}: p95 of the baseline", usual, "s")
        limit = FACTOR * usual + ADDED_SECONDS
        yield Bound(f"{other}: p95 while {victim} is frozen", frozen, limit, "s")
    yield Bound(f"{victim}: attempts burnt by the freeze", _burnt(burst + during, victim), 0)
    yield Bound(f"{victim}: backlog drained after the thaw", drained, DRAINED_SECONDS, "s")


def _burnt(keys: list[int], database: str) -> int:
    """Attempts beyond the one that a cascade needs."""
    found = people.outcomes(keys, database)
    return sum(max(outcome.attempts - 1, 0) for _, outcome in found)
