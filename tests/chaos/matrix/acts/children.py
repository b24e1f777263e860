"""Prefork children are killed, each at another moment; the worker stays."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from apps.integrity.control import actions
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade
from sandbox.processes import send, tree

from ..stage import insist, now
from .act import Act, proves

if TYPE_CHECKING:
    from ..stage import Stage

KILLS: dict[str, tuple[str, Failpoint]] = {
    "d-dispatch": ("default", Failpoint.RECEIVED),
    "d-dispatched": ("default", Failpoint.DISPATCHED),
    "d-cascade": ("blog_db", Failpoint.RECEIVED),
    "e-claimed": ("blog_db", Failpoint.CLAIMED),
    "e-removed": ("blog_db", Failpoint.REMOVED),
    "e-committed": ("blog_db", Failpoint.REMOVAL_COMMITTED),
    "f": ("shop_db", Failpoint.FINISHED),
}

#: The attempts that blog_db takes where a child is killed in the middle of the first one.
ATTEMPTS = {"e-claimed": 2, "e-removed": 2, "e-committed": 2}


def _killed_at(where: str) -> Act:
    cell = f"kill-child-{where}"

    def play(stage: Stage) -> None:
        users = stage.take(2)
        trap = stage.traps.arm(*KILLS[where], "die")
        stage.delete(users)
        stage.until(lambda: trap.sprung, "a child killed itself")
        killed = now()
        owners = _owners(stage, users) if where.startswith("e-") else []
        stage.cascaded(cell, users, killed)
        _look_at_receipts(stage, where, users)
        insist(stage.worker.running, "the worker ended")
        if owners:
            insist(
                _owners(stage, users) == owners, "not taken over, but left until the lease ended"
            )

    return Act(play, (cell,))


def _owners(stage: Stage, users: list[int]) -> list[str]:
    """The tasks that claimed: the same one again where its message was delivered again."""
    return [stage.held(user, "blog_db").owner for user in users]


def _look_at_receipts(stage: Stage, where: str, users: list[int]) -> None:
    for user in users:
        blog, shop = stage.cascade(user, "blog_db"), stage.cascade(user, "shop_db")
        insist(blog.attempts == ATTEMPTS.get(where, 1), f"{blog.attempts} attempts in blog_db")
        insist(shop.attempts == 1, f"{shop.attempts} attempts in shop_db")
    stage.insist_counted(users)


@proves("kill-child-f-probed")
def probed(stage: Stage) -> None:
    users = stage.take(2)
    trap = stage.traps.arm("blog_db", Failpoint.PROBED, "die")
    stage.delete(users)
    stage.until(lambda: trap.sprung, "a child killed itself while verifying")
    stage.verified("kill-child-f-probed", users, now())


@proves("kill-child-g")
def idle(stage: Stage) -> None:
    users = stage.take()
    before = tree(stage.worker.pid)[1:]
    for child in before:
        send(child, signal.SIGKILL)
    stage.until(
        lambda: len(set(tree(stage.worker.pid)[1:]) - set(before)) >= len(before),
        "the worker has new children",
    )
    killed = now()
    stage.delete(users)
    stage.cascaded("kill-child-g", users, killed)
    insist(stage.worker.running, "the worker ended")


@proves("oom-loop-e")
def oom_loop(stage: Stage) -> None:
    users = stage.take(12)
    poison = users[len(users) // 2]
    stage.traps.poison(poison)
    started = now()
    stage.delete(users)
    spared = [user for user in users if user != poison]
    stage.cascaded_all(spared)
    stage.until(
        lambda: stage.cascade(poison, "blog_db").state == Cascade.State.BLOCKED,
        "the deletion that kills is parked",
        seconds=40,
    )
    stage.prove("oom-loop-e", (now() - started).total_seconds())
    blocked = stage.cascade(poison, "blog_db")
    insist(blocked.reason == "the worker was lost on every attempt", blocked.reason)
    insist(blocked.attempts == 8, f"{blocked.attempts} attempts")
    insist(stage.truth.doomed([poison]) - stage.truth.doomed(spared), "nothing to remove")
    for user in spared:
        state = stage.cascade(user, "blog_db")
        insist(state.attempts < 8, f"its company had {state.attempts} attempts")
    stage.traps.cure()
    actions.retry(None, actor="matrix", using="default")
    stage.until(lambda: stage.cascade(poison, "blog_db").done_at, "retried when it kills no more")


ACTS: tuple[Act, ...] = (
    idle,
    *(_killed_at(where) for where in KILLS),
    probed,
    oom_loop,
)
