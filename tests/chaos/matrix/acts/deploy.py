"""The worker gets a TERM, busy and idle; another one goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.integrity.failpoints import Failpoint

from ..stage import insist, now
from .act import Act, proves

if TYPE_CHECKING:
    from ..stage import Stage

#: Ten seconds of soft shutdown, and some to end.
ENDS_SECONDS = 15.0


@proves("term-c", "term-d", "term-e-ends", "term-e-redo", "term-f")
def busy(stage: Stage) -> None:
    stage.suspend_spare()
    working, received, queued = stage.take(2), stage.take(), stage.take()
    redo = stage.traps.arm("blog_db", Failpoint.REMOVAL_COMMITTED, "wait")
    ends = stage.traps.arm("shop_db", Failpoint.REMOVAL_COMMITTED, "wait")
    stage.delete(working)
    stage.until(lambda: redo.sprung and ends.sprung, "cascades held at e")
    stage.until(lambda: len(stage.taken()) == 2, "nothing else at work")
    before = stage.taken()
    dispatch = stage.traps.arm("default", Failpoint.RECEIVED, "wait")
    stage.delete(received)
    stage.until(lambda: dispatch.sprung and len(stage.taken()) == 3, "a dispatch held at d")
    at_d = stage.taken() - before
    stage.delete(queued)
    stage.until(stage.queued, "a message at c")

    asked = now()
    stage.worker.ask_to_stop()
    ends.release()
    stage.until(lambda: stage.cascade(working[0], "shop_db").done_at, "the slice ends", seconds=10)
    insist(stage.worker.running, "the worker ended before the slice")
    shop = stage.cascade(working[0], "shop_db")
    insist(shop.done_at, "not done")
    stage.prove("term-e-ends", (shop.done_at - asked).total_seconds())
    stage.until(lambda: not stage.worker.running, "the worker ends", seconds=ENDS_SECONDS)
    insist(not stage.unacknowledged(), "messages are left unacknowledged")
    insist(stage.queued() >= 2, "the messages of c and d are not in the queue")
    insist(at_d <= stage.waiting(), "the message of d is not in the queue")

    ended = now()
    stage.traps.clear()
    stage.relieve()
    stage.cascaded("term-c", queued, ended)
    stage.cascaded("term-d", received, ended)
    stage.cascaded("term-e-redo", working, ended)
    stage.until(lambda: not stage.unacknowledged(), "no message is left")
    stage.prove("term-f", (now() - ended).total_seconds())
    for user in working:
        blog = stage.cascade(user, "blog_db")
        insist(blog.attempts == 2, f"{blog.attempts} attempts")
        kept = stage.cascade(user, "shop_db")
        insist(kept.done_at == shop.done_at, "done twice")
        insist(kept.attempts == 1, f"{kept.attempts} attempts in shop_db")
    stage.insist_counted(working)


@proves("term-g")
def idle(stage: Stage) -> None:
    stage.suspend_spare()
    asked = now()
    stage.worker.ask_to_stop()
    stage.until(lambda: not stage.worker.running, "the worker ends", seconds=ENDS_SECONDS)
    stage.prove("term-g", (now() - asked).total_seconds())
    insist(stage.worker.poll() == 0, f"exit code {stage.worker.poll()}")
    insist(not stage.unacknowledged(), "messages are left unacknowledged")
    stage.relieve(last=True)


ACTS: tuple[Act, ...] = (busy, idle)
