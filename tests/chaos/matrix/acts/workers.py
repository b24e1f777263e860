"""The whole worker is killed, with all of its children; another one goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.integrity.failpoints import Failpoint

from ..stage import insist, now
from .act import Act, proves
from .company import Company

if TYPE_CHECKING:
    from ..stage import Stage


@proves(
    *(f"kill-worker-{where}" for where in ("c", "d", "e-committed", "f")),
    *(f"kill-worker-{where}" for where in ("e-claimed", "e-removed", "g")),
)
def killed(stage: Stage) -> None:
    """Three times; then the messages of the dead come due in Redis."""
    stage.suspend_spare()
    held, begun = Company.gather(stage), now()
    owner = stage.held(held.working[0], "blog_db").owner
    _kill_busy(stage, held)
    insist(stage.held(held.working[0], "blog_db").owner != owner, "not swept: delivered again")
    _kill_removing(stage)
    _kill_idle(stage)
    stage.age_lost()
    stage.until(stage.quiet, "Redis has given the dead ones' messages out again", seconds=75)
    stage.prove("kill-worker-f", (now() - begun).total_seconds())
    held.insist_removed_once(by_the_dead=True)
    held.insist_kept()


def _kill_busy(stage: Stage, held: Company) -> None:
    killed = now()
    stage.kill_worker()
    insist(stage.queued() >= 1, "no message at c")
    insist(len(stage.lost) >= 3, f"only {len(stage.lost)} messages in the hands of the dead")
    stage.relieve()
    stage.cascaded("kill-worker-c", held.queued, killed)
    stage.cascaded("kill-worker-d", held.received, killed)
    stage.cascaded("kill-worker-e-committed", held.working, killed)
    held.insist_removed_once(by_the_dead=True)


def _kill_removing(stage: Stage) -> None:
    stage.suspend_spare()
    users = stage.take(2)
    claimed = stage.traps.arm("blog_db", Failpoint.CLAIMED, "wait")
    removed = stage.traps.arm("shop_db", Failpoint.REMOVED, "wait")
    stage.delete(users)
    stage.until(lambda: claimed.sprung and removed.sprung, "cascades held at e")
    killed = now()
    stage.kill_worker()
    stage.relieve()
    stage.cascaded("kill-worker-e-claimed", users, killed)
    stage.cascaded("kill-worker-e-removed", users, killed)
    for user in users:
        blog, shop = stage.cascade(user, "blog_db"), stage.cascade(user, "shop_db")
        insist((blog.attempts, shop.attempts) == (2, 2), f"{blog.attempts}, {shop.attempts}")
    stage.insist_counted(users)


def _kill_idle(stage: Stage) -> None:
    stage.suspend_spare()
    users = stage.take()
    killed = now()
    stage.kill_worker()
    stage.delete(users)
    stage.relieve(last=True)
    stage.cascaded("kill-worker-g", users, killed)


ACTS: tuple[Act, ...] = (killed,)
