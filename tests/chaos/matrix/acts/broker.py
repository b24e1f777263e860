"""Redis is stopped, and frozen, while deletions stand at every moment."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from ..stage import insist, now
from .act import Act
from .company import Company

if TYPE_CHECKING:
    from ..stage import Stage

#: Longer than a worker's socket waits, so that it notices.
FROZEN_SECONDS = 6.0


def _away(stage: Stage, fault: str) -> None:
    held, requested, idle = Company.gather(stage), stage.take(), stage.take()
    frozen = fault == "redis-frozen"
    (stage.redis.freeze if frozen else stage.redis.stop)()
    gone = time.monotonic()

    stage.prove(f"{fault}-a", stage.delete(requested))
    insist(stage.deletion(requested[0]), "no row in the log")
    released = now()
    held.release()
    stage.until(held.removed, "the work goes on while Redis is away", seconds=15)
    stage.cascaded(f"{fault}-e", held.working, released)
    held.insist_removed_once(by_the_dead=False)
    if frozen:
        stage.until(lambda: time.monotonic() - gone > FROZEN_SECONDS, "Redis was away long enough")
        stage.redis.thaw()
    else:
        stage.redis.start().wait_until_ready()

    back = now()
    stage.delete(idle)
    stage.cascaded(f"{fault}-b", requested, back)
    stage.cascaded(f"{fault}-c", held.queued, back)
    stage.cascaded(f"{fault}-d", held.received, back)
    stage.cascaded(f"{fault}-g", idle, back)
    stage.until(lambda: not stage.unacknowledged(), "no message is left", seconds=30)
    stage.prove(f"{fault}-f", (now() - back).total_seconds())
    held.insist_kept()
    held.insist_removed_once(by_the_dead=False)


ACTS: tuple[Act, ...] = tuple(
    Act(partial(_away, fault=fault), tuple(f"{fault}-{moment}" for moment in "abcdefg"))
    for fault in ("redis-refused", "redis-frozen")
)
