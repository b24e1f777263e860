"""B17: how many of 10,000 deletions with mixed deadlines are late at 95 % load, in two orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.test import override_settings

from ..lib import deadline_scene
from ..lib.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

SEED = 19


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B17."""
    number = 10_000 if not stage.scale.quick else 4_000
    ticks = deadline_scene.arrivals(number, SEED)
    least, played = deadline_scene.least_late(ticks), dict[str, deadline_scene.Played]()
    given = {**settings.INTEGRITY, "deadline_days": {}, "wakeups": False}
    with override_settings(INTEGRITY=given):
        for name, nearest in (("nearest deadline first", True), ("oldest first", False)):
            stage.clear()
            played[name] = deadline_scene.play(ticks, nearest=nearest)
            stage.tell(f"{name}: {played[name].late:,} late")
    detail = {
        "least": least,
        "backlog": {name: [*one.backlog] for name, one in played.items()},
        "late": {name: [*one.late_so_far] for name, one in played.items()},
    }
    ours, oldest = (one.late for one in played.values())
    title = f"late of {number:,} deletions with mixed deadlines at 95 % load"
    yield Result.of(
        "B17",
        f"{title}, beyond the {least:,} that no order can meet",
        [float(ours - least)],
        0.0,
        unit="late",
        detail=detail,
    )
    yield Result.of("B17.oldest", f"{title}, oldest first", [float(oldest)], None, unit="late")
