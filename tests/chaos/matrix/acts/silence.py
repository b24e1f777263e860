"""Redis forgets everything; and connections to it fall silent without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.integrity.failpoints import Failpoint

from .. import traps
from ..stage import insist, now
from .act import Act, proves
from .company import Company

if TYPE_CHECKING:
    from ..stage import Stage


@proves("flush-d", "flush-e", "flush-f")
def flushed(stage: Stage) -> None:
    held = Company.gather(stage)
    stage.client.flushall()
    flushed = now()
    held.release()
    stage.cascaded_all(held.queued)
    stage.cascaded("flush-d", held.received, flushed)
    stage.cascaded("flush-e", held.working, flushed)
    held.insist_removed_once(by_the_dead=False)
    held.insist_kept()
    stage.until(lambda: not stage.unacknowledged(), "no message is left")
    stage.prove("flush-f", (now() - flushed).total_seconds())


@proves("flush-c")
def flushed_when_queued(stage: Stage) -> None:
    users = stage.take()
    stage.until(lambda: not stage.unacknowledged(), "nothing to do")
    with stage.worker.frozen(), stage.beat.frozen():
        stage.until(lambda: not stage.listening(), "nobody listens")
        stage.delete(users)
        stage.until(stage.queued, "a message at c")
        stage.client.flushall()
        flushed = now()
    stage.cascaded("flush-c", users, flushed)


@proves("flush-b")
def flushed_before_the_wake_up(stage: Stage) -> None:
    users = stage.take()
    with traps.at(Failpoint.COMMITTED, stage.client.flushall):
        stage.delete(users)
    stage.cascaded("flush-b", users, now())


@proves("flush-g")
def flushed_when_idle(stage: Stage) -> None:
    users = stage.take()
    stage.client.flushall()
    flushed = now()
    stage.delete(users)
    stage.cascaded("flush-g", users, flushed)


@proves("half-open-a", "half-open-b", "half-open-d", "half-open-e", "half-open-f")
def silent(stage: Stage) -> None:
    assert stage.proxy is not None
    working, requested, lost = stage.take(2), stage.take(), stage.take()
    removing = stage.traps.arm("blog_db", Failpoint.REMOVAL_COMMITTED, "wait")
    finished = stage.traps.arm("shop_db", Failpoint.FINISHED, "wait")
    stage.delete(working)
    stage.until(lambda: removing.sprung and finished.sprung, "cascades held at e and f")
    ended = stage.cascade(working[0], "shop_db").done_at

    stage.proxy.silence_at(b"integrity.dispatch")
    stage.delete(lost)
    stage.until(lambda: stage.proxy.was_triggered, "Redis gives a message away")
    silent = now()
    stage.prove("half-open-a", stage.delete(requested))
    removing.release()
    finished.release()
    stage.cascaded("half-open-b", requested, silent)
    stage.cascaded("half-open-d", lost, silent)
    stage.cascaded("half-open-e", working, silent)
    for user in working:
        blog, shop = stage.cascade(user, "blog_db"), stage.cascade(user, "shop_db")
        insist((blog.attempts, shop.attempts) == (1, 1), f"{blog.attempts}, {shop.attempts}")
        insist(shop.done_at == ended, "f: done twice")
    stage.insist_counted(working)
    stage.prove("half-open-f", (now() - silent).total_seconds())


@proves("half-open-g")
def silent_when_idle(stage: Stage) -> None:
    assert stage.proxy is not None
    users = stage.take()
    stage.proxy.silence()
    silent = now()
    stage.delete(users)
    stage.cascaded("half-open-g", users, silent)


ACTS: tuple[Act, ...] = (
    flushed,
    flushed_when_queued,
    flushed_before_the_wake_up,
    flushed_when_idle,
    silent,
    silent_when_idle,
)
